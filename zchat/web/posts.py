"""What a Socket.IO client posts, by long polling: not faster than a WebSocket is read, and all of it.

    POST of 300 packets ─► 16, a turn, 16, a turn, … ─► python-engineio

python-engineio takes no more than 16 packets of a POST, and drops one that has more without a word; npm's client puts
into one whatever was emitted while it waited for the last.

Rules of this file
1. A POST is answered when all of it was handed over: so who posts too fast waits, and no other one does.
2. One that has more than PACKETS_MAX packets is not taken, and its client is cut off: it is told.

Tests: tests/web/test_serving.py, tests/web/test_queues.py.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.responses import PlainTextResponse, Response

from zchat.bucket import Bucket
from zchat.web.core.bounds import WebLimits, header
from zchat.web.guard import App, Receive, Scope, Send
from zchat.web.metrics import WebCounts
from zchat.web.queues import LeanEvent

PACKETS_MAX = 4_096  # of a POST
PACKETS_AT_ONCE = 16
SEPARATOR = b"\x1e"
JSONP = b"d="  # begins a form


class PostPace:
    """Of one client that posts what it says, whichever connections it uses for that."""

    __slots__ = ("_bucket", "_counts", "_free", "_unanswered", "_unanswered_max")

    def __init__(self, limits: WebLimits, counts: WebCounts) -> None:
        self._bucket = Bucket(limits.events_a_second, limits.events_at_once, time.monotonic())
        self._counts = counts
        self._unanswered_max = limits.unanswered_max
        self._unanswered = 0
        self._free = LeanEvent()  # set while not too much is unanswered

    async def turn(self) -> None:
        """Wait until it may post more."""
        while (wait := self._bucket.wait(time.monotonic())) > 0.0:
            self._counts.slowed += 1
            await asyncio.sleep(wait)
        await self._free.wait()

    def begins(self) -> None:
        """An event that came is being worked on."""
        self._unanswered += 1
        if self._unanswered >= self._unanswered_max:
            self._free.clear()

    def costs(self, events: int) -> None:
        """So many packets came, or what counts as so many."""
        self._bucket.take(time.monotonic(), events)

    def ends(self) -> None:
        """It is done."""
        self._unanswered -= 1
        if self._unanswered < self._unanswered_max:
            self._free.set()


async def hand_over(
    engine: App, scope: Scope, receive: Receive, send: Send, pace: PostPace, limits: WebLimits
) -> Response | None:
    """Give a POST to python-engineio, some packets at a time. Returns why it is not taken, if it is not."""
    size = header(scope["headers"], b"content-length") or ""
    if not (size.isascii() and size.isdigit()):
        return PlainTextResponse("a length is needed\n", 411)
    if int(size) > limits.event_bytes_max:
        return PlainTextResponse("too large\n", 413)
    try:
        async with asyncio.timeout(limits.silent_seconds):
            body = await _body(receive, int(size))
    except TimeoutError:
        return PlainTextResponse("the body did not come in time\n", 408)
    packets = [body] if body.startswith(JSONP) else body.split(SEPARATOR)
    if len(packets) > PACKETS_MAX:
        return PlainTextResponse("too many packets\n", 413)
    answer: list[Any] = []
    for at in range(0, len(packets), PACKETS_AT_ONCE):
        some = packets[at : at + PACKETS_AT_ONCE]
        await pace.turn()
        pace.costs(len(some))
        answer = await _answer(engine, scope, SEPARATOR.join(some))
    for message in answer:
        await send(message)
    return None


async def _body(receive: Receive, size: int) -> bytes:
    body, is_whole = bytearray(), False
    while not is_whole and len(body) < size:
        message = await receive()
        if message["type"] != "http.request":
            break
        body += message.get("body", b"")
        is_whole = not message.get("more_body", False)
    return bytes(body[:size])


async def _answer(engine: App, scope: Scope, body: bytes) -> list[Any]:
    """What it says to a POST of that."""
    answer: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        answer.append(message)

    headers = [(name, value) for name, value in scope["headers"] if name.lower() != b"content-length"]
    headers.append((b"content-length", b"%d" % len(body)))
    await engine({**scope, "headers": headers}, receive, send)
    return answer
