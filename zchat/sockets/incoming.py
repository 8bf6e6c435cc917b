"""What the engine has for the consumer of one subscription: in order, and bounded in bytes.

Rules of this file
1. Above the bound the ordering is paused, and what comes meanwhile is fetched when the consumer has caught up.
2. The consumer alone takes from the left of `buffer`, without the lock. Who closes takes from the right, under it, so
   that each message was either handed over or was not.
3. In a child of a fork it has ended, and nobody holds the lock.

Tests: tests/test_client.py, tests/test_endings.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import RLock
from typing import TypeAlias

from zchat.core.deliveries import Consumed, Delivery, Handed
from zchat.core.held import cost
from zchat.message import Message

QUEUED_BYTES_MAX = 32 << 20  # of a listener that does not read: what comes after is fetched again when it does
QUEUED_BYTES_LOW = 8 << 20
NOTICE_BYTES = 300  # what one takes, and a mark

Item: TypeAlias = Consumed
_END = (None, 0)


class Incoming:
    """Between the engine, which puts, and the consumer, who takes; the face waits for it."""

    def __init__(self, pause: Callable[[bool], None], stir: Callable[[], object]) -> None:
        """`pause` stops the ordering, or lets it go on; `stir`: what somebody waits for may be there."""
        self.buffer: deque[Message] = deque()  # of the batch that is being handed over
        self.lock = RLock()  # of what is handed over, and of the end; a signal may close what it interrupts
        self._pause = pause
        self._stir = stir
        self._queue: SimpleQueue[tuple[Item | None, int]] = SimpleQueue()  # with its size
        self.has_some = self._queue.qsize  # whether something can be taken without waiting; asked in every wait
        self._put_bytes = 0  # written by who drives the engine
        self._taken_bytes = 0  # written by the consumer
        self._paused = False

    def put(self, items: list[Item]) -> None:
        """What the ordering delivers. By who drives the engine."""
        for item in items:
            size = _size(item)
            self._put_bytes += size
            self._queue.put((item, size))
        if not self._paused and self._put_bytes - self._taken_bytes > QUEUED_BYTES_MAX:
            self._paused = True
            self._pause(True)

    @property
    def waiting(self) -> int:
        """Bytes of what it has not taken."""
        return self._put_bytes - self._taken_bytes

    def end(self) -> None:
        """Nothing more comes."""
        self._queue.put(_END)
        self._stir()

    def take(self) -> Item | None:
        """The next one; None at the end, however often it is asked. Raises queue.Empty."""
        item, size = self._queue.get_nowait()
        if item is None:
            self._queue.put(_END)
            return None
        self._taken_bytes += size
        if self._paused and self._put_bytes - self._taken_bytes < QUEUED_BYTES_LOW:
            self._paused = False
            self._pause(False)
        return item

    def drop(self) -> Message | None:
        """Empty the buffer. The first message that was in it; None: all have been handed over. Under the lock."""
        first = None
        while True:
            try:
                first = self.buffer.pop()
            except IndexError:
                return first

    def forked(self) -> None:
        """In a child after a fork: it is the parent's."""
        self.lock = RLock()
        self.buffer.clear()
        self._queue = SimpleQueue()
        self.has_some = self._queue.qsize
        self.end()


def _size(item: Item) -> int:
    """Bytes of memory."""
    return item.size + cost(item.batch) if isinstance(item, Delivery | Handed) else NOTICE_BYTES
