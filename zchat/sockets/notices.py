"""A program is told when its connection is lost and when it is back, also one that listens to nothing.

Rules of this file: its function is called in a thread of its own, one notice after the other. So it may take its time,
and call the client; what it raises is reported as any thread's error is, and ends nothing.

Tests: tests/sockets/test_client.py.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue

from zchat.core.ordering import Notice
from zchat.errors import ZchatError

WAITING_MAX = 1_000  # notices for a function that takes nothing: further ones are left out


class Notices:
    """Told by the engine."""

    def __init__(self, on_notice: Callable[[Notice], object] | None) -> None:
        self._on_notice = on_notice
        self._queue: SimpleQueue[Notice | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
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
        self._queue.put(None)

    def _tell(self, notice: Notice) -> None:
        if self._on_notice is None or self._queue.qsize() >= WAITING_MAX:
            return
        self._queue.put(notice)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="zchat notices", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        assert self._on_notice is not None
        while (notice := self._queue.get()) is not None:
            try:
                self._on_notice(notice)
            except Exception:
                threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), self._thread)))
