"""The rooms' rows in memory."""

from __future__ import annotations

from zchat.log.sqlite import state
from zchat.log.sqlite.state import RoomRow, RoomStates


def row(number: int, name: str, last: int = 1, time: int = 1) -> RoomRow:
    return RoomRow(number, name, last, time, 1, 1, 0)


def test_head_and_time_are_those_of_the_newest() -> None:
    rooms = RoomStates([row(1, "a", 5, 50), row(2, "b", 9, 90), row(3, "c", 7, 70)])
    assert (rooms.head, rooms.time, rooms.next_id) == (9, 90, 4)
    assert rooms.lasts() == {"a": 5, "b": 9, "c": 7}


def test_a_commit_moves_the_head_and_trimming_does_not_move_it_back() -> None:
    rooms = RoomStates([row(1, "a", 5, 50)])
    rooms.commit([row(2, "b", 8, 80), row(1, "a", 7, 80)])
    assert (rooms.head, rooms.time, rooms.next_id) == (8, 80, 3)
    rooms.commit([row(1, "a", 7, 80)._replace(trimmed=6)])
    assert (rooms.head, rooms.row(1).trimmed) == (8, 6)


def test_what_was_trimmed_is_older_than_a_time_when_that_is_known() -> None:
    trimmed = [
        row(1, "r.a", 9)._replace(trimmed=4, trimmed_time=40),
        row(2, "r.b", 9)._replace(trimmed=6, trimmed_time=60),
        row(3, "r.unknown", 9)._replace(trimmed=8),
        row(4, "other", 9)._replace(trimmed=5, trimmed_time=50),
        row(5, "r.whole", 9),
    ]
    rooms = RoomStates(trimmed)
    among = rooms.matching(["r.*"]).ids
    assert [rooms.trimmed_before(time, among) for time in (40, 41, 60, 61, 99)] == [0, 4, 4, 6, 6]


def test_rooms_that_come_later_match_too() -> None:
    rooms = RoomStates([row(1, "build.a"), row(2, "general")])
    found = rooms.matching(["build.*"])
    assert (found.ids, 1 in found, 2 in found) == ([1], True, False)
    rooms.commit([row(3, "build.b")])
    assert rooms.matching(["build.*"]).ids == [1, 3]


def test_many_names_are_compared_a_few_at_a_time() -> None:
    count = 3 * state.NAMES_COMPARED
    rooms = RoomStates([row(number + 1, f"r.{number}") for number in range(count)])
    parts = 1
    while not rooms.match_some(["r.*"]):
        parts += 1
    assert parts == 3 and len(rooms._matches[("r.*",), None].ids) == count
    assert rooms.match_some(["r.1"]) and not rooms.match_some(["*.7"])
    assert rooms.matching(["*.7"]).ids == [8]
    rooms.commit([row(count + 1, "s.7")])
    assert rooms.match_some(["*.7"]) and rooms.matching(["*.7"]).ids == [8, count + 1]


def test_what_was_asked_for_lately_is_remembered() -> None:
    rooms = RoomStates([row(1, "a"), row(2, "b")])
    found = rooms.matching(["*"])
    for number in range(3 * state.MATCHES_KEPT):
        rooms.matching([f"{number}.*"])
        assert rooms.matching(["*"]) is found


def test_a_room_that_is_named_twice_matches_once() -> None:
    rooms = RoomStates([row(1, "a"), row(2, "b")])
    assert rooms.matching(["b", "a", "b", "none"]).ids == [2, 1]


def test_what_is_remembered_of_patterns_is_bounded() -> None:
    rooms = RoomStates([row(number + 1, f"r.{number}") for number in range(100)])
    for number in range(5 * state.MATCHES_KEPT):
        assert rooms.matching([f"r.{number}.*", "r.*"]).ids == list(range(1, 101))
    assert len(rooms._matches) <= state.MATCHES_KEPT


def test_names_that_are_compared_a_few_at_a_time_are_all_compared_whatever_others_ask() -> None:
    rooms = RoomStates([row(number + 1, f"r.{number}") for number in range(20 * state.NAMES_COMPARED)])
    matching, steps = rooms.match(["r.*"]), 0
    while steps < 100:
        steps += 1
        try:
            next(matching)
        except StopIteration as end:
            assert len(end.value.ids) == 20 * state.NAMES_COMPARED
            break
        for number in range(state.MATCHES_KEPT + 1):  # what it has so far is forgotten, and begun anew
            rooms.match_some([f"{steps}.{number}.*"])
        rooms.match_some(["r.*"])
    assert steps <= 21
