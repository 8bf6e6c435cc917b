"""One subscription as a program holds it: messages as they come, in order, and the cursor that lasts.

Rules of this file
1. What the I/O thread hands on waits in a queue with a bound in bytes; above it the chain is paused, and
   what comes meanwhile is fetched when the consumer has caught up.
2. A cursor is kept behind what was handed over, never before it: at least once after a crash, exactly once
   after `close`.

    chain --Delivery, Notice, Mark--> queue --> buffer of one batch --get, iteration--> the program

Spec: docs/client.md. Tests: tests/test_client.py, tests/test_cursors.py.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue

from zchat import wire
from zchat.core.answers import Stored
from zchat.core.chain import Delivery, Mark, Notice
from zchat.core.held import cost
from zchat.core.history import History
from zchat.core.listening import Listener
from zchat.errors import Closed, TimedOut, UsageError, ZchatError
from zchat.message import Message, messages
from zchat.names import is_pattern
from zchat.sockets.client import Connection
from zchat.sockets.clock import Deadline, waitable

QUEUED_BYTES_MAX = 32 << 20  # of a listener that does not read: what comes after is fetched again when it does
QUEUED_BYTES_LOW = 8 << 20
NOTICE_BYTES = 300  # what one takes, and a mark
CLOSE_SECONDS = 3.0  # for the broker's word that the cursor is stored and the rooms are left


class Subscription:
    """Messages as they come, in order. An iterator; `get` waits for one. A context manager. Made by `listen`."""

    def __init__(
        self,
        connection: Connection,
        listener: Listener,
        position: int,
        *,
        echo: bool,
        notify: Callable[[Notice], None] | None,
        keeps: bool,
    ) -> None:
        self._connection = connection
        self._listener = listener
        self._echo = echo
        self._notify = notify
        self._keeps = keeps  # the cursor follows by itself
        self._one_room = len(listener.patterns) == 1 and not is_pattern(listener.patterns[0])
        self._queue: SimpleQueue[Delivery | Notice | Mark | None] = SimpleQueue()
        self._buffer: deque[Message] = deque()
        self._put_bytes = 0  # written by the I/O thread
        self._taken_bytes = 0  # written by the consumer
        self._paused = False
        self._closed = False
        self._log = 0  # how often the broker had another log
        self._position = 0  # nothing at or below it, in any room, is still to be handed over
        self._handed: dict[str, int] = {}  # room -> last offset handed over above the position
        self._done: dict[str, int] = {}  # the same, of what `keep` was called for
        self._batch: Delivery | None = None  # in the buffer
        self.is_live = False
        self.repeats_after: int | None = None  # told by `close`: above this offset what was handed over may come again
        self._begin_at(position)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Message]:
        """Messages until the subscription or the client is closed."""
        buffer = self._buffer
        while True:
            while buffer:
                yield buffer.popleft()
            if not self._take(None):
                return

    def get(self, timeout: float | None = None) -> Message:
        """The next message. Raises TimedOut, Closed after the end, UsageError."""
        if not self._buffer:
            self._wait_for_message(waitable(timeout))
        return self._buffer.popleft()

    def pending(self) -> bool:
        """Whether a message can be had without waiting."""
        while not self._buffer and not self._queue.empty():
            if not self._take(0.0):
                return False
        return bool(self._buffer)

    def keep(self) -> None:
        """Keep the cursor here: all that was handed over is done. Returns at once; it is stored soon after."""
        if not self._listener.cursor:
            raise UsageError("a subscription without `resume` has no cursor to keep")
        self._note_handed()
        self._listener.keep = (self._log, self._position)
        self._done = dict(self._handed)

    def close(self) -> None:
        """End it: nothing more comes, the rooms are left, and a cursor that follows by itself is stored."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._listener.cursor:
                self._keep_at_the_end()
        finally:
            try:
                self._connection.unlisten(self._listener)
                self._connection.part(self._listener.rooms, Deadline("part", CLOSE_SECONDS))
            except ZchatError:
                pass
            self._queue.put(None)

    # --- on the I/O thread ------------------------------------------------------------------

    def put(self, out: list[Delivery | Notice | Mark]) -> None:
        """What the chain hands on; an empty list is the end."""
        if not out:
            self._queue.put(None)
        for item in out:
            self._put_bytes += _size(item)
            self._queue.put(item)
        if not self._paused and self._put_bytes - self._taken_bytes > QUEUED_BYTES_MAX:
            self._paused = True
            self._listener.chain.paused(True)

    # --- parts ------------------------------------------------------------------------------

    def _begin_at(self, offset: int, *, stored: bool = True) -> None:
        """What follows is still to be handed over. A cursor that is not stored there yet is stored soon."""
        self._position = offset
        self._listener.keep = (0, offset)
        self._listener.kept = (0, offset) if stored else (0, -1)

    def _wait_for_message(self, timeout: float | None) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._buffer:
            try:
                if not self._take(None if deadline is None else max(0.0, deadline - time.monotonic())):
                    raise Closed("the subscription is closed")
            except Empty:
                raise TimedOut("message", timeout or 0.0) from None

    def _take(self, timeout: float | None) -> bool:
        """Move what comes next into the buffer. False at the end; raises queue.Empty."""
        if self._batch is not None:
            self._note_handed()
            if self._keeps:
                self._listener.keep = (self._log, self._position)
        if self._closed and self._queue.empty():
            return False
        item = self._queue.get(timeout=timeout)
        if item is None:
            self._queue.put(None)
            if not self._closed and self._connection.broke is not None:
                raise self._connection.broke
            return False
        self._took(_size(item))
        if isinstance(item, Notice):
            self._noticed(item)
        elif isinstance(item, Mark):
            self._position = max(self._position, item.offset)
            self._handed.clear()
        else:
            without = "" if self._echo else self._connection.welcome.session
            self._buffer.extend(messages(item.room, item.batch, item.first, without))
            self._batch = item
        return True

    def _took(self, size: int) -> None:
        self._taken_bytes += size
        if self._paused and self._put_bytes - self._taken_bytes < QUEUED_BYTES_LOW:
            self._paused = False
            self._connection.later(lambda core, now: self._listener.chain.paused(False))

    def _noticed(self, notice: Notice) -> None:
        if notice.kind == "live":
            self.is_live = True
        elif notice.kind == "gap" and notice.reason == "log":
            self._log += 1
            self._position = min(self._position, notice.offset - 1) if notice.last else 0
            self._handed.clear()
        if self._notify is not None:
            self._notify(notice)

    def _note_handed(self) -> None:
        """The messages that have left the buffer were handed over."""
        batch = self._batch
        if batch is None:
            return
        if self._buffer:  # some are left: up to the first of them
            handed = self._buffer[0].offset - 1
        else:
            handed = batch.last
            self._batch = None
        if batch.last and handed >= batch.first:
            self._listener.at = (self._log, handed)
            if self._one_room:
                self._position = handed
            elif self._listener.cursor:
                self._handed[batch.room] = handed

    def _keep_at_the_end(self) -> None:
        """Store the cursor and wait for it. Where the broker is away, what was stored before stays."""
        listener = self._listener
        if self._keeps:
            self.keep()
        log, position = listener.keep
        highest = max(self._done.values(), default=0)
        if log != listener.chain.logs or (listener.keep == listener.kept and highest <= position):
            return
        self.repeats_after = max(0, listener.kept[1]) if listener.kept[0] == log else 0
        if not self._connection.is_ready:
            return
        try:
            listener.keep = (log, self._contiguous(position, self._done))
            if listener.keep != listener.kept:
                self._connection.keep_cursor(listener.cursor, listener.keep[1], Deadline("the cursor", CLOSE_SECONDS))
        except ZchatError:
            return  # it is behind: at least once
        listener.kept = listener.keep
        self.repeats_after = listener.keep[1] if listener.keep[1] < highest else None

    def _contiguous(self, position: int, done: dict[str, int]) -> int:
        """How far everything is done, in all rooms: all up to `position`, and above it room by room.

        Over several rooms a batch may have been dropped on the way and not be missed yet: the heads tell.
        """
        highest = max(done.values(), default=0)
        if highest <= position:
            return position
        behind = {}
        deadline = Deadline("the cursor", CLOSE_SECONDS)
        heads = self._connection.ask(wire.Heads(0, self._listener.patterns), wire.HeadsAre, deadline)
        for room, last in heads.rooms:
            if (upto := max(done.get(room, 0), position)) < min(last, highest):
                behind[room] = upto
        after = min(behind.values(), default=highest)
        rooms = list(behind) if 0 < len(behind) <= wire.ROOMS_PER_MESSAGE_MAX else self._listener.patterns
        history = History(rooms, after, highest)
        while history.fetch is not None:
            for part in history.take(self._connection.ask(history.fetch, wire.Page, deadline)):
                if isinstance(part, Stored) and part.batch.kind == wire.MESSAGES:
                    for message in messages(part.room, part.batch, max(done.get(part.room, 0), position) + 1):
                        return min(message.offset - 1, highest)
        return highest


def _size(item: Delivery | Notice | Mark) -> int:
    """Bytes of memory."""
    return item.size + cost(item.batch) if isinstance(item, Delivery) else NOTICE_BYTES
