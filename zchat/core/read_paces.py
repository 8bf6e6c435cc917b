"""How much of the readers' time a user may have: who has had more waits for its next slice, and is refused nothing.

    10 s at once, 0.5 a second; a user reads for 12 s: the next slice of what it asked begins 4 s later

Rules of this file
1. It costs what it took: FETCH, SEEK, LATEST and SEARCH by the time that a reader thread worked on them.
2. A user is one, over all of its sessions; on a gateway's connection another user's read goes first meanwhile.
3. There is no rate at first: readers share their time by what each connection has had (reads.py).

Spec: docs/settings.md, "What a user may do". Tests: tests/core/test_read_paces.py.
"""

from __future__ import annotations

from math import inf

from zchat.core import Instant
from zchat.core.allowances import Allowance
from zchat.names import user_key
from zchat.settings import Settings

LIMIT = "user_read_seconds_a_second_max"
TOKENS_A_SECOND = 1_000_000  # an allowance has whole tokens: microseconds


class ReadPaces:
    """Of all users."""

    def __init__(self, settings: Settings) -> None:
        burst, refill = settings.user_read_seconds_max, settings.user_read_seconds_a_second_max
        self.is_on = refill != inf
        self._spent = Allowance[str](burst * TOKENS_A_SECOND, refill * TOKENS_A_SECOND)
        self._owing: dict[str, float] = {}  # user -> until when, monotonic

    def worked(self, user: str, seconds: float, now: Instant) -> None:
        """A reader has worked for a user."""
        key = user_key(user)
        if owed := self._spent.overdraw(key, round(seconds * TOKENS_A_SECOND), now):
            self._owing[key] = now.seconds + owed

    def due(self, user: str, now: Instant) -> float:
        """When a reader may work for it; not later than now: at once."""
        key = user_key(user)
        until = self._owing.get(key, 0.0)
        if until and until <= now.seconds:
            del self._owing[key]
        return until
