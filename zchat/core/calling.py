"""Requests and serving, at the client: what was asked of servers and has no reply, and what this client serves.

    CALL ──► … ──REPLIED──► all that came, once none is left            CALLED ──► the server's consumer ──► REPLY

Rules of this file
1. A request is said once. Where the connection breaks before its reply, it is said again only if it may be done twice;
   else whoever waits is told that nobody knows.
2. Who serves says so after each WELCOME; what it was asked before has been given to another, or up.
3. A broker may lie: replies that nobody asked for are passed over, and what a server has is bounded.
4. A reply is said once, and only on the connection that its request came on: a broker that was started again gives the
   same number to another one's request.

Spec: docs/protocol.md, "Requests". Tests: tests/core/test_calling.py.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

import msgspec

from zchat import wire
from zchat.core import Instant
from zchat.core.answers import AllReplies

if TYPE_CHECKING:
    from zchat.core.client_session import SessionCore


class AskedServers:
    """A request that has not all of its replies."""

    def __init__(self, call: wire.Call) -> None:
        self.call = call
        self.replies: list[wire.Replied] = []
        self.is_said = False


class RoomServer:
    """What this client serves."""

    def __init__(
        self, number: int, room: str, group: str, max_in_flight: int, put: Callable[[wire.Called | None], None]
    ) -> None:
        self.number = number
        self.room = room
        self.group = group
        self.max_in_flight = max_in_flight
        self.put = put  # for its consumer; None: nothing more comes
        self.session: SessionCore | None = None
        self.asked: list[int] = []  # requests that said so: the one that the program waited for, and the last one


class Calling:
    """Of all sessions of a connection."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._calls: dict[SessionCore, dict[int, AskedServers]] = {}
        self._servers: dict[int, RoomServer] = {}
        self._in_hand: dict[SessionCore, dict[int, wire.Called]] = {}  # by what the broker calls them

    def next_number(self) -> int:
        """Of a new server."""
        return next(self._numbers)

    # --- what the program wants -------------------------------------------------------------

    def call(self, call: wire.Call, session: SessionCore) -> int:
        """Ask; the answer to that number is `AllReplies`, or an ERROR."""
        number = session.number_of(call)
        self._calls.setdefault(session, {})[number] = asked = AskedServers(call)
        if session.is_ready:
            asked.is_said = True
            session.say(call)
        return number

    def forget(self, session: SessionCore, number: int) -> list[wire.Replied]:
        """Nobody waits for it any more. Returns the replies that came."""
        calls = self._calls.get(session, {})
        asked = calls.pop(number, None)
        if not calls:
            self._calls.pop(session, None)
        return asked.replies if asked is not None else []

    def serve(self, server: RoomServer, session: SessionCore, now: Instant) -> int:
        """It takes requests. Returns the number of what has to be answered with DONE."""
        server.session = session
        self._servers[server.number] = server
        server.asked = [session.ask(_serve(server, server.max_in_flight), now)]
        return server.asked[0]

    def end(self, server: RoomServer, session: SessionCore, now: Instant) -> int:
        """It takes no more. What said that it does is not said again: it would serve once more, and nobody there."""
        self._servers.pop(server.number, None)
        in_hand = self._in_hand.get(session, {})
        for called in [called for called in in_hand.values() if called.server == server.number]:
            del in_hand[called.call]  # the broker has given them up, and nobody may reply to them any more
        for number in server.asked:
            session.forget(number)
        return session.ask(_serve(server, 0), now)

    def reply(self, session: SessionCore, called: wire.Called, record: wire.RecordOrBody, error: str) -> None:
        """What a server says, if it is still waited for."""
        in_hand = self._in_hand.get(session, {})
        if in_hand.get(called.call) is called:
            del in_hand[called.call]
            session.say(wire.Reply(called.call, msgspec.Raw(wire.encode_record(record)), error))

    # --- what happens -----------------------------------------------------------------------

    def called(self, called: wire.Called, session: SessionCore) -> None:
        """Somebody asks."""
        server = self._servers.get(called.server)
        if server is not None and server.session is session and server.room == called.room:
            self._in_hand.setdefault(session, {})[called.call] = called
            server.put(called)

    def replied(self, replied: wire.Replied, session: SessionCore) -> AllReplies | None:
        """A reply came. Returns all, when it was the last."""
        asked = self._calls.get(session, {}).get(replied.request)
        if asked is None:
            return None
        asked.replies.append(replied)
        if replied.left and len(asked.replies) < asked.call.replies:
            return None
        return AllReplies(self.forget(session, replied.request))

    def refused(self, number: int, session: SessionCore) -> bool:
        """The broker refuses it, or the last server has gone. Returns whether it was a request of these."""
        is_asked = number in self._calls.get(session, {})
        self.forget(session, number)
        return is_asked

    def lost(self, session: SessionCore) -> list[int]:
        """The connection is gone. Returns the requests that have failed: they were said, and may have been done."""
        self._in_hand.pop(session, None)
        failed: list[int] = []
        for number, asked in list(self._calls.get(session, {}).items()):
            if asked.is_said and not asked.call.retry:
                failed.append(number)
                self.forget(session, number)
            asked.is_said = False
            asked.replies.clear()
        return failed

    def welcomed(self, session: SessionCore, now: Instant) -> None:
        """The broker is there."""
        self._in_hand.pop(session, None)
        for asked in self._calls.get(session, {}).values():
            asked.is_said = True
            session.say(asked.call)
        for server in self._servers.values():
            if server.session is session:
                for number in server.asked[1:]:
                    session.forget(number)
                server.asked[1:] = [session.ask(_serve(server, server.max_in_flight), now)]

    def close(self, session: SessionCore) -> None:
        """The session has ended."""
        self._calls.pop(session, None)
        self._in_hand.pop(session, None)
        for server in list(self._servers.values()):
            if server.session is session:
                del self._servers[server.number]
                server.put(None)


def _serve(server: RoomServer, max_in_flight: int) -> wire.Serve:
    return wire.Serve(0, server.number, server.room, server.group, max_in_flight)
