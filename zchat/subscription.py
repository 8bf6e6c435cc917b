"""One subscription as a program holds it: messages as they come, in order, and the cursor that lasts.

Rules of this file
1. It says what has left its buffer; where a cursor may stand, core/progress.py decides.
2. Nothing is handed over after `close`, whoever calls it: what is left comes with the next `resume`.

    ordering --Delivery, Notice, Mark--> incoming --> its buffer of one batch --get, iteration--> the program

Spec: docs/client.md. Tests: tests/test_client.py, tests/test_cursors.py, tests/test_endings.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from queue import Empty

from zchat.core.client import CLOSED
from zchat.core.listening import Listener
from zchat.core.ordering import Delivery, Notice
from zchat.errors import Closed, TimedOut, UsageError, ZchatError
from zchat.message import Message, messages
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
        *,
        echo: bool,
        on_notice: Callable[[Notice], None] | None,
        closed: Callable[[Subscription], None],
    ) -> None:
        self._connection = connection
        self._listener = listener
        self._echo = echo
        self._on_notice = on_notice
        self._tell_closed = closed
        self._progress = listener.progress
        self._incoming = Incoming(
            lambda on: connection.later(lambda core, now: listener.ordering.paused(on)), connection
        )
        self._closed = False

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        """`<zchat.Subscription of alice to general, build.**: open>`."""
        shown, more = self._listener.patterns[:5], len(self._listener.patterns) - 5
        to = ", ".join([*shown, f"{more} more"] if more > 0 else shown)
        cursor = f", resumes {self._progress.cursor}" if self._progress.cursor else ""
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

    def commit(self) -> None:
        """Move the cursor here: all that was handed over is done. Returns at once; it is stored soon after.

        Raises UsageError without a cursor, Closed after the end.
        """
        if not self._progress.cursor:
            raise UsageError("a subscription without `resume` has no cursor to commit")
        with self._incoming.lock:
            if self._closed:
                raise Closed("the subscription is closed")
            if self._connection.state == CLOSED:
                raise self._connection.broke or Closed()
            self._progress.commit(self._left)

    @property
    def repeats_after(self) -> int | None:
        """Told by `close`: above this offset what was handed over may come again; None: nothing does."""
        return self._progress.repeats_after

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
            first = self._incoming.drop()
            left = None if first is None else first.offset
            logs = self._listener.ordering.logs
            is_to_be_stored = self._progress.end(left, logs, counts=counts, is_exact=self._echo)
        self._tell_closed(self)
        try:
            if is_to_be_stored and self._connection.is_ready:
                self._connection.run(self._progress.last_commit(self._listener.log_id), deadline)
        except ZchatError:
            pass  # it is behind: at least once
        finally:
            self._incoming.end()
            if not with_client:
                self._leave(deadline)

    def _leave(self, deadline: Deadline) -> None:
        try:
            self._connection.unlisten(self._listener)
            if self._listener.is_joined:
                self._connection.part(self._listener.rooms, deadline)
        except ZchatError:
            pass  # the client has ended, or the broker is away

    @property
    def _left(self) -> int | None:
        """The first offset in the buffer."""
        try:
            return self._incoming.buffer[0].offset
        except IndexError:
            return None

    def _take(self, timeout: float | None) -> bool:
        """Move what comes next into the buffer. False at the end; raises queue.Empty, and why the client broke."""
        incoming = self._incoming
        with incoming.lock:
            if self._closed:
                return False
            self._progress.asks()
        item = incoming.take(timeout)
        with incoming.lock:
            if self._closed:
                return False  # meanwhile: it is not handed over
            if item is None:
                if self._connection.broke is not None:
                    raise self._connection.broke
                return False
            self._progress.take(item)
            if isinstance(item, Delivery):
                without = "" if self._echo else self._connection.welcome.session
                incoming.buffer.extend(messages(item.room, item.batch, item.first, without))
        if isinstance(item, Notice) and self._on_notice is not None:
            self._on_notice(item)
        return True
