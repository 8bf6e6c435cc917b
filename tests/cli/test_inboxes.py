"""Direct messages as somebody at the command line finds them: `@me`, `--inbox`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import BrokerProcess, Running, eventually, zchat

pytestmark = pytest.mark.slow  # each starts processes

Start = Callable[..., Running]
ALICE = {"ZCHAT_USER": "Alice"}


def test_me_is_the_inbox_of_who_calls(broker: BrokerProcess, start_zchat: Start) -> None:
    listener = start_zchat("listen", "@me", "-v", "--raw", "-n", "2", broker=broker, env=ALICE).live()
    assert zchat("who", "@me", broker=broker, env=ALICE).stdout.count("Alice") == 1
    assert zchat("send", "@alice", "lunch?", broker=broker).status == 0
    assert zchat("send", "@ME", "a note", broker=broker, env=ALICE).status == 0
    assert listener.end().stdout == "lunch?\na note\n"
    assert zchat("history", "@me", "--raw", broker=broker, env=ALICE).stdout == "lunch?\na note\n"
    assert zchat("history", "@me", "--raw", broker=broker).stdout == "", "another user has another one"


def test_a_pattern_with_the_inbox(broker: BrokerProcess, start_zchat: Start) -> None:
    listener = start_zchat("listen", "**", "--inbox", "-v", broker=broker, env=ALICE).live()
    for room, text in (("general", "to all"), ("@alice", "to alice"), ("@bob", "to bob")):
        zchat("send", room, text, broker=broker)
    eventually(lambda: len(listener.lines) == 2, "both are printed")
    listener.end(2)
    assert [line.partition("] ")[2] for line in listener.lines] == [
        "#general tester: to all",
        "#@alice tester: to alice",
    ]
    shown = zchat("history", "**", "--inbox", "--raw", broker=broker, env=ALICE)
    assert shown.stdout == "to all\nto alice\n"
    assert zchat("history", "@me", "--inbox", "--raw", broker=broker, env=ALICE).stdout == "to alice\n"


def test_no_group_shares_an_inbox_and_no_other_name_of_it_is_offered(broker: BrokerProcess) -> None:
    shown = zchat("listen", "@me", "--group", "g", broker=broker, env=ALICE)
    assert (shown.status, shown.stderr) == (2, 'zchat: room "@alice": a group is of one room, and of no inbox\n')
