"""The door for Socket.IO clients: python-socketio, with bounds, clients that come back, and the broker's rooms.

    connect ─► who is it, and how far was it? ─► joined: catches up, hears ─► events ─► disconnect

Rules of this file
1. Every event that a client emits ends here; none of its errors goes further than its acknowledgement.
2. A client that cannot be served now is cut off, as it then comes back by itself; one that may never be is refused.
3. Of python-socketio and python-engineio public names are used, and the queue of a socket.

Spec: docs/web.md, "Socket.IO". Tests: tests/web/test_socketio.py.
"""

from __future__ import annotations

import logging
import secrets
from contextlib import suppress
from functools import partial
from typing import Any

import socketio

from zchat import Refused, UsageError, ZchatError
from zchat.web import requests
from zchat.web.core import events, lines, resuming
from zchat.web.core.bounds import WebLimits
from zchat.web.entry import Entrance, named
from zchat.web.gateway import LINGER_SECONDS, WebGateway
from zchat.web.guard import CutOff, Guard, Receive, Scope, Send
from zchat.web.hooks import CONNECT, DISCONNECT, Handlers
from zchat.web.metrics import WebCounts
from zchat.web.once import PublishedKeys
from zchat.web.packets import EventName, packet_class
from zchat.web.posts import PostPace, hand_over
from zchat.web.queues import WaitingPackets
from zchat.web.window import SocketWindow

HISTORY_DEFAULT, HISTORY_MAX = 50, 1_000
HISTORY_OF_EVENT = 50  # messages of history count as an event
ID_BYTES = 12  # make 16 characters
CLIENT_LEFT = "client disconnect"

_quiet = logging.getLogger("zchat.web.socketio")
_quiet.disabled = True  # what a client sends is no news for the operator


class SocketDoor:
    """An ASGI application for the path /socket.io/."""

    def __init__(
        self,
        gateway: WebGateway,
        room: str,
        handlers: Handlers,
        keys: PublishedKeys,
        counts: WebCounts,
        entry: Entrance | None,
    ) -> None:
        self._entry = entry
        self._gateway, self._room, self._handlers, self._keys, self._counts = gateway, room, handlers, keys, counts
        self._limits: WebLimits = gateway.limits
        self._windows: dict[str, SocketWindow] = {}  # sid
        self._ids: dict[str, str] = {}  # sid -> private id
        self._guards: dict[str, Guard] = {}  # sid of Engine.IO
        self._server = socketio.AsyncServer(
            async_mode="asgi",
            serializer=packet_class(self._ids.get, self._limits.event_bytes_max),
            max_http_buffer_size=self._limits.event_bytes_max,
            cors_allowed_origins="*",  # the application has looked at it
            cors_credentials=False,
            http_compression=False,
            logger=_quiet,
            engineio_logger=_quiet,
        )
        self._server.eio.create_queue = lambda *_: WaitingPackets(self._limits)
        self._server.on("connect", self._connect)
        self._server.on("disconnect", self._disconnect)
        self._server.on("*", self._event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or WebSocket."""
        sid = requests.sid(scope)
        if scope["type"] != "websocket":
            socket = self._server.eio.sockets.get(sid)
            if scope["method"] == "POST" and socket is not None:
                pace = socket.queue.posts = socket.queue.posts or PostPace(self._limits, self._counts)
                why_not = await hand_over(self._server.handle_request, scope, receive, send, pace, self._limits)
                if why_not is not None:
                    self.cut(sid)
                    await why_not(scope, receive, send)
                return
            await self._server.handle_request(scope, receive, send)
            return
        guard = scope["zchat.guard"] = Guard(scope, receive, send, self._limits, self._counts)
        if sid in self._server.eio.sockets:  # long polling goes over to a WebSocket
            self._guards[sid] = guard
        try:
            await self._server.handle_request(scope, guard.receive, guard.send)
        except CutOff:
            pass
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            guard.cut()  # what is no packet
        finally:
            for of, each in list(self._guards.items()):
                if each is guard:
                    await self._over(of)

    def cut(self, eio_sid: str) -> None:
        """End a client's connection."""
        socket = self._server.eio.sockets.get(eio_sid)
        if socket is None:
            return
        self._counts.cut += 1
        socket.queue.end()
        socket.queue.put_nowait(None)
        guard = self._guards.get(eio_sid)
        if guard is not None:
            guard.cut()
        self._gateway.later(self._over(eio_sid))

    async def close(self) -> None:
        """All clients go."""
        for window in list(self._windows.values()):
            window.go(0.0)
        await self._server.shutdown()

    # --- its events -------------------------------------------------------------------------

    async def _connect(self, sid: str, environ: dict[str, Any], auth: Any = None) -> bool:
        eio_sid = self._server.manager.eio_sid_from_sid(sid, "/")
        socket = self._server.eio.sockets[eio_sid]
        guard = environ["asgi.scope"].get("zchat.guard")
        if guard is not None:
            self._guards.setdefault(eio_sid, guard)
        try:
            said = resuming.introduction(auth, requests.query(environ), is_npm=requests.is_npm(environ, auth))
            token = None if self._entry is None else self._entry.introduced(environ["asgi.scope"], auth)
            user = said.user if self._entry is None else named(token, said.user)
            log_id = (await self._gateway.start()).log_id
        except (UsageError, Refused) as error:
            raise socketio.exceptions.ConnectionRefusedError(str(error)) from None
        except ZchatError:
            self.cut(eio_sid)
            return False
        user = user or f"guest-{secrets.token_hex(3)}"
        places = said.places if said.places is not None and said.places.log_id == log_id else None
        id = said.own_id or (said.id if places is not None else "")
        id = id or f"{secrets.token_urlsafe(ID_BYTES)}.{user}"
        if said.is_told:
            self._ids[sid] = id
        after = dict.fromkeys(said.rooms or [self._room], said.since) if places is None else dict(places.offsets)
        cut = socket.queue.overflows = partial(self.cut, eio_sid)
        window = SocketWindow(
            self._gateway,
            user,
            socket.queue,
            id,
            after,
            is_told=said.is_told,
            hears_presence=said.hears_presence,
            cut=cut,
        )
        self._windows[sid] = window
        if self._entry is not None and token is not None:
            self._entry.begins(window, token, cut)
        if places is not None:
            self._counts.recovered += 1
        self._gateway.later(self._welcome(window, after))
        requests.forget(environ)
        return True

    async def _welcome(self, window: SocketWindow, after: dict[str, Any]) -> None:
        """It is connected: begin its session, and put it into its rooms. While the broker is away, it waits."""
        try:
            await window.begin()
            if not window.is_gone:
                await window.enter(after)
        except ZchatError:
            window.cut()  # it comes back, and tries again
        if not window.is_gone:
            with suppress(ZchatError):
                await self._call(CONNECT, window)

    async def _disconnect(self, sid: str, reason: str = "") -> None:
        window = self._windows.pop(sid, None)
        self._ids.pop(sid, None)
        if window is None:
            return
        if self._entry is not None:
            self._entry.ends(window)
        linger = 0.0 if reason == CLIENT_LEFT else LINGER_SECONDS
        window.go(linger)
        with suppress(ZchatError):
            await self._call(DISCONNECT, window)

    async def _event(self, event: str, sid: str, *args: Any) -> Any:
        window = self._windows.get(sid)
        if window is None:
            return events.told(UsageError("it is not connected"))
        guard = self._guard_of(self._server.manager.eio_sid_from_sid(sid, "/"))
        if guard is not None:
            guard.begins()
            if event == "history":
                guard.costs(HISTORY_MAX // HISTORY_OF_EVENT)
        try:
            await window.until_begun()
            return await self._handled(window, str(event), args)
        except ZchatError as error:
            self._counts.refused += 1
            told = events.told(error)
            if not (isinstance(event, EventName) and event.is_awaited):
                window.emit("error", told | {"event": str(event)})
            return told
        finally:
            if guard is not None:
                guard.ends()

    async def _handled(self, window: SocketWindow, event: str, args: tuple[Any, ...]) -> Any:
        """What it is acknowledged with. What is published is so before anything is awaited. Raises ZchatError."""
        match event:
            case "join":
                return await window.join(window.room_of(_first(args)))
            case "leave":
                return await window.leave(window.room_of(_first(args)))
            case "who":
                return await self._who(window, window.room_of(_first(args)))
            case "history":
                return await self._history(window, _first(args))
        if event in self._handlers:
            return await self._call(event, window, *args)
        chat = events.chat(args) if event == "message" else None
        if chat is None:
            said, room, key = events.spoken(event, args), window.room_of(None), ""
        else:
            said, room, key = events.Spoken(event, chat.body, chat.headers), window.room_of(chat.room), chat.key
        said.headers[resuming.TAG] = window.tag
        offset = await self._keys.publish(window.of_user, room, said, key)
        self._counts.published += 1
        return {"room": room, "offset": offset}

    async def _call(self, event: str, window: SocketWindow, *args: Any) -> Any:
        """What a handler of the operator returns. Raises ZchatError; of all else the operator is told."""
        try:
            return await self._handlers.call(event, window, *args)
        except ZchatError:
            raise
        except Exception:
            logging.getLogger("zchat.web").exception("handler of %s", event)
            raise UsageError(f"the handler of {event} failed") from None

    async def _who(self, window: SocketWindow, room: str) -> list[dict[str, Any]]:
        async with self._gateway.turn(window):  # it is in the rooms that it has asked for so far
            members = await window.of_user.client.who(room)
        return [{"user": each.user, "state": each.state, "since": each.since / 1_000_000} for each in members]

    async def _history(self, window: SocketWindow, asked: Any) -> list[dict[str, Any]]:
        asked = asked if isinstance(asked, dict) else {"room": asked}
        room = window.room_of(asked.get("room"))
        after, last = asked.get("after"), asked.get("last", asked.get("limit"))
        last = HISTORY_DEFAULT if after is None and last is None else last
        if not all(value is None or (type(value) is int and value >= 0) for value in (after, last)):
            raise UsageError("after and last are whole numbers")
        most = min(HISTORY_MAX, last or HISTORY_MAX)
        start = {"last": most} if after is None else {"after": after, "limit": most}
        return [lines.facts_of(each) async for each in window.of_user.client.history(room, **start)]

    # --- parts ------------------------------------------------------------------------------

    def _guard_of(self, eio_sid: str) -> Guard | PostPace | None:
        """What slows it down, by a WebSocket or by posts."""
        socket = self._server.eio.sockets.get(eio_sid)
        return self._guards.get(eio_sid) or (None if socket is None else socket.queue.posts)

    async def _over(self, eio_sid: str) -> None:
        """Its connection has ended."""
        self._guards.pop(eio_sid, None)
        socket = self._server.eio.sockets.pop(eio_sid, None)
        if socket is not None and not socket.closed:
            with suppress(Exception):
                await socket.close(wait=False, abort=True, reason=self._server.reason.TRANSPORT_CLOSE)


def _first(args: tuple[Any, ...]) -> Any:
    return args[0] if args else None
