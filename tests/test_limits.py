"""A client that runs into a limit is told, slowed or cut off; others do not notice."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

import zchat
from tests.conftest import BrokerProcess

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
