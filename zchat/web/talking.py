"""WebSockets of JSON lines: one room for a script at /ROOM/ws, and any number of rooms for a page at /ws.

    page ─► {"do": "hello", "user": "anna"}                 {"re": 0, "user": "anna", "log": "3f1c…"} ─► page
         ─► {"do": "join", "room": "ops", "n": 1}           {"re": 1, "room": "ops", "offset": 41, "members": […]}
         ─► {"do": "send", "room": "ops", "text": "hi", "n": 2}                        {"re": 2, "offset": 42}
                                                            {"event": "message", "room": "ops", "offset": 42, …}

Spec: docs/web.md, "Plain HTTP" and "JSON lines". Tests: tests/web/test_plain.py.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TypeAlias

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from zchat import UsageError, ZchatError
from zchat.names import room_name
from zchat.web.core import asking
from zchat.web.entry import user_of
from zchat.web.feeds import RoomFeed
from zchat.web.gateway import WebGateway, WebUser
from zchat.web.guard import Guard
from zchat.web.lined import LineWaiter, attach, error_line
from zchat.web.metrics import WebCounts
from zchat.web.once import PublishedKeys
from zchat.web.page_talk import PageTalk

BEAT_SECONDS = 20.0
Texts: TypeAlias = "asyncio.Queue[str | None]"  # None is the end


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
        joined: list[str] = []
        try:
            name = user_of(socket.scope, socket.query_params.get("user", ""))
            room, asked = room_name(socket.path_params["room"]), asking.room_query(socket.query_params)
            user = await self._gateway.user(name) if name else None
            feed = await self._gateway.feed(room, user)
            await attach(feed, waiter, asked)
            if user is not None:
                await user.join(room)
                joined.append(room)
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
                self._gateway.release(user, joined)

    async def _said(self, waiter: LineWaiter, user: WebUser | None, room: str, text: str) -> None:
        try:
            if user is None:
                raise UsageError("who are you? /ROOM/ws?user=NAME")
            await user.client.publish(room, text)
            self._counts.published += 1
        except ZchatError as error:
            waiter.put(error_line(error))


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
