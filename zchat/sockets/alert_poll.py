"""poll(2) for a loop that is asked and answered: where something came soon the last time, it stays awake for a moment.

    a turn ── sleep, 0.1 ms, woken ── a turn ── awake, 0.1 ms ── a turn ── … ── awake, 0.3 ms, nothing ── sleep

Rules of this file
1. To be woken takes the kernel, and in a virtual machine the host too, some time, of which a round trip has several.
   So where the last wait was short, the next one begins awake; one that was long ends that.
2. Meanwhile the processor is had by whoever else wants it (sched_yield(2)), between any two looks. So it is where
   something was sent that somebody waits for: libzmq's thread, which sends it, may have been woken on this processor.
3. Other threads of Python that work would be slowed down by it: who knows of some, only sleeps.

Tests: tests/sockets/test_alert_poll.py.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from time import monotonic

AWAKE_SECONDS = 0.0003

let_others: Callable[[], None] = getattr(os, "sched_yield", lambda: None)  # not everywhere


class AlertPoll:
    """Descriptors to be read."""

    def __init__(self, awake_seconds: float = AWAKE_SECONDS, let_others: Callable[[], object] = let_others) -> None:
        self._awake_seconds, self._let_others = awake_seconds, let_others
        self._poll = select.poll()
        self.unregister = self._poll.unregister
        self._is_alert = False  # the last wait was short

    def register(self, descriptor: int) -> None:
        """Wait for that one, too."""
        self._poll.register(descriptor, select.POLLIN)

    def wait(self, milliseconds: int, *, may_stay_awake: bool) -> list[tuple[int, int]]:
        """(descriptor, events) of those that can be read; none: the time is over. 0 only looks."""
        poll = self._poll.poll
        if not milliseconds:
            return poll(0)
        until = monotonic() + self._awake_seconds
        if self._is_alert and may_stay_awake:
            while monotonic() < until:
                self._let_others()
                if found := poll(0):
                    return found
        found = poll(milliseconds)
        self._is_alert = monotonic() < until
        return found
