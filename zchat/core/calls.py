"""Requests on their way through a broker: to the server that has least to do, and its reply back. Nothing is stored.

    CALL ──► the server with fewest open calls ──CALLED──► REPLY ──REPLIED──► who asked
             none: `no-server`, all have as many as they take: `busy`
             its connection ends before: `no-answer`, or, as asked, another server is called

Rules of this file
1. A call is with as many servers as replies were asked for, of different groups as far as there are.
2. Who goes is told of at once: a call ends with its replies, with the last server that had it, or with its time.
3. A call that is said twice is one call. What comes for none, or of who was not asked, is passed over.
4. Calls and servers are bounded, of a session and in all; a record is kept only where another server may need it.

Spec: docs/protocol.md, "Requests". Tests: tests/core/test_calls.py.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

import msgspec

from zchat import wire
from zchat.core import Instant
from zchat.core.allowances import Share
from zchat.core.channels import Endpoint, connection_of
from zchat.core.replies import Replies
from zchat.core.session import Session
from zchat.errors import BadName, WireError, over_limit
from zchat.names import group_name, is_pattern, room_name
from zchat.settings import Settings

NOTHING = msgspec.Raw(b"\xc4\x00")  # a record with an empty body


class CallServer:
    """A session that serves a room."""

    __slots__ = ("address", "calls", "endpoint", "group", "max_in_flight", "number", "room", "session")

    def __init__(self, session: Session, number: int, room: str, group: str) -> None:
        self.session = session
        self.number = number
        self.room = room
        self.group = group
        self.address = session.address  # for which it counts
        self.endpoint: Endpoint = session.connection
        self.max_in_flight = 0
        self.calls: dict[int, OpenCall] = {}  # that it has not replied to


class OpenCall:
    """A request that has no reply yet, or not all."""

    __slots__ = ("address", "endpoint", "message", "number", "servers", "session", "time")

    def __init__(self, session: Session, message: wire.Call, number: int, time: int) -> None:
        self.session = session
        self.address = session.address  # for which it counts
        self.endpoint = session.connection
        self.message = message
        self.number = number
        self.time = time
        self.servers: dict[CallServer, None] = {}  # that are at it


class Calls:
    """Of one broker."""

    def __init__(self, settings: Settings, replies: Replies) -> None:
        self._settings = settings
        self._replies = replies
        self._numbers = count(1)
        self._servers: dict[str, dict[CallServer, None]] = {}  # by room
        self._of: dict[str, dict[int, CallServer]] = {}  # by session and what it is called there
        self._open: dict[int, OpenCall] = {}
        self._asked: dict[str, dict[int, OpenCall]] = {}  # by session and number of the request
        self._on: dict[bytes, dict[Session, None]] = {}  # by connection: who serves or has asked there
        self._shares = Share(settings, "servers_max")
        self._calls = Share(settings, "calls_max")
        self._due: list[tuple[float, int]] = []  # heap: when a call's time is over, and its number

    # --- what clients say -------------------------------------------------------------------

    def serve(self, session: Session, message: wire.Serve, now: Instant) -> None:
        """It serves, or does no more. Raises BadName, WireError."""
        if room_name(message.room) != message.room or is_pattern(message.room):
            raise BadName("room", message.room, "not in its canonical form")
        if message.group and group_name(message.group) != message.group:
            raise BadName("group", message.group, "not in its canonical form")
        known = self._of.get(session.id, {}).get(message.server)
        if known is not None and (known.room != message.room or not message.max_in_flight):
            self._end(known, now)
            known = None
        if not message.max_in_flight:
            return
        if known is None:
            text = "there are as many servers as there may be, or of this user or address"
            self._shares.check(session.address, 1, "over-limit", text, session.user)
            known = CallServer(session, message.server, message.room, message.group)
            self._shares.add(known.address, 1, session.user)
            self._of.setdefault(session.id, {})[message.server] = known
            self._servers.setdefault(message.room, {})[known] = None
        known.group, known.max_in_flight = message.group, message.max_in_flight
        self._note(session)

    def call(self, session: Session, message: wire.Call, now: Instant) -> None:
        """It asks. Raises BadName, WireError: then nobody was asked."""
        if room_name(message.room) != message.room or is_pattern(message.room):
            raise BadName("room", message.room, "not in its canonical form")
        asked = self._asked.setdefault(session.id, {})
        if message.request in asked:
            return
        if not 0 < message.replies <= wire.REPLIES_MAX or not 0 < message.timeout <= wire.CALL_SECONDS_MAX * 1000:
            raise WireError("bad-request", "replies or timeout is out of its range")
        if len(message.record) > self._settings.publish_bytes_max:
            raise over_limit("publish_bytes_max", "too-large", f"request is {len(message.record)} bytes")
        wire.check_records(msgspec.Raw(b"\x91" + bytes(message.record)))
        most = self._settings.session_calls_max
        if len(asked) >= most:
            raise over_limit("session_calls_max", "busy", f"{len(asked)} requests have no reply, limit {most}")
        text = "too many requests have no reply, of all, of this user or of this address"
        self._calls.check(session.address, 1, "busy", text, session.user)
        call = OpenCall(session, message, next(self._numbers), now.micros)
        chosen = self._choose(call, message.replies)
        if not chosen:
            is_served = bool(self._servers.get(message.room))
            raise WireError(*(("busy", "all servers are busy") if is_served else ("no-server", "nobody serves there")))
        self._open[call.number] = asked[message.request] = call
        self._calls.add(call.address, 1, session.user)
        heappush(self._due, (now.seconds + message.timeout / 1000, call.number))
        self._note(session)
        for server in chosen:
            self._give(call, server)
        if not message.retry:
            message.record = NOTHING  # it is on its way, and never sent again

    def reply(self, session: Session, message: wire.Reply, now: Instant) -> None:
        """A server has answered."""
        call = self._open.get(message.call)
        if call is None:
            return
        for server in call.servers:
            if server.session is session:
                break
        else:
            return
        record, error = message.record, message.error[:400]
        try:
            wire.check_records(msgspec.Raw(b"\x91" + bytes(record)))
            if len(record) > self._settings.publish_bytes_max:
                raise WireError("too-large", "reply is too large")
        except WireError as refusal:
            record, error = NOTHING, str(refusal)
        self._let_go(call, server)
        replied = wire.Replied(
            call.message.request, session.user, session.id, now.micros, record, error, len(call.servers)
        )
        self._answer(call, replied)

    # --- what happens -----------------------------------------------------------------------

    def disconnected(self, connection: bytes, now: Instant) -> None:
        """It has ended, and nobody there is to be waited for."""
        for session in self._on.pop(connection, ()):
            self.left(session, now, connection)

    def left(self, session: Session, now: Instant, connection: bytes | None = None) -> None:
        """The session has ended, or its connection has."""
        for server in list(self._of.get(session.id, {}).values()):
            if connection is None or connection_of(server.endpoint) == connection:
                self._end(server, now)
        for call in list(self._asked.get(session.id, {}).values()):
            if connection is None or connection_of(call.endpoint) == connection:
                self._close(call)

    def denied(self, session: Session, may_read: Callable[[str], bool], now: Instant) -> bool:
        """It serves no more where it may not read. Returns whether it did anywhere."""
        lost = [server for server in self._of.get(session.id, {}).values() if not may_read(server.room)]
        for server in lost:
            self._end(server, now)
        return bool(lost)

    def elapsed(self, now: Instant) -> None:
        """Time has passed."""
        while self._due and self._due[0][0] <= now.seconds:
            call = self._open.get(heappop(self._due)[1])
            if call is not None:
                self._close(call)

    @property
    def next_deadline(self) -> float | None:
        """When `elapsed` has something to do."""
        while self._due and self._due[0][1] not in self._open:
            heappop(self._due)
        return self._due[0][0] if self._due else None

    # --- parts ------------------------------------------------------------------------------

    def _choose(self, call: OpenCall, most: int) -> list[CallServer]:
        """Who has least to do, of different groups first."""
        there = [
            server
            for server in self._servers.get(call.message.room, ())
            if len(server.calls) < server.max_in_flight and server not in call.servers
        ]
        if most == 1:
            return [min(there, key=_open_calls)] if there else []
        there.sort(key=_open_calls)
        firsts = list({server.group: server for server in reversed(there)}.values())
        return (sorted(firsts, key=_open_calls) + [server for server in there if server not in firsts])[:most]

    def _give(self, call: OpenCall, server: CallServer) -> None:
        message = call.message
        server.calls[call.number] = call
        call.servers[server] = None
        asker = call.session
        called = wire.Called(server.number, call.number, message.room, asker.user, asker.id, call.time, message.record)
        self._replies.reply(server.endpoint, called)

    def _note(self, session: Session) -> None:
        self._on.setdefault(connection_of(session.connection), {})[session] = None

    def _let_go(self, call: OpenCall, server: CallServer) -> None:
        call.servers.pop(server, None)
        server.calls.pop(call.number, None)

    def _answer(self, call: OpenCall, answer: wire.Replied) -> None:
        self._replies.reply(call.endpoint, answer)
        if not call.servers:
            self._close(call)

    def _end(self, server: CallServer, now: Instant) -> None:
        """It serves no more: what it had goes to another, or ends."""
        self._shares.add(server.address, -1, server.session.user)
        of_session, of_room = self._of[server.session.id], self._servers[server.room]
        del of_session[server.number], of_room[server]
        if not of_session:
            del self._of[server.session.id]
        if not of_room:
            del self._servers[server.room]
        for call in list(server.calls.values()):
            self._let_go(call, server)
            others = self._choose(call, 1) if call.message.retry else []
            if others:
                self._give(call, others[0])
                continue
            text = "the server has gone before it replied"
            if call.servers:
                whose = server.session
                nothing = wire.Replied(
                    call.message.request, whose.user, whose.id, now.micros, NOTHING, text, len(call.servers)
                )
                self._answer(call, nothing)
            else:
                self._replies.refuse(call.endpoint, "request", call.message.request, "no-answer", text)
                self._close(call)

    def _close(self, call: OpenCall) -> None:
        """Nobody waits for it any more."""
        if self._open.pop(call.number, None) is not None:
            self._calls.add(call.address, -1, call.session.user)
        for server in list(call.servers):
            self._let_go(call, server)
        asked = self._asked.get(call.session.id, {})
        asked.pop(call.message.request, None)
        if not asked:
            self._asked.pop(call.session.id, None)


def _open_calls(server: CallServer) -> int:
    return len(server.calls)
