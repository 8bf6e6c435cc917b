"""The rooms that a session is to be in."""

from __future__ import annotations

from zchat.core import Instant
from zchat.core.requests import REPEAT_SECONDS
from zchat.core.wanted import LEFT_MAX, WantedRooms


def at(seconds: float) -> Instant:
    return Instant(100.0 + seconds, 0)


def test_the_first_joins_and_the_last_parts() -> None:
    wanted = WantedRooms()
    assert wanted.join({"b", "a"}) == ["a", "b"]
    wanted.answered(["a", "b"], are_joined=True)
    assert wanted.join({"a", "c"}) == ["c"]
    assert (wanted.part({"a", "b"}), wanted.part({"a", "never"}), wanted.left) == (["b"], ["a"], ["a", "b"])
    assert wanted.rooms == {"c": 1}
    assert wanted.join({"a"}) == ["a"] and wanted.left == ["b"]


def test_who_joins_what_has_no_answer_yet_asks_as_well() -> None:
    wanted = WantedRooms()
    assert wanted.join({"a", "b"}) == wanted.join({"a", "b"}) == ["a", "b"]
    wanted.answered(["a"], are_joined=True)
    assert wanted.join({"a", "b"}) == ["b"]
    wanted.answered(["a"], are_joined=False)  # it was asked again on another connection
    assert wanted.join({"a"}) == ["a"]
    wanted.part({"b"}), wanted.part({"b"}), wanted.part({"b"})
    wanted.answered(["b"], are_joined=True)  # it was left meanwhile
    assert wanted.join({"b"}) == ["b"]


def test_rooms_that_were_left_are_remembered_up_to_a_bound() -> None:
    wanted = WantedRooms()
    for number in range(LEFT_MAX + 5):
        wanted.join({f"room.{number}"}), wanted.part({f"room.{number}"})
    assert len(wanted.left) == LEFT_MAX and "room.4" not in wanted.left


def test_what_was_refused_is_asked_for_as_it_is_wanted_by_then() -> None:
    wanted = WantedRooms()
    wanted.join({"a", "b"})
    wanted.refused(["a", "b"], at(0))
    wanted.part({"b"})
    assert not wanted.is_settled and wanted.due(at(REPEAT_SECONDS - 0.1)) == ([], [])
    assert wanted.due(at(REPEAT_SECONDS)) == (["a"], ["b"])
    assert wanted.is_settled and wanted.due(at(99)) == ([], [])
