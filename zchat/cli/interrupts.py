"""SIGINT, SIGTERM and SIGHUP raise, so that `with` blocks are left, but never in the middle of what belongs together.

Rules of this file
1. The first one raises where the program is: KeyboardInterrupt, or SystemExit with 143 or 129. Inside of `held` it
   waits for the end of the block, for `let_in`, or for `passing`, which is put around what may wait long.
2. A second one raises wherever the program is, and so does the first after HELD_SECONDS: a reader that takes
   nothing more must not keep a command alive.
3. Two within AGAIN_SECONDS are one: timeout(1) signals its command, and then the group that it is in.
4. That the reader of standard output has gone is one more of them, as SIGPIPE, where it is watched (streams.py). It
   raises ReaderGone, once.

Tests: tests/cli/test_interrupts.py.
"""

from __future__ import annotations

import gc
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

HELD_SECONDS = 3.0
AGAIN_SECONDS = 0.1
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ReaderGone(BaseException):
    """Nobody reads standard output any more. As KeyboardInterrupt, it is no error that something on its way handles."""


class Interrupts:
    """What becomes of the signals that end a command. There is one, `interrupts`."""

    def __init__(self, held_seconds: float = HELD_SECONDS) -> None:
        self._held_seconds = held_seconds
        self._is_held = False
        self._waits = False  # one came while they are held
        self._signum = 0  # of the one that came last
        self._came_at = 0.0
        self.ended_by = 0  # the one that the command ends by

    def install(self) -> None:
        """From now on they raise."""
        signal.signal(signal.SIGALRM, self._overdue)
        for signum in ENDS:
            handle(signum, self._came)

    def install_reader_gone(self) -> None:
        """From now on a reader that goes raises."""
        signal.signal(signal.SIGPIPE, self._came)

    @contextmanager
    def held(self) -> Iterator[None]:
        """A block that the first signal does not tear: it raises at the block's end."""
        before, self._is_held = self._is_held, True
        try:
            yield
        finally:
            self._is_held = before
        if not before:
            self.let_in()

    @contextmanager
    def loading(self) -> Iterator[None]:
        """A block of imports: it is not torn (msgspec loses what is raised while it looks at types, and nobody would
        ever end), nor is it looked through for garbage, of which there is none.
        """
        gc.disable()
        try:
            with self.held():
                yield
        finally:
            gc.freeze()
            gc.enable()

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Inside of `held`, a block in which they raise at once."""
        before, self._is_held = self._is_held, False
        try:
            self.let_in()
            yield
        finally:
            self._is_held = before

    def end_by(self, signum: int) -> NoReturn:
        """Raise what ends the command by this signal."""
        if signum == signal.SIGPIPE:
            raise ReaderGone
        self.ended_by = signum
        if signum == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + signum)

    def let_in(self) -> None:
        """Inside of `held`, a place where the one that waits may raise."""
        if self._waits:
            self._raise()

    # --- parts ------------------------------------------------------------------------------

    def _came(self, signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        is_first = not self._signum
        if not is_first and (now - self._came_at < AGAIN_SECONDS or signum == signal.SIGPIPE):
            return
        self._signum, self._came_at = signum, now
        if not (is_first and self._is_held):
            self._raise()
        self._waits = True
        signal.setitimer(signal.ITIMER_REAL, self._held_seconds)

    def _overdue(self, signum: int, frame: FrameType | None) -> None:
        self.let_in()

    def _raise(self) -> NoReturn:
        self._waits = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.end_by(self._signum)


interrupts = Interrupts()


def handle(signum: int, handler: Any) -> None:
    """Handle one that ends a command, unless it was ignored from the start: that is meant to last.

    A shell script ignores SIGINT for what runs in its background, nohup(1) ignores SIGHUP.
    """
    if signum == signal.SIGTERM or signal.getsignal(signum) is not signal.SIG_IGN:
        signal.signal(signum, handler)
