"""A client that runs into a limit is told, slowed or cut off; others do not notice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

import zchat
from tests.conftest import BrokerProcess, eventually
from tests.conftest import zchat as run_zchat
from tests.keyed import start_keyed

pytestmark = pytest.mark.slow  # processes

StartBroker = Callable[..., BrokerProcess]


def limited(start_broker: StartBroker, folder: Path, *lines: str) -> BrokerProcess:
    file = folder / "broker.toml"
    file.write_text("\n".join(["[limits]", *lines]))
    return start_broker("--config", str(file))


def test_who_publishes_faster_than_it_may_is_slowed_by_its_own_window_and_nobody_else(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    broker = limited(start_broker, tmp_path, "user_records_max = 50", "user_records_a_second_max = 400")
    with zchat.connect(broker.address, "fast") as fast, zchat.connect(broker.address, "good") as good:
        began = time.monotonic()
        publications = [fast.publish("room", b"%d" % number) for number in range(450)]
        waits = []
        while not publications[-1].done():
            sent = time.monotonic()
            good.send("room", b"x")
            waits.append(time.monotonic() - sent)
        for publication in publications:
            assert publication.result(timeout=60.0)
        seconds = time.monotonic() - began
        assert seconds > 0.9, "the first fifty at once, the others in a second"
        assert sorted(waits)[len(waits) // 2] < 0.3
        bodies = [message.body for message in good.history("room") if message.user == "fast"]
        assert bodies == [b"%d" % number for number in range(450)], "all of it is stored, once and in order"


def test_who_stores_too_much_in_a_day_is_refused_and_others_are_not(start_broker: StartBroker, tmp_path: Path) -> None:
    broker = limited(start_broker, tmp_path, "user_day_bytes_max = 100_000")
    with zchat.connect(broker.address, "much") as much, zchat.connect(broker.address, "good") as good:
        much.send("room", bytes(60_000))
        with pytest.raises(zchat.Refused, match="in a day") as caught:
            much.send("room", bytes(60_000))
        assert caught.value.code == "over-limit"
        with pytest.raises(zchat.Refused):
            much.flush(30.0)
        good.send("room", bytes(60_000))


def test_operators_see_which_limits_were_met_and_how_often(start_broker: StartBroker, tmp_path: Path) -> None:
    broker = limited(start_broker, tmp_path, "user_cursors_max = 2", "record_bytes_max = 1000")
    with zchat.connect(broker.address, "busy") as client:
        assert client.limits_met() == {}
        for number in range(4):
            try:
                client.set_cursor(f"c{number}", 0)
            except zchat.Refused as refusal:
                assert refusal.code == "too-many-cursors"
        assert client.limits_met() == {"user_cursors_max": 2}
    found = json.loads(run_zchat("status", "--json", broker=broker).stdout)
    assert found["limits_met"] == {"user_cursors_max": 2}
    assert "user_cursors_max met 2 times" in run_zchat("status", broker=broker).stdout
    eventually(lambda: "limits were met: user_cursors_max 2 times\n" in broker.stderr(), "the operator is told")


def test_a_subscriber_that_is_cut_off_is_counted(start_broker: StartBroker, tmp_path: Path) -> None:
    broker = limited(start_broker, tmp_path, "connection_subscriptions_max = 10")
    with zmq.Context() as context, zchat.connect(broker.address, "looker") as looker:
        subscriber = context.socket(zmq.SUB)
        subscriber.linger, subscriber.sndhwm = 0, 0
        subscriber.connect(broker.publish_address)
        for number in range(20):
            subscriber.subscribe(b"#room-%d\0" % number)

        def is_counted() -> bool:
            subscriber.poll(0)  # a SUB subscribes while it is looked at
            return looker.limits_met().get("connection_subscriptions_max", 0) > 0

        eventually(is_counted, "it is counted")
        subscriber.close()


def test_a_log_that_may_not_grow_refuses_and_is_read_on(start_broker: StartBroker, tmp_path: Path) -> None:
    broker = limited(start_broker, tmp_path, "log_bytes_max = 2_000_000")
    with zchat.connect(broker.address, "much") as much:
        with pytest.raises(zchat.Refused, match="limit 2,000,000") as caught:
            for _ in range(40):
                much.send("room", bytes(200_000))
        assert caught.value.code == "log-full"
        with pytest.raises(zchat.Refused):
            much.flush(30.0)
        assert list(much.history("room"))
        assert much.limits_met()["log_bytes_max"] > 0


def test_a_broker_with_keys_tells_who_met_which_limit(start_broker: StartBroker, tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_text("[limits]\nuser_cursors_max = 1\n")
    keyed = start_keyed(start_broker, tmp_path, "--config", str(file))
    keyed.join("ann")
    for number in range(3):
        keyed.run("ann", "cursors", f"c{number}", "--set", "0")
    line = "audit event=limited limit=user_cursors_max user=ann address=127.0.0.1 times="
    eventually(lambda: line in keyed.broker.stderr(), "the operator is told")
