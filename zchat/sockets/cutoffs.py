"""Cutting peers off, telling the operator, and finding the one whose subscriptions libzmq takes without end.

Rules of this file
1. What the operator is told of is told once a minute for each reason: an attacker must not fill the disk.
2. libzmq takes in all subscriptions that have arrived before a program sees the first, and a tree that grows by
   100,000 topics takes seconds. The broker's thread cannot act meanwhile, so another one watches it (`FloodWatch`).

Tests: tests/sockets/test_cutoffs.py, tests/sockets/test_overload.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from zchat.sockets import options

TOLD_SECONDS = 60.0
IDLE_SECONDS = 0.1  # between two looks,
BUSY_SECONDS = 0.02  # and while that thread works
SHARE = 0.1  # of the time at most is spent on looking: with thousands of subscribers it takes a while


class CutOffs:
    """Ends connections and tells why. Thread-safe."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._told: dict[str, float] = {}  # reason -> when
        self._untold: dict[str, int] = {}  # reason -> cut off since then

    def cut_off(self, descriptor: int, reason: str) -> None:
        """End that connection: its peer `reason`."""
        address = options.cut_off(descriptor)
        if address is None:
            return  # gone already
        now = time.monotonic()
        with self._lock:
            others = self._untold.pop(reason, 0)
            if now - self._told.get(reason, -TOLD_SECONDS) < TOLD_SECONDS:
                self._untold[reason] = others + 1
                return
            self._told[reason] = now
        more = f"; so were {others} others in the last minutes" if others else ""
        self._tell(f"{address or 'a peer'} is cut off: it {reason}{more}")


class FloodWatch:
    """Calls `act` while the broker's thread works in one turn for long, or is behind. Made on that thread."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.turns = 0  # counted by the broker's thread,
        self.is_behind = False  # which says whether there are subscriptions that it has not taken
        self._act = act
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        if hasattr(time, "pthread_getcpuclockid"):  # not on every system
            clock = time.pthread_getcpuclockid(threading.get_ident())
            self._thread = threading.Thread(target=self._watch, args=(clock,), name="zchat-watch", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the watch, before the sockets are closed."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, clock: int) -> None:
        turns, worked, not_before, seconds = self.turns, time.clock_gettime(clock), 0.0, IDLE_SECONDS
        while not self._ended.wait(seconds):
            before, worked = worked, time.clock_gettime(clock)
            works = worked - before > BUSY_SECONDS / 2
            seconds = BUSY_SECONDS if works else IDLE_SECONDS
            began = time.monotonic()
            if works and (self.is_behind or turns == self.turns) and began >= not_before:
                self._act()
                took = time.monotonic() - began
                not_before = began + took / SHARE
            turns = self.turns
