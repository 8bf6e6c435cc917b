"""Things that are looked at in turn, and things that are due again and again."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from zchat.core.rotation import Checks, Rotation


def test_each_has_its_turn_before_one_has_another() -> None:
    turns = Rotation[str]()
    for thing in ("a", "b", "c"):
        turns.add(thing)
    assert (turns.take(2), turns.take(2), turns.take(2)) == (["a", "b"], ["c", "a"], ["b", "c"])
    assert turns.take(9) == ["a", "b", "c"] and len(turns) == 3


def test_what_is_discarded_has_no_turn() -> None:
    turns = Rotation[str]()
    turns.add("a")
    turns.add("b")
    turns.discard("a")
    turns.discard("never there")
    assert turns.take(9) == ["b"]


def test_a_check_is_due_after_its_time_and_again() -> None:
    checks = Checks[str](30.0)
    assert checks.next == inf
    checks.add("a", 100.0)
    assert (checks.take(129.9, 9), checks.next) == ([], 130.0)
    assert checks.take(131.0, 9) == ["a"]
    assert (checks.take(160.9, 9), checks.take(161.0, 9)) == ([], ["a"])


def test_so_many_checks_are_taken_and_the_others_next() -> None:
    checks = Checks[int](1.0)
    for number in range(5):
        checks.add(number, 0.0)
    assert (checks.take(1.0, 2), checks.take(1.0, 2), checks.take(1.0, 2)) == ([0, 1], [2, 3], [4])


def test_one_that_was_discarded_and_added_again_counts_from_then() -> None:
    checks = Checks[str](30.0)
    checks.add("a", 0.0)
    checks.discard("a")
    checks.add("a", 20.0)
    assert (checks.take(30.0, 9), checks.take(50.0, 9)) == ([], ["a"])


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=40), st.integers(1, 3))
def test_no_turn_is_skipped_whoever_comes_and_goes(changes: list[tuple[str, bool]], most: int) -> None:
    turns, waited = Rotation[str](), dict[str, int]()
    for thing, comes in changes:
        if comes and thing not in waited:
            turns.add(thing)
            waited[thing] = 0
        elif not comes:
            turns.discard(thing)
            waited.pop(thing, None)
        taken = turns.take(most)
        assert len(taken) == min(most, len(waited)) == len(set(taken))
        waited = {each: 0 if each in taken else times + 1 for each, times in waited.items()}
        assert max(waited.values(), default=0) <= 4
