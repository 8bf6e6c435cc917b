"""`zchat rooms` over a real broker."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.conftest import BrokerProcess, Running, zchat

pytestmark = pytest.mark.slow  # each starts processes


def test_rooms_with_messages_or_members_are_listed(broker: BrokerProcess, start_zchat: Callable[..., Running]) -> None:
    zchat("send", "会议", "x", broker=broker)
    start_zchat("listen", "general", "-v", broker=broker).live()
    shown = zchat("rooms", broker=broker)
    assert (shown.stderr, shown.status) == ("", 0)
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert lines[0] == ["ROOM", "MEMBERS", "LAST"]
    assert sorted(lines[1:])[0][:2] == ["general", "1"] and sorted(lines[1:])[1][:2] == ["会议", "0"]
    rooms = {one["room"]: one for one in map(json.loads, zchat("rooms", "--json", broker=broker).stdout.splitlines())}
    assert rooms["general"]["members"] == 1 and rooms["会议"]["members"] == 0
    assert all(list(one) == ["room", "members", "last", "place"] and one["last"] > 0 for one in rooms.values())
    assert {one["place"].split("@")[0] for one in rooms.values()} == {str(one["last"]) for one in rooms.values()}


def test_what_comes_after_the_place_of_a_room_is_what_was_sent_since(broker: BrokerProcess) -> None:
    zchat("send", "a", "one", broker=broker)
    (room,) = map(json.loads, zchat("rooms", "--json", broker=broker).stdout.splitlines())
    zchat("send", "a", "two", broker=broker)
    assert zchat("history", "a", "--after", room["place"], "--raw", broker=broker).stdout == "two\n"
    (message,) = map(json.loads, zchat("history", "a", "-n", "1", "--json", broker=broker).stdout.splitlines())
    assert message["place"] == room["place"]


def test_a_new_broker_has_none(broker: BrokerProcess) -> None:
    assert zchat("rooms", broker=broker).stdout == "ROOM  MEMBERS  LAST\n"
