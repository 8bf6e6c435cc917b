"""One subscription as a program of threads holds it: an iterator of messages, in order.

Rules of this file: it waits, and converts nothing. What was handed over, and where the cursor stands, is in
sockets/intake.py.

Spec: docs/client.md. Tests: tests/test_client.py, tests/test_cursors.py, tests/test_endings.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from queue import Empty
from types import TracebackType

from zchat.core.gaps import Notice
from zchat.core.working import Receiver
from zchat.errors import Closed, TimedOut, ZchatError
from zchat.message import Message
from zchat.sockets.client import Connection
from zchat.sockets.clock import Deadline, waitable
from zchat.sockets.incoming import Incoming, Item
from zchat.sockets.intake import TakenOut
from zchat.sockets.job_intake import intake_of

CLOSE_SECONDS = 3.0  # for the broker's word that the cursor is stored and the rooms are left


class Subscription:
    """Messages as they come, in order. An iterator; `get` waits for one. A context manager. Made by `listen`."""

    def __init__(
        self,
        connection: Connection,
        listener: Receiver,
        *,
        echo: bool,
        follows: bool,
        on_notice: Callable[[Notice], None] | None,
        closed: Callable[[Subscription], None],
    ) -> None:
        self._connection = connection
        self._listener = listener
        self._on_notice = on_notice
        self._tell_closed = closed
        self._incoming = Incoming(
            lambda on: connection.later(lambda core, now: core.paused(listener, on)), connection.stir
        )
        self._intake = intake_of(connection, listener, self._incoming, echo=echo, follows=follows)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(Deadline("close", CLOSE_SECONDS), counts=kind is None or not self._intake.of_group)

    def __repr__(self) -> str:
        """`<zchat.Subscription of alice to general, build.**: open>`."""
        return f"<zchat.Subscription {self._intake!r}>"

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
        """Whether a message can be had without waiting; with a job in hand, whether anything is there."""
        if self._intake.has_job_in_hand:  # to look closer would be to ask for more, and it would be done
            return bool(self._incoming.buffer or self._incoming.has_some())
        while not self._incoming.buffer and self._incoming.has_some():
            if not self._take(0.0):
                return False
        return bool(self._incoming.buffer)

    def commit(self) -> None:
        """Move the cursor here: all that was handed over is done. Returns at once; it is stored soon after.

        Raises UsageError without a cursor, Closed after the end.
        """
        self._intake.commit()

    @property
    def repeats_after(self) -> int | None:
        """Told by `close`: above this offset what was handed over may come again; None: nothing does."""
        return self._intake.repeats_after

    def close(self) -> None:
        """End it: nothing more comes, the rooms are left, and a cursor that follows by itself is stored."""
        self._end(Deadline("close", CLOSE_SECONDS))

    # --- parts ------------------------------------------------------------------------------

    def _end(self, deadline: Deadline, *, counts: bool = True, with_client: bool = False) -> None:
        """`close`. Unless it `counts`, the message in hand was not handed over. A client that ends leaves all rooms."""
        with self._incoming.lock:
            if self._intake.is_closed:
                return
            steps = self._intake.close(counts=counts)
        self._tell_closed(self)
        try:
            if steps is not None:
                self._connection.run(steps, deadline)
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

    def _next(self, timeout: float | None) -> Item | None:
        incoming = self._incoming
        if not incoming.has_some():
            deadline = Deadline("message", timeout)
            while self._connection.wait_for_some(incoming, deadline):
                try:
                    return incoming.take()
                except Empty:
                    pass  # another thread has taken it
        return incoming.take()

    def _take(self, timeout: float | None) -> bool:
        """Move what comes next into the buffer. False at the end; raises queue.Empty, and why the client broke."""
        if not self._intake.asks():
            return False
        try:
            notice = self._intake.take(self._next(timeout))
        except TakenOut:
            return False
        if notice is not None and self._on_notice is not None:
            self._on_notice(notice)
        return True
