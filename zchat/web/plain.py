"""Plain HTTP, for scripts: publish, and read a room as lines of JSON or as an EventSource.

Rules of this file
1. A request is answered by what came of it: an offset, or `{"error", "text"}` with a status.
2. A body is read up to the limit and within a time; more is refused before it is read.
3. Who reads is no member of the room.

Spec: docs/web.md, "Plain HTTP". Tests: tests/web/test_plain.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from zchat import Refused, TooLarge, UsageError, ZchatError
from zchat.names import room_name
from zchat.web.core import asking, lines
from zchat.web.core.asking import RoomQuery
from zchat.web.core.bounds import Buckets, address_of
from zchat.web.core.events import Spoken
from zchat.web.entry import user_of
from zchat.web.gateway import IDLE_SECONDS, WebGateway, WebUser
from zchat.web.guard import Receive, Scope, Send
from zchat.web.lined import JOINED_BYTES, LineWaiter, attach, error_line
from zchat.web.metrics import WebCounts
from zchat.web.once import PublishedKeys

BEAT_SECONDS = 20.0  # without a line; what is between would take the connection for dead
JSON_LINES, EVENTS = "application/x-ndjson", "text/event-stream"
RETRY = b"retry: 1000\n\n"  # milliseconds, after which a browser comes again
SHOWN_TYPES = frozenset(
    {"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"}
)  # by a browser, as they are
BUSY = asking.HttpAnswer(429, "busy", "too many requests of this address")
AWAY = asking.HttpAnswer(503, "unreachable", "the broker is not there; it may be stored all the same")


class PlainDoor:
    """The routes of plain HTTP."""

    def __init__(self, gateway: WebGateway, keys: PublishedKeys, counts: WebCounts) -> None:
        self._gateway, self._keys, self._counts = gateway, keys, counts
        self._limits = gateway.limits
        limits = self._limits
        publishes = Buckets(limits.publishes_a_second, limits.publishes_at_once)
        reads = Buckets(limits.reads_a_second, limits.reads_at_once)
        self.routes = [
            Route("/healthz", self._health),
            Route("/metrics", self._metrics),
            Route("/{room}", self._answering(self._publish, publishes), methods=["POST", "PUT"]),
            Route("/{room}/json", self._answering(self._json, reads)),
            Route("/{room}/sse", self._answering(self._events, reads)),
            Route("/{room}/who", self._answering(self._who, reads)),
            Route("/{room}/{offset:int}", self._answering(self._body, reads)),
        ]

    # --- publishing -------------------------------------------------------------------------

    async def _publish(self, request: Request) -> Response:
        room, posted = _room_of(request), asking.posted(request.query_params, request.headers)
        if "filename" in posted.headers:  # a header is Latin-1: other letters come as %C3%A4
            posted.headers["filename"] = unquote(posted.headers["filename"])
        body = await self._body_of(request)
        user = await self._gateway.user(user_of(request.scope, posted.user) or asking.NAMELESS)
        try:
            async with asyncio.timeout(self._limits.silent_seconds):
                said = Spoken(posted.event, body, posted.headers)
                offset = await self._keys.publish(user, room, said, posted.key)
        except TimeoutError:
            return refused(AWAY)
        finally:
            self._let_go(user)
        self._counts.published += 1
        return _json({"room": room, "offset": offset, "user": user.client.user, "event": posted.event})

    async def _body_of(self, request: Request) -> bytes:
        """All of it. Raises TooLarge, UsageError."""
        most = self._limits.event_bytes_max
        told = request.headers.get("content-length", "")
        if told.isdigit() and int(told) > most:
            raise TooLarge(int(told), most)
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.silent_seconds):
                async for part in request.stream():
                    body += part
                    if len(body) > most:
                        raise TooLarge(len(body), most)
        except TimeoutError:
            raise UsageError("the body did not come in time") from None
        return bytes(body)

    # --- reading ----------------------------------------------------------------------------

    async def _json(self, request: Request) -> Response:
        asked = asking.room_query(request.query_params)
        if asked.is_poll:
            return await self._stored(request, asked)
        waiter = LineWaiter(self._limits, presence=asked.is_presence)
        return await self._streamed(request, asked, waiter, JSON_LINES, b"\n")

    async def _events(self, request: Request) -> Response:
        asked = asking.room_query(request.query_params, request.headers.get("last-event-id"))
        waiter = LineWaiter(
            self._limits,
            form=lambda heard: lines.server_sent(heard.message),
            notice=lambda event, facts: lines.server_sent_notice(event, dict(facts)),
            presence=asked.is_presence,
        )
        waiter.put(RETRY)
        return await self._streamed(request, asked, waiter, EVENTS, b":\n\n")

    async def _streamed(
        self, request: Request, asked: RoomQuery, waiter: LineWaiter, kind: str, beat: bytes
    ) -> Response:
        room, user = _room_of(request), await self._user_of(request)
        try:
            feed = await self._gateway.feed(room, user)
        except BaseException:  # it may have been cancelled
            self._let_go(user)
            raise
        attaching = asyncio.ensure_future(attach(feed, waiter, asked))

        def over() -> None:
            attaching.cancel()
            feed.detach(waiter)
            self._let_go(user)

        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamedLines(waiter.read(BEAT_SECONDS, beat), over, kind, headers)

    async def _stored(self, request: Request, asked: RoomQuery) -> Response:
        """What is stored, from where it is asked for. Raises ZchatError."""
        room, user = _room_of(request), await self._user_of(request)
        start = {"after": asked.after, "last": asked.last, "since": asked.since}
        try:
            client = user.client if user is not None else await self._gateway.start()
            history = client.history(room, presence=asked.is_presence, **start)  # type: ignore[arg-type]  # each its own
        except BaseException:
            self._let_go(user)
            raise

        async def read() -> AsyncIterator[bytes]:
            block = bytearray()
            try:
                async for message in history:
                    block += lines.line_of(message)
                    if len(block) >= JOINED_BYTES:
                        yield bytes(block)
                        block.clear()
            except ZchatError as error:
                block += error_line(error)
            yield bytes(block)

        return StreamedLines(read(), lambda: self._let_go(user), JSON_LINES)

    async def _who(self, request: Request) -> Response:
        room, user = _room_of(request), await self._user_of(request)
        try:
            client = user.client if user is not None else await self._gateway.start()
            members = await client.who(room)
        finally:
            self._let_go(user)
        return _json([{"user": each.user, "state": each.state, "since": each.since / 1_000_000} for each in members])

    async def _body(self, request: Request) -> Response:
        """The body of one message, as a file: a browser shows nothing of it but pictures, and runs nothing."""
        room, offset, user = _room_of(request), request.path_params["offset"], await self._user_of(request)
        try:
            client = user.client if user is not None else await self._gateway.start()
            async for message in client.history(room, after=max(0, offset - 1), limit=1):
                if message.offset == offset:
                    return _file(message.body, message.headers.get("content-type", ""), message.headers.get("filename"))
        except Refused as error:
            if error.code != "bad-request":  # else above the head
                raise
        finally:
            self._let_go(user)
        return refused(asking.HttpAnswer(404, "not-there", f"{room} has no message {offset}"))

    # --- parts ------------------------------------------------------------------------------

    async def _health(self, _: Request) -> Response:
        is_well = self._gateway.is_connected
        return _json({"status": "ok" if is_well else "the broker is not there"}, 200 if is_well else 503)

    async def _metrics(self, _: Request) -> Response:
        return PlainTextResponse(self._counts.text(self._gateway), media_type="text/plain; version=0.0.4")

    def _answering(self, endpoint: Callable[[Request], Any], buckets: Buckets) -> Callable[[Request], Any]:
        async def answered(request: Request) -> Response:
            wait = buckets.try_take(address_of(request.scope), time.monotonic())
            if wait:
                self._counts.refused += 1
                return refused(BUSY, {"retry-after": str(int(wait) + 1)})
            try:
                async with asyncio.timeout(2 * self._limits.silent_seconds):  # who asked may have gone, unseen
                    response: Response = await endpoint(request)
            except TimeoutError:
                return refused(AWAY)
            except ZchatError as error:
                self._counts.refused += 1
                return refused(asking.answer_of(error))
            return response

        return answered

    async def _user_of(self, request: Request) -> WebUser | None:
        name = user_of(request.scope, request.query_params.get("user", ""))
        return await self._gateway.user(name) if name else None

    def _let_go(self, user: WebUser | None) -> None:
        if user is not None:
            self._gateway.release(user, after=IDLE_SECONDS)


class StreamedLines(StreamingResponse):
    """An answer that goes on. `over` is called at its end, also where nobody was there to read its beginning."""

    def __init__(
        self, lines: AsyncIterator[bytes], over: Callable[[], None], kind: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(lines, media_type=kind, headers=headers)
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._over()


def refused(answer: asking.HttpAnswer, headers: dict[str, str] | None = None) -> Response:
    """An error."""
    body = lines.written({"error": answer.error, "text": answer.text})
    return Response(body, answer.status, headers, media_type="application/json")


def _room_of(request: Request) -> str:
    return room_name(request.path_params["room"])


def _json(value: Any, status: int = 200) -> Response:
    return Response(lines.written(value), status, media_type="application/json")


def _file(body: bytes, kind: str, name: str | None) -> Response:
    is_shown = kind in SHOWN_TYPES
    disposition = "inline" if is_shown else "attachment"
    headers = {
        "content-disposition": f"{disposition}; filename*=UTF-8''{quote(name or 'message', safe='')}",
        "content-security-policy": "default-src 'none'; sandbox",
        "x-content-type-options": "nosniff",
        "cache-control": "private, max-age=3600",
    }
    return Response(body, 200, headers, media_type=kind if is_shown else "application/octet-stream")
