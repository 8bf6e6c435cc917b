"""One subscription as a program holds it: messages as they come, in order, and the cursor that lasts.

Rules of this file
1. A cursor is kept behind what was handed over, never before it: at least once after a crash, exactly once
   after `close`.
2. Nothing is handed over after `close`, whoever calls it: what is left comes with the next `resume`.

    chain --Delivery, Notice, Mark--> incoming --> its buffer of one batch --get, iteration--> the program

Spec: docs/client.md. Tests: tests/test_client.py, tests/test_cursors.py, tests/test_endings.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from queue import Empty

from zchat import wire
from zchat.core.answers import Stored
from zchat.core.chain import Delivery, Mark, Notice
from zchat.core.client import CLOSED
from zchat.core.history import History
from zchat.core.listening import Listener
from zchat.errors import Closed, TimedOut, UsageError, ZchatError
from zchat.message import Message, messages
from zchat.names import is_pattern
from zchat.sockets.client import Connection
from zchat.sockets.clock import Deadline, waitable
from zchat.sockets.incoming import Incoming

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
        closed: Callable[[Subscription], None],
    ) -> None:
        self._connection = connection
        self._listener = listener
        self._echo = echo
        self._notify = notify
        self._keeps = keeps  # the cursor follows by itself
        self._tell_closed = closed
        self._one_room = len(listener.patterns) == 1 and not is_pattern(listener.patterns[0])
        self._incoming = Incoming(lambda on: connection.later(lambda core, now: listener.chain.paused(on)))
        self._closed = False
        self._log = 0  # how often the broker had another log
        self._position = 0  # nothing at or below it, in any room, is still to be handed over
        self._handed: dict[str, int] = {}  # room -> last offset handed over above the position
        self._done: dict[str, int] = {}  # the same, of what `keep` was called for
        self._batch: Delivery | None = None  # in the buffer
        self.repeats_after: int | None = None  # told by `close`: above this offset what was handed over may come again
        self._begin_at(position)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        """`<zchat.Subscription of alice to general, build.**: open>`."""
        shown, more = self._listener.patterns[:5], len(self._listener.patterns) - 5
        to = ", ".join([*shown, f"{more} more"] if more > 0 else shown)
        cursor = f", resumes {self._listener.cursor}" if self._listener.cursor else ""
        state = "closed" if self._closed or self._connection.state == CLOSED else "open"
        return f"<zchat.Subscription of {self._connection.user} to {to}{cursor}: {state}>"

    def __iter__(self) -> Iterator[Message]:
        """Messages until the subscription or the client is closed."""
        buffer = self._incoming.buffer
        while True:
            try:
                while True:
                    yield buffer.popleft()
            except IndexError:
                if not self._take(None):
                    return

    def __next__(self) -> Message:
        """The next message; StopIteration when the subscription or the client is closed."""
        while True:
            try:
                return self._incoming.buffer.popleft()
            except IndexError:
                if not self._take(None):
                    raise StopIteration from None

    def get(self, timeout: float | None = None) -> Message:
        """The next message. Raises TimedOut, Closed after the end, UsageError."""
        seconds = waitable(timeout)
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            try:
                return self._incoming.buffer.popleft()
            except IndexError:
                pass
            try:
                if not self._take(None if deadline is None else max(0.0, deadline - time.monotonic())):
                    raise Closed("the subscription is closed")
            except Empty:
                raise TimedOut("message", seconds or 0.0) from None

    def pending(self) -> bool:
        """Whether a message can be had without waiting."""
        while not self._incoming.buffer and not self._incoming.is_empty():
            if not self._take(0.0):
                return False
        return bool(self._incoming.buffer)

    def keep(self) -> None:
        """Keep the cursor here: all that was handed over is done. Returns at once; it is stored soon after.

        Raises UsageError without a cursor, Closed after the end.
        """
        if not self._listener.cursor:
            raise UsageError("a subscription without `resume` has no cursor to keep")
        with self._incoming.lock:
            if self._closed:
                raise Closed("the subscription is closed")
            if self._connection.state == CLOSED:
                raise self._connection.broke or Closed()
            self._note_handed()
            self._keep_here()

    def close(self) -> None:
        """End it: nothing more comes, the rooms are left, and a cursor that follows by itself is stored."""
        self._end(Deadline("close", CLOSE_SECONDS))

    # --- parts ------------------------------------------------------------------------------

    def _end(self, deadline: Deadline, *, counts: bool = True, with_client: bool = False) -> None:
        """`close`. Unless it `counts`, the message in hand was not handed over. A client that ends leaves all rooms."""
        with self._incoming.lock:
            if self._closed:
                return
            self._closed = True
            in_hand = self._batch
            first = self._incoming.drop()
            if self._keeps and (counts or self._echo):  # else who knows where the one in hand is
                self._note_handed(first, but=0 if counts else 1)
                self._keep_here()
        self._tell_closed(self)
        try:
            if self._listener.cursor:
                self._keep_at_the_end(deadline)
                if in_hand and self._keeps and not counts and self.repeats_after is None:
                    self.repeats_after = self._listener.keep[1]
        finally:
            self._incoming.end()
            if not with_client:
                self._leave(deadline)

    def _leave(self, deadline: Deadline) -> None:
        try:
            self._connection.unlisten(self._listener)
            self._connection.part(self._listener.rooms, deadline)
        except ZchatError:
            pass  # the client has ended, or the broker is away

    def _begin_at(self, offset: int, *, stored: bool = True) -> None:
        """What follows is still to be handed over. A cursor that is not stored there yet is stored soon."""
        self._position = offset
        self._listener.keep = (0, offset)
        self._listener.kept = (0, offset) if stored else (0, -1)

    def _take(self, timeout: float | None) -> bool:
        """Move what comes next into the buffer. False at the end; raises queue.Empty, and why the client broke."""
        incoming = self._incoming
        with incoming.lock:
            if self._closed:
                return False
            if self._batch is not None:
                self._note_handed()
                if self._keeps:
                    self._listener.keep = (self._log, self._position)
        item = incoming.take(timeout)
        with incoming.lock:
            if self._closed:
                return False  # meanwhile: it is not handed over
            if item is None:
                if self._connection.broke is not None:
                    raise self._connection.broke
                return False
            if isinstance(item, Notice):
                self._noticed(item)
            elif isinstance(item, Mark):
                self._position = max(self._position, item.offset)
                self._handed.clear()
            else:
                without = "" if self._echo else self._connection.welcome.session
                incoming.buffer.extend(messages(item.room, item.batch, item.first, without))
                self._batch = item
        if isinstance(item, Notice) and self._notify is not None:
            self._notify(item)
        return True

    def _noticed(self, notice: Notice) -> None:
        if notice.kind == "gap" and notice.reason == "log":
            self._log += 1
            self._position = min(self._position, notice.offset - 1) if notice.last else 0
            self._handed.clear()

    def _note_handed(self, left: Message | None = None, *, but: int = 0) -> None:
        """What has left the buffer was handed over, `but` so many; `left` is the first of it that was not."""
        batch = self._batch
        if batch is None:
            return
        try:
            left = left or self._incoming.buffer[0]
        except IndexError:  # none is left
            self._batch = None
        handed = (left.offset - 1 if left else batch.last) - but
        if batch.last and handed >= max(batch.first, self._position if self._one_room else 0):
            self._listener.at = (self._log, handed)
            if self._one_room:
                self._position = handed
            elif self._listener.cursor:
                self._handed[batch.room] = handed

    def _keep_here(self) -> None:
        self._listener.keep = (self._log, self._position)
        self._done = dict(self._handed)

    def _keep_at_the_end(self, deadline: Deadline) -> None:
        """Store the cursor and wait for it. Where the broker is away, what was stored before stays."""
        listener = self._listener
        log, position = listener.keep
        highest = max(self._done.values(), default=0)
        if log != listener.chain.logs or (listener.keep == listener.kept and highest <= position):
            return
        self.repeats_after = max(0, listener.kept[1]) if listener.kept[0] == log else 0
        if not self._connection.is_ready:
            return
        try:
            listener.keep = (log, self._contiguous(position, self._done, deadline))
            if listener.keep != listener.kept:
                self._connection.keep_cursor(listener.cursor, listener.keep[1], deadline)
        except ZchatError:
            return  # it is behind: at least once
        listener.kept = listener.keep
        self.repeats_after = listener.keep[1] if listener.keep[1] < highest else None

    def _contiguous(self, position: int, done: dict[str, int], deadline: Deadline) -> int:
        """How far everything is done, in all rooms: all up to `position`, and above it room by room.

        Over several rooms a batch may have been dropped on the way and not be missed yet: the heads tell.
        """
        highest = max(done.values(), default=0)
        if highest <= position:
            return position
        behind = {}
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
