"""Who gets rooms as lines: a response that is streamed, or a WebSocket of JSON lines.

Rules of this file: what waits is bounded in bytes; who does not read is cut off, and comes again from where it was.
Tests: tests/web/test_plain.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from zchat import Notice, ZchatError
from zchat.web.core import asking, lines
from zchat.web.core.asking import RoomQuery
from zchat.web.core.bounds import WebLimits
from zchat.web.feeds import RoomFeed
from zchat.web.heard import HeardRecord

JOINED_BYTES = 65_536  # lines are written together up to here


class LineWaiter:
    """Lines on their way to one reader."""

    def __init__(
        self,
        limits: WebLimits,
        *,
        form: Callable[[HeardRecord], bytes] = lambda heard: heard.line,
        notice: Callable[[str, dict[str, object]], bytes] = lambda event, facts: lines.written(
            {"event": event, **facts}
        ),
        presence: bool = True,
    ) -> None:
        self._bytes_max = limits.waiting_bytes_max
        self._form, self._notice, self._presence = form, notice, presence
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._is_over = False
        self._comes = asyncio.Event()
        self._is_read = asyncio.Event()
        self.on_cut: Callable[[], None] = lambda: None

    def hear(self, feed: RoomFeed, heard: HeardRecord) -> None:
        """The next message of a room."""
        if self._presence or not heard.is_presence:
            self.put(self._form(heard))

    def hear_notice(self, feed: RoomFeed, notice: Notice) -> None:
        """Messages that cannot be had any more."""
        gap = {"room": feed.room, "first": notice.offset, "last": notice.last, "reason": notice.reason}
        self.put(self._notice("gap", dict(gap)))

    def put(self, line: bytes) -> None:
        """One more line, unless too much waits: then it is the end."""
        if self._is_over:
            return
        self._waiting.append(line)
        self._bytes += len(line)
        self._comes.set()
        if self._bytes > self._bytes_max:
            self.cut()

    async def breathe(self) -> None:
        """Wait until little waits."""
        await asyncio.sleep(0)
        while self._bytes * 4 > self._bytes_max and not self._is_over:
            self._is_read.clear()
            await self._is_read.wait()

    def cut(self) -> None:
        """It is too slow, or the gateway has no more."""
        if not self._is_over:
            self._waiting.clear()
            self.end()
            self.on_cut()

    def end(self) -> None:
        """Nothing more comes; what waits is still read."""
        self._is_over = True
        self._comes.set()
        self._is_read.set()

    async def read(self, idle_seconds: float, idle: bytes) -> AsyncIterator[bytes]:
        """All lines, several at a time; `idle` where nothing comes for so long. Ends with them."""
        while True:
            if not self._waiting:
                if self._is_over:
                    return
                try:
                    async with asyncio.timeout(idle_seconds):
                        await self._comes.wait()
                except TimeoutError:
                    yield idle
                    continue
            self._comes.clear()
            taken, size = 0, 0
            while taken < len(self._waiting) and (not taken or size + len(self._waiting[taken]) <= JOINED_BYTES):
                size += len(self._waiting[taken])
                taken += 1
            block = b"".join(self._waiting[:taken])
            del self._waiting[:taken]
            self._bytes -= size
            self._is_read.set()
            if self._waiting or self._is_over:
                self._comes.set()
            if block:
                yield block


async def attach(feed: RoomFeed, waiter: LineWaiter, asked: RoomQuery) -> None:
    """Hear a room from where it is asked for. What goes wrong is its last line."""
    try:
        await feed.attach(waiter, await feed.offset_before(asked.after, asked.last, asked.since))
    except ZchatError as error:
        waiter.put(error_line(error))
        waiter.end()


def error_line(error: ZchatError) -> bytes:
    """What went wrong, as a line."""
    answer = asking.answer_of(error)
    return lines.written({"event": "error", "error": answer.error, "text": answer.text})
