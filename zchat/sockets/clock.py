"""The one place where both clocks are read: the cores get the time as an argument. And how long a thread can wait."""

from __future__ import annotations

import threading
import time

from zchat.core import Instant
from zchat.errors import UsageError

WAIT_SECONDS_MAX = threading.TIMEOUT_MAX / 2  # no deadline is so far that rounding makes it too far


def instant() -> Instant:
    """Now."""
    return Instant(time.monotonic(), time.time_ns() // 1000)


def waitable(timeout: float | None) -> float | None:
    """Seconds to wait, as many as a thread can. Raises UsageError."""
    if timeout is None:
        return None
    try:
        if timeout <= 0:
            return 0.0
        if timeout > 0:  # else it is not a number
            return min(timeout, WAIT_SECONDS_MAX)
    except TypeError:
        pass
    raise UsageError("a time to wait is a number of seconds")
