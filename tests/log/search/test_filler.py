"""A real broker's index: filled behind the log, also when the broker is killed meanwhile; a small log has none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import zchat
from tests.conftest import BrokerProcess, eventually
from zchat.log.memory import MemoryLog
from zchat.log.search.filler import BEHIND_MAX, Filler
from zchat.log.search.index import SearchIndex
from zchat.log.search.tables import FILE

pytestmark = pytest.mark.slow  # each starts processes


def publish(client: zchat.Client, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        client.publish("ops", f"word {number}")
    client.flush(60)


def test_a_broker_that_is_killed_while_it_is_filled_finds_all_afterwards(
    start_broker: Callable[..., BrokerProcess],
) -> None:
    count = 3 * BEHIND_MAX
    broker = start_broker()
    with zchat.connect(broker.address, "ann") as client:
        publish(client, count)
        log_id = client.log_id
    data = broker.folder / "data"
    index = SearchIndex(data, log_id)
    eventually(lambda: (data / FILE).exists(), "the index was begun", within=60)
    broker.kill()
    broker.start()
    with zchat.connect(broker.address, "ann", timeout=60) as client:
        publish(client, 5, first=count)
        for number in (0, count // 2, count - 1, count + 4):
            assert [message.text for message in client.search(f"{number}", "ops")] == [f"word {number}"]
        eventually(lambda: client.send("ops", "more") - index.upto() <= BEHIND_MAX, "the index is filled", within=60)
        for number in (0, count // 2, count - 1, count + 4):
            assert [message.text for message in client.search(f"{number}", "ops")] == [f"word {number}"]
        assert len(client.search("word", last=1_500)) == 1_500


def test_a_small_log_opens_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = threading.Event()

    class Log(MemoryLog):
        def head(self) -> int:
            looked.set()
            return BEHIND_MAX

    opened: list[str] = []

    def upto(index: SearchIndex) -> int:
        opened.append("the index")
        return 0

    monkeypatch.setattr(SearchIndex, "upto", upto)
    filler = Filler(Log(), tmp_path, opened.append)
    try:
        for _ in range(2):  # the first look has ended where the second begins
            looked.clear()
            assert looked.wait(20)
    finally:
        filler.close()
    assert opened == []


def test_a_small_log_has_no_index(start_broker: Callable[..., BrokerProcess]) -> None:
    broker = start_broker()
    with zchat.connect(broker.address, "ann") as client:
        publish(client, 50)
        assert [message.text for message in client.search("49")] == ["word 49"]
    assert not (broker.folder / "data" / FILE).exists()
