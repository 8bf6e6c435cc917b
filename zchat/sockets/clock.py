"""The one place where both clocks are read: the cores get the time as an argument."""

from __future__ import annotations

import time

from zchat.core import Instant


def instant() -> Instant:
    """Now."""
    return Instant(time.monotonic(), time.time_ns() // 1000)
