"""Stands between a web server and what serves a WebSocket: how fast it is read, how much waits for it, and its end.

    server ─receive─► Guard: not faster than allowed, not while much is unanswered ─► Socket.IO or /ws
           ◄──send──                                                              ◄─ its queue, bounded

Rules of this file
1. A client that sends too fast is read slower: it waits in its own connection, and no other one does.
2. One that is cut off reads and writes no more from then on: whatever waits on its connection ends.

Tests: tests/web/test_queues.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias, TypeVar

from zchat.bucket import Bucket
from zchat.web.core.bounds import WebLimits
from zchat.web.metrics import WebCounts

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

T = TypeVar("T")

CUT_CODE = 1008  # of a WebSocket: a policy was violated
ABORT = "zchat.abort"  # extension of a scope: ends its connection at once, whatever waits to be written


class CutOff(Exception):
    """The connection goes on no more."""


class Guard:
    """Around one connection's `receive` and `send`."""

    __slots__ = (
        *(
            "_abort",
            "_bucket",
            "_counts",
            "_freed",
            "_over",
            "_receive",
            "_send",
            "_sending",
            "_unanswered",
            "_unanswered_max",
        ),
        "is_cut",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: WebLimits, counts: WebCounts) -> None:
        self._receive, self._send, self._counts = receive, send, counts
        self._bucket = Bucket(limits.events_a_second, limits.events_at_once, time.monotonic())
        self._abort: Callable[[], None] | None = (scope.get("extensions") or {}).get(ABORT)
        self._over: asyncio.Future[None] | None = None  # waited for by who waits until it is cut off, too
        self._sending: asyncio.Task[Any] | None = None  # that waits until a message is written
        self._unanswered_max = limits.unanswered_max
        self._unanswered = 0
        self._freed: asyncio.Future[None] | None = None  # waited for while too much is unanswered
        self.is_cut = False

    def cut(self) -> None:
        """End the connection."""
        if not self.is_cut:
            self.is_cut = True
            if self._over is not None:
                self._over.set_result(None)
            if self._abort is not None:
                self._abort()
            if (
                self._sending is not None
            ):  # what waits to be written may wait for ever, also at a connection that is gone
                self._sending.cancel()

    def begins(self) -> None:
        """Something that came is being worked on."""
        self._unanswered += 1

    def costs(self, events: int) -> None:
        """It counts as so many more."""
        self._bucket.take(time.monotonic(), events)

    def ends(self) -> None:
        """It is done."""
        self._unanswered -= 1
        if self._unanswered < self._unanswered_max and self._freed is not None and not self._freed.done():
            self._freed.set_result(None)

    def receive(self) -> Awaitable[MutableMapping[str, Any]]:
        """What comes next, when it may."""
        wait = self._bucket.take(time.monotonic())
        if wait > 0.0 or self._unanswered >= self._unanswered_max or self._abort is None or self.is_cut:
            return self._receive_later(wait)
        return self._receive()  # as most do, and for long: without a coroutine of its own

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Write it. Raises CutOff."""
        if self.is_cut:
            raise CutOff
        self._sending = asyncio.current_task()
        try:
            await self._send(message)
        except asyncio.CancelledError:
            if self.is_cut:
                raise CutOff from None
            raise
        finally:
            self._sending = None

    async def _receive_later(self, wait: float) -> MutableMapping[str, Any]:
        if wait > 0.0:
            self._counts.slowed += 1
            await asyncio.wait([self._until_cut()], timeout=wait)
        if self._unanswered >= self._unanswered_max:
            self._freed = asyncio.get_running_loop().create_future()
            await self._or_cut(self._freed)
        if not self.is_cut:
            if self._abort is not None:  # then the server says so itself
                return await self._receive()
            message = await self._or_cut(self._receive())
            if message is not None:
                return message
        return {"type": "websocket.disconnect", "code": CUT_CODE}

    def _until_cut(self) -> asyncio.Future[None]:
        if self._over is None:
            self._over = asyncio.get_running_loop().create_future()
            if self.is_cut:
                self._over.set_result(None)
        return self._over

    async def _or_cut(self, work: Awaitable[T]) -> T | None:
        """What it brings; None where the connection is cut off before."""
        task = asyncio.ensure_future(work)
        both: list[asyncio.Future[Any]] = [task, self._until_cut()]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            return None if self.is_cut else task.result()
        finally:
            task.cancel()
