"""How long to wait before what brought nothing is tried again, so that nothing goes round and round.

    tried 1st  2nd    3rd    4th  …  8th  …      and from the beginning, once CALM_SECONDS passed without
    wait  0    0.1 s  0.2 s  0.4 s … 5 s  5 s

Tests: tests/core/test_pauses.py.
"""

from __future__ import annotations

PAUSE_SECONDS_MIN = 0.1
PAUSE_SECONDS_MAX = 5.0
CALM_SECONDS = 10.0


class Pause:
    """Of one thing that is tried again and again."""

    def __init__(self) -> None:
        self.until = 0.0  # it is not tried before
        self._seconds = 0.0
        self._began = False

    def begin(self, seconds: float) -> None:
        """Now, at `seconds`, it brought nothing once more."""
        if not self._began or seconds > self.until + CALM_SECONDS:
            self._began = True
            self._seconds = 0.0
        else:
            self._seconds = min(2 * self._seconds or PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX)
        self.until = seconds + self._seconds
