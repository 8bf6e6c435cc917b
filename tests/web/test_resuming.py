"""How far a client is, as it is told and read back; and what may be said at a connect."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchat.errors import UsageError
from zchat.web.core.resuming import RoomPlaces, introduction, place, places_of, tag_of, user_of_id

ID = "V1StGXR8_Z5jdHi6.alice"
ROOMS = st.sampled_from(["general", "ops.web", "@anna", "会议"])


@given(st.dictionaries(ROOMS, st.integers(0, 2**63 - 1)))
def test_a_place_is_read_as_it_was_written(offsets: dict[str, int]) -> None:
    assert places_of(place("3f1c", offsets.items())) == RoomPlaces("3f1c", offsets)


@given(st.text() | st.none() | st.integers() | st.lists(st.text()))
def test_anything_else_is_no_place_and_no_id(given: Any) -> None:
    places_of(given), user_of_id(given)


@pytest.mark.parametrize(
    "text", ["", ";", "log;general", "log;general:", "log;general:x", "log;a b:1", "log;a:1;", "log;a:" + "9" * 20]
)
def test_what_makes_no_sense_is_no_place(text: str) -> None:
    assert places_of(text) is None
    assert places_of(";".join(["log", *(f"r{number}:1" for number in range(33))])) is None


def test_npms_client_brings_its_id_and_where_it_is() -> None:
    said = introduction({"pid": ID, "offset": "log;general:41"}, {}, is_npm=True)
    assert (said.user, said.id, said.places, said.is_told) == ("alice", ID, RoomPlaces("log", {"general": 41}), True)
    said = introduction({"pid": ID, "offset": "nonsense;", "user": "bob"}, {}, is_npm=True)
    assert (said.user, said.id, said.places) == ("bob", ID, None)
    assert introduction({"pid": "short", "offset": 5}, {}, is_npm=True).id == ""


def test_others_say_last_and_who_they_are() -> None:
    said = introduction({"last": "log;a:1", "client": "c1", "user": "bob"}, {}, is_npm=False)
    assert said.is_told and said.places == RoomPlaces("log", {"a": 1})
    assert said.own_id == introduction({"client": "c1", "user": "bob"}, {}, is_npm=False).own_id
    assert said.own_id != introduction({"client": "c2", "user": "bob"}, {}, is_npm=False).own_id
    assert introduction({"last": 41, "room": "Ops"}, {}, is_npm=False)[1:5] == (["ops"], "", "", None)
    assert introduction({"last": 41}, {}, is_npm=False).since == 41
    assert introduction({"last": None}, {}, is_npm=False).is_told
    assert not introduction({}, {}, is_npm=False).is_told
    assert introduction({}, {}, is_npm=True).hears_presence
    assert not introduction({"presence": False}, {}, is_npm=True).hears_presence


def test_what_auth_does_not_say_the_query_does() -> None:
    said = introduction({"room": "a"}, {"user": "bob", "room": "b"}, is_npm=True)
    assert (said.user, said.rooms) == ("bob", ["a"])
    assert introduction(None, {"room": "b"}, is_npm=True).rooms == ["b"]


@pytest.mark.parametrize(
    "auth", [5, [], "x", {"user": 5}, {"user": "a b"}, {"room": 5}, {"rooms": [1]}, {"rooms": ["a"] * 33}, {"room": ""}]
)
def test_what_cannot_be_is_refused(auth: Any) -> None:
    with pytest.raises(UsageError):
        introduction(auth, {}, is_npm=True)


def test_the_tag_does_not_tell_the_id() -> None:
    assert tag_of(ID) == tag_of(ID) != tag_of(ID + "x") and tag_of(ID) not in ID and len(tag_of("\ud800")) == 12
