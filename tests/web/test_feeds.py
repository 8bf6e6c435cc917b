"""Rooms that are heard once for many, and users who have one session however many windows they have."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

import zchat
import zchat.aio
from tests.conftest import BrokerProcess
from zchat import Notice
from zchat.web import gateway as gateways
from zchat.web.core.bounds import WebLimits
from zchat.web.feeds import RoomFeed
from zchat.web.gateway import WebGateway
from zchat.web.heard import HeardRecord

pytestmark = pytest.mark.slow  # a broker is a process


class Ear:
    """A hearer that keeps what it hears; `slows` makes it wait in between."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.is_cut = False
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    def hear(self, feed: RoomFeed, heard: HeardRecord) -> None:
        if not heard.is_presence:
            self.heard.append(heard.message.text)

    def hear_notice(self, feed: RoomFeed, notice: Notice) -> None:
        self.heard.append(notice.kind)

    async def breathe(self) -> None:
        await self.may_go_on.wait()

    def cut(self) -> None:
        self.is_cut = True


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.get_running_loop().run_in_executor(None, lambda: None)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


def test_who_comes_late_or_back_gets_all_of_it_once_and_in_order(shared_broker: BrokerProcess) -> None:
    async def hear() -> None:
        gateway = WebGateway(shared_broker.address, WebLimits(held_max=150), 5.0)
        ann = await gateway.user("ann")
        offsets = [await ann.client.send("late", f"{number}") for number in range(100)]
        feed = await gateway.feed("late", ann)
        live, back, slow = Ear(), Ear(), Ear()
        await feed.attach(live)
        slow.may_go_on.clear()
        catching_up = asyncio.create_task(feed.attach(slow, 0))
        await until(lambda: len(slow.heard) == 64)
        for number in range(100, 200):
            await ann.client.send("late", f"{number}")
        await feed.attach(back, offsets[49])
        assert back.heard == [f"{number}" for number in range(50, 200)]
        await until(lambda: len(live.heard) == 100)
        assert live.heard == [f"{number}" for number in range(100, 200)] and not feed.is_caught_up(slow)
        slow.may_go_on.set()
        await catching_up
        assert slow.heard == [f"{number}" for number in range(200)] and feed.is_caught_up(slow)
        slow.may_go_on.clear()
        feed.detach(slow)
        catching_up = asyncio.create_task(feed.attach(slow, 0))
        for number in range(200):
            ann.client.publish("late", f"{number}")
        await until(lambda: slow.is_cut)
        slow.may_go_on.set()
        await catching_up
        await gateway.close()

    run(hear())


def test_a_user_is_in_a_room_while_one_window_is(shared_broker: BrokerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "looker") as looker:
            gateway = WebGateway(shared_broker.address, WebLimits(rooms_max=2), 5.0)
            first, second = await asyncio.gather(gateway.user("Ann"), gateway.user("ann"))
            assert first is second and first.client.user == "Ann"
            await first.join("windows")
            await second.join("windows")
            assert [member.user for member in await looker.who("windows")] == ["Ann"]
            await first.leave("windows")
            assert len(await looker.who("windows")) == 1
            feed = await gateway.feed("windows", first)
            with pytest.raises(zchat.Refused):
                await gateway.feed("@bob", first)
            await feed.attach(ear := Ear())
            assert (await gateway.feed("windows", first)) is feed
            await gateway.feed("@ann", first)
            with pytest.raises(zchat.Refused):
                await gateway.feed("another", first)
            feed.detach(ear)
            await gateway.feed("another", first)
            gateway.release(first, ["windows"])
            await until(lambda: first.holds == 1)
            assert await looker.who("windows") == []
            gateway.release(second)
            await until(lambda: gateway.users == 0)
            again = await gateway.user("ann")
            assert again is not first
            await gateway.close()

    monkeypatch.setattr(gateways, "LINGER_SECONDS", 0.0)
    run(talk())
