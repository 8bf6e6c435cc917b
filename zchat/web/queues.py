"""What waits for one client: bounded, where python-engineio's own queue has no end; and nearly nothing where none does.

Rules of this file
1. It has what python-engineio and uvicorn use of an asyncio.Queue and an asyncio.Event, and nothing else.
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


class LeanQueue:
    """As an asyncio.Queue, of which an empty one takes 2.4 kB. One waits at a time."""

    __slots__ = ("_getter", "_items")

    def __init__(self) -> None:
        self._items: deque[Any] | None = None  # none: no memory for it
        self._getter: asyncio.Future[Any] | None = None

    def qsize(self) -> int:
        """How many wait."""
        return len(self._items) if self._items else 0

    def empty(self) -> bool:
        """Whether none does."""
        return not self._items

    def put_nowait(self, item: Any) -> None:
        """One more."""
        if not self._hand_over(item):
            self._keep(item)

    def get_nowait(self) -> Any:
        """The next. Raises asyncio.QueueEmpty."""
        if not self._items:
            raise asyncio.QueueEmpty
        item = self._items.popleft()
        if not self._items:
            self._items = None
        return item

    def get(self) -> asyncio.Future[Any]:
        """The next, once it is there."""
        future = asyncio.get_running_loop().create_future()
        if self._items:
            future.set_result(self.get_nowait())
        else:
            self._getter = future
        return future

    def _hand_over(self, item: Any) -> bool:
        """Give it to who waits for it; False where nobody does."""
        getter, self._getter = self._getter, None
        if getter is None or getter.done():
            return False
        getter.set_result(item)
        return True

    def _keep(self, item: Any) -> None:
        if self._items is None:
            self._items = deque()
        self._items.append(item)


class WaitingPackets(LeanQueue):
    """The queue of one client. Above its bounds nothing more is taken, and `overflows` is called, once."""

    __slots__ = ("_bytes", "_is_over", "_limits", "overflows", "posts")

    def __init__(self, limits: WebLimits) -> None:
        super().__init__()
        self._limits = limits
        self._bytes = 0
        self._is_over = False
        self.overflows: Callable[[], None] | None = None
        self.posts: Any = None  # how fast it may post, once it has

    @property
    def is_far_behind(self) -> bool:
        """Whether a quarter of what may wait does."""
        return self._bytes * 4 > self._limits.waiting_bytes_max or self.qsize() * 4 > self._limits.waiting_max

    def end(self) -> None:
        """Drop all, and take nothing more but the end of it."""
        self._is_over = True
        self._items = None
        self._bytes = 0

    def put_nowait(self, item: Any) -> None:
        """One more."""
        if self._hand_over(item) or (self._is_over and item is not None):
            return
        self._keep(item)
        self._bytes += _size(item)
        if not self._is_over and (
            self._bytes > self._limits.waiting_bytes_max or self.qsize() > self._limits.waiting_max
        ):
            self._is_over = True
            if self.overflows is not None:
                self.overflows()

    async def put(self, item: Any) -> None:
        """The same."""
        self.put_nowait(item)

    def get_nowait(self) -> Any:
        """The next. Raises asyncio.QueueEmpty."""
        item = super().get_nowait()
        self._bytes -= _size(item)
        return item

    def task_done(self) -> None:
        """What was taken is written, or will not be."""

    async def join(self) -> None:
        """Nobody waits for the end of a client that may not read."""


class LeanEvent:
    """As an asyncio.Event that is set at first, of which one takes 0.8 kB."""

    __slots__ = ("_cleared",)

    def __init__(self) -> None:
        self._cleared: asyncio.Event | None = None  # none: it is set

    def set(self) -> None:
        """Who waits, goes on."""
        cleared, self._cleared = self._cleared, None
        if cleared is not None:
            cleared.set()

    def clear(self) -> None:
        """From now on one has to wait."""
        if self._cleared is None:
            self._cleared = asyncio.Event()

    async def wait(self) -> None:
        """Until it is set."""
        if self._cleared is not None:
            await self._cleared.wait()


def _size(item: Any) -> int:
    data = getattr(item, "data", None)
    return len(data) if isinstance(data, str | bytes) else 0
