"""So many a second, and so many at once: how what one peer does is bounded, of whom others must not feel more.

Rules of this file: time is an argument.
Tests: tests/test_bucket.py.
"""

from __future__ import annotations


class Bucket:
    """So many a second, and so many at once (a token bucket). What it is asked for is granted, perhaps later."""

    __slots__ = ("_at", "_capacity", "_left", "_rate")

    def __init__(self, rate: float, capacity: float, now: float) -> None:
        self._rate, self._capacity = rate, capacity
        self._left, self._at = capacity, now

    def take(self, now: float, amount: int = 1) -> float:
        """So many more. Returns for how long it is to wait."""
        self._refill(now)
        self._left -= amount
        return max(0.0, -self._left / self._rate)

    def wait(self, now: float) -> float:
        """For how long what was taken is to be waited for."""
        return self.take(now, 0)

    def try_take(self, now: float) -> float:
        """One more, if it is granted at once. Else nothing is taken, and it returns when to come again."""
        self._refill(now)
        if self._left < 1:
            return (1 - self._left) / self._rate
        self._left -= 1
        return 0.0

    def _refill(self, now: float) -> None:
        self._left = min(self._capacity, self._left + (now - self._at) * self._rate)
        self._at = now
