"""The broker's decisions: what is appended, broadcast and answered. The cycle, without a socket.

    received … received -> take_append -> (the log commits) -> committed -> take_broadcasts, take_replies

Rules of this file
1. What happened goes in (`received`, `disconnected`, `subscribed`, `committed`, `elapsed`); what to do
   comes out of the `take_…` methods, once. It raises on nothing that a peer sends.
2. Records gather in runs while a commit is under way; each costly step is done once per cycle.
3. Nothing is broadcast or acked before its commit; one commit is under way at a time, so offsets are
   given when the one before is known to have been kept.
4. A refused publish changes nothing but the session's `seq`, and its refusal is told again when asked.

Spec: docs/protocol.md. Tests: tests/core/test_broker.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from zchat import wire
from zchat.core import Instant
from zchat.core.registry import FORGOTTEN, PENDING, Registry, Session
from zchat.core.rooms import Room, Run, Tails
from zchat.errors import CODES, BadName, LogError, WireError
from zchat.log import Append, SessionRow, StoredBatch
from zchat.names import inbox, matcher, pattern_name, room_name, user_name
from zchat.settings import Settings

RESERVED_EVENTS = frozenset({"join", "leave"})  # the broker's own; nobody can publish them
RETRY_SECONDS = 1.0  # a leave that the log refused is tried again this often

JOINED = ""  # in place of a leave's reason

# What a join and each leave are written as: a leave's body is its reason.
_PRESENCE_RECORDS = {
    JOINED: msgspec.Raw(wire.encode_records([wire.Record(b"", "join")])),
    "bye": msgspec.Raw(wire.encode_records([wire.Record(b"bye", "leave")])),
    "lost": msgspec.Raw(wire.encode_records([wire.Record(b"lost", "leave")])),
}
_PRESENCE_BYTES = 64  # about what one takes in a batch


class LogFacts(NamedTuple):
    """What the core must know of the log when it starts."""

    log_id: str
    secret: bytes
    head: int
    last_time: int
    rooms: dict[str, int]
    sessions: list[SessionRow]
    users_seen: list[tuple[str, int]]


class Read(NamedTuple):
    """Something that a reader thread answers: a FETCH or SEEK, or where a repeated publish is stored."""

    connection: bytes
    request: wire.Fetch | wire.Seek | tuple[str, int]  # the last: session, seq


class PresenceRecord(NamedTuple):
    """A join (`reason` is JOINED) or a leave on its way to its room's log."""

    session: Session
    room: str
    reason: str


class Commit(NamedTuple):
    """What waits for the commit under way."""

    runs: list[Run]
    first: int  # the offset that the next record had before it
    presence: list[PresenceRecord]
    done: list[tuple[bytes, int]]  # connection, request: JOIN and PART to be answered
    append: Append


class BrokerCore:
    """One broker. Feed it what happens, then do what it says."""

    def __init__(
        self, settings: Settings, facts: LogFacts, session_ids: Iterator[str], publish_port: int, now: Instant
    ) -> None:
        self.settings = settings
        self.head = facts.head
        self._log_id = facts.log_id
        self._next = facts.head + 1
        self._time = facts.last_time
        self._session_ids = session_ids
        self._publish_port = publish_port
        self._rooms = {name: Room(name, last) for name, last in facts.rooms.items()}
        self._tails = Tails(settings.tail_first_seconds, settings.tail_last_seconds)
        self.registry = Registry(
            facts.secret,
            grace_seconds=settings.grace_seconds,
            kept_seconds=settings.session_kept_seconds,
            users_seen_max=settings.users_seen_max,
        )
        self.registry.restore(facts.sessions, facts.users_seen, now, settings.restart_grace_seconds)
        self._former: set[bytes] = set()  # connections whose session went on elsewhere: ignored
        self._reading: dict[bytes, int] = {}
        self._refused_leaves: list[PresenceRecord] = []  # by the log; tried again
        self._retry: float | None = None
        self._commit: Commit | None = None
        # What gathers for the next commit.
        self._runs: list[Run] = []
        self._presence: list[PresenceRecord] = []
        self._done: list[tuple[bytes, int]] = []
        self._changed: dict[str, Session] = {}
        self._ended: list[str] = []
        self._seen: dict[str, int] = {}
        # What the shell takes.
        self._volatile_runs: list[Run] = []
        self._broadcasts: list[tuple[bytes, bytes]] = []
        self._acks: dict[bytes, list[tuple[int, int]]] = {}
        self._replies: list[tuple[bytes, bytes]] = []
        self._reads: list[Read] = []
        self._cutoffs: list[bytes] = []

    # --- what happened ----------------------------------------------------------------------

    def received(self, connection: bytes, frame: bytes, now: Instant, address: str = "") -> None:
        """A frame came from a client. Then take replies, reads, broadcasts, cut-offs and the append."""
        try:
            message = wire.decode_client(frame)
        except WireError as error:
            self._refuse(connection, "connection", 0, error.code, str(error))
            return
        session = self.registry.of(connection)
        if session is None:
            if isinstance(message, wire.Hello):
                self._hello(connection, message, address, now)
            elif connection not in self._former:
                self._reply(connection, wire.HelloAgain())
            return
        session.seen = now.micros
        if type(message) is wire.Publish:
            self._publish(session, message, frame, now)
        else:
            self._requested(session, connection, message, now)

    def disconnected(self, connection: bytes, now: Instant) -> None:
        """A connection ended: its session has the grace time to come back."""
        self._former.discard(connection)
        self._reading.pop(connection, None)
        self._acks.pop(connection, None)
        self.registry.disconnected(connection, now)

    def subscribed(self, topic: bytes, now: Instant) -> None:
        """A subscriber's private topic is in place: everything from here on reaches it. Then take broadcasts."""
        self._flush_volatile(now)
        nonce = topic[len(wire.PRIVATE_TOPIC) :]
        self._broadcasts.append((topic, wire.encode(wire.Sync(nonce, self.head))))

    def committed(self, error: LogError | None, now: Instant) -> None:
        """The append that was taken last is kept, or (with an error) none of it. Then take everything."""
        commit, self._commit = self._commit, None
        assert commit is not None, "no append is under way"
        if error is not None:
            self._not_kept(commit, error, now)
            return
        for run in commit.runs:
            room = run.room
            offset = run.base
            self._broadcasts.append((room.topic, run.frame))
            self.head = room.last = run.base + run.records - 1
            self._tails.spoke(room, now.seconds)
            if run.kind == wire.MESSAGES:
                for entry, session, count in zip(run.entries, run.sessions, run.counts, strict=True):
                    self._settle(session, entry.seq, offset)
                    offset += count
        for connection, request in commit.done:
            self._reply(connection, wire.Done(request))

    def found(self, session_id: str, seq: int, offset: int) -> None:
        """Where the log has a repeated publish (0: nowhere). Then take replies."""
        session = self.registry.find(session_id)
        if session is None or not session.connection:
            return
        if offset:
            self._acks.setdefault(session.connection, []).append((seq, offset))
        else:
            self._refuse(session.connection, "publish", seq, "repeat-unknown")

    def read_done(self, connection: bytes) -> None:
        """A read was answered."""
        if left := self._reading.pop(connection, 0) - 1:
            self._reading[connection] = max(left, 0)

    def elapsed(self, now: Instant) -> None:
        """Time has passed: write the leaves that are due, mark the tails. Then take everything."""
        for session in self.registry.expired(now):
            if session.state == FORGOTTEN:
                self._changed.pop(session.id, None)
                self._ended.append(session.id)
                continue
            self._part_all(session, "lost")
            self._changed[session.id] = session
            self._seen[session.user] = session.seen
        for room in self._tails.due(now.seconds):
            self._broadcasts.append((room.topic, wire.encode(wire.Tail(room.last))))
        if self._retry is not None and self._retry <= now.seconds:
            self._retry = None
            refused, self._refused_leaves = self._refused_leaves, []
            for leave in refused:
                self._write_presence(leave)

    def stopping(self) -> None:
        """The broker ends: tell every client. Then take replies."""
        goodbye = wire.encode(wire.Goodbye("stopping"))
        self._replies.extend((connection, goodbye) for connection in self.registry.connections())

    def next_deadline(self) -> float | None:
        """When `elapsed` must be called at the latest; None: nothing is due."""
        times = (self.registry.next_deadline(), self._tails.next_deadline(), self._retry)
        return min((time for time in times if time is not None), default=None)

    # --- what to do -------------------------------------------------------------------------

    def take_append(self, now: Instant) -> Append | None:
        """What to commit next. None while a commit is under way, and when there is nothing."""
        if self._commit is not None or self._retry is not None and not (self._runs or self._done):
            return None
        if not (self._runs or self._done or self._changed or self._ended or self._seen):
            return None
        self._time = time = max(self._time + 1, now.micros)
        first, batches = self._next, []
        for run in self._runs:
            room = run.room
            run.base = self._next
            run.frame = wire.encode(wire.RawBatch(run.kind, run.base, room.given, time, run.entries))
            batches.append(StoredBatch(run.base, room.name, run.kind, run.records, time, run.frame))
            self._next += run.records
            room.given = self._next - 1
            room.run = None
        rows = [session.row() for session in self._changed.values()]
        append = Append(batches, rows, self._ended, self._seen)
        self._commit = Commit(self._runs, first, self._presence, self._done, append)
        self._runs, self._presence, self._done = [], [], []
        self._changed, self._ended, self._seen = {}, [], {}
        return append

    def take_broadcasts(self, now: Instant) -> list[tuple[bytes, bytes]]:
        """(topic, frame) to send on XPUB, in order."""
        if self._volatile_runs:
            self._flush_volatile(now)
        broadcasts, self._broadcasts = self._broadcasts, []
        return broadcasts

    def take_replies(self) -> list[tuple[bytes, bytes]]:
        """(connection, frame) to send on ROUTER, in order: one ACK for each connection."""
        if self._acks:
            acks, self._acks = self._acks, {}
            self._replies.extend((connection, wire.encode(wire.Ack(pairs))) for connection, pairs in acks.items())
        replies, self._replies = self._replies, []
        return replies

    def take_reads(self) -> list[Read]:
        """What reader threads are to answer; then `read_done`, or `found` for a repeat."""
        reads, self._reads = self._reads, []
        return reads

    def take_cutoffs(self) -> list[bytes]:
        """Connections to end once their replies are out."""
        cutoffs, self._cutoffs = self._cutoffs, []
        return cutoffs

    @property
    def gathered_bytes(self) -> int:
        """Bytes of records that wait for the next commit."""
        return sum(run.size for run in self._runs)

    @property
    def is_committing(self) -> bool:
        """Whether an append was taken that has not been reported as committed."""
        return self._commit is not None

    # --- publishing -------------------------------------------------------------------------

    def _publish(self, session: Session, message: wire.Publish, frame: bytes, now: Instant) -> None:
        seq = message.seq
        if seq <= session.last_seq:
            self._repeat(session, seq)
            return
        session.accept(seq)
        room = self._rooms.get(message.room)
        try:
            if room is None:
                room = self._open_room(message.room)
            count = self._checked(message, frame)
        except (BadName, WireError) as error:
            code = error.code if isinstance(error, WireError) else "bad-room"
            session.settle(seq, code)
            self._refuse(session.connection, "publish", seq, code, str(error))
            return
        if message.flags & wire.VOLATILE:
            run = room.volatile_run
            if run is None or run.size > self.settings.batch_bytes_max:
                run = room.volatile_run = Run(room, wire.VOLATILE_MESSAGES)
                self._volatile_runs.append(run)
        else:
            run = self._run(room, wire.MESSAGES)
            self._changed[session.id] = session
        run.add(session, seq, message.records, count, len(frame))

    def _checked(self, message: wire.Publish, frame: bytes) -> int:
        """How many records it has. Raises WireError for what no one may publish."""
        settings = self.settings
        if len(frame) > settings.publish_bytes_max:
            raise WireError("too-large", f"publish is {len(frame)} bytes, limit {settings.publish_bytes_max}")
        records = wire.decode_records(message.records)
        if not 0 < len(records) <= settings.publish_records_max:
            raise WireError("too-many-records", f"{len(records)} records, limit {settings.publish_records_max}")
        # The search of the bytes spares the look at each record, which nearly never is needed.
        if (b"join" in frame or b"leave" in frame) and any(
            isinstance(record, wire.Record) and record.event in RESERVED_EVENTS for record in records
        ):
            raise WireError("denied", "join and leave are the broker's events")
        return len(records)

    def _repeat(self, session: Session, seq: int) -> None:
        outcome = session.outcomes.get(seq)
        if outcome is None:
            self._reads.append(Read(session.connection, (session.id, seq)))
        elif isinstance(outcome, str):
            self._refuse(session.connection, "publish", seq, outcome)
        elif outcome != PENDING:
            self._acks.setdefault(session.connection, []).append((seq, outcome))

    def _settle(self, session: Session, seq: int, offset: int) -> None:
        session.settle(seq, offset)
        if session.connection:
            self._acks.setdefault(session.connection, []).append((seq, offset))

    def _flush_volatile(self, now: Instant) -> None:
        """Volatile records go out at once: they wait for no commit, and have no offset."""
        runs, self._volatile_runs = self._volatile_runs, []
        for run in runs:
            run.room.volatile_run = None
            frame = wire.encode(wire.RawBatch(run.kind, 0, 0, max(self._time, now.micros), run.entries))
            self._broadcasts.append((run.room.topic, frame))
            for entry, session in zip(run.entries, run.sessions, strict=True):
                self._settle(session, entry.seq, 0)

    def _not_kept(self, commit: Commit, error: LogError, now: Instant) -> None:
        """The log kept none of it: refuse what clients asked, and keep the leaves to try again.

        What gathered meanwhile is refused with it: a leave in it may belong to a join that was not kept.
        """
        self._next = commit.first
        for run in commit.runs + self._runs:
            run.room.run = None
            run.room.given = run.room.last
            if run.kind == wire.MESSAGES:
                for entry, session in zip(run.entries, run.sessions, strict=True):
                    session.settle(entry.seq, error.code)
                    self._refuse(session.connection, "publish", entry.seq, error.code, str(error))
        for connection, request in commit.done + self._done:
            self._refuse(connection, "request", request, error.code, str(error))
        undone: set[tuple[str, str]] = set()  # a join that was not kept: neither is its leave
        for record in commit.presence + self._presence:
            pair = (record.session.id, record.room)
            if record.reason == JOINED:
                undone.add(pair)
                self.registry.part(record.session, record.room)
            elif pair in undone:
                undone.discard(pair)
            else:
                self._refused_leaves.append(record)
        self._runs, self._presence, self._done = [], [], []
        self._ended = commit.append.ended + self._ended
        self._seen = commit.append.seen | self._seen
        for row in commit.append.sessions:
            changed = self.registry.find(row.session)
            if changed is not None:
                self._changed[row.session] = changed
        self._retry = now.seconds + RETRY_SECONDS

    # --- presence ---------------------------------------------------------------------------

    def _hello(self, connection: bytes, hello: wire.Hello, address: str, now: Instant) -> None:
        code = ""
        if hello.version != wire.VERSION:
            code = "unsupported-version"
        elif not _is_canonical_user(hello.user):
            code = "bad-user"
        if code:
            self._refuse(connection, "connection", 0, code)
            return
        # A token of another log fits no session here: its holder starts a new one.
        fits = bool(hello.session) and self.registry.token_fits(hello.session, hello.user, hello.token)
        session = self.registry.find(hello.session) if fits else None
        resumed = False
        if session is None:
            session_id = hello.session if fits else next(self._session_ids)
            session = self.registry.begin(session_id, hello.user, connection, address, now)
        else:
            if session.connection:
                self._former.add(session.connection)
            resumed = self.registry.resume(session, connection, address, now)
        self._reply(
            connection,
            wire.Welcome(
                wire.VERSION,
                session.id,
                self.registry.token(session),
                resumed,
                self._log_id,
                self.head,
                self._publish_port,
                self.settings.told(),
                max(self._time, now.micros),
            ),
        )

    def _join(self, session: Session, message: wire.Join, now: Instant) -> None:
        self._may_read(session, message.rooms)
        fresh = [room for room in dict.fromkeys(message.rooms) if room not in session.rooms]
        if len(session.rooms) + len(fresh) > self.settings.session_rooms_max:
            raise WireError("too-many-rooms", f"limit {self.settings.session_rooms_max} rooms")
        rooms = [self._rooms.get(name) or self._open_room(name) for name in fresh]
        written = False
        for room in rooms:
            is_written = self.registry.members(room.name) < self.settings.crowd_members
            self.registry.join(session, room.name, is_written, now)
            if is_written:
                self._write_presence(PresenceRecord(session, room.name, JOINED))
                written = True
        self._answer_kept(session, message.request, written)

    def _part(self, session: Session, message: wire.Part) -> None:
        written = False
        for room in message.rooms:
            written |= room in session.rooms and self._leave(session, room, "bye")
        self._answer_kept(session, message.request, written)

    def _answer_kept(self, session: Session, request: int, written: bool) -> None:
        """Answer once the records are kept; at once when there are none."""
        if written:
            self._changed[session.id] = session
            self._done.append((session.connection, request))
        else:
            self._reply(session.connection, wire.Done(request))

    def _bye(self, session: Session, connection: bytes, now: Instant) -> None:
        self._part_all(session, "bye")
        self.registry.bye(session, now)
        self._changed.pop(session.id, None)
        self._ended.append(session.id)
        self._seen[session.user] = session.seen
        self._reply(connection, wire.Goodbye("bye"))

    def _part_all(self, session: Session, reason: str) -> None:
        for room in list(session.rooms):
            self._leave(session, room, reason)

    def _leave(self, session: Session, room: str, reason: str) -> bool:
        """Part the session from the room. Returns whether that is written."""
        written = self.registry.part(session, room)
        if written:
            self._write_presence(PresenceRecord(session, room, reason))
        return written

    def _write_presence(self, record: PresenceRecord) -> None:
        self._presence.append(record)
        room = self._rooms.get(record.room) or self._open_room(record.room)
        run = self._run(room, wire.PRESENCE)
        run.add(record.session, 0, _PRESENCE_RECORDS[record.reason], 1, _PRESENCE_BYTES)

    # --- requests ---------------------------------------------------------------------------

    def _requested(self, session: Session, connection: bytes, message: wire.ClientMessage, now: Instant) -> None:
        """Everything that a known session sends besides PUBLISH."""
        try:
            match message:
                case wire.Join():
                    self._join(session, message, now)
                case wire.Part():
                    self._part(session, message)
                case wire.Fetch() | wire.Seek():
                    self._read(session, connection, message)
                case wire.Heads():
                    self._heads(session, connection, message)
                case wire.Who():
                    if message.room:
                        self._may_read(session, [message.room])
                    self._reply(connection, wire.Present(message.request, self.registry.who(message.room)))
                case wire.Rooms():
                    self._reply(connection, wire.RoomsAre(message.request, self._all_rooms(session)))
                case wire.Bye():
                    self._bye(session, connection, now)
                case wire.Hello():
                    self._hello(connection, message, session.address, now)
                case _:  # AT: told by listeners for those who ask about lag
                    pass
        except (BadName, WireError) as error:
            code = error.code if isinstance(error, WireError) else "bad-room"
            number = getattr(message, "request", 0)
            self._refuse(connection, "request", number, code, str(error))

    def _read(self, session: Session, connection: bytes, message: wire.Fetch | wire.Seek) -> None:
        self._may_read(session, message.patterns)
        waiting = self._reading.get(connection, 0)
        if waiting >= self.settings.connection_reads_max:
            raise WireError("busy", f"{waiting} reads are waiting")
        self._reading[connection] = waiting + 1
        self._reads.append(Read(connection, message))

    def _heads(self, session: Session, connection: bytes, message: wire.Heads) -> None:
        self._may_read(session, message.patterns)
        if all(name in self._rooms for name in message.patterns):
            heads = [(name, self._rooms[name].last) for name in message.patterns]
        else:
            wanted = matcher(message.patterns)
            heads = [(name, room.last) for name, room in self._rooms.items() if wanted(name)]
        self._reply(connection, wire.HeadsAre(message.request, self.head, heads))

    def _all_rooms(self, session: Session) -> list[wire.Room]:
        own = inbox(session.user)
        return [
            wire.Room(name, room.last, self.registry.members(name))
            for name, room in self._rooms.items()
            if (room.last or self.registry.members(name)) and (not name.startswith("@") or name == own)
        ]

    def _may_read(self, session: Session, patterns: list[str]) -> None:
        """Raises for names that are not canonical, too many of them, or the inbox of another user."""
        if not 0 < len(patterns) <= wire.ROOMS_PER_MESSAGE_MAX:
            raise WireError("bad-request", f"{len(patterns)} names, limit {wire.ROOMS_PER_MESSAGE_MAX}")
        for pattern in patterns:
            if pattern_name(pattern) != pattern:
                raise BadName("pattern", pattern, "not in its canonical form")
            if pattern.startswith("@") and pattern != inbox(session.user):
                raise WireError("denied", f"only its user reads {pattern}")

    # --- parts ------------------------------------------------------------------------------

    def _open_room(self, name: str) -> Room:
        if room_name(name) != name:
            raise BadName("room", name, "not in its canonical form")
        room = self._rooms[name] = Room(name, 0)
        return room

    def _run(self, room: Room, kind: int) -> Run:
        """The run that the room's next record of this kind belongs to."""
        run = room.run
        if run is None or run.kind != kind or run.size > self.settings.batch_bytes_max:
            run = room.run = Run(room, kind)
            self._runs.append(run)
        return run

    def _reply(self, connection: bytes, message: wire.BrokerMessage) -> None:
        self._replies.append((connection, wire.encode(message)))

    def _refuse(self, connection: bytes, about: str, number: int, code: str, text: str = "") -> None:
        if connection:
            self._reply(connection, wire.Error(about, number, code, text or CODES[code].sentence))
            if CODES[code].fatal and about == "connection":
                self._cutoffs.append(connection)


def _is_canonical_user(user: str) -> bool:
    try:
        return user_name(user) == user
    except BadName:
        return False
