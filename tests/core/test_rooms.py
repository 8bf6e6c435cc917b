"""Rooms as the cycle sees them: runs that gather, and the tail markers of rooms that went quiet."""

from __future__ import annotations

import sys
from itertools import count

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zchat import wire
from zchat.core.registry import Session
from zchat.core.rooms import Room, Run, Tails, open_room
from zchat.errors import BadName

FIRST, LAST = 1.0, 8.0


def spoken(tails: Tails, *rooms: Room, seconds: float = 0.0) -> None:
    for room in rooms:
        tails.spoke(room, seconds)


def markers(tails: Tails, until: float) -> list[tuple[float, str]]:
    """(seconds, room) of every marker, each at the moment that `next_deadline` names."""
    told: list[tuple[float, str]] = []
    for _ in range(1_000):
        deadline = tails.next_deadline()
        if deadline is None or deadline > until:
            return told
        told += [(deadline, room.name) for room in tails.due(deadline)]
    raise AssertionError("the markers never end")


# --- runs ---------------------------------------------------------------------------------------


def test_a_run_counts_records_and_bytes_over_its_entries() -> None:
    run = Run(Room("general", 0), wire.MESSAGES)
    session = Session("s1", "alice", 0, 0)
    run.add(session, 1, msgspec.Raw(wire.encode_records([b"a", b"b"])), 2, 30)
    run.add(session, 2, msgspec.Raw(wire.encode_records([b"c"])), 1, 20)
    assert (run.records, run.counts, run.size) == (3, [2, 1], 50)
    assert [(entry.user, entry.session, entry.seq) for entry in run.entries] == [
        ("alice", "s1", 1),
        ("alice", "s1", 2),
    ]
    assert run.sessions == [session, session]


def test_a_room_begins_where_its_log_ends() -> None:
    room = Room("general", 41)
    assert (room.last, room.given, room.topic) == (41, 41, b"#general\0")


def test_a_room_is_opened_once() -> None:
    rooms: dict[str, Room] = {}
    assert open_room(rooms, "general") is open_room(rooms, "general") is rooms["general"]


@pytest.mark.parametrize("name", ["General", "a..b", "", "a.*", "**", "@Alice", "a b", "x" * 129])
def test_a_name_that_is_not_canonical_opens_no_room(name: str) -> None:
    rooms: dict[str, Room] = {}
    with pytest.raises(BadName):
        open_room(rooms, name)
    assert rooms == {}


# --- tails --------------------------------------------------------------------------------------


def test_a_quiet_room_is_marked_ever_more_rarely_and_then_no_more() -> None:
    tails = Tails(FIRST, LAST)
    spoken(tails, Room("general", 0))
    assert [seconds for seconds, _ in markers(tails, 1_000)] == [1.0, 3.0, 7.0, 15.0]
    assert tails.next_deadline() is None


def test_a_room_that_never_spoke_is_not_marked() -> None:
    tails = Tails(FIRST, LAST)
    assert tails.next_deadline() is None
    assert tails.due(1_000) == []


def test_a_room_that_goes_on_speaking_is_not_marked_and_its_quiet_counts_from_its_last_word() -> None:
    tails = Tails(FIRST, LAST)
    room = Room("general", 0)
    for tenth in range(50):
        spoken(tails, room, seconds=tenth / 10)
        assert tails.due(tenth / 10) == []
    assert markers(tails, 6.0) == [(4.9 + FIRST, "general")]


def test_a_room_that_speaks_again_is_marked_as_often_as_at_first() -> None:
    tails = Tails(FIRST, LAST)
    room = Room("general", 0)
    spoken(tails, room)
    markers(tails, 10)
    spoken(tails, room, seconds=10)
    assert [seconds for seconds, _ in markers(tails, 1_000)] == [11.0, 13.0, 17.0, 25.0]


def test_a_room_whose_markers_were_over_is_marked_when_it_speaks_again() -> None:
    tails = Tails(FIRST, LAST)
    room = Room("general", 0)
    spoken(tails, room)
    markers(tails, 1_000)
    spoken(tails, room, seconds=2_000)
    assert markers(tails, 2_002) == [(2_001.0, "general")]


def test_a_room_is_marked_once_when_two_of_its_looks_fall_together() -> None:
    tails = Tails(FIRST, LAST)
    room = Room("general", 0)
    spoken(tails, room)
    assert markers(tails, 7.0)[-1] == (7.0, "general")  # the next one would be at 15
    spoken(tails, room, seconds=14.0)
    assert tails.due(15.0) == [room]
    assert tails.due(15.0) == []


def test_a_room_that_goes_on_speaking_costs_no_more_memory() -> None:
    tails = Tails(FIRST, LAST)
    room = Room("general", 0)
    spoken(tails, room)
    before = sys.getrefcount(room)
    for tenth in range(1_000):
        spoken(tails, room, seconds=tenth / 10)
    assert sys.getrefcount(room) == before


def test_rooms_that_are_due_at_once_are_marked_together() -> None:
    tails = Tails(FIRST, LAST)
    spoken(tails, *(Room(name, 0) for name in "cab"))
    assert [room.name for room in tails.due(FIRST)] == ["c", "a", "b"]


def test_a_broker_that_was_late_marks_a_room_once() -> None:
    tails = Tails(FIRST, LAST)
    spoken(tails, Room("general", 0))
    assert len(tails.due(500.0)) == 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.sampled_from("ab")), max_size=30))
def test_each_word_is_followed_by_a_marker_after_the_first_quiet_time_at_the_latest(
    words: list[tuple[float, str]],
) -> None:
    tails = Tails(FIRST, LAST)
    rooms = {name: Room(name, 0) for name in "ab"}
    numbers = count()
    seconds = 0.0
    spoke: dict[str, float] = {}
    marked: dict[str, float] = {}
    for wait, name in [*words, (FIRST, "")]:
        seconds += wait
        while (deadline := tails.next_deadline()) is not None and deadline <= seconds:
            assert next(numbers) < 1_000
            for room in tails.due(deadline):
                assert deadline >= spoke[room.name] + FIRST
                marked[room.name] = deadline
        for room_name, last in spoke.items():
            assert last + FIRST > seconds or marked[room_name] >= last + FIRST
        if name:
            tails.spoke(rooms[name], seconds)
            spoke[name] = seconds
