"""What a program has published and nobody has sent yet: the place where batching happens.

Rules of this file
1. `add` is the hot path of publishing: one append, and no lock. A chunk stays open while turns are taken,
   so the longer they take, the larger the chunks.
2. Any thread may be stopped between any two steps. To append to a list is one step, the lists only grow, and
   a chunk is marked as sealed before its records are counted. So a record that was appended to a chunk which
   is not sealed afterwards is counted, and one that made the list longer by one alone is where it was then
   as long as. Everything else is looked into under the lock, by `_place`.
3. Bounded in bytes, which are granted to chunks under the lock: `add` blocks when it is full. That is the
   backpressure that a publisher feels.

Tests: tests/sockets/test_outbox.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import chain
from threading import Condition, Lock
from typing import Any, Generic, Protocol, TypeVar

from zchat import wire
from zchat.core.publishing import Chunk
from zchat.errors import Closed, TimedOut, TooLarge, ZchatError
from zchat.names import room_name
from zchat.sockets.clock import Deadline
from zchat.sockets.publication import Outcome

CHUNK_BYTES = 96 * 1024  # then the next chunk is opened; the broker joins them into batches of 128 KiB
OUTBOX_BYTES_MAX = 16 << 20  # then publish blocks
CLOSED = 1 << 62
TOO_LATE = -1
_ELSEWHERE = wire.Record(b"")  # in place of a record that came too late for its chunk, and went to the next
GRANT_BYTES = 4 * 1024  # of the outbox go to a chunk that is opened; then as much again as it has
RECORD_BYTES = 48  # what a record costs besides its body; it bounds the records of a chunk too, to 2048


class ProgramEnded(Closed):
    """Its clients were finished, and nothing more is sent."""

    def __init__(self) -> None:
        super().__init__("the program has ended")


class RoomWaiter(Protocol):
    """Who knows how long a call may wait for room here."""

    def room_deadline(self) -> Deadline:
        """Of one that finds it full."""

    def late(self, deadline: Deadline) -> TimedOut:
        """What a call raises when its time is over."""


P = TypeVar("P", bound=Outcome)


class Outbox(Generic[P]):
    """Chunks in the order in which they were opened. Thread-safe. What `add` returns is `made` of each record."""

    def __init__(
        self,
        wake: Callable[[], None],
        waiter: RoomWaiter,
        made: Callable[[Any, Chunk, int], P],
        has_some: Callable[[], object] | None = None,
    ) -> None:
        """`has_some` is called of each chunk that is opened, under the lock."""
        self.record_bytes_max = wire.RECORD_BYTES_MAX  # the broker's, once it is known; at least CHUNK_BYTES
        self.is_waiting = False  # nobody is awake to send, and who adds is to call `wake`
        self.opened = 0  # chunks so far: a chunk's number is its `seq`, as they are sent in this order
        self.bytes_waiting = 0  # of its room that is taken; more than there is, once it is closed
        self._wake = wake
        self._waiter = waiter
        self._made = made
        self._has_some = has_some
        self._lock = Lock()
        self._changed: Condition | None = None  # made by the first that waits: thousands of sessions never do
        self._open: tuple[dict[str, Chunk], dict[str, Chunk]] = ({}, {})  # by room: stored, volatile
        self.chunks: list[Chunk] = []  # not taken, oldest first, and few: a deque takes 700 bytes more, of each session
        self._error: ZchatError | None = None

    def add(self, room: str, record: wire.RecordOrBody, size: int, volatile: bool) -> P:
        """Queue one record of `size` bytes. Blocks while the outbox is full, as long as a call may wait.

        Raises BadName, TooLarge, TimedOut (it is not queued), and Closed once the client is closed.
        """
        size += RECORD_BYTES
        chunk = self._open[volatile].get(room)
        if chunk is None or chunk.left < size:
            chunk, index = self._add_with_grant(room, record, size, volatile)
        else:
            chunk.left -= size
            records = chunk.records
            index = len(records)
            records.append(record)
            if chunk.is_sealed or len(records) != index + 1:
                with self._lock:
                    index = self._place(chunk, index, record)
                if index == TOO_LATE:
                    return self.add(room, record, size - RECORD_BYTES, volatile)
        if self.is_waiting:
            self.is_waiting = False
            self._wake()
        made = self._made  # an attribute that is set: Python calls `self._made(…)` as a method, and looks twice
        return made(self._waiter, chunk, index)

    def take(self) -> Chunk | None:
        """The oldest chunk, sealed; None when there is none. By who drives the engine."""
        with self._lock:
            if not self.chunks:
                return None
            chunk = self.chunks.pop(0)
            self._seal(chunk)
            was_full = self.bytes_waiting > OUTBOX_BYTES_MAX
            self.bytes_waiting -= chunk.size
            if was_full and self.bytes_waiting <= OUTBOX_BYTES_MAX:
                self._tell_waiters()
            return chunk

    @property
    def is_full(self) -> bool:
        """Whether `add` would wait."""
        return self.bytes_waiting > OUTBOX_BYTES_MAX

    def close(self, error: ZchatError) -> list[Chunk]:
        """Take no more; `add` raises `error` from now on. Returns what was never sent."""
        with self._lock:
            self._error = error
            self.bytes_waiting = CLOSED  # as if full, so that `add` looks once
            left = list(self.chunks)
            self.chunks.clear()
            for chunk in left:
                self._seal(chunk)
            self._tell_waiters()
            return left

    def forked(self, error: ZchatError) -> None:
        """In a child after a fork, `close`: a thread that is not there any more may hold the lock."""
        self._lock, self._changed = Lock(), None
        self.is_waiting = False
        self.close(error)

    def _tell_waiters(self) -> None:
        if self._changed is not None:
            self._changed.notify_all()

    def _wait_for_room(self) -> None:
        deadline = self._waiter.room_deadline()
        while self._error is None and self.bytes_waiting > OUTBOX_BYTES_MAX:
            left = deadline.left()
            if left == 0.0:
                raise self._waiter.late(deadline)
            if self._changed is None:
                self._changed = Condition(self._lock)
            self._changed.wait(left)
        if isinstance(self._error, ProgramEnded) and threading.get_ident() != threading.main_thread().ident:
            while True:
                Condition(self._lock).wait()  # it ends with the process, and notices nothing
        if self._error is not None:
            raise Closed(str(self._error))

    def _add_with_grant(self, given: str, record: wire.RecordOrBody, size: int, volatile: bool) -> tuple[Chunk, int]:
        """Add to a chunk that is opened, or gets more of the outbox's bytes, for it. Returns it and the place there."""
        with self._lock:
            if self.bytes_waiting > OUTBOX_BYTES_MAX:
                self._wait_for_room()
            if size - RECORD_BYTES > self.record_bytes_max:
                raise TooLarge(size - RECORD_BYTES, self.record_bytes_max)
            room = room_name(given)
            lanes = self._open[volatile]
            chunk = lanes.get(room)
            if chunk is not None and chunk.size - chunk.left + size > CHUNK_BYTES:
                self._seal(chunk)
                chunk = None
            is_new = chunk is None
            chunk = chunk or Chunk(room, wire.VOLATILE if volatile else 0)
            grant = max(size - chunk.left, min(chunk.size, CHUNK_BYTES - chunk.size), GRANT_BYTES)
            self.bytes_waiting += grant
            chunk.size += grant
            chunk.left += grant - size
            index = len(chunk.records)
            chunk.records.append(record)
            if is_new:  # only now: no chunk without a record is sent
                self.opened += 1
                self.chunks.append(chunk)
                if self._has_some is not None:
                    self._has_some()
            chunk.keys |= {room, given}
            lanes[room] = lanes[given] = chunk
            is_there = not chunk.is_sealed and chunk.records[index] is record  # nearly always
            return chunk, index if is_there else self._place(chunk, index, record)

    def _place(self, chunk: Chunk, index: int, record: wire.RecordOrBody) -> int:
        """Where a record is that was appended at `index` or behind; TOO_LATE when it was not counted. Under the lock.

        Of the same object, appended more than once, one is as good as the other.
        """
        records = chunk.records
        for late in range(chunk.count, len(records)) if chunk.is_sealed else ():
            if records[late] is record:
                records[late] = _ELSEWHERE
                return TOO_LATE
        places = chain(range(index, len(records)), range(index))
        return next(place for place in places if records[place] is record)

    def _seal(self, chunk: Chunk) -> None:
        if chunk.is_sealed:
            return
        chunk.is_sealed = True
        chunk.count = len(chunk.records)
        lanes = self._open[bool(chunk.flags & wire.VOLATILE)]
        for key in chunk.keys:
            if lanes.get(key) is chunk:
                del lanes[key]
