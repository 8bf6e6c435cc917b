"""How far a listener's rooms were delivered."""

from __future__ import annotations

from zchat.core.watermarks import ListenerWatermarks


def test_a_room_is_there_up_to_the_higher_of_the_two() -> None:
    marks = ListenerWatermarks()
    marks.begin(40)
    marks.reach("a", 57)
    assert (marks.of("a"), marks.of("b"), marks.highest, len(marks)) == (57, 40, 57, 1)
    marks.reach("a", 50)
    marks.reach("b", 30)
    assert (marks.of("a"), marks.of("b"), len(marks)) == (57, 40, 1), "nothing goes back"


def test_when_the_low_one_is_lifted_rooms_below_it_are_forgotten() -> None:
    marks = ListenerWatermarks()
    for room, last in (("a", 41), ("b", 50), ("c", 60)):
        marks.reach(room, last)
    marks.lift(50)
    assert (marks.low, len(marks), marks.of("a"), marks.of("c")) == (50, 1, 50, 60)
    marks.lift(45)
    assert marks.low == 50


def test_a_log_that_went_back_takes_both_back() -> None:
    marks = ListenerWatermarks()
    marks.begin(40)
    marks.reach("a", 57)
    marks.reach("b", 45)
    marks.fall_back(50)
    assert (marks.low, marks.of("a"), marks.of("b")) == (40, 50, 45)
    marks.fall_back(30)
    assert (marks.low, len(marks), marks.highest) == (30, 0, 30)
