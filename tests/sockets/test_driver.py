"""Who takes a client's turns: the threads that wait, else its own; and an event loop that has none."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable
from threading import get_ident
from time import monotonic

import pytest

import zchat
from tests.conftest import BrokerProcess, environment, eventually
from zchat import address, wire
from zchat.core.client import READY, Answer, ClientCore
from zchat.core.engine import Engine
from zchat.core.listener import Listener
from zchat.core.ordering import Delivery, Mark, Notice, OrderedDelivery, Start
from zchat.errors import Closed, Refused
from zchat.message import messages
from zchat.sockets.clock import Deadline
from zchat.sockets.driver import PARK_SECONDS
from zchat.sockets.outbox import Outbox
from zchat.sockets.port import SocketPort
from zchat.sockets.publication import Publication

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


class Looped:
    """An engine that an event loop drives, by the descriptor of its port; it has no thread."""

    def __init__(self, to: str) -> None:
        self.core = ClientCore("anna", {}, iter(lambda: secrets.token_bytes(16), b""))
        self.port = SocketPort(address.parse(to))
        self.outbox = Outbox(self.wake, self, Publication)
        self.engine = Engine(self.core, address.parse(to), self.port, self.outbox, self)
        self.heard: list[str] = []
        self.waiting = 0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.port.fileno(), self.turn)
        self._timer = self._loop.call_soon(self.turn)
        self._waiting: list[tuple[Callable[[], object], asyncio.Future[None]]] = []

    def turn(self) -> None:
        self._timer.cancel()
        self.port.sleep(0.0)
        self.engine.turn(self.port.look())
        seconds = self.engine.rest()
        soon = 0.0 if self.port.look() else seconds
        self._timer = self._loop.call_later(soon, self.turn)
        for done, future in self._waiting:
            if done() and not future.done():
                future.set_result(None)

    async def until(self, done: Callable[[], object]) -> None:
        if not done():
            future = self._loop.create_future()
            self._waiting.append((done, future))
            await asyncio.wait_for(future, 20)

    def close(self) -> None:
        self._timer.cancel()
        self._loop.remove_reader(self.port.fileno())
        self.engine.close(Closed())
        self.port.close()

    # What the engine and the outbox ask of it.

    def wake(self) -> None:
        self.port.wake()

    def there(self) -> None:
        pass

    def lost(self) -> None:
        pass

    def news(self, refused: list[Refused], answers: list[tuple[int, Answer]]) -> None:
        pass

    def put(self, items: list[Delivery | Notice | Mark]) -> None:
        for item in items:
            if isinstance(item, Delivery):
                self.heard += [message.text for message in messages(item.room, item.batch, item.first)]

    def end(self) -> None:
        pass

    def forked(self) -> None:
        pass

    def room_deadline(self) -> Deadline:
        raise NotImplementedError

    def late(self, deadline: Deadline) -> zchat.TimedOut:
        raise NotImplementedError


def test_an_event_loop_drives_an_engine_without_a_thread(shared_broker: BrokerProcess, room: str) -> None:
    async def talk() -> list[str]:
        before = threading.active_count()
        looped = Looped(shared_broker.address)
        try:
            await looped.until(lambda: looped.core.state == READY)
            listener = Listener([room], OrderedDelivery([room], Start(), False))
            looped.engine.consumers[listener] = looped
            looped.engine.later(lambda core, now: core.listen(listener, now))
            await looped.until(lambda: listener.ordering.is_begun)
            published = [looped.outbox.add(room, word.encode(), len(word), False) for word in ("one", "two")]
            await looped.until(lambda: all(each.done() for each in published) and len(looped.heard) == 2)
            looped.outbox.add(room, wire.Record(b"three"), 5, True)
            await looped.until(lambda: len(looped.heard) == 3)
            assert threading.active_count() == before
            return looped.heard
        finally:
            looped.close()

    assert asyncio.run(talk()) == ["one", "two", "three"]
