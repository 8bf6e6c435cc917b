"""Which address is tried when: plain calls, with the time as a number."""

from __future__ import annotations

from itertools import repeat
from math import inf

import pytest

from zchat.core.dialling import (
    LOOK_UP,
    LOOK_UP_SECONDS,
    NEXT_SECONDS,
    REST_SECONDS_MAX,
    REST_SECONDS_MIN,
    SILENT_SECONDS,
    TRY_SECONDS_MAX,
    TRY_SECONDS_MIN,
    TRYING,
    UP_SECONDS,
    Dial,
)


def named() -> Dial:
    return Dial(repeat(0.0))


def steps(dial: Dial, until: float) -> list[tuple[float, object]]:
    """What is to be done and when, if nothing happens."""
    found = []
    while dial.due < until:
        at = dial.due
        while (step := dial.turn(at)) is not None:
            found.append((at, step))
    return found


def tried(dial: Dial, at: float) -> list[object]:
    """All that is tried in one round, each in vain."""
    found: list[object] = []
    while dial.state == TRYING:
        found.append(dial.turn(at))
        dial.failed(at)
        at = dial.due
    return found


def test_a_number_is_tried_at_once_and_again_after_pauses_that_grow() -> None:
    dial = Dial(repeat(0.0), "127.0.0.1")
    at, pauses = 0.0, []
    for _ in range(9):
        assert dial.turn(at) == dial.current == "127.0.0.1"
        dial.failed(at)
        assert (dial.turn(at), dial.current) == (None, "")
        pauses.append(round(dial.due - at, 6))
        at = dial.due
    assert pauses == [REST_SECONDS_MIN, 0.2, 0.4, 0.8, 1.6, 3.2, *[REST_SECONDS_MAX] * 3]


def test_clients_that_were_lost_together_come_back_one_after_the_other() -> None:
    def rest(chance: float, times: int) -> float:
        dial, at = Dial(repeat(chance), "127.0.0.1"), 0.0
        for _ in range(times):
            dial.turn(at)
            dial.failed(at)
            rest, at = dial.due - at, dial.due
        return round(rest, 6)

    assert (rest(0.0, 1), rest(0.5, 1), rest(1.0, 1)) == (0.1, 0.15, 0.2)
    assert (rest(0.0, 9), rest(0.5, 9), rest(1.0, 9)) == (5.0, 5.5, 6.0)


def test_what_is_up_is_left_alone() -> None:
    dial = Dial(repeat(0.0), "127.0.0.1")
    dial.turn(0)
    dial.came_up(0.1)
    assert dial.due == inf and dial.turn(1e9) is None and dial.current == "127.0.0.1"


@pytest.mark.parametrize(("lasted", "rest"), [(UP_SECONDS, REST_SECONDS_MIN), (UP_SECONDS / 2, 0.4)])
def test_the_pause_is_the_smallest_again_once_a_connection_has_lasted(lasted: float, rest: float) -> None:
    dial, at = Dial(repeat(0.0), "127.0.0.1"), 0.0
    for _ in range(2):
        dial.turn(at)
        dial.failed(at)
        at = dial.due
    dial.turn(at)
    dial.came_up(at)
    dial.failed(at + lasted)
    assert round(dial.due - at - lasted, 6) == rest


def test_the_pause_is_the_smallest_after_a_connection_that_was_the_right_one_however_short() -> None:
    dial, at = Dial(repeat(0.0), "127.0.0.1"), 0.0
    for _ in range(3):
        dial.turn(at)
        dial.came_up(at)
        dial.proved()
        dial.failed(at)
        assert dial.due == pytest.approx(at + REST_SECONDS_MIN)
        at = dial.due


def test_a_connection_that_is_worth_nothing_counts_as_none_however_long_it_lasted() -> None:
    dial, at = Dial(repeat(0.0), "127.0.0.1"), 0.0
    pauses = []
    for _ in range(3):
        dial.turn(at)
        dial.came_up(at)
        dial.refused(at + 10)
        pauses.append(round(dial.due - at - 10, 6))
        at = dial.due
    assert pauses == [0.1, 0.2, 0.4]


def test_a_name_is_looked_up_first_and_all_its_numbers_are_tried_in_turn() -> None:
    dial = named()
    assert dial.turn(0) is LOOK_UP and dial.turn(0) is None
    dial.looked_up(["10.0.0.1", "10.0.0.2", "::1"], 0.3)
    assert tried(dial, 0.3) == ["10.0.0.1", "10.0.0.2", "::1"]
    assert dial.due == pytest.approx(0.3 + 2 * NEXT_SECONDS + REST_SECONDS_MIN)


def test_a_name_is_looked_up_anew_in_each_round() -> None:
    dial = named()
    dial.turn(0)
    dial.looked_up(["10.0.0.1"], 0)
    assert tried(dial, 0) == ["10.0.0.1"]
    at = dial.due
    assert dial.turn(at) is LOOK_UP
    dial.looked_up(["10.0.0.2"], at)
    assert dial.turn(at) == "10.0.0.2"
    dial.came_up(at)
    dial.failed(at + 60)
    at = dial.due
    assert dial.turn(at) is LOOK_UP
    dial.looked_up(["10.0.0.3"], at)
    assert dial.turn(at) == "10.0.0.3"


def test_the_number_that_worked_is_tried_first() -> None:
    dial = named()
    dial.turn(0)
    dial.looked_up(["10.0.0.1", "10.0.0.2"], 0)
    dial.turn(0)
    dial.failed(0)
    assert dial.turn(dial.due) == "10.0.0.2"
    dial.came_up(1)
    dial.failed(60)
    assert dial.turn(dial.due) is LOOK_UP
    dial.looked_up(["10.0.0.3", "10.0.0.2", "10.0.0.1"], dial.due)
    assert tried(dial, dial.due) == ["10.0.0.2", "10.0.0.3", "10.0.0.1"]


def test_a_name_that_is_not_known_is_asked_for_again() -> None:
    dial = named()
    assert dial.turn(0) is LOOK_UP
    dial.looked_up([], 0.1)
    assert dial.turn(0.1) is None and dial.due == pytest.approx(0.2)
    assert dial.turn(0.2) is LOOK_UP
    dial.looked_up(["10.0.0.1"], 0.3)
    assert dial.turn(0.3) == "10.0.0.1"


def test_a_name_server_that_is_silent_is_asked_again() -> None:
    dial = named()
    assert steps(dial, 2.5 * LOOK_UP_SECONDS) == [
        (0.0, LOOK_UP), (LOOK_UP_SECONDS, LOOK_UP), (2 * LOOK_UP_SECONDS, LOOK_UP)
    ]  # fmt: skip
    dial.looked_up(["10.0.0.1"], 2.6 * LOOK_UP_SECONDS)
    assert dial.turn(2.6 * LOOK_UP_SECONDS) == "10.0.0.1"


@pytest.mark.parametrize("answers", [True, False], ids=["fails", "silent"])
def test_what_was_known_is_tried_while_the_name_server_fails_or_is_silent(answers: bool) -> None:
    dial = named()
    dial.turn(0)
    dial.looked_up(["10.0.0.1"], 0)
    dial.turn(0)
    dial.came_up(0)
    dial.failed(60)
    assert dial.turn(dial.due) is LOOK_UP
    if answers:
        dial.looked_up([], 60.2)
        assert dial.turn(60.2) == "10.0.0.1"
    else:
        assert dial.due == pytest.approx(60.1 + SILENT_SECONDS)
        assert dial.turn(dial.due) == "10.0.0.1"
    dial.looked_up(["10.0.0.2"], 61.5)  # late: it counts from the next round on
    assert dial.current == "10.0.0.1"
    dial.failed(61.6)
    dial.turn(dial.due)
    dial.looked_up([], dial.due)
    assert dial.turn(dial.due) == "10.0.0.2"


def test_of_several_numbers_one_that_is_silent_is_given_up_with_a_patience_that_grows() -> None:
    dial, at = named(), 0.0
    patience = []
    for _ in range(6):
        assert dial.turn(at) is LOOK_UP
        dial.looked_up(["10.0.0.1", "10.0.0.2"], at)
        (first, one), (second, other) = steps_of_round(dial, at)
        assert (one, other) == ("10.0.0.1", "10.0.0.2")
        patience.append(second - first)
        at = dial.due
    assert patience == pytest.approx([TRY_SECONDS_MIN, 2, 4, 8, TRY_SECONDS_MAX, TRY_SECONDS_MAX])


def steps_of_round(dial: Dial, at: float) -> list[tuple[float, object]]:
    found: list[tuple[float, object]] = []
    while (step := dial.turn(at)) is not None:
        found.append((at, step))
        at = dial.due
    return found


def test_a_number_that_is_silent_and_the_only_one_gets_long() -> None:
    dial = Dial(repeat(0.0), "10.0.0.1")
    assert steps(dial, 25) == [(0.0, "10.0.0.1"), (pytest.approx(10.1), "10.0.0.1"), (pytest.approx(20.3), "10.0.0.1")]


def test_who_hears_that_it_works_rests_no_longer() -> None:
    dial, at = Dial(repeat(0.0), "127.0.0.1"), 0.0
    dial.hurry(0)
    for _ in range(8):
        dial.turn(at)
        dial.hurry(at)  # it is tried already
        assert dial.turn(at) is None
        dial.failed(at)
        at = dial.due
    dial.turn(at)
    dial.failed(at)
    dial.hurry(at + 1)
    assert dial.turn(at + 1) == "127.0.0.1"
    dial.failed(at + 1)
    assert dial.due == pytest.approx(at + 1 + REST_SECONDS_MIN)


def test_what_is_told_twice_counts_once() -> None:
    dial = named()
    dial.failed(0)
    dial.turn(0)
    dial.failed(0)
    dial.looked_up(["10.0.0.1", "10.0.0.2"], 0)
    dial.turn(0)
    dial.failed(0)
    dial.failed(0)
    assert dial.turn(dial.due) == "10.0.0.2"


def test_another_kind_of_try_is_made_at_once_and_the_rest_that_was_due_comes_after_it() -> None:
    dial = Dial(repeat(0.0), "10.0.0.7")
    assert dial.turn(0.0) == "10.0.0.7"
    dial.at_once(0.0)
    assert (dial.state, dial.due) == (TRYING, TRY_SECONDS_MAX), "one is under way"
    dial.failed(1.0)
    dial.at_once(1.0)
    assert dial.turn(1.0) == "10.0.0.7"
    dial.failed(1.0)
    assert dial.due == pytest.approx(1.0 + 2 * REST_SECONDS_MIN + REST_SECONDS_MIN * 0)
