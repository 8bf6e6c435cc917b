"""WebSockets of JSON lines: one room for a script at /ROOM/ws, and any number of rooms for a page at /ws.

    page ─► {"do": "hello", "user": "anna"}                 {"re": 0, "user": "anna", "log": "3f1c…"} ─► page
         ─► {"do": "join", "room": "ops", "n": 1}           {"re": 1, "room": "ops", "offset": 41, "members": […]}
         ─► {"do": "send", "room": "ops", "text": "hi", "n": 2}                        {"re": 2, "offset": 42}
                                                            {"event": "message", "room": "ops", "offset": 42, …}

Rules of this file
1. Each request has a number, and is answered with it; what goes wrong is its answer, and ends nothing.
2. A page that comes back says what it had last of each room (`after`), and gets what came since.

Spec: docs/web.md, "Plain HTTP" and "JSON lines". Tests: tests/web/test_talking.py.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, TypeAlias

import msgspec
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from zchat import Refused, UsageError, ZchatError
from zchat.names import inbox, room_name
from zchat.web.core import asking, lines
from zchat.web.core.events import Spoken
from zchat.web.entry import user_of
from zchat.web.feeds import RoomFeed
from zchat.web.gateway import LINGER_SECONDS, WebGateway, WebUser
from zchat.web.guard import Guard, Scope
from zchat.web.lined import LineWaiter, attach, error_line
from zchat.web.metrics import WebCounts
from zchat.web.once import PublishedKeys

BEAT_SECONDS = 20.0
PAGE_ROOMS_MAX = 64
PAGE_MAX = 200  # messages of history in an answer
SEARCHED_MAX, FOUND_MAX = 20_000, 50  # messages that are looked through, and found
WORD_CHARACTERS_MAX = 200
Texts: TypeAlias = "asyncio.Queue[str | None]"  # None is the end
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


class TalkDoor:
    """The routes of WebSockets."""

    def __init__(self, gateway: WebGateway, keys: PublishedKeys, counts: WebCounts) -> None:
        self._gateway, self._keys, self._counts = gateway, keys, counts
        self.routes = [WebSocketRoute("/ws", self._page), WebSocketRoute("/{room}/ws", self._room)]

    async def _page(self, socket: WebSocket) -> None:
        guard = Guard(socket.scope, socket.receive, socket.send, self._gateway.limits, self._counts)
        waiter = LineWaiter(self._gateway.limits)
        waiter.on_cut = guard.cut
        talk = PageTalk(self._gateway, self._keys, self._counts, waiter, socket.scope)
        guarded = WebSocket(socket.scope, guard.receive, guard.send)
        await guarded.accept()
        tasks = {asyncio.create_task(write_all(guarded, waiter))}
        try:
            while True:
                text = await guarded.receive_text()
                guard.begins()
                task = asyncio.create_task(talk.answer(text, guard))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        except (WebSocketDisconnect, KeyError):  # KeyError: what is no text
            talk.go()
            await asyncio.wait(tasks, timeout=self._gateway.limits.silent_seconds)
        finally:
            talk.go()
            for task in list(tasks):  # the broker may be away, and an answer far
                task.cancel()

    async def _room(self, socket: WebSocket) -> None:
        """One room for a script: what comes is a message, as whom the query says."""
        guard = Guard(socket.scope, socket.receive, socket.send, self._gateway.limits, self._counts)
        waiter = LineWaiter(self._gateway.limits)
        waiter.on_cut = guard.cut
        guarded = WebSocket(socket.scope, guard.receive, guard.send)
        await guarded.accept()
        writing = asyncio.create_task(write_all(guarded, waiter))
        texts: Texts = asyncio.Queue()
        saying = asyncio.create_task(self._say_all(socket, waiter, texts, guard))
        reading = asyncio.create_task(_read_all(guarded, texts, guard))  # also while the broker is away: it may leave
        try:
            await asyncio.wait([reading, saying], return_when=asyncio.FIRST_COMPLETED)
            texts.put_nowait(None)
            await asyncio.wait([saying, writing], timeout=self._gateway.limits.silent_seconds)
        finally:
            for task in (reading, saying, writing):
                task.cancel()

    async def _say_all(self, socket: WebSocket, waiter: LineWaiter, texts: Texts, guard: Guard) -> None:
        """What comes is said, one after the other, up to the end."""
        user: WebUser | None = None
        feed: RoomFeed | None = None
        try:
            name = user_of(socket.scope, socket.query_params.get("user", ""))
            room, asked = room_name(socket.path_params["room"]), asking.room_query(socket.query_params)
            user = await self._gateway.user(name) if name else None
            feed = await self._gateway.feed(room, user)
            await attach(feed, waiter, asked)
            if user is not None:
                await user.join(room)
            while (text := await texts.get()) is not None:
                await self._said(waiter, user, room, text)
                guard.ends()
        except ZchatError as error:
            waiter.put(error_line(error))
        finally:
            waiter.end()
            if feed is not None:
                feed.detach(waiter)
            if user is not None:
                self._gateway.release(user, [] if feed is None else [feed.room])

    async def _said(self, waiter: LineWaiter, user: WebUser | None, room: str, text: str) -> None:
        try:
            if user is None:
                raise UsageError("who are you? /ROOM/ws?user=NAME")
            await user.client.publish(room, text)
            self._counts.published += 1
        except ZchatError as error:
            waiter.put(error_line(error))


class PageTalk:
    """One page that is open."""

    def __init__(
        self, gateway: WebGateway, keys: PublishedKeys, counts: WebCounts, waiter: LineWaiter, scope: Scope
    ) -> None:
        self._gateway, self._keys, self._counts, self._waiter, self._scope = gateway, keys, counts, waiter, scope
        self._user: WebUser | None = None
        self._feeds: dict[str, RoomFeed] = {}
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
        user, room = self._me, room_name(ask.room)
        if room not in self._feeds:
            if len(self._feeds) >= PAGE_ROOMS_MAX:
                raise Refused("too-many-rooms", f"it is in {PAGE_ROOMS_MAX} rooms, which is the limit")
            feed = await self._gateway.feed(room, user)
            if self._is_gone or room in self._feeds:
                return {"room": room}
            self._feeds[room] = feed
            await feed.attach(self._waiter, ask.after)
            if not room.startswith("@"):
                await user.join(room)
                if self._is_gone:
                    self._gateway.later(user.leave(room))
        return {"room": room, "offset": self._feeds[room].position, **await self._who(ask)}

    async def _leave(self, ask: PageAsk) -> dict[str, Any]:
        room = room_name(ask.room)
        feed = self._feeds.pop(room, None)
        if feed is not None:
            feed.detach(self._waiter)
            await self._me.leave(room)
        return {"room": room}

    async def _send(self, ask: PageAsk) -> dict[str, Any]:
        room = room_name(ask.room)
        offset = await self._keys.publish(self._me, room, Spoken("message", ask.text.encode(), {}), ask.id)
        self._counts.published += 1
        return {"room": room, "offset": offset}

    async def _who(self, ask: PageAsk) -> dict[str, Any]:
        room = room_name(ask.room)
        if room.startswith("@"):
            return {"members": []}
        try:
            members = await self._me.client.who(room)
        except Refused as error:
            if error.code != "denied" or ask.do == "who":
                raise
            members = []  # who may read a room may still not see who is in it
        return {"members": sorted({member.user for member in members}, key=str.casefold)}

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


async def _read_all(socket: WebSocket, texts: Texts, guard: Guard) -> None:
    """What comes, until its end."""
    with suppress(WebSocketDisconnect, KeyError):  # KeyError: what is no text
        while True:
            texts.put_nowait(await socket.receive_text())
            guard.begins()


async def write_all(socket: WebSocket, waiter: LineWaiter) -> None:
    """Write what comes, some lines in a message, until its end."""
    with suppress(Exception):  # it is gone, and who reads it knows
        async for block in waiter.read(BEAT_SECONDS, b"\n"):
            await socket.send_text(block.decode())
        await socket.close()
