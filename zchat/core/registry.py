"""Who is here: connections -> sessions -> rooms.

Rules of this file
1. A session outlives its connection: lost, it may resume for a grace time, and only then does it leave.
2. Each written join has exactly one leave. A join that was not written (a crowd) has none.
3. Frames of a session's former connection are ignored once it has resumed on another.
4. `seq` counts up per session. One at or below the session's last is a repeat, and its outcome is told again.

    live --disconnected--> lost --grace over--> gone --kept time over--> (forgotten)
      ^                      |                    |
      +------- resumed ------+----- resumed ------+        bye, from any state --> (forgotten)

A gone session is in no room; its row is kept so that a publish it sends again is known for a repeat.
Spec: docs/protocol.md, "Sessions". Tests: tests/core/test_registry.py.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from zchat.core import Instant
from zchat.log import SessionRow
from zchat.names import user_key
from zchat.wire import Member

LIVE, LOST, GONE, FORGOTTEN = "live", "lost", "gone", "forgotten"

TRANSITIONS: dict[str, dict[str, str]] = {
    LIVE: {"disconnected": LOST, "resumed": LIVE, "bye": FORGOTTEN},
    LOST: {"grace over": GONE, "resumed": LIVE, "bye": FORGOTTEN},
    GONE: {"kept over": FORGOTTEN, "resumed": LIVE, "bye": FORGOTTEN},
    FORGOTTEN: {},
}

OUTCOMES_MAX = 1024  # outcomes remembered per session; a client has fewer publishes than that in flight

PENDING = -1  # an outcome: accepted, not committed yet

Outcome = int | str  # offset of the first record (0: volatile), PENDING, or the code it was refused with


@dataclass(slots=True, eq=False)
class Session:
    """One client's stay."""

    id: str
    user: str
    since: int  # hello
    seen: int
    state: str = LIVE
    connection: bytes = b""  # routing id; empty when it has none
    hello: int = 0  # number of its last HELLO
    address: str = ""
    rooms: dict[str, int] = field(default_factory=dict)  # room -> since
    written: set[str] = field(default_factory=set)  # rooms whose log has this session's join
    last_seq: int = 0
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    deadline: float = 0.0  # monotonic: end of the grace time (lost) or of the kept time (gone); else 0
    listens: list[tuple[int, list[str]]] = field(default_factory=list)  # how far its listeners of those patterns are

    def row(self) -> SessionRow:
        """What the log keeps of it."""
        rooms = {room: since for room, since in self.rooms.items() if room in self.written}
        return SessionRow(self.id, self.user, self.last_seq, self.seen, rooms)

    def accept(self, seq: int) -> None:
        """A publish is taken; its outcome follows with `settle`."""
        self.last_seq = seq
        self.outcomes[seq] = PENDING
        if len(self.outcomes) > OUTCOMES_MAX:
            del self.outcomes[next(iter(self.outcomes))]

    def settle(self, seq: int, outcome: Outcome) -> None:
        """What became of a publish."""
        if seq in self.outcomes:
            self.outcomes[seq] = outcome


class Registry:
    """All sessions of a broker. It decides who is where; it writes no record and sends nothing."""

    def __init__(self, secret: bytes, *, grace_seconds: float, kept_seconds: float, users_seen_max: int) -> None:
        self._secret = secret
        self._grace = grace_seconds
        self._kept = kept_seconds
        self._users_seen_max = users_seen_max
        self._sessions: dict[str, Session] = {}
        self._connections: dict[bytes, Session] = {}
        # Heap of (deadline, tie-break, session). An entry that is not the session's deadline any more is stale.
        self._waiting: list[tuple[float, int, Session]] = []
        self._ties = count()
        self._members: dict[str, dict[str, Session]] = {}  # room -> session id -> session
        self._users_seen: dict[str, tuple[str, int]] = {}  # user key -> user, last seen; of users who have gone
        self._present: dict[str, int] = {}  # user key -> sessions that are live or lost

    # --- at start ---------------------------------------------------------------------------

    def restore(self, rows: Iterable[SessionRow], seen: Iterable[tuple[str, int]], now: Instant, grace: float) -> None:
        """Take the sessions that the log kept: members as lost for `grace` seconds, the others as gone.

        Those are forgotten when they would have been without a restart, but have as much time to come back.
        """
        rows = list(rows)
        cut_off = [(row.user, row.seen) for row in rows if not row.rooms]
        for user, micros in sorted([*seen, *cut_off], key=lambda each: each[1]):  # the latest is remembered longest
            self._note_seen(user, micros)
        for row in rows:
            session = Session(row.session, row.user, row.seen, row.seen, last_seq=row.last_seq)
            session.rooms, session.written = dict(row.rooms), set(row.rooms)
            session.state = LOST if row.rooms else GONE
            self._sessions[session.id] = session
            kept = self._kept - max(0.0, (now.micros - row.seen) / 1e6)
            self._wait(session, now.seconds + (grace if row.rooms else max(grace, kept)))
            for room in row.rooms:
                self._members.setdefault(room, {})[session.id] = session
            if row.rooms:
                self._came(session)

    # --- tokens -----------------------------------------------------------------------------

    def token(self, session: Session) -> bytes:
        """Proof that its holder may resume the session: an HMAC, so it holds over a restart with nothing stored."""
        text = f"{session.id}\0{user_key(session.user)}".encode()
        return hmac.new(self._secret, text, hashlib.sha256).digest()

    def token_fits(self, session_id: str, user: str, token: bytes) -> bool:
        """Whether the token is that session's and user's."""
        text = f"{session_id}\0{user_key(user)}".encode()
        return hmac.compare_digest(hmac.new(self._secret, text, hashlib.sha256).digest(), token)

    # --- what happened ----------------------------------------------------------------------

    def find(self, session_id: str) -> Session | None:
        """The session of that name, in any state."""
        return self._sessions.get(session_id)

    def of(self, connection: bytes) -> Session | None:
        """The session that speaks on a connection; None for one that said no hello, or a former one."""
        return self._connections.get(connection)

    def connections(self) -> list[bytes]:
        """The connections of all live sessions."""
        return list(self._connections)

    def begin(self, session_id: str, user: str, connection: bytes, address: str, now: Instant) -> Session:
        """A new session says hello."""
        session = Session(session_id, user, now.micros, now.micros)
        self._sessions[session_id] = session
        self._attach(session, connection, address, now)
        self._came(session)
        return session

    def resume(self, session: Session, connection: bytes, address: str, now: Instant) -> bool:
        """A session comes back on another connection. True: no leave had been written, its rooms are kept."""
        was = session.state
        session.state = TRANSITIONS[was]["resumed"]
        session.deadline = 0.0
        self._attach(session, connection, address, now)
        if was == GONE:
            session.since = now.micros
            self._came(session)
        return was != GONE

    def disconnected(self, connection: bytes, now: Instant) -> Session | None:
        """A connection ended. Returns the session that is lost by it, None when none is."""
        session = self._connections.pop(connection, None)
        if session is None or session.state != LIVE or session.connection != connection:
            return None
        session.state = TRANSITIONS[LIVE]["disconnected"]
        session.connection = b""
        session.seen = now.micros
        self._wait(session, now.seconds + self._grace)
        return session

    def join(self, session: Session, room: str, written: bool, now: Instant) -> None:
        """The session becomes a member; `written` when the room's log gets a record of it."""
        session.rooms[room] = now.micros
        if written:
            session.written.add(room)
        self._members.setdefault(room, {})[session.id] = session

    def part(self, session: Session, room: str) -> bool:
        """The session is no longer a member. Returns whether its join was written, so that a leave must be."""
        session.rooms.pop(room, None)
        members = self._members.get(room)
        if members is not None:
            members.pop(session.id, None)
            if not members:
                del self._members[room]
        written = room in session.written
        session.written.discard(room)
        return written

    def bye(self, session: Session, now: Instant) -> None:
        """The session ends for good; the caller has parted it from its rooms."""
        self._forget(session, "bye", now)

    def expired(self, now: Instant) -> list[Session]:
        """The sessions whose grace time is over: now gone, and still in their rooms until the caller parts them.

        Those whose kept time is over are forgotten on the way and returned too, with state FORGOTTEN.
        """
        over = []
        while (deadline := self.next_deadline()) is not None and deadline <= now.seconds:
            session = heappop(self._waiting)[2]
            session.deadline = 0.0
            over.append(session)
        for session in over:  # only now: one that is gone is forgotten the next time at the earliest
            if session.state == LOST:
                session.state = TRANSITIONS[LOST]["grace over"]
                self._went(session)
                # Of one that never published nothing can be repeated: a flood of HELLOs fills no memory for a day.
                self._wait(session, now.seconds + (self._kept if session.last_seq else 0.0))
            else:
                self._forget(session, "kept over", now)
        return over

    def next_deadline(self) -> float | None:
        """When `expired` has something to say next."""
        while self._waiting and self._waiting[0][0] != self._waiting[0][2].deadline:
            heappop(self._waiting)
        return self._waiting[0][0] if self._waiting else None

    # --- who --------------------------------------------------------------------------------

    def members(self, room: str) -> int:
        """How many sessions are in a room."""
        return len(self._members.get(room, ()))

    def rooms(self) -> Iterator[str]:
        """Rooms that have a member."""
        return iter(self._members)

    def who(self, room: str) -> list[Member]:
        """The members of a room, or with no room every session, and the users who have gone with when."""
        if room:
            return [_member(s, s.rooms[room]) for s in self._members.get(room, {}).values()]
        here = [_member(s, s.since) for s in self._sessions.values() if s.state in (LIVE, LOST)]
        gone = [
            Member(user, "", GONE, 0, seen, [])
            for key, (user, seen) in self._users_seen.items()
            if key not in self._present
        ]
        return here + gone

    # --- parts ------------------------------------------------------------------------------

    def _attach(self, session: Session, connection: bytes, address: str, now: Instant) -> None:
        if session.connection:
            self._connections.pop(session.connection, None)
        session.connection = connection
        session.address = address
        session.seen = now.micros
        self._connections[connection] = session

    def _wait(self, session: Session, deadline: float) -> None:
        session.deadline = deadline
        heappush(self._waiting, (deadline, next(self._ties), session))

    def _came(self, session: Session) -> None:
        key = user_key(session.user)
        self._present[key] = self._present.get(key, 0) + 1

    def _went(self, session: Session) -> None:
        key = user_key(session.user)
        left = self._present.get(key, 0) - 1
        if left > 0:
            self._present[key] = left
        else:
            self._present.pop(key, None)
        self._note_seen(session.user, session.seen)

    def _note_seen(self, user: str, micros: int) -> None:
        key = user_key(user)
        self._users_seen.pop(key, None)
        self._users_seen[key] = (user, micros)
        if len(self._users_seen) > self._users_seen_max:
            del self._users_seen[next(iter(self._users_seen))]

    def _forget(self, session: Session, event: str, now: Instant) -> None:
        if session.state in (LIVE, LOST):
            if session.connection:
                session.seen = now.micros
            self._went(session)
        session.state = TRANSITIONS[session.state][event]
        session.deadline = 0.0
        self._connections.pop(session.connection, None)
        self._sessions.pop(session.id, None)


def _member(session: Session, since: int) -> Member:
    return Member(session.user, session.id, session.state, since, session.seen, sorted(session.rooms), session.address)
