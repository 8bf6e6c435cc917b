"""The one place where both clocks are read: the cores get the time as an argument. How long a thread can wait,
and until when what takes many waits may go on.
"""

from __future__ import annotations

import threading
from time import monotonic, time_ns

from zchat.core import Instant
from zchat.errors import UsageError

_new = tuple.__new__  # what a NamedTuple calls in Python: an instant is made in every turn
WAIT_SECONDS = 5.0  # for a broker that is not there yet
TRY_SECONDS = 1.0  # one try takes no longer
CLOSE_SECONDS = 5.0  # for acks, at the end of a client
REQUEST_SECONDS = 5.0  # for a reply
WAIT_SECONDS_MAX = threading.TIMEOUT_MAX / 2  # no deadline is so far that rounding makes it too far


def instant() -> Instant:
    """Now."""
    return _new(Instant, (monotonic(), time_ns() // 1000))


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


def tried(wait: float) -> float:
    """Seconds to wait for a broker that is not there yet: 0 is one try. Raises UsageError."""
    seconds = waitable(wait)
    if seconds is None:
        raise UsageError("wait is None, not seconds")
    return seconds or TRY_SECONDS


class Deadline:
    """Of something that may wait more than once: `what` has `seconds` in all; None: as long as it takes."""

    def __init__(self, what: str, seconds: float | None) -> None:
        self.what, self.seconds = what, seconds
        self._at = None if seconds is None else monotonic() + seconds

    def left(self) -> float | None:
        """Seconds that are left, 0 when it is over; None: as long as it takes."""
        return None if self._at is None else max(0.0, self._at - monotonic())
