"""Who is here: connections and their channels -> sessions -> rooms.

Rules of this file
1. A session outlives its connection: lost, it may resume for a grace time, and only then does it leave.
2. Each written join has exactly one leave. A join that was not written (a crowd) has none.
3. Frames of a session's former connection are ignored once it has resumed on another.
4. `seq` counts up per session. One at or below the session's last is a repeat, and its outcome is told again.
5. What is kept of who has gone is bounded: only a session that stored something is kept, only a user who joined
   or stored something is told of, and of both there are only so many, in all and of one origin.

A gone session is in no room; its row is kept so that a publish it sends again is known for a repeat. When too
many have gone, those that went first are forgotten early (`surplus`), and `kept_seconds` tells what still holds:
what was sent after the last word of the youngest of them is known.

It has more than 300 lines because all states of a session are read together.
Spec: docs/protocol.md, "Sessions". Tests: tests/core/test_registry.py.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from itertools import count

from zchat.core import Instant
from zchat.core.allowances import Remembered, Share, origin
from zchat.core.channels import Carrier, Channel, Endpoint, connection_of
from zchat.core.log import SeenRow, SessionRow
from zchat.core.recipients import Recipients
from zchat.core.rights import Rights
from zchat.core.session import GONE, LIVE, LOST, TRANSITIONS, Session
from zchat.core.users import Users
from zchat.errors import over_limit
from zchat.names import user_key
from zchat.settings import Settings
from zchat.wire import Member

GONE_OUTCOMES_MAX = 262_144  # of all sessions that have gone, about 25 MB; others are looked up in the log
EXPIRED_MAX = 1_024  # rooms and sessions that are left in one call: each is some work, and a crowd may go at once


class Registry:
    """All sessions of a broker. It decides who is where; it writes no record and sends nothing."""

    def __init__(self, secret: bytes, settings: Settings, rights: Rights | None = None) -> None:
        self._secret = secret
        self._settings = settings
        self._sessions: dict[str, Session] = {}
        self._connections: dict[Endpoint, Session] = {}
        self._carriers: dict[bytes, Carrier] = {}  # of connections that have channels
        self._held = Share(settings, "sessions_max")  # sessions that are live or lost
        # Heap of (deadline, tie-break, session). An entry that is not the session's deadline any more is stale.
        self._waiting: list[tuple[float, int, Session]] = []
        self._ties = count()
        self._gone = Remembered[Session](settings.gone_sessions_max, settings.address_gone_sessions_max)
        self._surplus: list[Session] = []  # are forgotten early
        self._outcomes: dict[str, Session] = {}  # sessions in `_gone` with outcomes, and how many
        self._outcomes_size = 0
        self.forgotten = Session("", "", 0, 0)  # stands for all that were forgotten early; its row says up to when
        self._forgotten_seconds: float | None = None  # the same, monotonic
        self._members: dict[str, dict[str, Session]] = {}  # room -> session id -> session
        self._memberships = Share(settings, "memberships_max")
        self._listens_bytes = Share(settings, "listens_bytes_max")
        self.recipients = Recipients(rights or Rights(), settings)
        self._users = Users(settings)

    # --- at start ---------------------------------------------------------------------------

    def restore(self, rows: Iterable[SessionRow], seen: Iterable[SeenRow], now: Instant) -> list[str]:
        """Take the sessions that the log kept: members as lost for the longer grace time, the others as gone.

        Those are forgotten when they would have been without a restart, but have as much time to come back.
        Returns the sessions that are too many: their rows go.
        """
        grace, kept = self._settings.restart_grace_seconds, self._settings.session_kept_seconds
        rows = sorted(rows, key=lambda row: row.seen)
        if rows and (former := next((row for row in rows if not row.session), None)):
            rows.remove(former)
            self._forgot(former.seen, now)
        without_rooms = [row for row in rows if not row.rooms]
        surplus = without_rooms[: max(0, len(without_rooms) - self._settings.gone_sessions_max)]
        for row in surplus:
            self._forgot(row.seen, now)
        too_many = {row.session for row in surplus}
        cut_off = [SeenRow(row.user, row.seen) for row in without_rooms]
        for user, micros in sorted([*seen, *cut_off], key=lambda row: row.seen):  # the latest is remembered longest
            self._users.seen(user, micros)
        for row in rows:
            if row.session in too_many:
                continue
            session = Session(row.session, row.user, row.seen, row.seen, last_seq=row.last_seq, has_row=True)
            session.has_joined, session.has_stored = bool(row.rooms), bool(row.last_seq)
            session.rooms, session.written = dict(row.rooms), set(row.rooms)
            self._sessions[session.id] = session
            if row.rooms:
                session.state = LOST
                self._wait(session, now.seconds + grace)
                self._came(session)
            else:
                session.state = GONE
                age = max(0.0, (now.micros - row.seen) / 1e6)
                session.deadline = now.seconds + max(grace, kept - age)
                self._gone.put(session.id, session, None)
            for room in row.rooms:
                self._members.setdefault(room, {})[session.id] = session
            self._memberships.add(session.address, len(row.rooms), session.user)
        return [row.session for row in surplus]

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

    def of(self, endpoint: Endpoint) -> Session | None:
        """The session that speaks there; None for one that said no hello, or a former one."""
        return self._connections.get(endpoint)

    def connections(self) -> list[bytes]:
        """All connections that have a session."""
        return [endpoint for endpoint in self._connections if isinstance(endpoint, bytes)]

    def may_come(self, endpoint: Endpoint, user: str, address: str, *, is_held: bool) -> None:
        """Raises WireError where there would be too many sessions; one that is live or lost `is_held` already."""
        most = self._settings.connection_channels_max
        if isinstance(endpoint, Channel) and endpoint not in self._connections:
            carrier = self._carriers.get(endpoint.connection)
            if carrier is not None and len(carrier.channels) >= most:
                raise over_limit(
                    "connection_channels_max", "over-limit", f"the connection has {most} channels with a session"
                )
        if not is_held:
            self._held.check(address, 1, "busy", "there are too many sessions, or too many of this address: later")
            self._users.may_come(user)

    def begin(self, session_id: str, user: str, endpoint: Endpoint, address: str, now: Instant) -> Session:
        """A new session says hello."""
        session = Session(session_id, user, now.micros, now.micros)
        self._sessions[session_id] = session
        self._attach(session, endpoint, address, now)
        self._came(session)
        return session

    def resume(self, session: Session, endpoint: Endpoint, address: str, now: Instant) -> bool:
        """A session comes back, perhaps elsewhere. True: no leave had been written, its rooms are kept."""
        was = session.state
        session.state = TRANSITIONS[was]["resumed"]
        session.deadline = 0.0
        self._no_longer_gone(session)
        self._attach(session, endpoint, address, now, held=int(was != GONE))
        if was == GONE:
            session.since = now.micros
            self._came(session)
        return was != GONE

    def disconnected(self, connection: bytes, now: Instant) -> None:
        """A connection ended: all its sessions are lost."""
        self.left(connection, now)
        carrier = self._carriers.pop(connection, None)
        for channel in list(carrier.channels) if carrier is not None else ():
            self.left(channel, now)

    def left(self, endpoint: Endpoint, now: Instant) -> Session | None:
        """Its session is not there any more. Returns the one that is lost by it, None when none is."""
        session = self._connections.get(endpoint)
        if session is None:
            return None
        self._detach(session)
        session.connection = b""
        if session.state != LIVE:
            return None
        session.state = TRANSITIONS[LIVE]["disconnected"]
        self.listens(session, [], 0)  # it tells again when it is back
        session.seen = now.micros
        self._wait(session, now.seconds + self._settings.grace_seconds)
        return session

    def may_join(self, session: Session, rooms: int) -> None:
        """Raises WireError where there would be too many members: WHO tells of all."""
        text = "all sessions, or those of this user or address, are in as many rooms as they may be"
        self._memberships.check(session.address, rooms, "over-limit", text, session.user)

    def join(self, session: Session, room: str, written: bool, now: Instant) -> None:
        """The session becomes a member; `written` when the room's log gets a record of it."""
        if room not in session.rooms:
            self._memberships.add(session.address, 1, session.user)
        session.rooms[room] = now.micros
        session.has_joined = True
        if written:
            session.written.add(room)
        self._members.setdefault(room, {})[session.id] = session

    def part(self, session: Session, room: str) -> bool:
        """The session is no longer a member. Returns whether its join was written, so that a leave must be."""
        if session.rooms.pop(room, None) is not None:
            self._memberships.add(session.address, -1, session.user)
        members = self._members.get(room)
        if members is not None:
            members.pop(session.id, None)
            if not members:
                del self._members[room]
        written = room in session.written
        session.written.discard(room)
        return written

    def listens(self, session: Session, told: list[tuple[int, list[str]]], size: int) -> str:
        """How far its listeners are; nothing is known where that would be too much of all that is told.

        Returns the limit that is met by that; empty: none.
        """
        if met := self._listens_bytes.met(session.address, size - session.listens_bytes):
            told, size = [], 0
        self._listens_bytes.add(session.address, size - session.listens_bytes)
        session.listens, session.listens_bytes = told, size
        return met

    def bye(self, session: Session, now: Instant) -> None:
        """The session ends for good; the caller has parted it from its rooms."""
        self._forget(session, "bye", now)

    def expired(self, now: Instant) -> list[Session]:
        """The sessions whose grace time is over: now gone, and still in their rooms until the caller parts them.

        Those whose kept time is over are forgotten on the way and returned too, with state FORGOTTEN. Where many are
        due they come in some calls: `next_deadline` has passed until then.
        """
        over: list[Session] = []
        left = EXPIRED_MAX
        while left > 0 and (deadline := self._next_waiting()) is not None and deadline <= now.seconds:
            session = heappop(self._waiting)[2]
            session.deadline = 0.0  # it may be there twice
            over.append(session)
            left -= 1 + len(session.rooms)
        while left > 0 and (first := self._gone.first()) is not None and first.deadline <= now.seconds:
            left -= 1
            self._no_longer_gone(first)
            first.deadline = 0.0
            over.append(first)
        for session in over:  # only now: one that is gone is forgotten the next time at the earliest
            if session.state == LOST:
                session.state = TRANSITIONS[LOST]["grace over"]
                self._went(session)
                if session.has_stored:
                    self._keep(session, now)
                else:  # nothing can be repeated: a flood of HELLOs, or of refused publishes, fills no memory for a day
                    self._wait(session, now.seconds)
            else:
                self._forget(session, "kept over", now)
        return over

    def surplus(self, now: Instant) -> list[Session]:
        """The sessions that are forgotten early since `expired`, as too many have gone."""
        surplus, self._surplus = self._surplus, []
        for session in surplus:
            self._forgot(session.seen, now)
            self._forget(session, "kept over", now)
        return surplus

    def kept_seconds(self, now: Instant) -> float:
        """How long ago a session that is not known may have gone so that it certainly never stored anything."""
        kept = self._settings.session_kept_seconds
        return kept if self._forgotten_seconds is None else min(kept, max(0.0, now.seconds - self._forgotten_seconds))

    def next_deadline(self) -> float | None:
        """When `expired` has something to say next."""
        waiting, first = self._next_waiting(), self._gone.first()
        if first is None or (waiting is not None and waiting < first.deadline):
            return waiting
        return first.deadline

    # --- who --------------------------------------------------------------------------------

    def members(self, room: str) -> int:
        """How many sessions are in a room."""
        return len(self._members.get(room, ()))

    def rooms(self) -> Iterator[str]:
        """Rooms that have a member."""
        return iter(self._members)

    def sessions_in(self, room: str) -> list[Session]:
        """The members of a room, or with no room every session that is live or lost."""
        if room:
            return list(self._members.get(room, {}).values())
        return [session for session in self._sessions.values() if session.state in (LIVE, LOST)]

    def users_gone(self) -> list[Member]:
        """The users who have gone, with when."""
        return [Member(user, "", GONE, 0, seen, []) for user, seen in self._users.gone()]

    # --- parts ------------------------------------------------------------------------------

    def _attach(self, session: Session, endpoint: Endpoint, address: str, now: Instant, *, held: int = 0) -> None:
        if session.connection != endpoint:
            self._detach(session)
        session.connection = endpoint
        for share, amount in (
            (self._memberships, len(session.rooms)),
            (self._listens_bytes, session.listens_bytes),
            (self._held, held),
        ):
            share.add(session.address, -amount)
            share.add(address, amount)
        session.address = address
        session.seen = now.micros
        self._connections[endpoint] = session
        session.carried_by(self._carrier(endpoint))

    def _carrier(self, endpoint: Endpoint) -> Carrier | None:
        """What the sessions share that are reached over the same connection, once it has channels."""
        connection = connection_of(endpoint)
        carrier = self._carriers.get(connection)
        if isinstance(endpoint, Channel):
            if carrier is None:
                carrier = self._carriers[connection] = Carrier()
                if (own := self._connections.get(connection)) is not None:
                    own.carried_by(carrier)
            carrier.channels[endpoint] = None
        return carrier

    def _detach(self, session: Session) -> None:
        """It is not reached any more where it was."""
        self.recipients.forget(session)
        endpoint = session.connection
        if self._connections.get(endpoint) is session:
            del self._connections[endpoint]
        if isinstance(endpoint, Channel) and session.carrier is not None:
            session.carrier.channels.pop(endpoint, None)
        session.carried_by(None)

    def _wait(self, session: Session, deadline: float) -> None:
        session.deadline = deadline
        heappush(self._waiting, (deadline, next(self._ties), session))

    def _came(self, session: Session) -> None:
        self._users.came(session.user)
        self._held.add(session.address, 1)

    def _went(self, session: Session) -> None:
        self._users.went(session)
        self._held.add(session.address, -1)

    def _next_waiting(self) -> float | None:
        while self._waiting and self._waiting[0][0] != self._waiting[0][2].deadline:
            heappop(self._waiting)
        return self._waiting[0][0] if self._waiting else None

    def _keep(self, session: Session, now: Instant) -> None:
        """It has gone and may come back: what it sends again is known."""
        session.info = {}
        session.deadline = now.seconds + self._settings.session_kept_seconds
        self._surplus += self._gone.put(session.id, session, origin(session.address))
        self._outcomes[session.id] = session
        self._outcomes_size += len(session.outcomes)
        while self._outcomes_size > GONE_OUTCOMES_MAX:
            first = self._outcomes.pop(next(iter(self._outcomes)))
            self._outcomes_size -= len(first.outcomes)
            first.outcomes.clear()

    def _no_longer_gone(self, session: Session) -> None:
        self._gone.pop(session.id)
        if self._outcomes.pop(session.id, None) is not None:
            self._outcomes_size -= len(session.outcomes)

    def _forgot(self, seen: int, now: Instant) -> None:
        """A session that was heard last at that time (microseconds) is forgotten early."""
        self.forgotten.seen = max(self.forgotten.seen, seen)
        seconds = now.seconds - max(0.0, (now.micros - seen) / 1e6)
        self._forgotten_seconds = seconds if self._forgotten_seconds is None else max(self._forgotten_seconds, seconds)

    def _forget(self, session: Session, event: str, now: Instant) -> None:
        if session.state in (LIVE, LOST):
            if session.connection:
                session.seen = now.micros
            self._went(session)
        self.listens(session, [], 0)
        session.state = TRANSITIONS[session.state][event]
        session.deadline = 0.0
        self._no_longer_gone(session)
        self._detach(session)
        self._sessions.pop(session.id, None)
