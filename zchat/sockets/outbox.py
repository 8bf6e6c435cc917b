"""What a program has published and the I/O thread has not sent yet: the place where batching happens.

Rules of this file
1. `add` is the hot path of publishing: one lock, one append. A chunk stays open while the I/O thread is
   busy, so the busier it is, the larger the chunks.
2. Bounded in bytes: `add` blocks when it is full. That is the backpressure that a publisher feels.

Tests: tests/sockets/test_outbox.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Condition, Lock
from typing import Protocol

import msgspec

from zchat import wire
from zchat.core.publishing import Chunk
from zchat.errors import Closed, TooLarge, ZchatError
from zchat.names import room_name

CHUNK_BYTES = 96 * 1024  # then the next chunk is opened; the broker joins them into batches of 128 KiB
OUTBOX_BYTES_MAX = 16 << 20  # then publish blocks
CLOSED = 1 << 62
RECORD_BYTES = 48  # what a record costs besides its body; it bounds the records of a chunk too, to 2048


class Waiter(Protocol):
    """Who can wait for what the I/O thread hears."""

    def wait_for_settled(self, chunk: Chunk, timeout: float | None) -> None:
        """Until the chunk's outcome is known. Raises TimedOut, Closed."""


class Publication(msgspec.Struct, frozen=True, gc=False):
    """One message on its way to the broker."""

    _waiter: Waiter
    _chunk: Chunk
    _index: int

    def done(self) -> bool:
        """Whether its outcome is known."""
        return self._chunk.is_settled

    def result(self, timeout: float | None = None) -> int:
        """Its offset, once it is stored; 0 for a volatile message, which has none.

        Raises Refused when it was not stored, TimedOut, and Closed when the client ended without knowing.
        """
        chunk = self._chunk
        if not chunk.is_settled:
            self._waiter.wait_for_settled(chunk, timeout)
        if chunk.error is not None:
            raise chunk.error
        return chunk.first + self._index if chunk.first else 0


class Outbox:
    """Chunks in the order in which they were opened. Thread-safe."""

    def __init__(self, wake: Callable[[], None], waiter: Waiter) -> None:
        self.record_bytes_max = wire.RECORD_BYTES_MAX  # the broker's, once it is known; at least CHUNK_BYTES
        self.is_waiting = False  # the I/O thread sleeps, and wants to be woken
        self.opened = 0  # chunks so far: a chunk's number is its `seq`, as they are sent in this order
        self._wake = wake
        self._waiter = waiter
        self._lock = Lock()  # taken for each record: a Condition around it would double its cost
        self._changed = Condition(self._lock)
        self._open: tuple[dict[str, Chunk], dict[str, Chunk]] = ({}, {})  # by room: stored, volatile
        self._chunks: deque[Chunk] = deque()
        self._size = 0
        self._error: ZchatError | None = None

    def add(self, room: str, record: wire.RecordOrBody, size: int, volatile: bool) -> Publication:
        """Queue one record of `size` bytes. Blocks while the outbox is full.

        Raises BadName, TooLarge, and Closed once the client is closed.
        """
        size += RECORD_BYTES
        lanes = self._open[volatile]
        with self._lock:
            if self._size > OUTBOX_BYTES_MAX:
                self._wait_for_room()
            chunk = lanes.get(room)
            if chunk is None or chunk.size + size > CHUNK_BYTES:
                chunk = self._open_chunk(room, volatile, size)
            self._size += size
            chunk.size += size
            records = chunk.records
            publication = Publication(self._waiter, chunk, len(records))
            records.append(record)
        if self.is_waiting:
            self.is_waiting = False
            self._wake()
        return publication

    def take(self) -> Chunk | None:
        """The oldest chunk, sealed; None when there is none. For the I/O thread."""
        with self._lock:
            if not self._chunks:
                return None
            chunk = self._chunks.popleft()
            self._seal(chunk)
            was_full = self._size > OUTBOX_BYTES_MAX
            self._size -= chunk.size
            if was_full and self._size <= OUTBOX_BYTES_MAX:
                self._changed.notify_all()
            return chunk

    def close(self, error: ZchatError) -> list[Chunk]:
        """Take no more; `add` raises `error` from now on. Returns what was never sent."""
        with self._lock:
            self._error = error
            self._size = CLOSED  # as if full, so that `add` looks once
            left = list(self._chunks)
            self._chunks.clear()
            for lanes in self._open:
                lanes.clear()
            self._changed.notify_all()
            return left

    def __bool__(self) -> bool:
        """Whether anything waits to be sent."""
        return bool(self._chunks)

    def _wait_for_room(self) -> None:
        while self._error is None and self._size > OUTBOX_BYTES_MAX:
            self._changed.wait()
        if self._error is not None:
            raise Closed(str(self._error))

    def _open_chunk(self, given: str, volatile: bool, size: int) -> Chunk:
        """A chunk for the room, also found under the name as it was given."""
        if size - RECORD_BYTES > self.record_bytes_max:
            raise TooLarge(size - RECORD_BYTES, self.record_bytes_max)
        room = room_name(given)
        lanes = self._open[volatile]
        chunk = lanes.get(room)
        if chunk is not None and chunk.size + size > CHUNK_BYTES:
            self._seal(chunk)
            chunk = None
        if chunk is None:
            chunk = Chunk(room, wire.VOLATILE if volatile else 0)
            chunk.keys.append(room)
            lanes[room] = chunk
            self._chunks.append(chunk)
            self.opened += 1
        if given != room:
            chunk.keys.append(given)
            lanes[given] = chunk
        return chunk

    def _seal(self, chunk: Chunk) -> None:
        lanes = self._open[bool(chunk.flags & wire.VOLATILE)]
        for key in chunk.keys:
            if lanes.get(key) is chunk:
                del lanes[key]
