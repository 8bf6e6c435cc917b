"""A program's functions are called beside what it does: by a thread of their own, one after the other.

Rules of this file
1. A function may take its time, and call the client; what it raises is reported as any thread's error is, and ends
   nothing.
2. A program is told when its connection is lost and when it is back, also one that listens to nothing.

Tests: tests/sockets/test_client.py.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable

from zchat.core.gaps import Notice
from zchat.errors import ZchatError

WAITING_MAX = 1_000  # notices for a function that takes nothing: further ones are left out
IDLE_SECONDS = 1.0  # then the thread ends; the next call begins another


class Caller:
    """Calls functions. Thread-safe."""

    def __init__(self) -> None:
        self._calls: deque[Callable[[], object]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_over = False

    def call(self, function: Callable[[], object]) -> None:
        """Have it called."""
        with self._changed:
            self._calls.append(function)
            self._changed.notify()
            if self._thread is None:
                self._begin()

    def end(self) -> None:
        """The client has ended: once all is called, the thread does not wait for more."""
        with self._changed:
            self._is_over = True
            self._changed.notify()

    def forked(self) -> None:
        """In a child after a fork: the thread is not there, and what it was to call is the parent's."""
        self.__init__()  # type: ignore[misc]

    def _begin(self) -> None:
        self._thread = threading.Thread(target=self._run, name="zchat calls", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # Python ends, and begins none any more: nobody is told of anything
            self._thread = None

    def _run(self) -> None:
        while (function := self._next()) is not None:
            try:
                function()
            except (Exception, SystemExit):
                threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))

    def _next(self) -> Callable[[], object] | None:
        with self._changed:
            if not self._calls and not self._is_over:
                self._changed.wait(IDLE_SECONDS)
            if self._calls:
                return self._calls.popleft()
            self._thread = None
            return None


class Notices:
    """What the function `on_notice` of a client is told by its engine; `call` has it called."""

    def __init__(
        self, on_notice: Callable[[Notice], object] | None, call: Callable[[Callable[[], object]], object]
    ) -> None:
        self._on_notice = on_notice
        self._call = call
        self._given = self._called = 0  # each counted by one thread
        self._is_lost = True  # before the first WELCOME: `connect` tells that
        self._was_there = False

    def there(self) -> None:
        """The broker is there; said as often as one likes."""
        if self._is_lost and self._was_there:
            self._tell(Notice("back"))
        self._is_lost, self._was_there = False, True

    def lost(self, reason: str) -> None:
        """The connection is lost; said as often as one likes."""
        if not self._is_lost:
            self._tell(Notice("lost", reason=reason))
        self._is_lost = True

    def end(self, broke: ZchatError | None) -> None:
        """The client has ended; `broke` says why, where nobody closed it."""
        if broke is not None and self._was_there:
            self._is_lost = False
            self.lost(str(broke))

    def _tell(self, notice: Notice) -> None:
        if self._on_notice is not None and self._given - self._called < WAITING_MAX:
            self._given += 1
            self._call(lambda: self._told(notice))

    def _told(self, notice: Notice) -> None:
        self._called += 1
        if self._on_notice is not None:
            self._on_notice(notice)
