"""Where a connection that is to be kept is tried next, and when: each address of a name in turn, again and again.

    resting (a pause that grows) -> looking (the name is asked for) -> trying (the first address) -> trying (the next)
        ^                                                                |                             |
        '----------- all were tried, or the connection has ended --- up <'-----------------------------'

Rules of this file
1. The name is asked for anew in each round: the broker may have moved. The address that worked last goes first.
2. A name server that fails, or is silent, keeps nobody from the addresses that were known before.
3. An address that says nothing is given up for the next one: soon at first, later with more patience.
4. It knows neither sockets nor clocks nor chance.

Tests: tests/core/test_dialling.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

REST_SECONDS_MIN, REST_SECONDS_MAX = 0.1, 5.0  # between rounds, doubling
REST_SPREAD = 0.2  # and up to so much more, as thousands come back at once
NEXT_SECONDS = 0.05  # from one address to the next
UP_SECONDS = 1.0  # a connection that has lasted so long was one: the next pause is the smallest
TRY_SECONDS_MIN, TRY_SECONDS_MAX = 1.0, 10.0  # for one address of several, doubling from round to round
SILENT_SECONDS = 1.0  # a name server that has not answered yet: what was known before is tried
LOOK_UP_SECONDS = 2.0  # the same with nothing to try: it is asked once more

RESTING, LOOKING, TRYING, UP = "resting", "looking", "trying", "up"
LOOK_UP = object()


class Dial:
    """One connection. Of a host that is a `number` there is no more to know; else its name is looked up."""

    def __init__(self, chances: Iterator[float], number: str = "") -> None:
        self.state = RESTING
        self.due = 0.0  # when `turn` is to be called
        self.current = ""  # the number that is tried, or connected to
        self._chances = chances  # from 0 to 1
        self._is_named = not number
        self._numbers = [number] if number else []  # known
        self._left: list[str] = []  # of this round
        self._best = ""  # worked last
        self._rest = REST_SECONDS_MIN
        self._patience = TRY_SECONDS_MIN
        self._up_at = 0.0

    # --- what happened ----------------------------------------------------------------------

    def looked_up(self, numbers: list[str], seconds: float) -> None:
        """The answer for the name, however late; none where it is not known."""
        if numbers:
            self._numbers = numbers
        if self.state != LOOKING:
            return
        if self._numbers:
            self._begin(seconds)
        else:
            self._end(seconds)

    def came_up(self, seconds: float) -> None:
        """It is connected."""
        self.state, self.due, self._up_at = UP, inf, seconds
        self._best, self._patience = self.current, TRY_SECONDS_MIN

    def proved(self) -> None:
        """What is there is what was looked for: the next pause is the smallest."""
        self._rest = REST_SECONDS_MIN

    def failed(self, seconds: float) -> None:
        """The try was in vain, or the connection has ended. Said as often as one likes."""
        if self.state == UP and seconds - self._up_at >= UP_SECONDS:
            self._rest = REST_SECONDS_MIN
        self.refused(seconds)

    def refused(self, seconds: float) -> None:
        """The same of a connection that is up and worth nothing, however long it was."""
        if self.state == UP:
            self._end(seconds)
        elif self.state == TRYING and self.current:
            self._next(seconds, NEXT_SECONDS)

    def hurry(self, seconds: float) -> None:
        """There is reason to think that it works now: rest no longer."""
        if self.state == RESTING:
            self._rest, self.due = REST_SECONDS_MIN, min(self.due, seconds)

    def at_once(self, seconds: float) -> None:
        """The next try is another one than the last: no rest before it, and after it the rest that was due."""
        if self.state == RESTING:
            self.due = min(self.due, seconds)

    # --- what to do -------------------------------------------------------------------------

    def turn(self, seconds: float) -> object:
        """It is time: LOOK_UP, the number to connect to in the place of the one before, or None."""
        if seconds < self.due:
            return None
        if self.state == RESTING and self._is_named:
            self.state = LOOKING
            self.due = seconds + (SILENT_SECONDS if self._numbers else LOOK_UP_SECONDS)
            return LOOK_UP
        if self.state == LOOKING and not self._numbers:
            self.due = seconds + LOOK_UP_SECONDS
            return LOOK_UP
        if self.state in (RESTING, LOOKING):
            self._begin(seconds)
        elif self.current:  # it says nothing
            self._next(seconds)
        if self.state != TRYING:
            return None
        self.current = self._left.pop(0)
        self.due = seconds + (self._patience if len(self._numbers) > 1 else TRY_SECONDS_MAX)
        return self.current

    # --- parts ------------------------------------------------------------------------------

    def _begin(self, seconds: float) -> None:
        """A round over all that is known."""
        best = [self._best] if self._best in self._numbers else []
        self._left = best + [number for number in self._numbers if number not in best]
        self.state, self.current, self.due = TRYING, "", seconds

    def _next(self, seconds: float, pause: float = 0.0) -> None:
        if self._left:
            self.current, self.due = "", seconds + pause
        else:
            self._patience = min(2 * self._patience, TRY_SECONDS_MAX)
            self._end(seconds)

    def _end(self, seconds: float) -> None:
        """Nothing is left to try: rest."""
        rest, self._rest = self._rest, min(2 * self._rest, REST_SECONDS_MAX)
        self.state, self.current = RESTING, ""
        self.due = seconds + rest + max(REST_SECONDS_MIN, REST_SPREAD * rest) * next(self._chances)
