"""`zchat who` over a real broker."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import BrokerProcess, Running, eventually, zchat
from zchat import connect
from zchat.arguments import INFO_VALUE_CHARACTERS

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
    assert list(facts) == ["user", "session", "state", "since", "seen", "rooms", "address", "info", "doubt"]
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


@pytest.mark.parametrize("name", [b"x" * 240, b"\xff\x1b[2J" * 40])
def test_a_program_of_any_name_connects_and_is_told_in_short(
    broker: BrokerProcess, tmp_path: Path, name: bytes
) -> None:
    script = tmp_path / os.fsdecode(name)
    script.write_text(
        "import sys, zchat\nwith zchat.connect(sys.argv[1], wait=60) as me: print(me.who()[0].info['program'])"
    )
    ran = subprocess.run([sys.executable, script, broker.address], capture_output=True, text=True, timeout=90)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.rstrip("\n").isprintable() and 0 < len(ran.stdout) <= INFO_VALUE_CHARACTERS + 1


def test_who_comes_and_goes_is_watched_each_change_once(
    broker: BrokerProcess, start_zchat: Callable[..., Running]
) -> None:
    with connect(broker.address, "ann") as ann, ann.listen("den"):
        watcher = start_zchat("who", "den", "--watch", "--json", broker=broker)
        people = start_zchat("who", "--watch", broker=broker)
        eventually(lambda: len(watcher.lines) == 1 and len(people.lines) == 1, "who is there is told")
        with connect(broker.address, "ben") as ben, ben.listen("den", "lair"):
            eventually(lambda: len(watcher.lines) == 2 and len(people.lines) == 3, "ben has come")
        eventually(lambda: len(watcher.lines) == 3 and len(people.lines) == 5, "ben has gone")
        told = [json.loads(line) for line in watcher.lines]
        assert [(one["event"], one["user"], one.get("reason")) for one in told] == [
            ("member", "ann", None),
            ("join", "ben", None),
            ("leave", "ben", "bye"),
        ]
        assert told[1]["session"] == told[2]["session"] != told[0]["session"]
        assert sorted(line.partition("] ")[2] for line in people.lines[1:]) == [
            "#den * ben joined",
            "#den * ben left",
            "#lair * ben joined",
            "#lair * ben left",
        ]
    assert zchat("who", "den", "--timeout", "1", broker=broker).status == 2
    assert zchat("who", "den", "--watch", "--timeout", "0.1", broker=broker).status == 0


def test_names_that_look_alike_are_told(broker: BrokerProcess, start_zchat: Callable[..., Running]) -> None:
    for user in ("alice", "аlice", "bob"):
        start_zchat("listen", "general", "-v", broker=broker, env={"ZCHAT_USER": user}).live()
    head, *rows = zchat("who", "general", broker=broker).stdout.splitlines()
    assert head.split()[-1] == "NAME"
    told = {row.split()[0]: row.rpartition("  ")[2].strip() for row in rows}
    assert told["alice"] == "looks like аlice" and told["аlice"] == "looks like alice" and "looks" not in told["bob"]
    facts = [json.loads(line) for line in zchat("who", "general", "--json", broker=broker).stdout.splitlines()]
    assert {each["user"]: each["doubt"] for each in facts} == {
        "alice": "looks like аlice",
        "аlice": "looks like alice",
        "bob": None,
    }
