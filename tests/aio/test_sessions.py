"""Many sessions over one connection, for a program of asyncio."""

from __future__ import annotations

import asyncio

import pytest

import zchat
import zchat.aio
from tests.aio.conftest import Loops
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
