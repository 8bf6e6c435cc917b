"""A wall clock that is set: what is noticed, and by which time ages are counted."""

from __future__ import annotations

import pytest

from zchat.core import Instant
from zchat.core.clocks import NOTICED_SECONDS, TRUSTED_SECONDS, Clocks

NOON = 1_700_000_000_000_000


def at(seconds: float, set_by: float = 0.0) -> Instant:
    return Instant(1_000.0 + seconds, NOON + round((seconds + set_by) * 1e6))


def test_a_clock_that_goes_is_not_set_nor_is_one_that_drifts() -> None:
    clocks = Clocks(at(0))
    assert clocks.look(at(5)) == 0
    for second in range(100):
        assert clocks.look(at(second, set_by=second * 0.01)) == 0
    assert clocks.for_ages(at(100, set_by=1)) == at(100, set_by=1).micros


@pytest.mark.parametrize("by", [NOTICED_SECONDS + 0.1, 31_536_000.0, -86_400.0])
def test_a_clock_that_is_set_is_noticed_once(by: float) -> None:
    clocks = Clocks(at(0))
    assert clocks.look(at(1, by)) == pytest.approx(by)
    assert clocks.look(at(2, by)) == 0


def test_ages_are_counted_as_if_it_had_not_been_set_forward_until_that_has_lasted() -> None:
    clocks = Clocks(at(0))
    clocks.look(at(1, 31_536_000))
    assert clocks.for_ages(at(1, 31_536_000)) == at(1).micros
    before, after = TRUSTED_SECONDS, TRUSTED_SECONDS + 2
    assert clocks.for_ages(at(before, 31_536_000)) == at(before).micros
    assert clocks.for_ages(at(after, 31_536_000)) == at(after, 31_536_000).micros


def test_one_that_is_set_forward_and_back_is_right_again() -> None:
    clocks = Clocks(at(0))
    clocks.look(at(1, 3_600))
    assert clocks.look(at(2)) == pytest.approx(-3_600)
    assert clocks.for_ages(at(3)) == at(3).micros


def test_one_that_is_set_back_makes_nothing_older() -> None:
    clocks = Clocks(at(0))
    clocks.look(at(1, -3_600))
    assert clocks.for_ages(at(1, -3_600)) == at(1, -3_600).micros
