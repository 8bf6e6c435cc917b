"""Calls that need the broker, while it is away: how long they wait, what they raise, and how a program knows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

import zchat
from tests.conftest import BrokerProcess, eventually
from zchat.sockets.outbox import OUTBOX_BYTES_MAX

pytestmark = pytest.mark.slow  # brokers are processes

StartBroker = Callable[..., BrokerProcess]
Call = Callable[[zchat.Client, float | None], object]


def send(client: zchat.Client, timeout: float | None) -> object:
    return client.send("den", "hello", timeout=timeout)


def result(client: zchat.Client, timeout: float | None) -> object:
    return client.publish("den", "hello").result(timeout)


def flush(client: zchat.Client, timeout: float | None) -> object:
    client.publish("den", "hello")
    client.flush(timeout)
    return None


def history(client: zchat.Client, timeout: float | None) -> object:
    return list(client.history("hall", timeout=timeout))


def listen(client: zchat.Client, timeout: float | None) -> object:
    return client.listen("hall", timeout=timeout)


def resume(client: zchat.Client, timeout: float | None) -> object:
    return client.listen("hall", resume="there", last=3, timeout=timeout)


CALLS: dict[str, Call] = {
    "send": send,
    "result": result,
    "flush": flush,
    "history": history,
    "listen": listen,
    "resume": resume,
    "who": lambda client, timeout: client.who("den", timeout=timeout),
    "rooms": lambda client, timeout: client.rooms(timeout=timeout),
    "cursors": lambda client, timeout: client.cursors(timeout=timeout),
    "set_cursor": lambda client, timeout: client.set_cursor("here", 0, timeout=timeout),
    "drop_cursor": lambda client, timeout: client.drop_cursor("here", timeout=timeout),
}


@pytest.fixture
def anna(start_broker: StartBroker) -> Iterator[tuple[BrokerProcess, zchat.Client]]:
    """A broker that has gone, and who was connected to it."""
    broker = start_broker()
    client = zchat.connect(broker.address, "anna")
    broker.stop()
    eventually(lambda: not client.is_connected, "it has noticed")
    yield broker, client
    client.close()


def test_a_call_that_needs_the_broker_waits_until_it_is_back(anna: tuple[BrokerProcess, zchat.Client]) -> None:
    broker, client = anna
    done: dict[str, object] = {}

    def run(name: str) -> None:
        done[name] = CALLS[name](client, None)

    threads = [threading.Thread(target=run, args=(name,)) for name in CALLS]
    for thread in threads:
        thread.start()
    threads[-1].join(0.5)
    assert done == {}
    broker.start()
    for thread in threads:
        thread.join(20)
    assert done.keys() == CALLS.keys()


@pytest.mark.parametrize(("timeout", "default"), [(0.1, None), (None, 0.1), (0.1, 60.0)])
def test_a_call_waits_as_long_as_its_caller_says(
    anna: tuple[BrokerProcess, zchat.Client], timeout: float | None, default: float | None
) -> None:
    broker, client = anna
    client._connection.timeout = default
    for name, call in CALLS.items():
        began = time.monotonic()
        with pytest.raises(zchat.TimedOut) as caught:
            call(client, timeout)
        assert 0.1 <= time.monotonic() - began < 5, name
        assert isinstance(caught.value, zchat.Unreachable), name
        assert (caught.value.address, caught.value.seconds) == (broker.address, 0.1), name
        assert "connection" in caught.value.why, name


def test_a_time_to_wait_that_is_none_is_refused_before_anything_is_done(broker: BrokerProcess) -> None:
    with zchat.connect(broker.address, "anna") as client:
        for name in CALLS.keys() - {"result", "flush"}:  # what was published before is not theirs
            with pytest.raises(zchat.UsageError):
                CALLS[name](client, "1")  # type: ignore[arg-type]
            assert client.rooms() == [] and client.cursors() == [], name
    with pytest.raises(zchat.UsageError):
        zchat.connect("tcp://127.0.0.1:9", "anna", timeout="1")  # type: ignore[arg-type]


def test_publish_waits_for_room_as_long_as_the_client_says(start_broker: StartBroker) -> None:
    broker = start_broker("--memory")
    client = zchat.connect(broker.address, "anna", timeout=0.2)
    broker.stop()
    body, published = b"x" * 500_000, 0
    with pytest.raises(zchat.Unreachable):
        while True:
            client.publish("den", body)
            published += 1
    assert published * len(body) >= OUTBOX_BYTES_MAX - len(body)
    broker.start()
    client.flush(20)
    assert len(list(client.history("den", timeout=20))) == published
    client.close()


def test_a_client_that_only_publishes_is_told_when_the_broker_is_away_and_when_it_is_back(
    start_broker: StartBroker,
) -> None:
    broker = start_broker()
    notices: list[str] = []
    rooms: list[str] = []

    def told(notice: zchat.Notice) -> None:
        notices.append(notice.kind)
        if notice.kind == "back":
            rooms.extend(room.name for room in client.rooms())  # it may ask

    with zchat.connect(broker.address, "anna", on_notice=told) as client:
        assert client.is_connected
        client.send("den", "one")
        for times in (1, 2):
            broker.stop()
            eventually(lambda: notices[-1:] == ["lost"], "it is told")
            assert not client.is_connected
            broker.start()
            eventually(lambda: notices[-1:] == ["back"], "it is told")
            assert client.is_connected
            eventually(lambda times=times: rooms == ["den"] * times, "it has asked")  # before it is told of the next
    assert not client.is_connected
    assert len(notices) == 4


def test_a_function_that_raises_when_it_is_told_ends_nothing(
    start_broker: StartBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = start_broker("--memory")
    reported: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", reported.append)

    def told(notice: zchat.Notice) -> None:
        raise LookupError(notice.kind)

    with zchat.connect(broker.address, "anna", on_notice=told) as client:
        broker.restart()
        eventually(lambda: len(reported) == 2, "both are reported", within=20)
        assert client.send("den", "hello", timeout=20) > 0
    assert [str(one.exc_value) for one in reported] == ["lost", "back"]
