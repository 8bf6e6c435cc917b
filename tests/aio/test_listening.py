"""Subscriptions in an event loop: when they are live, how they are taken from, and that no cancelled wait loses any."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime

import pytest

import zchat
import zchat.aio
from tests.aio.conftest import Around, Loops, until
from tests.conftest import BrokerProcess

pytestmark = pytest.mark.slow  # a broker is a process

CANCELLED = 10_000


def test_a_subscription_is_live_once_it_was_awaited_entered_or_asked(
    run: Loops, shared_broker: BrokerProcess, room: str
) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna:
            unopened = anna.listen(room)
            assert repr(unopened) == "<zchat.aio.Subscription not open yet>" and not unopened.pending()
            assert await anna.who(room) == []
            one = await anna.listen(room, "ops.*", resume="C")
            assert repr(one) == f"<zchat.aio.Subscription of anna to {room}, ops.*, resumes c: open>"
            async with anna.listen(room) as other:
                await anna.send(room, "hello")
                assert [(await each.get(10)).text for each in (one, other)] == ["hello"] * 2
                anna.publish(room, "for who asks")
                asking = asyncio.create_task(anna.listen(room, after=0).get(10))
                assert (await other.get(10)).text == "for who asks"
                assert (await asking).text == "hello"
            with pytest.raises(zchat.Closed):
                await other.get()
            with pytest.raises(zchat.Closed):
                await other
            assert [message async for message in other] == []
            await unopened.close()
            with pytest.raises(zchat.Closed):
                await unopened
            assert repr(unopened) == "<zchat.aio.Subscription closed>"

    run(talk())


def test_where_it_begins_and_what_it_leaves_out(run: Loops, shared_broker: BrokerProcess, room: str) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna:
            began = datetime.now(UTC)
            offsets = [await anna.send(room, str(number)) for number in range(5)]
            for start, first in (({"last": 2}, 3), ({"after": offsets[0]}, 1), ({"since": began}, 0)):
                async with anna.listen(room, **start) as messages:
                    assert [(await messages.get(10)).text for _ in range(5 - first)] == [*"01234"][first:]
            ben = await zchat.aio.connect(shared_broker.address, "ben")
            async with ben, anna.listen(room, echo=False, presence=True) as messages:
                anna.publish(room, "mine")
                await ben.send(room, "theirs")
                async with ben.listen(room):
                    taken = [await messages.get(10) for _ in range(2)]
                assert [(m.event, m.user) for m in taken] == [("message", "ben"), ("join", "ben")]
                assert (await messages.get(10)).event == "leave"

    run(talk())


def test_get_waits_as_long_as_it_is_told(run: Loops, shared_broker: BrokerProcess, room: str) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna, anna.listen(room) as messages:
            for seconds in (0, 0.0, -1, 0.05):
                with pytest.raises(zchat.TimedOut):
                    await messages.get(seconds)
            with pytest.raises(zchat.UsageError):
                await messages.get("1")  # type: ignore[arg-type]
            await anna.send(room, "one")
            await until(messages.pending, "it has come")
            assert (await messages.get(0)).text == "one"

    run(talk())


def test_a_cursor_goes_on_where_the_last_one_ended(run: Loops, shared_broker: BrokerProcess, room: str) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, room) as anna:
            for number in range(5):
                anna.publish(room, str(number))
            async with anna.listen(room, resume="here", after=0) as messages:
                assert [(await messages.get(10)).text for _ in range(2)] == ["0", "1"]
            assert messages.repeats_after is None
            async with anna.listen(room, resume="here", auto_commit=False) as messages:
                assert [(await messages.get(10)).text for _ in range(2)] == ["2", "3"]
                messages.commit()
                assert (await messages.get(10)).text == "4"
            async with anna.listen(room, resume="here") as messages:
                assert (await messages.get(10)).text == "4"
            (cursor,) = await anna.cursors()
            await anna.set_cursor("here", cursor.offset - 2)
            async with anna.listen(room, resume="here") as messages:
                assert (await messages.get(10)).text == "3"
            await anna.drop_cursor("here")
            assert await anna.cursors() == []
            async with anna.listen(room) as messages:
                with pytest.raises(zchat.UsageError):
                    messages.commit()

    run(talk())


def test_notices_come_in_order_with_the_messages(run: Loops, shared_broker: BrokerProcess, room: str) -> None:
    told: list[str] = []

    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna:
            await anna.send(room, "before")
            async with anna.listen(room, after=0, on_notice=lambda notice: told.append(notice.kind)) as messages:
                told.append((await messages.get(10)).text)
                await anna.send(room, "after")
                told.append((await messages.get(10)).text)

    run(talk())
    assert told == ["before", "live", "after"]


def test_several_tasks_share_one_subscription(run: Loops, shared_broker: BrokerProcess, room: str) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna:
            taken: list[list[int]] = [[], [], [], []]
            messages = await anna.listen(room)

            async def work(mine: list[int]) -> None:
                async for message in messages:
                    mine.append(int(message.text))
                    await Around()

            workers = [asyncio.create_task(work(mine)) for mine in taken]
            for number in range(400):
                anna.publish(room, str(number))
            await until(lambda: sum(map(len, taken)) == 400, "all is taken")
            assert sorted(each for mine in taken for each in mine) == list(range(400))
            assert all(taken), "each has some"
            await messages.close()
            await asyncio.gather(*workers)

    run(talk())


def test_a_consumer_that_never_has_to_wait_holds_up_nobody_else(
    run: Loops, shared_broker: BrokerProcess, room: str
) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna:
            count = 4000
            for _ in range(count):
                anna.publish(room, b"x" * 1000)
            await anna.flush()
            async with anna.listen(room, after=0) as messages:
                incoming = messages._incoming
                assert incoming is not None
                await until(lambda: incoming.waiting > 3_500_000, "it waits")
                others = 0

                async def beside() -> None:
                    nonlocal others
                    while True:
                        others += 1
                        await Around()

                task = asyncio.create_task(beside())
                for _ in range(count):
                    await messages.get(10)
                task.cancel()
                assert others > 5

    run(talk())


# --- waits that are cancelled ------------------------------------------------------------------------


def test_ten_thousand_cancelled_waits_lose_nothing(run: Loops, shared_broker: BrokerProcess, room: str) -> None:
    """What a cancelled `get` would have had, the next one gets: all that was sent comes, once, in order."""

    async def talk() -> None:
        async with (
            zchat.aio.connect(shared_broker.address, "anna") as anna,
            zchat.aio.connect(shared_broker.address, "ben") as ben,
            ben.listen(room) as messages,
        ):
            taken: list[int] = []
            cancelled = sent = 0
            while cancelled < CANCELLED:
                if sent < 5000:
                    anna.publish(room, str(sent))
                    sent += 1
                getting = asyncio.create_task(messages.get() if cancelled % 2 else anext(messages))
                for _ in range(cancelled % 5):
                    await Around()
                getting.cancel()
                try:
                    taken.append(int((await getting).text))
                except asyncio.CancelledError:
                    cancelled += 1
            assert len(taken) > 0
            while len(taken) < sent:
                taken.append(int((await messages.get(20)).text))
            assert taken == list(range(sent))
            assert messages._incoming is not None and not messages._incoming._waits

    run(talk())


def test_waits_that_time_out_from_outside_lose_nothing(run: Loops, shared_broker: BrokerProcess, room: str) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna, anna.listen(room) as messages:
            taken: list[int] = []
            late = 0
            for number in range(300):
                publication = anna.publish(room, str(number))
                for seconds in (0.0003, 0.001):
                    with contextlib.suppress(TimeoutError):
                        taken.append(int((await asyncio.wait_for(messages.get(), seconds)).text))
                        continue
                    late += 1
                await publication
            while len(taken) < 300:
                taken.append(int((await messages.get(20)).text))
            assert taken == list(range(300)) and late

    run(talk())


def test_a_listen_that_is_cancelled_leaves_nothing_and_may_be_asked_again(
    run: Loops, shared_broker: BrokerProcess, room: str
) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna:
            was_cancelled = 0
            for number in range(60):
                messages = anna.listen(room, resume="c", after=0)
                opening = asyncio.create_task(messages.get())
                for _ in range(number):
                    await Around()
                if opening.done():
                    opening.cancel()
                    break
                opening.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await opening
                was_cancelled += 1
                await messages.close()
            assert was_cancelled > 5
            await anna.send(room, "hello")
            assert (await messages.get(10)).text == "hello" if not messages._is_closed else True
            again = anna.listen(room, after=0)
            opening = asyncio.create_task(again.get())
            await Around()
            opening.cancel()
            await asyncio.wait([opening])
            assert (await again.get(10)).text == "hello"
            await again.close()
            await messages.close()
            assert anna._connection._engine.consumers == {} and anna._connection._answers == {}
            while await anna.who(room):
                pass  # its leaves are on their way
            assert not anna._subscriptions

    run(talk())


def test_calls_that_are_cancelled_leave_nothing(run: Loops, shared_broker: BrokerProcess, room: str) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna:
            for number in range(100):
                await anna.send(room, str(number))
            reading, texts = anna.history(room), list[str]()
            for number in range(200):
                calls = [anna.who(room), anna.rooms(), anna.set_cursor("c", 1), anna.flush()]
                if number % 10 == 0:  # the broker refuses more than 32 reads at once
                    calls.append(_next_of(reading, texts))
                tasks = [asyncio.create_task(each) for each in calls]
                for _ in range(number % 7):
                    await Around()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            texts += [message.text async for message in reading]
            assert texts == [str(number) for number in range(100)]
            connection = anna._connection
            assert connection._asked == {} and connection._answers == {} and connection._turns._waits == {}
            await until(lambda: not len(connection._core._requests), "no answer is waited for")
            assert "anna" in {member.user for member in await anna.who()}

    run(talk())


def test_a_history_that_raised_has_ended(run: Loops, shared_broker: BrokerProcess) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "anna") as anna:
            reading = anna.history("@ben")
            with pytest.raises(zchat.Refused):
                await anext(reading)
            assert [message async for message in reading] == []

    run(talk())


async def _next_of(reading: object, texts: list[str]) -> None:
    message = await anext(reading, None)  # type: ignore[call-overload]
    if message is not None:
        texts.append(message.text)
