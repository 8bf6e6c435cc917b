"""How much of the readers' time a user may have."""

from __future__ import annotations

from zchat.core import Instant
from zchat.core.read_paces import ReadPaces
from zchat.settings import Settings


def at(seconds: float) -> Instant:
    return Instant(seconds, 0)


def test_a_user_has_so_much_at_once_and_then_a_rate_over_all_its_sessions() -> None:
    paces = ReadPaces(Settings(user_read_seconds_max=1.0, user_read_seconds_a_second_max=0.25))
    assert paces.is_on
    paces.worked("alice", 0.6, at(0.0))
    assert paces.due("alice", at(0.0)) == 0.0
    paces.worked("ALICE", 0.65, at(0.0))
    assert paces.due("Alice", at(0.0)) == 1.0, "a quarter of a second too much, which comes back in one"
    assert paces.due("bob", at(0.0)) == 0.0
    assert paces.due("alice", at(1.0)) == 1.0 and paces.due("alice", at(1.1)) == 0.0


def test_there_is_no_rate_at_first() -> None:
    assert not ReadPaces(Settings()).is_on
