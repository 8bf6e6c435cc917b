"""Which limits were met, how often, and by whom: counted for everybody, told of to the operator.

    refused: ("user_cursors_max", alice, 10.0.0.7), 40 times in a minute ──► counts, and one line for each who and limit

Rules of this file
1. A limit is counted by its own name, as docs/settings.md has it.
2. Who meets one again and again is told of once a minute, with how often. Of so many at a time each is known; of the
   others only how many they are.

Tests: tests/core/test_limits_met.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from zchat.core.channels import Endpoint

TOLD_SECONDS = 60.0  # between two lines on the same
WHO_MAX = 1_000  # in a minute, each of whom is known


class Meeting(NamedTuple):
    """Who met which limit; empty: that is not known, or of many."""

    limit: str
    user: str
    address: str


class LimitsMet:
    """Of one broker, since it was started."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()  # limit -> how often
        self.whose: Callable[[Endpoint], tuple[str, str]] = _nobody  # user and address of who speaks there
        self._times: dict[Meeting, int] = {}  # that were not told
        self._told: dict[Meeting, float] = {}

    def meet(self, limit: str, endpoint: Endpoint) -> None:
        """Who speaks there has met it."""
        self.note(limit, *self.whose(endpoint))

    def note(self, limit: str, user: str, address: str, times: int = 1) -> None:
        """A user from there has met it so often."""
        self.counts[limit] += times
        who = Meeting(limit, user, address)
        is_known = who in self._times or who in self._told
        if not is_known and len(self._times) + len(self._told) >= WHO_MAX:
            who = Meeting(limit, "", "")
        self._times[who] = self._times.get(who, 0) + times

    def take(self, seconds: float) -> list[tuple[Meeting, int]]:
        """Who is to be told of now, and how often they did since they were told of last."""
        self._told = {who: at for who, at in self._told.items() if seconds - at < TOLD_SECONDS}
        due = [each for each in self._times.items() if each[0] not in self._told]
        for who, _ in due:
            del self._times[who]
            self._told[who] = seconds
        return due


def _nobody(endpoint: Endpoint) -> tuple[str, str]:
    return "", ""
