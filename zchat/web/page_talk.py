"""What an open page asks over its WebSocket, and how it is answered.

Rules of this file
1. Each request has a number, and is answered with it; what goes wrong is its answer, and ends nothing.
2. A page that comes back says what it had last of each room (`after`), and gets what came since.
3. What is asked of a room is done in its order; requests of different rooms do not wait for each other.

Spec: docs/web.md, "JSON lines". Tests: tests/web/test_plain.py, tests/web/test_page.py.
"""

from __future__ import annotations

from typing import Any

import msgspec

from zchat import Closed, Refused, UsageError, ZchatError
from zchat.names import inbox, room_name
from zchat.web.core import asking, lines
from zchat.web.core.events import Spoken
from zchat.web.entry import user_of
from zchat.web.feeds import RoomFeed
from zchat.web.gateway import LINGER_SECONDS, WebGateway, WebUser
from zchat.web.guard import Guard, Scope
from zchat.web.lined import LineWaiter
from zchat.web.metrics import WebCounts
from zchat.web.once import PublishedKeys

PAGE_ROOMS_MAX = 64
PAGE_MAX = 200  # messages of history in an answer
SEARCHED_MAX, FOUND_MAX = 20_000, 50  # messages that are looked through, and found
WORD_CHARACTERS_MAX = 200
COSTS = {"history": 4, "search": 20}  # as how many more requests they count


class PageAsk(msgspec.Struct):
    """A request of a page."""

    do: str
    n: int = 0
    room: str = ""
    user: str = ""
    text: str = ""
    id: str = ""
    after: int | None = None
    have: int = 0  # messages of the room that the page shows
    before: int | None = None
    limit: int = 50


class PageTalk:
    """One page that is open."""

    def __init__(
        self, gateway: WebGateway, keys: PublishedKeys, counts: WebCounts, waiter: LineWaiter, scope: Scope
    ) -> None:
        self._gateway, self._keys, self._counts, self._waiter, self._scope = gateway, keys, counts, waiter, scope
        self._user: WebUser | None = None
        self._feeds: dict[str, RoomFeed] = {}  # of the rooms that it is in
        self._entering: set[str] = set()  # rooms that it will be in soon
        self._is_gone = False

    async def answer(self, text: str, guard: Guard) -> None:
        """Do what is asked, and answer."""
        number = 0
        try:
            try:
                ask = msgspec.json.decode(text, type=PageAsk)
            except (msgspec.DecodeError, RecursionError) as error:
                raise UsageError(f"no request: {error}") from None
            number = ask.n
            work = self._WORK.get(ask.do)
            if work is None:
                raise UsageError(f"nothing is called {ask.do}")
            guard.costs(COSTS.get(ask.do, 0))
            found = await work(self, ask)
        except ZchatError as error:
            answer = asking.answer_of(error)
            found = {"error": answer.error, "text": answer.text}
            self._counts.refused += 1
        finally:
            guard.ends()
        self._waiter.put(lines.written({"re": number, **found}))

    def go(self) -> None:
        """The page is closed, or away for a moment."""
        if self._is_gone:
            return
        self._is_gone = True
        self._waiter.end()
        rooms = [room for room in self._feeds if not room.startswith("@")]
        for feed in self._feeds.values():
            feed.detach(self._waiter)
        self._feeds.clear()
        if self._user is not None:
            self._gateway.release(self._user, rooms, LINGER_SECONDS)

    # --- what it asks -----------------------------------------------------------------------

    async def _hello(self, ask: PageAsk) -> dict[str, Any]:
        if self._user is not None:
            raise UsageError("it has said who it is")
        user = await self._gateway.user(user_of(self._scope, ask.user))
        if self._is_gone or self._user is not None:
            self._gateway.release(user)
            raise UsageError("it has said who it is")
        self._user = user
        return {"user": user.client.user, "inbox": inbox(user.client.user), "log": self._gateway.client.log_id}

    async def _join(self, ask: PageAsk) -> dict[str, Any]:
        room = room_name(ask.room)
        async with self._gateway.turn((self, room)):
            if room not in self._feeds:
                await self._enter(room, ask.after)
            offset = self._feeds[room].position
            return {"room": room, "offset": offset, "members": await self._members(room, is_asked=False)}

    async def _enter(self, room: str, after: int | None) -> None:
        user = self._me
        if len(self._feeds) + len(self._entering) >= PAGE_ROOMS_MAX:
            raise Refused("too-many-rooms", f"it is in {PAGE_ROOMS_MAX} rooms, which is the limit")
        self._entering.add(room)
        try:
            feed = await self._gateway.feed(room, user)
            try:
                await feed.attach(self._waiter, after)
                if not room.startswith("@"):
                    await user.join(room)
            except BaseException:
                feed.detach(self._waiter)
                raise
            self._feeds[room] = feed
            if self._is_gone:
                await self._go_out(room)
                raise Closed("the page is closed")
        finally:
            self._entering.remove(room)

    async def _leave(self, ask: PageAsk) -> dict[str, Any]:
        room = room_name(ask.room)
        async with self._gateway.turn((self, room)):
            if room in self._feeds:
                await self._go_out(room)
        return {"room": room}

    async def _go_out(self, room: str) -> None:
        self._feeds.pop(room).detach(self._waiter)
        await self._me.leave(room)

    async def _send(self, ask: PageAsk) -> dict[str, Any]:
        room = room_name(ask.room)
        offset = await self._keys.publish(self._me, room, Spoken("message", ask.text.encode(), {}), ask.id)
        self._counts.published += 1
        return {"room": room, "offset": offset}

    async def _who(self, ask: PageAsk) -> dict[str, Any]:
        room = room_name(ask.room)
        async with self._gateway.turn((self, room)):
            return {"members": await self._members(room, is_asked=True)}

    async def _members(self, room: str, *, is_asked: bool) -> list[str]:
        if room.startswith("@"):
            return []
        try:
            members = await self._me.client.who(room)
        except Refused as error:
            if error.code != "denied" or is_asked:
                raise
            return []  # who may read a room may still not see who is in it
        return sorted({member.user for member in members}, key=str.casefold)

    async def _rooms(self, ask: PageAsk) -> dict[str, Any]:
        rooms = await self._me.client.rooms()
        known = sorted((-each.members, each.name) for each in rooms if not each.name.startswith("@"))
        return {"rooms": [{"room": name, "members": -members} for members, name in known[:PAGE_MAX]]}

    async def _history(self, ask: PageAsk) -> dict[str, Any]:
        """The messages before those that the page has: `have` of them, the first one at `before`."""
        room, limit = room_name(ask.room), max(1, min(ask.limit, PAGE_MAX))
        before = asking.NUMBER_MAX if ask.before is None else ask.before
        found: list[dict[str, Any]] = []
        async for message in self._me.client.history(room, last=max(0, ask.have) + limit):
            if message.offset >= before or len(found) == limit:
                break
            found.append(lines.facts_of(message))
        return {"room": room, "messages": found, "is_all": len(found) < limit}

    async def _search(self, ask: PageAsk) -> dict[str, Any]:
        room, word = room_name(ask.room), ask.text[:WORD_CHARACTERS_MAX].casefold()
        found: list[dict[str, Any]] = []
        async for message in self._me.client.history(room, last=SEARCHED_MAX):
            if word in message.text.casefold() or word == message.user.casefold():
                found.append(lines.facts_of(message))
                del found[:-FOUND_MAX]
        return {"room": room, "messages": found}

    _WORK = {
        "hello": _hello,
        "join": _join,
        "leave": _leave,
        "send": _send,
        "who": _who,
        "rooms": _rooms,
        "history": _history,
        "search": _search,
    }

    @property
    def _me(self) -> WebUser:
        if self._user is None:
            raise UsageError("it has not said who it is: hello")
        return self._user
