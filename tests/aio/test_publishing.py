"""Publishing from an event loop: outcomes, functions that are called, and what happens when much waits."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

import zchat
import zchat.aio
from tests.aio.conftest import Around, Loops, until
from tests.conftest import BrokerProcess, environment

pytestmark = pytest.mark.slow  # a broker is a process


def test_a_publication_is_awaited(run: Loops, shared_broker: BrokerProcess, room: str) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna:
            first, second = anna.publish(room, "one"), anna.publish(room, b"two", headers={"a": "b"}, event="deploy")
            assert not first.done()
            offset = await second
            assert first.done() and await first == await first.result(5) == offset - 1
            assert await anna.publish(room, "x", volatile=True) == 0
            assert await anna.send(room, "three", timeout=10) > offset
            outcomes = await asyncio.gather(*(anna.send(room, str(number)) for number in range(500)))
            assert outcomes == sorted(set(outcomes))
            await anna.flush(10)

    run(talk())


def test_functions_are_called_by_the_loop(run: Loops, shared_broker: BrokerProcess, room: str) -> None:
    called: list[Any] = []

    def note(publication: zchat.aio.Publication) -> None:
        called.append((publication.done(), threading.get_ident()))

    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna:
            publication = anna.publish(room, "one")
            publication.add_done_callback(note)
            assert called == []
            await publication
            publication.add_done_callback(note)
            anna.publish(room, "x", volatile=True).add_done_callback(note)
            await until(lambda: len(called) == 3, "all are called")
            with pytest.raises(zchat.UsageError):
                publication.add_done_callback(None)  # type: ignore[arg-type]
            publication.add_done_callback(lambda one: 1 // 0)
            await until(lambda: run.reported, "what one raises is reported")
            assert isinstance(run.reported.pop()["exception"], ZeroDivisionError)

    run(talk())
    assert called == [(True, threading.get_ident())] * 3


def test_publish_never_waits_and_says_how_to(run: Loops, start_broker: Callable[..., BrokerProcess]) -> None:
    broker = start_broker("--memory")
    body = b"x" * 100_000

    async def talk() -> None:
        async with zchat.aio.connect(broker.address, "anna") as anna:
            await anna.drain()  # at once
            with pytest.raises(zchat.TimedOut, match=r"await client\.drain\(\)"):
                for _ in range(1000):
                    anna.publish("den", body)  # the loop has no turn meanwhile
            waiting = anna._connection.outbox.bytes_waiting
            assert 16 << 20 < waiting < 18 << 20
            await anna.drain(20)
            assert anna._connection.outbox.bytes_waiting <= 1 << 20
            for _ in range(1000):
                anna.publish("den", body)
                await anna.drain()
            await anna.flush(30)
            broker.stop()
            with pytest.raises(zchat.TimedOut):
                while True:
                    anna.publish("den", body)
            with pytest.raises(zchat.Unreachable):
                await anna.drain(0.05)
            with pytest.raises(zchat.Unreachable):
                await anna.send("den", "x", timeout=0.05)  # it waits for room, as that of the blocking client
            broker.start()
            assert await anna.send("den", "x") > 0

    run(talk())


def test_drain_gives_the_loop_its_turn_while_a_task_publishes_all_the_time(
    run: Loops, shared_broker: BrokerProcess, room: str
) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna:
            is_over = asyncio.get_running_loop().create_future()

            async def flood() -> None:
                while not is_over.done():
                    anna.publish(room, b"x" * 1000, volatile=True)
                    await anna.drain()

            flooding = asyncio.create_task(flood())
            for _ in range(20):
                await anna.send(room, "beside", timeout=20)
            is_over.set_result(None)
            await flooding

    run(talk())


def test_a_send_that_is_cancelled_is_sent_all_the_same_and_nothing_wrong_is_said(
    run: Loops, shared_broker: BrokerProcess, room: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna:
            for number in range(200):
                sending = asyncio.create_task(anna.send(room, str(number), volatile=bool(number % 2)))
                for _ in range(1 + number % 4):
                    await Around()
                sending.cancel()
            await anna.flush(20)
            stored = [int(message.text) async for message in anna.history(room)]
            assert stored == list(range(0, 200, 2))

    run(talk())
    assert caplog.records == []


PROGRAM = """
import asyncio, os, signal, sys
import zchat.aio

async def main():
    client = await zchat.aio.connect(sys.argv[1], "anna")
    messages = await client.listen(sys.argv[2])
    for number in range(3000):
        client.publish(sys.argv[2], str(number))
    {end}

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("end", "status", "says"),
    [
        ("pass", 0, ""),
        ("sys.exit(7)", 7, ""),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("await client.close()", 0, ""),
        ("async with client: 1 / 0", 1, "ZeroDivisionError"),
        ("os.kill(os.getpid(), signal.SIGINT); await asyncio.Event().wait()", -2, "KeyboardInterrupt"),
    ],
)
def test_a_program_that_ends_has_sent_what_it_published_and_left(
    shared_broker: BrokerProcess, room: str, end: str, status: int, says: str
) -> None:
    program = PROGRAM.replace("{end}", end)
    command = [sys.executable, "-W", "default", "-c", program, shared_broker.address, room]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment())
    assert done.returncode == status and says in done.stderr
    assert "zchat:" not in done.stderr and bool(done.stderr) == bool(says), done.stderr
    with zchat.connect(shared_broker.address, "ben") as ben:
        stored = list(ben.history(room, presence=True))
    assert [message.text for message in stored if message.event == "message"] == [str(n) for n in range(3000)]
    assert (stored[-1].event, stored[-1].text) == ("leave", "bye")


def test_what_is_lost_at_the_end_is_told(
    run: Loops, start_broker: Callable[..., BrokerProcess], caplog: pytest.LogCaptureFixture
) -> None:
    broker = start_broker("--memory")

    async def talk() -> None:
        anna = await zchat.aio.connect(broker.address, "anna")
        broker.stop()
        await until(lambda: not anna.is_connected, "it has noticed")
        publication = anna.publish("den", "x")
        await anna.close()
        with pytest.raises(zchat.Closed):
            await publication

    run(talk())
    assert [record.getMessage().split(" of ")[0] for record in caplog.records] == [
        "zchat: 1 message has no acknowledgement"
    ]
