"""What `listen` and `history` print of a room when not all of it is wanted."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tests.conftest import BrokerProcess, Running, eventually, zchat
from zchat import connect

pytestmark = pytest.mark.slow  # each starts processes

Start = Callable[..., Running]

# user, event, headers, body
SENT: list[tuple[str, str, dict[str, str], str]] = [
    ("alice", "message", {}, "hello"),
    ("ci", "deploy", {"host": "web1", "env": "prod"}, "v1"),
    ("ci", "failed", {"host": "web2", "env": "prod"}, "Disk full"),
    ("bob", "message", {"note": "a=b"}, "disk is fine"),
    ("ci", "deploy", {"host": "web2", "env": "test"}, "v2"),
    ("alice", "message", {}, "bye"),
]


@pytest.fixture(scope="module")
def told(shared_broker: BrokerProcess) -> BrokerProcess:
    """A broker in whose room `told` all that was sent."""
    clients = {user: connect(shared_broker.address, user) for user in ("alice", "ci", "bob")}
    for user, event, headers, body in SENT:
        clients[user].send("told", body, event=event, headers=headers)
    for user in ("alice", "bob"):
        clients[user].send(f"told.{user}", f"of {user}")
    for client in clients.values():
        client.close()
    return shared_broker


def bodies(broker: BrokerProcess, *args: str, user: str = "tester") -> list[str]:
    """What `zchat ARGS` prints of a history, with the bodies alone."""
    shown = zchat(*args, "--raw", broker=broker, env={"ZCHAT_USER": user})
    assert (shown.stderr, shown.status) == ("", 0)
    return shown.stdout.splitlines()


@pytest.mark.parametrize(
    ("args", "printed"),
    [
        (["--event", "deploy"], ["v1", "v2"]),
        (["--event", "deploy", "--event", "failed"], ["v1", "Disk full", "v2"]),
        (["--from", "CI", "--event", "failed"], ["Disk full"]),
        (["--from", "alice", "--from", "bob"], ["hello", "disk is fine", "bye"]),
        (["-H", "host=web2"], ["Disk full", "v2"]),
        (["-H", "host:web2", "-H", "env=prod"], ["Disk full"]),
        (["-H", "note"], ["disk is fine"]),
        (["-H", "note=a=b"], ["disk is fine"]),
        (["--grep", "disk"], ["disk is fine"]),
        (["--grep", "(?i)disk"], ["Disk full", "disk is fine"]),
        (["--grep", r"^v\d$", "--grep", "^bye"], ["v1", "v2", "bye"]),
        (["--event", "nothing"], []),
        (["--event", "deploy", "-n", "1"], ["v1"]),
        (["--event", "deploy", "--last", "1"], ["v2"]),
        (["--last", "2", "--grep", "v|hello"], ["v1", "v2"]),
        (["--last", "9", "--grep", "hello"], ["hello"]),
        (["--last", "3", "--no-self"], ["disk is fine", "v2", "bye"]),
    ],
)
def test_history_prints_what_is_chosen(told: BrokerProcess, args: list[str], printed: list[str]) -> None:
    assert bodies(told, "history", "told", *args) == printed


def test_no_self_is_of_history_too(told: BrokerProcess) -> None:
    assert bodies(told, "history", "told", "--no-self", user="CI") == ["hello", "disk is fine", "bye"]


def test_rooms_of_a_pattern_can_be_left_out(told: BrokerProcess) -> None:
    assert bodies(told, "history", "told.*") == ["of alice", "of bob"]
    assert bodies(told, "history", "told.**", "told", "--exclude", "told", "--exclude", "*.bob") == ["of alice"]


def test_a_listener_counts_what_it_prints(told: BrokerProcess) -> None:
    shown = zchat("listen", "told", "--last", "1", "-n", "1", "--event", "failed", "--raw", broker=told)
    assert (shown.stdout, shown.stderr, shown.status) == ("Disk full\n", "", 0)
    args = ("listen", "told", "--after", "0", "-n", "3", "-t", "2", "--event", "deploy", "--raw")
    shown = zchat(*args, broker=told)
    assert (shown.stdout, shown.status) == ("v1\nv2\n", 124)
    assert shown.stderr == "zchat: 2 of 3 messages came within 2 s\n"


def test_the_last_of_what_is_rare_are_found_however_far_back(told: BrokerProcess) -> None:
    with connect(told.address, "filler") as client:
        for number in range(1_000):
            client.publish("rare", "x", event="seldom" if number in (3, 7) else "often")
    for wanted, found in ((1, [7]), (2, [3, 7]), (3, [3, 7])):
        shown = zchat("history", "rare", "--event", "seldom", "--last", str(wanted), "--json", broker=told)
        offsets = [json.loads(line)["offset"] for line in shown.stdout.splitlines()]
        first = int(zchat("history", "rare", "-n", "1", "--format", "{offset}", broker=told).stdout)
        assert offsets == [first + number for number in found]


def test_joins_and_leaves_that_are_asked_for_count(told: BrokerProcess) -> None:
    for _ in range(2):
        zchat("listen", "lobby", "-t", "0.01", broker=told)
    shown = zchat("history", "lobby", "--event", "join", "--last", "1", "--json", broker=told)
    assert [json.loads(line)["event"] for line in shown.stdout.splitlines()] == ["join"]
    shown = zchat("listen", "lobby", "--after", "0", "--event", "leave", "-n", "2", "--format", "{event}", broker=told)
    assert (shown.stdout, shown.status) == ("leave\nleave\n", 0)


@pytest.mark.parametrize(
    ("args", "told_"),
    [
        (["--grep", "("], "zchat: --grep (: no regular expression: missing ), unterminated subpattern at position 0\n"),
        (["--from", "a b"], 'zchat: user "a b": '),
        (["--exclude", "a..b"], 'zchat: pattern "a..b": empty segment at position 2\n'),
        (["-H", "=x"], 'zchat: header "=x": no name and value, such as priority=high\n'),
        (["--until", "later"], "zchat: invalid value for '--until': \"later\" is no time or offset, such as "),
    ],
)
def test_what_cannot_be_chosen_is_a_usage_error(args: list[str], told_: str) -> None:
    shown = zchat("history", "told", *args, env={"ZCHAT_BROKER": "tcp://127.0.0.1:9"})
    assert (shown.stdout, shown.status) == ("", 2)
    assert shown.stderr.startswith(told_)


# --- a cursor --------------------------------------------------------------------------------------


def test_what_is_passed_over_counts_as_printed(broker: BrokerProcess, start_zchat: Start) -> None:
    args = ("listen", "jobs", "--resume", "w", "--event", "job", "--raw")
    listener = start_zchat(*args, "-v", broker=broker).live()
    with connect(broker.address, "boss") as client:
        first = client.send("jobs", "1", event="job")
        last = client.send("jobs", "noise")
        assert last > first
        with connect(broker.address, "tester") as tester:
            eventually(lambda: tester.cursors()[0].offset >= last, "the cursor stands behind what was not printed")
        assert listener.end(2).stdout == "1\n"
        client.send("jobs", "2", event="job")
    assert zchat(*args, "-n", "1", broker=broker).stdout == "2\n"


# --- up to where -----------------------------------------------------------------------------------


def test_history_ends_at_an_offset_or_a_time(told: BrokerProcess) -> None:
    lines = [json.loads(line) for line in zchat("history", "told", "--json", broker=told).stdout.splitlines()]
    for end in (str(lines[1]["offset"]), lines[1]["place"], lines[1]["time"]):
        for command in (["history"], ["listen", "--end"]):
            assert bodies(told, *command, "told", "--until", end) == ["hello", "v1"], (command, end)
    assert bodies(told, "history", "told", "--until", str(lines[2]["offset"]), "--last", "2") == ["v1", "Disk full"]
    assert bodies(told, "history", "told", "--until", "1h") == []
    assert bodies(told, "history", "told", "--since", "all", "--until", "2150-01-01", "-n", "2") == ["hello", "v1"]
    of_another = zchat("history", "told", "--until", "7@0000000000000000", broker=told)
    assert of_another.status == 4 and "is of log 0000000000000000" in of_another.stderr


def test_a_listener_ends_at_an_offset_that_has_been(told: BrokerProcess) -> None:
    lines = [json.loads(line) for line in zchat("history", "told", "--json", broker=told).stdout.splitlines()]
    end = str(lines[1]["offset"])
    assert bodies(told, "listen", "told", "--after", "0", "--until", end) == ["hello", "v1"]
    assert bodies(told, "listen", "told", "--until", end) == [], "of a present that is beyond it"
    assert bodies(told, "listen", "told", "--until", lines[1]["time"]) == ["hello", "v1"]


def test_a_listener_ends_at_an_offset_to_come(told: BrokerProcess, start_zchat: Start) -> None:
    with connect(told.address, "boss") as client:
        head = client.send("coming.a", "0")
        listener = start_zchat("listen", "coming.*", "--until", str(head + 2), "--raw", "-v", broker=told).live()
        for number, room in enumerate(("coming.a", "coming.b", "elsewhere", "coming.a"), 1):
            client.send(room, str(number))
    shown = listener.end()
    assert (shown.stdout, shown.status) == ("1\n2\n", 0)


def test_a_listener_ends_at_a_time_to_come(told: BrokerProcess, start_zchat: Start) -> None:
    began = time.time()
    end = datetime.fromtimestamp(began + 5, UTC)
    listener = start_zchat("listen", "soon", "--until", end.isoformat(), "--raw", "-v", broker=told).live()
    with connect(told.address, "boss") as client:
        client.send("soon", "in time")
        shown = listener.end()
    assert time.time() >= began + 5
    assert (shown.stdout, shown.status) == ("in time\n", 0)
