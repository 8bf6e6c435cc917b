"""`zchat ping` and `zchat status`: for who looks after a broker, and for monitors."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable

import pytest

from tests.conftest import BrokerProcess, Running, eventually, zchat
from zchat import connect

pytestmark = pytest.mark.slow  # each starts processes

Start = Callable[..., Running]


def test_each_answer_is_a_line(shared_broker: BrokerProcess) -> None:
    shown = zchat("ping", "-n", "3", "--interval", "0", broker=shared_broker)
    assert (shown.stderr, shown.status) == ("", 0)
    assert re.fullmatch(r"1: \d+\.\d\d ms\n2: \d+\.\d\d ms\n3: \d+\.\d\d ms\n", shown.stdout)
    lines = zchat("ping", "--json", "--interval", "1ms", "-n", "2", broker=shared_broker).stdout.splitlines()
    facts = [json.loads(line) for line in lines]
    assert [fact["number"] for fact in facts] == [1, 2] and all(0 < fact["seconds"] < 60 for fact in facts)
    assert zchat("ping", "-q", "-n", "1", broker=shared_broker).stdout == ""


def test_a_broker_that_is_not_there_is_status_3() -> None:
    shown = zchat("ping", "-b", "tcp://127.0.0.1:9", "--wait", "0.2")
    assert (shown.stdout, shown.status) == ("", 3)


def test_a_broker_that_stops_to_answer_is_no_success(broker: BrokerProcess, start_zchat: Start) -> None:
    pinger = start_zchat("ping", "-n", "100000", "--interval", "10ms", "--wait", "3", broker=broker)
    eventually(lambda: len(pinger.lines) > 2, "answers come")
    assert broker.process is not None
    broker.process.send_signal(signal.SIGSTOP)
    try:
        ended = pinger.end()
    finally:
        broker.process.send_signal(signal.SIGCONT)
    assert ended.status in (3, 124)
    assert ended.stderr.startswith("zchat: ")


def test_status_tells_what_the_broker_has(broker: BrokerProcess) -> None:
    nothing = json.loads(zchat("status", "--json", broker=broker).stdout)
    assert (nothing["last"], nothing["rooms"], nothing["sessions"]) == (None, 0, {"live": 1, "lost": 0})
    with connect(broker.address, "alice") as alice, alice.listen("general"):
        last = alice.send("ops", "x")
        facts = json.loads(zchat("status", "--json", broker=broker).stdout)
        text = zchat("status", broker=broker)
        log_id = alice.log_id
    assert (facts["broker"], facts["log"], facts["last"]) == (broker.address, log_id, last)
    assert (facts["rooms"], facts["rooms_with_members"], facts["sessions"]["live"]) == (2, 1, 2)
    assert (text.stderr, text.status) == ("", 0)
    assert re.match(rf"broker    {re.escape(broker.address)}, answered in \d+\.\d\d ms\n", text.stdout)
    assert f"log       {log_id}, newest record at offset {last}\n" in text.stdout
    assert "sessions  2 live, 0 lost\n" in text.stdout and "rooms     2, 1 with members\n" in text.stdout
