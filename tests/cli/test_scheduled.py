"""`zchat send --in`, `--at` and `zchat scheduled` over a real broker."""

from __future__ import annotations

import json
import re

import pytest

import zchat as public
from tests.conftest import BrokerProcess, zchat

pytestmark = pytest.mark.slow  # each starts processes


def test_what_is_to_be_sent_later_is_listed_sent_and_taken_back(broker: BrokerProcess) -> None:
    with public.connect(broker.address, "alice") as alice, alice.listen("ops") as heard:
        told = json.loads(zchat("send", "ops", "soon", "--in", "0.3", "--json", broker=broker).stdout)
        assert told["room"] == "ops" and re.fullmatch("[0-9a-f]{16}", told["id"])
        assert (
            zchat("send", "ops", "tea\x1b", "--at", "2099-01-02T03:04Z", "--event", "tick", broker=broker).stdout == ""
        )
        message = heard.get(30)
        assert (message.user, message.text) == ("tester", "soon")
        head, row = zchat("scheduled", broker=broker).stdout.splitlines()
        assert head.split() == ["ID", "DUE", "ROOM", "TEXT"]
        name, *rest = row.split()
        assert rest == ["2099-01-02", "03:04:00", "ops", "tea\\x1b"]
        facts = json.loads(zchat("scheduled", "--json", broker=broker).stdout)
        assert facts["due"] == "2099-01-02T03:04:00.000000Z" and (facts["event"], facts["size"]) == ("tick", 4)
        assert zchat("scheduled", broker=broker, env={"ZCHAT_USER": "bob"}).stdout.count("\n") == 1
        assert zchat("scheduled", name, "--cancel", broker=broker).status == 0
        again = zchat("scheduled", name, "--cancel", broker=broker)
        assert (again.stderr, again.status) == (f"zchat: no message {name} is scheduled\n", 1)


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["send", "ops", "x", "--in", "1", "--at", "9:30"], "--in and --at cannot go together"),
        (["send", "ops", "x", "--in", "1", "--volatile"], "--in and --volatile cannot go together"),
        (["send", "ops", "--at", "9:30"], "--at sends one message: a TEXT, --file or --whole"),
        (["send", "ops", "x", "--at", "10m"], "invalid value for '--at': \"10m\" is no time that is to come, such as"),
        (["scheduled", "--cancel"], "no ID of a message to cancel"),
    ],
)
def test_what_cannot_be_is_one_line(args: list[str], line: str) -> None:
    ended = zchat(*args)
    assert ended.stderr.startswith(f"zchat: {line}") and (ended.stdout, ended.status) == ("", 2)
