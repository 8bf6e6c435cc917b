"""An event loop takes a client's turns: when, in which thread, and what never happens in the middle of one."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable
from threading import get_ident

import pytest

import zchat
import zchat.aio
from tests.aio.conftest import Around, Loops, loops, until
from tests.conftest import BrokerProcess
from zchat.core import Instant
from zchat.sockets.clock import Deadline

pytestmark = pytest.mark.slow  # a broker is a process


def drivers(client: zchat.aio.Client, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads that take its turns and send, from now on."""
    engine, found = client._connection._engine, list[int]()
    turn, push = engine.turn, engine.push

    def noted(ready: int) -> None:
        found.append(get_ident())
        turn(ready)

    def noted_too() -> None:
        found.append(get_ident())
        push()

    monkeypatch.setattr(engine, "turn", noted)
    monkeypatch.setattr(engine, "push", noted_too)
    return found


def test_only_the_loops_thread_takes_turns_whoever_publishes(
    run: Loops, shared_broker: BrokerProcess, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna, anna.listen(room) as messages:
            found = drivers(anna, monkeypatch)
            thread = threading.Thread(target=lambda: anna.publish(room, "of a thread"))
            thread.start()
            assert (await messages.get(20)).text == "of a thread"
            thread.join()
            assert set(found) == {get_ident()}

    run(talk())


def test_a_handler_of_signals_runs_when_the_turn_is_over(
    run: Loops, shared_broker: BrokerProcess, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna:
            engine = anna._connection._engine
            turn = engine.turn

            def signalled(ready: int) -> None:
                os.kill(os.getpid(), signal.SIGUSR1)
                turn(ready)
                order.append("turn")

            monkeypatch.setattr(engine, "turn", signalled)
            anna._connection._turns.turn()
            monkeypatch.undo()
            assert await anna.send(room, "x") > 0

    before = signal.signal(signal.SIGUSR1, lambda number, frame: order.append("handler"))
    try:
        run(talk())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert order == ["turn", "handler"]


@pytest.mark.parametrize("new_loop", loops())
def test_an_interrupt_in_the_middle_of_a_turn_cancels_the_task_and_tears_nothing(
    shared_broker: BrokerProcess,
    room: str,
    monkeypatch: pytest.MonkeyPatch,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """As asyncio.run has it, whose handler is not one that waits."""
    interrupted: list[str] = []

    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna, anna.listen(room) as messages:
            engine = anna._connection._engine
            taken = engine._take_batches

            def signalled(now: Instant) -> None:
                monkeypatch.undo()
                os.kill(os.getpid(), signal.SIGINT)
                taken(now)

            monkeypatch.setattr(engine, "_take_batches", signalled)
            anna.publish(room, "x")
            try:
                await messages.get(20)
            except asyncio.CancelledError:
                interrupted.append((await messages.get(20)).text)
                assert await anna.send(room, "y") > 0

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(talk())
    assert interrupted == ["x"], "what the cancelled wait would have had, the next one gets"


def test_a_client_at_rest_has_one_timer_and_asks_for_no_turn(
    run: Loops, shared_broker: BrokerProcess, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna:
            await anna.send(room, "x")
            turns = anna._connection._turns
            await until(lambda: not turns._is_soon, "nothing is left to do")
            found = drivers(anna, monkeypatch)
            for _ in range(1000):
                await Around()
            assert len(found) < 20, "the loop comes round, and the client has nothing to do"
            assert turns._timer is not None and turns._due - turns.loop.time() <= 1.0

    run(talk())


def test_what_a_turn_brought_is_had_before_the_loop_comes_round(
    run: Loops, shared_broker: BrokerProcess, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna, anna.listen(room) as messages:
            engine = anna._connection._engine
            deliver, push = engine._deliver, engine.push

            def pushed() -> None:
                order.append("sent")
                push()

            def delivered(now: Instant) -> None:
                deliver(now)
                if anna._connection._turns._over:  # of those whose wait is over
                    asyncio.get_running_loop().call_soon(order.append, "the loop")

            monkeypatch.setattr(engine, "_deliver", delivered)
            anna.publish(room, "x", volatile=True)
            assert (await messages.get(20)).text == "x"
            monkeypatch.setattr(engine, "push", pushed)
            order.append("the task")
            anna.publish(room, "y", volatile=True)
            assert (await messages.get(20)).text == "y"

    run(talk())
    assert order[:3] == ["the task", "sent", "the loop"]


def test_what_a_task_publishes_leaves_before_it_goes_on_to_compute(
    run: Loops, shared_broker: BrokerProcess, room: str
) -> None:
    heard = threading.Event()

    def asks() -> None:
        with zchat.connect(shared_broker.address, "ben") as ben, ben.listen(f"{room}.status") as status:
            ben.publish(room, "compute", volatile=True)
            status.get(20)
            heard.set()

    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna, anna.listen(room) as messages:
            thread = threading.Thread(target=asks)
            thread.start()
            assert (await messages.get(20)).text == "compute"
            anna.publish(f"{room}.status", "begun", volatile=True)
            assert heard.wait(20), "it came while the task, and with it the loop, did nothing but wait"
            thread.join()

    run(talk())


def test_one_task_that_ends_the_loop_takes_nothing_from_the_others(shared_broker: BrokerProcess, room: str) -> None:
    """The loop may be run again."""

    async def listen(client: zchat.aio.Client, live: asyncio.Event, *, ends: bool) -> str:
        async with client.listen(room) as messages:
            live.set()
            message = await messages.get(20)
            if ends:
                raise SystemExit(7)
            return message.text

    async def begin() -> tuple[zchat.aio.Client, list[asyncio.Task[str]]]:
        anna = await zchat.aio.connect(shared_broker.address, "anna")
        tasks = []
        for ends in (True, False):
            live = asyncio.Event()
            tasks.append(asyncio.create_task(listen(anna, live, ends=ends)))
            await live.wait()
        await Around()
        return anna, tasks

    loop = asyncio.new_event_loop()
    try:
        anna, (ended, other) = loop.run_until_complete(begin())
        anna.publish(room, "x", volatile=True)
        with pytest.raises(SystemExit):
            loop.run_until_complete(asyncio.wait([other]))
        assert loop.run_until_complete(asyncio.wait_for(other, 20)) == "x"
        assert ended.done() and isinstance(ended.exception(), SystemExit)
        loop.run_until_complete(anna.close())
    finally:
        loop.close()


def test_a_turn_takes_no_more_than_its_time(
    run: Loops, shared_broker: BrokerProcess, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has none takes one batch: all that comes is taken, with the loop's other tasks in between."""
    taken: list[int] = []

    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna, anna.listen(f"{room}.*") as messages:
            connection = anna._connection
            assert connection._port._subscriber.read_seconds < 0.01, "other tasks wait meanwhile"
            connection._port.read_for(0.0)
            engine = connection._engine
            turn, broadcast = engine.turn, engine.core.broadcast

            def counted(ready: int) -> None:
                taken.append(0)
                turn(ready)

            def took(topic: bytes, frame: bytes, now: Instant) -> None:
                taken[-1] += 1
                broadcast(topic, frame, now)

            monkeypatch.setattr(engine, "turn", counted)
            monkeypatch.setattr(engine.core, "broadcast", took)
            with zchat.connect(shared_broker.address, "ben") as ben:  # the loop stands still meanwhile
                for number in range(50):
                    ben.publish(f"{room}.{number}", "x")
                ben.flush()
            for _ in range(50):
                await messages.get(20)

    run(talk())
    assert sum(taken) >= 50 and max(taken) == 1


def test_waits_of_many_tasks_are_over_when_their_own_is(run: Loops, shared_broker: BrokerProcess, room: str) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna:
            asked = [anna.who(room), anna.rooms(), anna.cursors(), anna.flush(), anna.who()] * 20
            answers = await asyncio.gather(*asked)
            assert all(isinstance(answer, list) for answer in answers if answer is not None)
            assert anna._connection._asked == {} and anna._connection._turns._waits == {}

    run(talk())


def test_a_turn_looks_only_at_those_who_wait_for_what_it_touched(
    run: Loops, shared_broker: BrokerProcess, room: str
) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna:
            turns, looks, told = anna._connection._turns, list[str](), set[str]()

            def waits_for(what: str) -> asyncio.Task[bool]:
                def is_done() -> bool:
                    looks.append(what)
                    return what in told

                return asyncio.create_task(turns.wait(is_done, Deadline("it", None), what, "both"))

            waiting = {what: waits_for(what) for what in ("one", "other")}
            for number in range(10):
                await anna.send(room, str(number))
            assert sorted(looks) == ["one", "other"], "once, before they wait"
            told.update(waiting)
            turns.touch("one")
            turns.turn()
            assert await waiting["one"] and not waiting["other"].done()
            turns.touch("both")
            turns.turn()
            assert await waiting["other"] and not turns._waits

    run(talk())
