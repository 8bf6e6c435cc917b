"""`zchat listen --resume` and `zchat cursors` over a real broker."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable

import pytest

import zchat as api
from tests.conftest import BrokerProcess, Result, Running, eventually, zchat

pytestmark = pytest.mark.slow  # each starts processes


def resumed(broker: BrokerProcess, *args: str) -> str:
    shown = zchat("listen", *args, "--raw", "--resume", "x", broker=broker)
    assert (shown.stderr, shown.status) == ("", 0)
    return shown.stdout


def test_it_goes_on_where_the_last_one_ended(broker: BrokerProcess) -> None:
    assert resumed(broker, "a", "-t", "0.2") == ""
    zchat("send", "a", stdin="1\n2\n3\n4\n", broker=broker)
    assert resumed(broker, "a", "-n", "2") == "1\n2\n"
    assert resumed(broker, "a", "-n", "2") == "3\n4\n"
    assert resumed(broker, "a", "-t", "0.2") == ""


def test_a_signal_is_a_clean_end(broker: BrokerProcess, start_zchat: Callable[..., Running]) -> None:
    listener = start_zchat("listen", "*", "--raw", "--resume", "x", "-v", broker=broker).live()
    zchat("send", "a", stdin="1\n2\n", broker=broker)
    eventually(lambda: listener.stdout == "1\n2\n", "both are printed")
    assert listener.end(signal.SIGTERM).status == -signal.SIGTERM
    zchat("send", "b", "3", broker=broker)
    assert resumed(broker, "*", "-n", "1") == "3\n"


def test_a_cursor_that_cannot_be_stored_at_the_end_is_told(
    broker: BrokerProcess, start_zchat: Callable[..., Running]
) -> None:
    def cursor() -> int:
        (line,) = zchat("cursors", "--json", broker=broker).stdout.splitlines()
        return int(json.loads(line)["offset"])

    def told() -> tuple[str, int, int, int] | None:
        """What is said when the broker is killed behind a message; the cursor before and after that, and the message's
        offset. None where the cursor was stored in between, whether that was told or not."""
        assert resumed(broker, "a", "b", "-t", "0") == ""
        before = cursor()
        listener = start_zchat("listen", "a", "b", "--raw", "--resume", "x", "-v", broker=broker).live()
        zchat("send", "a", "1", broker=broker)
        eventually(lambda: listener.stdout == "1\n", "it is printed")
        broker.kill()
        eventually(lambda: "connection lost" in listener.stderr, "it knows that the broker is away")
        ended = listener.end(signal.SIGINT)
        assert (ended.stdout, ended.status) == ("1\n", -signal.SIGINT)
        broker.start()
        stored = cursor()
        offset = int(json.loads(zchat("history", "a", "--last", "1", "--json", broker=broker).stdout)["offset"])
        if stored >= offset:
            return None
        return "".join(line for line in ended.stderr.splitlines() if "cursor" in line), before, stored, offset

    assert resumed(broker, "a", "b", "-t", "0") == ""
    zchat("send", "a", "0", broker=broker)
    assert resumed(broker, "a", "b", "-n", "1") == "0\n"
    line, before, stored, offset = eventually(told, "it is told that the cursor could not be stored")
    words = r"zchat: the cursor x could not be stored: what was printed after offset (\d+) may come again"
    said = re.fullmatch(words, line)
    # It knows of what it was told of: one that was stored just before the kill may not be among that.
    assert said is not None and 0 < before <= int(said[1]) <= stored < offset, (line, before, stored, offset)
    assert resumed(broker, "a", "b", "-n", "1") == "1\n"
    assert resumed(broker, "a", "b", "-t", "0.2") == ""


def test_what_a_reader_that_goes_had_not_taken_is_not_printed_again(
    broker: BrokerProcess, start_zchat: Callable[..., Running]
) -> None:
    reading, writing = os.pipe()
    assert resumed(broker, "a", "-t", "0") == ""
    zchat("send", "a", stdin="1\n2\n", broker=broker)
    listener = start_zchat("listen", "a", "--raw", "--resume", "x", broker=broker, stdout=writing)
    os.close(writing)
    assert os.read(reading, 2) == b"1\n"
    os.close(reading)
    zchat("send", "a", stdin="3\n", broker=broker)
    assert listener.end() == Result("", "", 0)
    assert resumed(broker, "a", "-n", "1") == "3\n"


def test_cursors_are_listed_set_and_removed(broker: BrokerProcess) -> None:
    zchat("send", "a", stdin="1\n2\n", broker=broker)
    assert zchat("cursors", "x", "--set", "1", broker=broker).status == 0
    head, row = zchat("cursors", broker=broker).stdout.splitlines()
    assert (head.split(), row.split()[:2]) == (["NAME", "OFFSET", "SET"], ["x", "1"])
    facts = json.loads(zchat("cursors", "X", "--json", broker=broker).stdout)
    assert list(facts) == ["name", "offset", "place", "time"] and facts["offset"] == 1
    assert resumed(broker, "a", "-n", "1") == "2\n"
    assert zchat("cursors", "x", "--remove", broker=broker) == Result("", "", 0)
    assert zchat("cursors", broker=broker).stdout == "NAME  OFFSET  SET\n"


@pytest.mark.parametrize(
    ("args", "status"),
    [
        (("x", "--set", "1", "--remove"), 2),
        (("--set", "1"), 2),
        (("a b", "--set", "0"), 2),
        (("x", "--set", "99999"), 4),
        (("x", "--set", str(1 << 53)), 2),
        (("x", "--set", "9" * 30), 2),
    ],
)
def test_what_cannot_be_is_one_line(shared_broker: BrokerProcess, args: tuple[str, ...], status: int) -> None:
    shown = zchat("cursors", *args, broker=shared_broker)
    assert (shown.stdout, shown.status, shown.stderr.count("\n")) == ("", status, 1)


def test_lag_is_shown_when_asked_for(broker: BrokerProcess, start_zchat: Callable[..., Running]) -> None:
    listener = start_zchat("listen", "a", "--raw", "-v", broker=broker, env={"ZCHAT_USER": "slow"}).live()
    client = api.connect(broker.address, "watcher")  # commands would take longer than a stopped one is waited for

    def lag() -> int | None:
        return next((member.lag for member in client.who("a", lag=True) if member.user == "slow"), None)

    def lag_when_stopped() -> int | None:
        """On a busy machine it may be taken for lost before anybody has asked."""
        eventually(lambda: lag() == 0, "it is not behind")
        listener.process.send_signal(signal.SIGSTOP)
        for number in range(3):
            client.send("a", str(number))
        told = lag()
        listener.process.send_signal(signal.SIGCONT)
        return told

    told = eventually(lag_when_stopped, "its lag is known while it is stopped", within=100)
    assert told in (3, 4), "its own join has an offset, too"
    eventually(lambda: lag() == 0, "it has caught up")
    client.close()
    shown = [json.loads(line) for line in zchat("who", "a", "--lag", "--json", broker=broker).stdout.splitlines()]
    assert [(facts["user"], facts["lag"]) for facts in shown] == [("slow", 0)]
    assert zchat("who", "a", "--lag", broker=broker).stdout.split("\n")[0].split()[-1] == "LAG"


@pytest.mark.parametrize("broker", [("--retain", "load=1000", "--retain", "old=1ms")], indirect=True)
def test_what_was_removed_is_a_gap_of_history(broker: BrokerProcess) -> None:
    for _ in range(3):
        zchat("send", "load", stdin="".join(f"{number}\n" for number in range(2000)), broker=broker)
    with api.connect(broker.address, "looker") as looker:
        told: list[api.Notice] = []
        eventually(
            lambda: next(looker.history("load", limit=1, on_notice=told.append)) and told,
            "something is removed",
            within=20,
        )
    shown = zchat("history", "load", "--raw", broker=broker)
    left, (gap,) = shown.stdout.splitlines(), shown.stderr.splitlines()
    assert 1000 <= len(left) < 6000 and left[-1] == "1999"
    assert gap.startswith("zchat: gap in load: offsets ") and gap.endswith(" cannot be had any more (trimmed)")


@pytest.mark.parametrize("rule", ["load", "load=", "=7d", "load=soon", "a..b=7d", "load=0"])
def test_a_retention_that_cannot_be_is_one_line(rule: str) -> None:
    shown = zchat("broker", "--memory", "--bind", "tcp://127.0.0.1:0", "--retain", rule)
    assert (shown.stdout, shown.status, shown.stderr.count("\n")) == ("", 2, 1)
