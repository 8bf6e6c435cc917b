"""Rooms as the cycle sees them: runs that gather, and the watermarks of rooms that went quiet."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import count

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zchat import wire
from zchat.core import Instant
from zchat.core.allowances import Allowances
from zchat.core.rooms import DUE_MAX, BrokerRoom, BrokerRooms, Feed, OpenBatch, Watermarks
from zchat.core.session import Session
from zchat.errors import BadName, WireError
from zchat.settings import Settings

FIRST, LAST = 1.0, 8.0
NOW = Instant(1_000.0, 1_700_000_000_000_000)


def feed(name: str) -> Feed:
    return Feed(name.encode(), 0)


def spoken(watermarks: Watermarks, *feeds: Feed, seconds: float = 0.0) -> None:
    for each in feeds:
        watermarks.spoke(each, seconds)


def markers(watermarks: Watermarks, until: float) -> list[tuple[float, str]]:
    """(seconds, topic) of every marker, each at the moment that `next_deadline` names."""
    told: list[tuple[float, str]] = []
    for _ in range(1_000):
        deadline = watermarks.next_deadline()
        if deadline is None or deadline > until:
            return told
        told += [(deadline, each.topic.decode()) for each in watermarks.due(deadline)]
    raise AssertionError("the markers never end")


# --- runs ---------------------------------------------------------------------------------------


def test_a_run_counts_records_and_bytes_over_its_entries() -> None:
    batch = OpenBatch(BrokerRoom("general", 0), wire.MESSAGES)
    session = Session("s1", "alice", 0, 0)
    batch.add(session, 1, msgspec.Raw(wire.encode_records([b"a", b"b"])), 2, 30)
    batch.add(session, 2, msgspec.Raw(wire.encode_records([b"c"])), 1, 20)
    assert (batch.records, batch.counts, batch.size) == (3, [2, 1], 50)
    assert [(entry.user, entry.session, entry.seq) for entry in batch.entries] == [
        ("alice", "s1", 1),
        ("alice", "s1", 2),
    ]
    assert batch.sessions == [session, session]


def test_a_room_begins_where_its_log_ends() -> None:
    room = BrokerRoom("general", 41)
    assert (room.last, room.given, room.topic) == (41, 41, b"#general\0")


def rooms_of(lasts: dict[str, int] | None = None, **limits: int) -> BrokerRooms:
    settings = replace(Settings(), **limits)  # type: ignore[arg-type]
    return BrokerRooms(lasts or {}, Allowances(settings), settings.rooms_max)


def test_a_room_is_opened_once() -> None:
    rooms = rooms_of()
    assert rooms.open("general") is rooms.open("general") is rooms["general"]
    assert rooms.admit(["general"], None, NOW) == [rooms["general"]]


@pytest.mark.parametrize("name", ["General", "a..b", "", "a.*", "**", "@Alice", "a b", "x" * 129])
def test_a_name_that_is_not_canonical_opens_no_room(name: str) -> None:
    rooms = rooms_of()
    with pytest.raises(BadName):
        rooms.open(name)
    with pytest.raises(BadName):
        rooms.admit(["general", name], None, NOW)
    assert rooms == {}


# --- how many there are -------------------------------------------------------------------------


def test_there_are_so_many_rooms_and_those_that_are_there_can_be_used() -> None:
    rooms = rooms_of({"a": 7}, rooms_max=2)
    (b,) = rooms.admit(["b"], None, NOW)
    for names in (["c"], ["a", "c"]):
        with pytest.raises(WireError) as caught:
            rooms.admit(names, None, NOW)
        assert caught.value.code == "over-limit" and set(rooms) == {"a", "b"}
    assert rooms.admit(["a", "b"], None, NOW) == [rooms["a"], b]


def test_a_log_that_has_more_rooms_than_the_limit_is_served() -> None:
    rooms = rooms_of({"a": 7, "b": 8}, rooms_max=1)
    assert len(rooms.admit(["a", "b"], None, NOW)) == 2


def test_rooms_of_volatile_messages_are_not_counted_until_something_is_kept() -> None:
    rooms = rooms_of(rooms_max=1)
    for name in "abc":
        rooms.open(name)
    rooms.admit(["a"], None, NOW)
    with pytest.raises(WireError):
        rooms.admit(["b"], None, NOW)
    for name in "abc":
        rooms.forget(rooms[name], members=0)
    assert rooms == {}
    rooms.admit(["b"], None, NOW)


def test_a_room_goes_only_when_nothing_is_left_of_it() -> None:
    rooms = rooms_of({"stored": 7}, rooms_max=3)
    batch, member = rooms.admit(["run", "member"], None, NOW)
    batch.open_batch = OpenBatch(batch, wire.MESSAGES)
    for room, members in ((rooms["stored"], 0), (batch, 0), (member, 1)):
        rooms.forget(room, members)
    assert set(rooms) == {"stored", "run", "member"}
    batch.open_batch = None
    rooms.forget(batch, 0)
    rooms.forget(batch, 0)
    assert set(rooms) == {"stored", "member"}
    assert rooms.admit(["next"], None, NOW)


def of(address: str, user: str = "alice") -> Session:
    return Session("s", user, 0, 0, address=address)


def test_new_rooms_of_a_user_have_an_allowance_from_whatever_address() -> None:
    rooms = rooms_of(user_new_rooms_max=2, user_new_rooms_a_second_max=0)
    rooms.admit(["a", "b"], of("10.0.0.1"), NOW)
    with pytest.raises(WireError, match="new rooms of this user"):
        rooms.admit(["c"], of("10.0.0.2", "ALICE"), NOW)
    assert "c" not in rooms
    rooms.admit(["c"], of("10.0.0.2", "bob"), NOW)
    rooms.admit(["d", "e", "f"], None, NOW)  # the broker's own


def test_new_rooms_of_an_address_have_an_allowance() -> None:
    rooms = rooms_of({"old": 7}, address_makings_max=2)
    rooms.admit(["a"], of("10.0.0.1"), NOW)
    with pytest.raises(WireError) as caught:
        rooms.admit(["old", "b", "c"], of("10.0.0.1"), NOW)
    assert caught.value.code == "busy" and set(rooms) == {"old", "a"}
    rooms.admit(["old", "b"], of("10.0.0.1"), NOW)
    rooms.admit(["c", "d"], of("10.0.0.2"), NOW)


# --- tails --------------------------------------------------------------------------------------


def test_a_quiet_room_is_marked_ever_more_rarely_and_then_no_more() -> None:
    watermarks = Watermarks(FIRST, LAST)
    spoken(watermarks, feed("general"))
    assert [seconds for seconds, _ in markers(watermarks, 1_000)] == [1.0, 3.0, 7.0, 15.0]
    assert watermarks.next_deadline() is None


def test_a_room_that_never_spoke_is_not_marked() -> None:
    watermarks = Watermarks(FIRST, LAST)
    assert watermarks.next_deadline() is None
    assert watermarks.due(1_000) == []


def test_a_room_that_goes_on_speaking_is_not_marked_and_its_quiet_counts_from_its_last_word() -> None:
    watermarks = Watermarks(FIRST, LAST)
    general = feed("general")
    for tenth in range(50):
        spoken(watermarks, general, seconds=tenth / 10)
        assert watermarks.due(tenth / 10) == []
    assert markers(watermarks, 6.0) == [(4.9 + FIRST, "general")]


def test_a_room_that_speaks_again_is_marked_as_often_as_at_first() -> None:
    watermarks = Watermarks(FIRST, LAST)
    general = feed("general")
    spoken(watermarks, general)
    markers(watermarks, 10)
    spoken(watermarks, general, seconds=10)
    assert [seconds for seconds, _ in markers(watermarks, 1_000)] == [11.0, 13.0, 17.0, 25.0]


def test_a_room_whose_markers_were_over_is_marked_when_it_speaks_again() -> None:
    watermarks = Watermarks(FIRST, LAST)
    general = feed("general")
    spoken(watermarks, general)
    markers(watermarks, 1_000)
    spoken(watermarks, general, seconds=2_000)
    assert markers(watermarks, 2_002) == [(2_001.0, "general")]


def test_a_room_is_marked_once_when_two_of_its_looks_fall_together() -> None:
    watermarks = Watermarks(FIRST, LAST)
    general = feed("general")
    spoken(watermarks, general)
    assert markers(watermarks, 7.0)[-1] == (7.0, "general")  # the next one would be at 15
    spoken(watermarks, general, seconds=14.0)
    assert watermarks.due(15.0) == [general]
    assert watermarks.due(15.0) == []


def test_a_room_that_goes_on_speaking_costs_no_more_memory() -> None:
    watermarks = Watermarks(FIRST, LAST)
    general = feed("general")
    spoken(watermarks, general)
    before = sys.getrefcount(general)
    for tenth in range(1_000):
        spoken(watermarks, general, seconds=tenth / 10)
    assert sys.getrefcount(general) == before


def test_rooms_that_are_due_at_once_are_marked_together() -> None:
    watermarks = Watermarks(FIRST, LAST)
    spoken(watermarks, *(feed(name) for name in "cab"))
    assert [each.topic for each in watermarks.due(FIRST)] == [b"c", b"a", b"b"]


def test_a_broker_that_was_late_marks_a_room_once() -> None:
    watermarks = Watermarks(FIRST, LAST)
    spoken(watermarks, feed("general"))
    assert len(watermarks.due(500.0)) == 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.sampled_from("ab")), max_size=30))
def test_each_word_is_followed_by_a_marker_after_the_first_quiet_time_at_the_latest(
    words: list[tuple[float, str]],
) -> None:
    watermarks = Watermarks(FIRST, LAST)
    feeds = {name: feed(name) for name in "ab"}
    numbers = count()
    seconds = 0.0
    spoke: dict[str, float] = {}
    marked: dict[str, float] = {}
    for wait, name in [*words, (FIRST, "")]:
        seconds += wait
        while (deadline := watermarks.next_deadline()) is not None and deadline <= seconds:
            assert next(numbers) < 1_000
            for each in watermarks.due(deadline):
                assert deadline >= spoke[each.topic.decode()] + FIRST
                marked[each.topic.decode()] = deadline
        for topic, last in spoke.items():
            assert last + FIRST > seconds or marked[topic] >= last + FIRST
        if name:
            watermarks.spoke(feeds[name], seconds)
            spoke[name] = seconds


def test_markers_of_many_rooms_that_are_due_together_come_in_some_calls() -> None:
    watermarks = Watermarks(FIRST, LAST)
    spoken(watermarks, *(feed(f"room.{number}") for number in range(3 * DUE_MAX)))
    found = []
    while (due := watermarks.next_deadline()) is not None and due <= FIRST:
        found.append(watermarks.due(FIRST))
    assert [len(feeds) for feeds in found] == [DUE_MAX] * 3
    assert len({each.topic for feeds in found for each in feeds}) == 3 * DUE_MAX
