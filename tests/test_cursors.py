"""Cursors that last: `listen(resume=NAME)` over a real broker, in one room and over several."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

import zchat
from tests.conftest import BrokerProcess, environment, eventually

pytestmark = pytest.mark.slow  # each starts processes


@pytest.fixture
def client(broker: BrokerProcess) -> Iterator[zchat.Client]:
    with zchat.connect(broker.address, "reader") as client:
        yield client


def send(client: zchat.Client, room: str, *bodies: str) -> list[int]:
    publications = [client.publish(room, body) for body in bodies]
    return [publication.result(10) for publication in publications]


def got(subscription: zchat.Subscription, count: int) -> list[str]:
    return [subscription.get(10).text for _ in range(count)]


def nothing_more(subscription: zchat.Subscription) -> bool:
    with pytest.raises(zchat.TimedOut):
        subscription.get(0.2)
    return True


@pytest.mark.parametrize("patterns", [["a"], ["a", "b"], ["*"]], ids=["one room", "two rooms", "a pattern"])
def test_it_goes_on_right_after_a_clean_end(client: zchat.Client, patterns: list[str]) -> None:
    with client.listen(*patterns, resume="x") as subscription:
        send(client, "a", "1", "2", "3")
        send(client, patterns[-1].replace("*", "c"), "4")
        assert got(subscription, 2) == ["1", "2"]
    send(client, "a", "5")
    with client.listen(*patterns, resume="x") as subscription:
        assert got(subscription, 3) == ["3", "4", "5"] and nothing_more(subscription)
    with client.listen(*patterns, resume="x") as subscription:
        assert nothing_more(subscription)


def test_a_room_that_was_empty_the_first_time_is_read_from_there(client: zchat.Client) -> None:
    client.listen("a", resume="x").close()
    send(client, "a", "1", "2")
    with client.listen("a", resume="x") as subscription:
        assert got(subscription, 2) == ["1", "2"]


def test_a_start_counts_the_first_time_only(client: zchat.Client) -> None:
    send(client, "a", "1", "2", "3")
    with client.listen("a", resume="x", last=2) as subscription:
        assert got(subscription, 2) == ["2", "3"]
    with client.listen("a", resume="x", last=2) as subscription:
        assert nothing_more(subscription)


def test_a_crash_repeats_what_was_not_kept_and_loses_nothing(client: zchat.Client, broker: BrokerProcess) -> None:
    send(client, "a", *map(str, range(10)))
    program = (
        "import os, sys, zchat\n"
        "client = zchat.connect(sys.argv[1], 'reader')\n"
        "subscription = client.listen('a', resume='x', after=0, auto_commit=False)\n"
        "for _ in range(4): subscription.get(10)\n"
        "subscription.commit()\n"
        "kept = client.cursors()[0].offset\n"
        "while client.cursors()[0].offset == kept: pass\n"
        "for _ in range(4): subscription.get(10)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program, broker.address], env=environment(), timeout=60)
    with client.listen("a", resume="x") as subscription:
        assert got(subscription, 6) == ["4", "5", "6", "7", "8", "9"]


def test_it_follows_by_itself_while_it_listens(client: zchat.Client) -> None:
    with client.listen("a", resume="x") as subscription:
        offsets = send(client, "a", "1", "2")
        assert got(subscription, 2) == ["1", "2"]
        nothing_more(subscription)  # whoever asks for the next message has done the one before
        eventually(lambda: client.cursors()[0].offset == offsets[-1], "the cursor is kept")


def send_as_one(client: zchat.Client, room: str, bodies: dict[str, float | None]) -> None:
    """All but the first ones in one batch; each body with the seconds after which it expires, if it does."""
    for body, expire in bodies.items():
        client.publish(room, body, expire=expire)
    client.flush()


def test_within_a_batch_it_follows_too(client: zchat.Client, broker: BrokerProcess) -> None:
    with zchat.connect(broker.address, "sender") as sender, client.listen("a", resume="x") as subscription:
        send_as_one(sender, "a", {str(number): None for number in range(50)})
        offsets = [subscription.get(10).offset for _ in range(30)]
        eventually(lambda: client.cursors()[0].offset == offsets[-2], "all but the one in hand is kept")


@pytest.mark.parametrize("echo", [True, False])
def test_the_message_in_hand_of_an_exception_comes_again_where_the_next_one_has_expired(
    client: zchat.Client, broker: BrokerProcess, echo: bool
) -> None:
    (start,) = send(client, "a", "0")
    client.set_cursor("x", start)
    before = [str(number) for number in range(20)]
    send_as_one(client, "a", {**dict.fromkeys(before), "in hand": None, "gone": 0.001, "last": None})
    newest = next(iter(client.history("a", last=1)))
    eventually(lambda: time.time() * 1e6 > newest.time + 500_000, "one has expired")

    def work() -> None:
        with zchat.connect(broker.address, "reader") as reader:
            subscription = reader.listen("a", resume="x", echo=echo)
            assert got(subscription, 21) == [*before, "in hand"]
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    with client.listen("a", resume="x") as subscription:
        assert got(subscription, 2) == ["in hand", "last"]


def test_it_outlives_the_broker(client: zchat.Client, broker: BrokerProcess) -> None:
    (offset,) = send(client, "a", "1")
    client.set_cursor("x", offset)
    broker.kill()
    broker.start()
    assert [(cursor.name, cursor.offset) for cursor in client.cursors()] == [("x", offset)]


def test_a_cursor_that_could_not_be_stored_says_from_where_it_repeats(
    client: zchat.Client, broker: BrokerProcess
) -> None:
    with client.listen("a", "b", resume="x", auto_commit=False) as subscription:
        send(client, "a", "1", "2")
        assert got(subscription, 2) == ["1", "2"]
        subscription.commit()
    assert subscription.repeats_after is None
    (kept,) = [cursor.offset for cursor in client.cursors()]
    subscription = client.listen("a", "b", resume="x")
    send(client, "a", "3")
    assert got(subscription, 1) == ["3"]
    broker.kill()
    eventually(lambda: not client._connection.is_ready, "the client knows that the broker is away")
    subscription.close()
    assert subscription.repeats_after == kept
    broker.start()
    with client.listen("a", "b", resume="x") as again:
        assert got(again, 1) == ["3"]


def test_a_cursor_is_the_users(client: zchat.Client, broker: BrokerProcess) -> None:
    client.set_cursor("X", 0)
    with zchat.connect(broker.address, "Reader") as same, zchat.connect(broker.address, "other") as other:
        assert [cursor.name for cursor in same.cursors()] == ["x"]
        assert other.cursors() == []
        same.drop_cursor("x")
    assert client.cursors() == []


@pytest.mark.parametrize(("name", "offset"), [("x", 1 << 40), ("a b", 0), ("", 0)])
def test_a_cursor_that_cannot_be_is_refused(client: zchat.Client, name: str, offset: int) -> None:
    with pytest.raises((zchat.Refused, zchat.BadName)):
        client.set_cursor(name, offset)
    assert client.cursors() == []


@pytest.mark.parametrize("broker", [("--memory",)], indirect=True)
def test_after_another_log_it_follows_the_new_one(
    client: zchat.Client, broker: BrokerProcess, start_broker: Callable[..., BrokerProcess]
) -> None:
    told: list[zchat.Notice] = []
    with client.listen("a", resume="x", on_notice=told.append) as subscription:
        send(client, "a", *map(str, range(5)))
        got(subscription, 5)
        broker.restart()  # in memory: the log is a new one
        (offset,) = send(client, "a", "new")
        assert subscription.get(20).text == "new"
        assert [notice.reason for notice in told if notice.kind == "gap"] == ["log"]
        nothing_more(subscription)
        eventually(lambda: [cursor.offset for cursor in client.cursors()] == [offset], "the cursor is of the new log")
