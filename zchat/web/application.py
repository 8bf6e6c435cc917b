"""The gateway as an ASGI application, which serves by itself or is mounted in another one.

Rules of this file
1. Whatever comes is first asked from which page it comes, and whether there is room for it.
2. The broker is connected to when the first request comes, in the loop that serves; `close` ends it.

Spec: docs/web.md, "In an application of yours". Tests: tests/web/test_serving.py.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response

from zchat.names import room_name
from zchat.tokens import TokenFile
from zchat.web.core.bounds import WebLimits, address_of, header, is_allowed
from zchat.web.door import SocketDoor
from zchat.web.entry import PASS, Entrance, PassSource, unauthorized
from zchat.web.gateway import WebGateway
from zchat.web.guard import Receive, Scope, Send
from zchat.web.hooks import Handlers
from zchat.web.metrics import WebCounts
from zchat.web.once import PublishedKeys
from zchat.web.page import PageDoor
from zchat.web.plain import PlainDoor
from zchat.web.talking import TalkDoor

if TYPE_CHECKING:
    from zchat.web.oidc import OidcDoor

WAIT_SECONDS = 5.0
SOCKET_IO = "/socket.io/"


class WebApplication:
    """Socket.IO, plain HTTP and the page, of one broker."""

    def __init__(
        self,
        broker: str | None = None,
        *,
        room: str = "general",
        handlers: Handlers | None = None,
        origins: Iterable[str] = (),
        limits: WebLimits | None = None,
        wait: float = WAIT_SECONDS,
        tokens: TokenFile | None = None,
        oidc: OidcDoor | None = None,
    ) -> None:
        self.limits = limits or WebLimits()
        self.gateway = WebGateway(broker, self.limits, wait, by_user=bool(tokens or oidc))
        self.counts = WebCounts()
        self._room = room_name(room)
        self._origins = tuple(origins)
        self._of_address: Counter[str] = Counter()
        keys = PublishedKeys(self.limits.keys_max)
        sources: list[PassSource] = [source for source in (tokens, oidc) if source is not None]
        self._entry = Entrance(sources) if sources else None
        self._door = SocketDoor(self.gateway, self._room, handlers or Handlers(), keys, self.counts, self._entry)
        plain, talk = PlainDoor(self.gateway, keys, self.counts), TalkDoor(self.gateway, keys, self.counts)
        page = PageDoor(self._room, needs_login=bool(sources), has_provider=oidc is not None)
        logging_in = [*([] if self._entry is None else self._entry.routes), *([] if oidc is None else oidc.routes)]
        self._routes = Starlette(routes=[*page.routes, *logging_in, *talk.routes, *plain.routes, *page.rooms])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, one WebSocket, or the life of the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        why = self._refused(scope)
        if why:
            self.counts.refused += 1
            await _refuse(scope, receive, send, why, PlainTextResponse(f"{why}\n", 403))
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if self._entry is not None and (why := self._entry.admit(scope, path)):
            self.counts.refused += 1
            await _refuse(scope, receive, send, why, unauthorized(why))
            return
        address = address_of(scope)
        self._begins(scope)
        self.counts.connections += 1
        self._of_address[address] += 1
        try:
            if path.startswith(SOCKET_IO):
                await self._door(
                    scope, receive, send
                )  # past the layers of Starlette, of which each connection had its own
            else:
                await self._routes(scope, receive, send)
        finally:
            self._ends(scope)
            self.counts.connections -= 1
            self._of_address[address] -= 1
            if not self._of_address[address]:
                del self._of_address[address]

    async def close(self) -> None:
        """All clients go, all users leave, and the connection to the broker ends."""
        if self._entry is not None:
            self._entry.close()
        await self._door.close()
        await self.gateway.close()

    # --- parts ------------------------------------------------------------------------------

    def _begins(self, scope: Scope) -> None:
        """Whoever is inside by a token goes with it."""
        task = asyncio.current_task()
        if self._entry is not None and scope[PASS] is not None and task is not None:
            self._entry.begins(id(scope), scope[PASS], task.cancel)

    def _ends(self, scope: Scope) -> None:
        if self._entry is not None:
            self._entry.ends(id(scope))

    def _refused(self, scope: Scope) -> str:
        """Why not; empty: it may."""
        headers = scope.get("headers", [])
        origin, host = header(headers, b"origin"), header(headers, b"host")
        if not is_allowed(origin, [host or ""], self._origins):
            return "a page of that origin may not"
        if self.counts.connections >= self.limits.connections_max:
            return "too many connections"
        if self._of_address[address_of(scope)] >= self.limits.connections_of_address_max:
            return "too many connections of this address"
        return ""

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


async def _refuse(scope: Scope, receive: Receive, send: Send, why: str, answer: Response) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": why})
    else:
        await answer(scope, receive, send)
