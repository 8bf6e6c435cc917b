"""Many sessions over one connection, for a program of asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

import zchat
import zchat.aio
from tests.aio.conftest import Around, Loops, until
from tests.conftest import BrokerProcess

pytestmark = pytest.mark.slow  # the broker is a process

MANY = 500


async def states(client: zchat.aio.Client, room: str) -> dict[str, str]:
    return {member.user: member.state for member in await client.who(room)}


def test_sessions_see_each_other_come_speak_and_go(run: Loops, shared_broker: BrokerProcess) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "gate") as gate:
            alice = await gate.session("alice")
            async with gate.session("bob") as bob, bob.listen("aio.sessions", presence=True) as heard:
                assert await alice.send("aio.sessions", "hi")
                assert [(await heard.get(20)).event for _ in range(2)] == ["join", "message"]
                assert await states(gate, "aio.sessions") == {"bob": "live"}
            assert await states(alice, "aio.sessions") == {}
            assert alice.is_connected and not bob.is_connected
            with pytest.raises(zchat.BadName):
                gate.session("no name")
        assert not alice.is_connected
        with pytest.raises(zchat.Closed):
            await alice.send("aio.sessions", "too late")

    run(talk())


def test_what_a_session_has_published_is_sent_before_its_connection_ends(
    run: Loops, shared_broker: BrokerProcess, room: str
) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "gate") as gate:
            ann = await gate.session("ann")
            for number in range(500):
                ann.publish(room, f"{number}".encode() + b"x" * 10_000)
        async with zchat.aio.connect(shared_broker.address, "bob") as bob:
            assert len([message async for message in bob.history(room)]) == 500

    run(talk())


def test_a_gateway_hears_a_room_once_and_its_users_are_the_members(
    run: Loops, shared_broker: BrokerProcess, room: str
) -> None:
    async def talk() -> None:
        async with (
            zchat.aio.connect(shared_broker.address, "gate") as gate,
            gate.listen(room, join=False) as heard,
            gate.session("bob") as bob,
        ):
            await bob.join(room)
            assert await states(gate, room) == {"bob": "live"}
            await bob.send(room, "hi")
            assert (await heard.get(20)).text == "hi"
            await bob.leave(room)
            assert await states(gate, room) == {}

    run(talk())


def test_a_session_that_cannot_be_or_is_cancelled_leaves_the_others_alone(
    run: Loops, shared_broker: BrokerProcess, room: str
) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "gate") as gate, gate.session("alice") as alice:
            with pytest.raises(zchat.BadName):
                gate.session("two words")
            with pytest.raises(zchat.UsageError):
                gate.session("bob", wait=None)  # type: ignore[arg-type]
            for turns in range(4):
                opening = asyncio.create_task(_entered(gate.session("bob")))
                for _ in range(turns):
                    await Around()
                opening.cancel()
                await asyncio.wait([opening])
            assert await alice.send(room, "hi") == await gate.send(room, "ho") - 1
            (await gate.session("bob")).publish(room, "hey").add_done_callback(lambda one: gate.publish(room, "it is"))
            await until(lambda: gate._connection.outbox.opened == 2, "the function is called")

    run(talk())


def test_many_sessions_in_one_loop_come_back_with_the_broker(
    run: Loops, start_broker: Callable[..., BrokerProcess]
) -> None:
    broker = start_broker()
    threads = threading.active_count()

    async def talk() -> None:
        async with zchat.aio.connect(broker.address, "gate") as gate:
            sessions = await asyncio.gather(*(_entered(gate.session(f"user-{number}")) for number in range(100)))
            heard = [await session.listen("den") for session in sessions]
            known = [session.session_id for session in sessions]
            assert await gate.send("den", "one")
            broker.kill()
            broker.start()
            assert await sessions[0].send("den", "two", timeout=20)
            for messages in heard:
                assert [(await messages.get(20)).text for _ in range(2)] == ["one", "two"]
            assert [session.session_id for session in sessions] == known
            assert threading.active_count() == threads
            await sessions[1].drain()
            waiting = asyncio.create_task(heard[5].get())
            await Around()
        with pytest.raises(zchat.Closed):
            await waiting
        assert not any(session.is_connected for session in sessions)

    run(talk())


def test_many_begin_at_once_hear_one_message_and_publish_each(run: Loops, shared_broker: BrokerProcess) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "gate") as gate:
            clients = await asyncio.gather(*(_session(gate, number) for number in range(MANY)))
            heard = [client.listen("aio.many") for client in clients]
            await asyncio.gather(*(_live(subscription) for subscription in heard))
            await gate.send("aio.many", "to all")
            assert {(await subscription.get(20)).text for subscription in heard} == {"to all"}
            offsets = await asyncio.gather(*(client.send("aio.answers", "here") for client in clients))
            assert len(set(offsets)) == MANY
            await clients[0].close()
            assert len(await states(gate, "aio.many")) == MANY - 1

    run(talk())


async def _session(gate: zchat.aio.Client, number: int) -> zchat.aio.Client:
    return await gate.session(f"user-{number}", wait=30)


async def _live(subscription: zchat.aio.Subscription) -> None:
    await subscription


async def _entered(connecting: zchat.aio.Connecting) -> zchat.aio.Client:
    return await connecting


def test_users_of_a_gateway_hear_their_own_inboxes_each_also_after_a_restart(
    run: Loops, start_broker: Callable[..., BrokerProcess]
) -> None:
    broker = start_broker()

    async def talk() -> None:
        async with zchat.aio.connect(broker.address, "gate", timeout=60) as gate:
            users = [await gate.session(f"user{number}") for number in range(20)]
            inboxes = [user.listen(f"@{user.user}") for user in users]
            for inbox in inboxes:
                await inbox
            for times in (1, 2):
                for user in users:
                    gate.publish(f"@{user.user}", f"for {user.user}, {times}")
                await gate.flush()
                texts = [(await inbox.get(30)).text for inbox in inboxes]
                assert texts == [f"for {user.user}, {times}" for user in users]
                assert not any(inbox.pending() for inbox in inboxes)
                if times == 1:
                    await asyncio.to_thread(broker.restart)

    run(talk())
