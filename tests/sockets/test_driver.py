"""Who takes a client's turns: the threads that wait, else its own."""

from __future__ import annotations

import secrets
import subprocess
import sys
import threading
from threading import get_ident
from time import monotonic

import pytest

import zchat
from tests.conftest import BrokerProcess, environment, eventually
from zchat.sockets.driver import PARK_SECONDS

pytestmark = pytest.mark.slow  # brokers are processes

TRIPS = 20


@pytest.fixture
def room() -> str:
    return f"room-{secrets.token_hex(4)}"


def drivers(client: zchat.Client, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads that take its turns, from now on."""
    engine = client._connection._engine
    found: list[int] = []
    turn = engine.turn

    def noted(ready: int) -> None:
        found.append(get_ident())
        turn(ready)

    monkeypatch.setattr(engine, "turn", noted)
    return found


def test_a_round_trip_passes_no_other_thread(
    shared_broker: BrokerProcess, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zchat.connect(shared_broker.address, "anna") as anna:
        heard = anna.listen(room)
        found = drivers(anna, monkeypatch)

        def trips() -> bool:
            found.clear()
            for number in range(TRIPS):
                anna.publish(room, str(number))
                assert heard.get(10).text == str(number)
            return len(found) >= TRIPS and set(found) == {get_ident()}

        eventually(trips, "the program is not held up for so long that its client's own thread looks")


def test_the_own_thread_takes_over_when_nobody_waits(
    shared_broker: BrokerProcess, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zchat.connect(shared_broker.address, "anna") as anna:
        heard = anna.listen(room)
        anna.send(room, "one")
        found = drivers(anna, monkeypatch)
        publication = anna.publish(room, "two")
        eventually(publication.done, "it is acked, and nobody waits for that")
        eventually(heard._incoming.has_some, "and heard")
        assert anna._connection._driver.thread.ident in found
        assert [heard.get(10).text, heard.get(10).text] == ["one", "two"]


def test_who_waits_again_and_again_does_not_wake_the_own_thread_each_time(
    shared_broker: BrokerProcess, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zchat.connect(shared_broker.address, "anna") as anna, zchat.connect(shared_broker.address, "bert") as bert:
        parked, told = anna._connection._driver._parked, list[float]()

        def tell() -> None:
            told.append(monotonic())
            threading.Event.set(parked)

        with anna.serve(room, lambda request: request.body):
            eventually(lambda: anna._connection._driver._is_deep, "its own thread sleeps until it is told")
            monkeypatch.setattr(parked, "set", tell)
            began = monotonic()
            for number in range(10 * TRIPS):
                assert bert.request(room, str(number)).text == str(number)
            assert len(told) <= 1 + (monotonic() - began) / PARK_SECONDS


def test_many_threads_wait_at_once_and_each_gets_its_own(shared_broker: BrokerProcess, room: str) -> None:
    with zchat.connect(shared_broker.address, "anna") as anna:
        got: dict[int, list[str]] = {}

        def take(number: int) -> None:
            with anna.listen(f"{room}.{number}") as heard:
                anna.send(f"{room}.{number}", "hello")
                got[number] = [heard.get(20).text for _ in range(3)]
                anna.who(room)

        threads = [threading.Thread(target=take, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(list(anna.history(f"{room}.*"))) == 8, "they listen")
        for word in ("to", "all"):
            for number in range(8):
                anna.publish(f"{room}.{number}", word)
        for thread in threads:
            thread.join(30)
        assert got == {number: ["hello", "to", "all"] for number in range(8)}


def test_a_close_ends_the_waits_of_all_threads(shared_broker: BrokerProcess, room: str) -> None:
    anna = zchat.connect(shared_broker.address, "anna")
    ended: list[str] = []

    def take(number: int) -> None:
        with pytest.raises(zchat.Closed):
            anna.listen(f"{room}.{number}").get()
        ended.append("get")

    threads = [threading.Thread(target=take, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(anna._subscriptions) == 4, "they listen")
    anna.close()
    for thread in threads:
        thread.join(10)
    assert ended == ["get"] * 4


STORM = """
import random, signal, sys, threading
import zchat

class Interrupted(Exception):
    pass

def handler(number, frame):
    raise Interrupted

address, room, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with zchat.connect(address, "anna") as anna, zchat.connect(address, "ben") as ben:
    beside, mine = anna.listen(room), anna.listen(room)
    heard = []
    thread = threading.Thread(target=lambda: heard.extend(beside.get(60).text for _ in range(count)))
    thread.start()

    def publish():
        for number in range(count):
            ben.publish(room, str(number))
            if number % 50 == 0:
                ben.flush(60)
        ben.flush(60)

    publisher = threading.Thread(target=publish)
    signal.signal(signal.SIGALRM, handler)
    interrupts, published, taken = 0, [], []
    publisher.start()
    late = zchat.TimedOut
    while len(heard) < count or publisher.is_alive():
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0001, 0.003))  # one, which comes anywhere in here
                while True:
                    taken.append(int(mine.get(0.05).text))
                    published.append(anna.publish(room + ".other", "x"))
            except late:
                pass
        except Interrupted:
            interrupts += 1
    thread.join(60)
    assert heard == [str(number) for number in range(count)], len(heard)
    assert taken == sorted(set(taken)), "nothing comes twice"
    offsets = [one.result(30) for one in published]
    assert offsets == sorted(set(offsets)) and all(offsets)
    print(interrupts)
"""


def test_signals_that_raise_all_the_time_tear_no_turn(shared_broker: BrokerProcess, room: str) -> None:
    command = [sys.executable, "-c", STORM, shared_broker.address, room, "2000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment())
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5
