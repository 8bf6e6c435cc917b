"""A wall clock that is set while the broker runs: noticed by the monotonic one.

Rules of this file
1. What moves the two apart by less than `NOTICED_SECONDS` between two looks is drift, and corrected by whoever
   keeps the clock.
2. A clock that was set forward by mistake must not make retention remove what is young: for `TRUSTED_SECONDS`
   ages are counted as if it had not been set.

Tests: tests/core/test_clocks.py.
"""

from __future__ import annotations

from zchat.core import Instant

NOTICED_SECONDS = 2.0
TRUSTED_SECONDS = 600.0


class Clocks:
    """What is known of the wall clock."""

    def __init__(self, now: Instant) -> None:
        self._apart = _apart(now)
        self._doubted = 0.0  # seconds by which it was set forward
        self._doubted_until = 0.0

    def look(self, now: Instant) -> float:
        """By how many seconds it was set since the last look; 0: it was not. A machine that slept counts as set."""
        apart = _apart(now)
        by, self._apart = apart - self._apart, apart
        if abs(by) < NOTICED_SECONDS:
            return 0.0
        self._doubted = max(0.0, self._doubted + by)
        self._doubted_until = now.seconds + TRUSTED_SECONDS
        return by

    def for_ages(self, now: Instant) -> int:
        """Microseconds since 1970: what the age of a record is counted up to. `look` first."""
        if now.seconds >= self._doubted_until:
            self._doubted = 0.0
        return now.micros - round(self._doubted * 1e6)


def _apart(now: Instant) -> float:
    return now.micros / 1e6 - now.seconds
