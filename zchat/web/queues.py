"""What waits for one Socket.IO client: bounded, where python-engineio's own queue has no end.

Rules of this file
1. It has what python-engineio uses of an asyncio.Queue, and nothing else.
2. `get` is a future and no coroutine: a task for each packet of each client would be a good part of what one costs. Who
   waits is given the packet itself.
3. A client that waits for nothing costs next to nothing.

Tests: tests/web/test_queues.py.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from zchat.web.core.bounds import WebLimits


class WaitingPackets:
    """The queue of one client. Above its bounds nothing more is taken, and `overflows` is called, once."""

    __slots__ = ("_bytes", "_bytes_max", "_getter", "_is_over", "_items", "_packets_max", "overflows")

    def __init__(self, limits: WebLimits) -> None:
        self._bytes = 0
        self._bytes_max, self._packets_max = limits.waiting_bytes_max, limits.waiting_max
        self._is_over = False
        self._items: deque[Any] | None = None  # none: no memory for it
        self._getter: asyncio.Future[Any] | None = None
        self.overflows: Callable[[], None] | None = None

    @property
    def is_far_behind(self) -> bool:
        """Whether a quarter of what may wait does."""
        return self._bytes * 4 > self._bytes_max or self.qsize() * 4 > self._packets_max

    def end(self) -> None:
        """Drop all, and take nothing more but the end of it."""
        self._is_over = True
        self._items = None
        self._bytes = 0

    def qsize(self) -> int:
        """How many wait."""
        return len(self._items) if self._items else 0

    def empty(self) -> bool:
        """Whether none does."""
        return not self._items

    def put_nowait(self, item: Any) -> None:
        """One more."""
        getter, self._getter = self._getter, None
        if getter is not None and not getter.done():
            getter.set_result(item)
            return
        if self._is_over and item is not None:
            return
        if self._items is None:
            self._items = deque()
        self._items.append(item)
        self._bytes += _size(item)
        if not self._is_over and (self._bytes > self._bytes_max or len(self._items) > self._packets_max):
            self._is_over = True
            if self.overflows is not None:
                self.overflows()

    async def put(self, item: Any) -> None:
        """The same."""
        self.put_nowait(item)

    def get_nowait(self) -> Any:
        """The next. Raises asyncio.QueueEmpty."""
        if not self._items:
            raise asyncio.QueueEmpty
        item = self._items.popleft()
        self._bytes -= _size(item)
        if not self._items:
            self._items = None
        return item

    def get(self) -> asyncio.Future[Any]:
        """The next, once it is there; one waits at a time."""
        future = asyncio.get_running_loop().create_future()
        if self._items:
            future.set_result(self.get_nowait())
        else:
            self._getter = future
        return future

    def task_done(self) -> None:
        """What was taken is written, or will not be."""

    async def join(self) -> None:
        """Nobody waits for the end of a client that may not read."""


def _size(item: Any) -> int:
    data = getattr(item, "data", None)
    return len(data) if isinstance(data, str | bytes) else 0
