"""Who is in which room, as the broker writes it: hello, join, part, bye, and the leaves of who does not come back.

Rules of this file
1. The registry knows who is where; here it becomes records of the rooms and rows of the log.
2. Each written join gets exactly one leave, also when the log refuses one of the two for a while.
3. JOIN and PART are answered once what they wrote is kept.

Spec: docs/protocol.md, "Sessions" and "Presence". Tests: tests/core/test_broker.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from zchat import wire
from zchat.core import Instant
from zchat.core.allowances import Allowances
from zchat.core.audit import Audit
from zchat.core.channels import Channel, Endpoint
from zchat.core.commits import JOINED, Commit, Gathering, PresenceRecord
from zchat.core.introductions import is_of, session_of
from zchat.core.log import SeenRow, SessionRow
from zchat.core.needs import check_patterns
from zchat.core.registry import Registry
from zchat.core.replies import Replies
from zchat.core.rooms import BrokerRooms
from zchat.core.session import FORGOTTEN, GONE, Session
from zchat.errors import BadName, WireError, over_limit
from zchat.names import is_pattern, user_key, user_name
from zchat.settings import Settings

RETRY_SECONDS = 1.0  # what the log refused and nobody waits for, such as a leave, is tried again this often


class Memberships:
    """Who comes and goes."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        rooms: BrokerRooms,
        gathering: Gathering,
        replies: Replies,
        allowances: Allowances,
        session_ids: Iterator[str],
        audit: Audit,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._rooms = rooms
        self._gathering = gathering
        self._replies = replies
        self._allowances = allowances
        self._session_ids = session_ids
        self._audit = audit
        self.retry: float | None = None  # until then the log is only asked again for what somebody waits for
        self.former: set[Endpoint] = set()  # connections whose session went on elsewhere: ignored

    def restore(self, rows: list[SessionRow], users_seen: list[SeenRow], now: Instant) -> None:
        """Take what the log kept."""
        surplus = self._registry.restore(rows, users_seen, now)
        if surplus:
            self._gathering.ended += surplus
            self._gathering.sessions[self._registry.forgotten.id] = self._registry.forgotten

    # --- coming -----------------------------------------------------------------------------

    def hello(self, endpoint: Endpoint, hello: wire.Hello, address: str, now: Instant) -> tuple[Session, bool] | str:
        """A session begins or goes on; returns it and whether it was resumed, or the code with which it was refused."""
        if hello.version != wire.VERSION:
            self._replies.refuse(endpoint, "connection", 0, "unsupported-version")
            return "unsupported-version"
        if not _is_canonical_user(hello.user):
            self._replies.refuse(endpoint, "connection", 0, "bad-user")
            return "bad-user"
        if sum(len(name) + len(value) for name, value in hello.info.items()) > wire.INFO_CHARACTERS_MAX:
            text = f"info has more than {wire.INFO_CHARACTERS_MAX:,} characters"
            self._replies.refuse(endpoint, "connection", 0, "bad-frame", text, is_fatal=True)
            return "bad-frame"
        registry = self._registry
        # A token of another log fits no session here: its holder starts a new one.
        fits = bool(hello.session) and registry.token_fits(hello.session, hello.user, hello.token)
        session = registry.find(hello.session) if fits else None
        current = registry.of(endpoint)
        if session is None and current is not None and user_key(current.user) == user_key(hello.user):
            session = current  # said twice, as the answer was late or lost: it is one session
        try:
            registry.may_come(endpoint, hello.user, address, is_held=session is not None and session.state != GONE)
            if session is None:
                self._allowances.begin(endpoint, address, now)
        except WireError as error:
            self._replies.refuse_error(endpoint, "connection", 0, error, is_fatal=True)
            return error.code
        is_elsewhere = session is not None and session.connection not in (b"", endpoint)
        if session is not None and is_elsewhere and hello.number < session.hello:
            self._replies.refuse(endpoint, "connection", 0, "session-taken")  # what is left of one that has ended
            return "session-taken"
        if current is not session:
            registry.left(endpoint, now)  # it spoke for another session until now
        resumed = False
        if session is None:
            session_id = hello.session if fits else next(self._session_ids)
            session = registry.begin(session_id, hello.user, endpoint, address, now)
        else:
            if is_elsewhere:
                self._is_taken_from(session.connection)
            resumed = registry.resume(session, endpoint, address, now)
        session.hello, session.ttl_ms, session.info = hello.number, hello.ttl, hello.info
        own = registry.of(endpoint.connection) if isinstance(endpoint, Channel) else None
        if own is not None and session.info == own.info:
            session.info = own.info  # thousands of sessions of one program have the same
        return session, resumed

    def _is_taken_from(self, endpoint: Endpoint) -> None:
        """Its session goes on elsewhere. A connection ends with that; on a channel there is nobody then."""
        if isinstance(endpoint, bytes):
            self.former.add(endpoint)
        self._replies.refuse(endpoint, "connection", 0, "session-taken")

    def join(self, session: Session, message: wire.Join, now: Instant) -> None:
        """It becomes a member. Raises BadName, WireError."""
        check_patterns(message.rooms)
        fresh = [room for room in dict.fromkeys(message.rooms) if room not in session.rooms]
        if len(session.rooms) + len(fresh) > self._settings.session_rooms_max:
            raise over_limit("session_rooms_max", "too-many-rooms", f"limit {self._settings.session_rooms_max} rooms")
        if pattern := next(filter(is_pattern, fresh), ""):
            raise BadName("room", pattern, "a pattern is no room, nobody can be in it")
        address = session.address
        self._registry.may_join(session, len(fresh))
        self._allowances.may_join(session.connection, address, len(fresh), now)
        rooms = self._rooms.admit(fresh, session, now)
        self._allowances.join(session.connection, address, len(fresh), now)
        for room in rooms:
            written = self._registry.members(room.name) < self._settings.crowd_members
            self._registry.join(session, room.name, written, now)
            self._audit.note("joined", now, user=session.user, room=room.name, address=address)
            if written:
                self._write(PresenceRecord(session, room, JOINED))

    def refuse_subscriptions(self, refusals: list[tuple[bytes, str]]) -> None:
        """Subscribers that introduced themselves so are cut off: the sessions whose they are are told why, once."""
        while refusals:
            topic, why = refusals.pop()
            session = self._registry.find(session_of(topic))
            if session is not None and is_of(topic, session.id, self._registry.token(session)):
                self._replies.refuse(session.connection, "subscriptions", 0, "over-limit", f"the subscriber {why}")

    # --- going ------------------------------------------------------------------------------

    def part(self, session: Session, rooms: list[str], reason: str, now: Instant) -> None:
        """It leaves these rooms; of those that it is not in, nothing happens."""
        for name in rooms:
            if name not in session.rooms:
                continue
            told = {"user": session.user, "room": name, "address": session.address, "reason": reason}
            self._audit.note("left", now, **told)
            if self._registry.part(session, name):
                self._write(PresenceRecord(session, self._rooms.open(name), reason))

    def end(self, session: Session, reason: str, now: Instant) -> None:
        """It ends for good: by its own word, or because it has to."""
        self.part(session, list(session.rooms), reason, now)
        self._registry.bye(session, now)
        self._gathering.end(session)
        self._note_seen(session)

    def elapsed(self, now: Instant) -> list[Session]:
        """Write the leaves that are due. Returns the sessions that have gone, or are forgotten."""
        over = self._registry.expired(now)
        for session in over:
            if session.state == FORGOTTEN:
                self._gathering.end(session)
                continue
            self.part(session, list(session.rooms), "lost", now)
            if session.has_stored:
                self._gathering.sessions[session.id] = session
            self._note_seen(session)
        for session in self._registry.surplus(now):
            self._gathering.end(session)
            self._gathering.sessions[self._registry.forgotten.id] = self._registry.forgotten
        if self.retry is not None and self.retry <= now.seconds:
            self.retry = None
        return over

    def not_kept(self, undone: Commit, now: Instant) -> None:
        """The log refused these records: joins are taken back, leaves gather again for the next commit."""
        joins: set[tuple[str, str]] = set()  # a join that was not kept: neither is its leave
        for record in undone.presence:
            pair = (record.session.id, record.room.name)
            if record.reason == JOINED:
                joins.add(pair)
                self._registry.part(record.session, record.room.name)
            elif pair in joins:
                joins.discard(pair)
            else:
                self._write(record)
        self.retry = now.seconds + RETRY_SECONDS

    # --- parts ------------------------------------------------------------------------------

    def _note_seen(self, session: Session) -> None:
        if session.is_known:
            self._gathering.seen[session.user] = session.seen

    def _write(self, record: PresenceRecord) -> None:
        self._gathering.write_presence(record)
        if record.session.state != FORGOTTEN:
            self._gathering.sessions[record.session.id] = record.session


def _is_canonical_user(user: str) -> bool:
    try:
        return user_name(user) == user
    except BadName:
        return False
