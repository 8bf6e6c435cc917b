"""`zchat who` over a real broker."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable

import pytest

from tests.conftest import BrokerProcess, Running, eventually, zchat

pytestmark = pytest.mark.slow  # each starts processes


def test_a_member_is_in_the_table_and_in_json(broker: BrokerProcess, start_zchat: Callable[..., Running]) -> None:
    start_zchat("listen", "general", "-v", broker=broker, env={"ZCHAT_USER": "李明"}).live()
    shown = zchat("who", "general", broker=broker)
    assert (shown.stderr, shown.status) == ("", 0)
    head, row = shown.stdout.splitlines()
    assert head.split() == ["USER", "STATE", "SINCE", "SEEN", "ROOMS", "ADDRESS"]
    assert row.startswith("李明  live   ")
    (line,) = zchat("who", "general", "--json", broker=broker).stdout.splitlines()
    facts = json.loads(line)
    assert list(facts) == ["user", "session", "state", "since", "seen", "rooms", "address", "info"]
    assert list(facts["info"]) == ["host", "pid", "program"]
    assert (facts["user"], facts["state"], facts["rooms"]) == ("李明", "live", ["general"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", facts["since"])


def test_without_a_room_all_sessions_are_shown_and_who_has_gone(
    broker: BrokerProcess, start_zchat: Callable[..., Running]
) -> None:
    guest = start_zchat("listen", "general", "-v", broker=broker, env={"ZCHAT_USER": "guest"}).live()

    def states() -> dict[str, str]:
        lines = zchat("who", "--json", broker=broker).stdout.splitlines()
        return {facts["user"]: facts["state"] for facts in map(json.loads, lines)}

    assert states() == {"guest": "live", "tester": "live"}
    guest.end(signal.SIGTERM)
    eventually(lambda: states().get("guest") == "gone", "the guest is shown as gone")


def test_an_empty_room_is_a_table_without_rows(broker: BrokerProcess) -> None:
    assert zchat("who", "nobody", broker=broker).stdout == "USER  STATE  SINCE  SEEN  ROOMS  ADDRESS\n"
    assert zchat("who", "nobody", "--json", broker=broker).stdout == ""
