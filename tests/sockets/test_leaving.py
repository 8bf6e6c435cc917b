"""Who leaves while the network is silent has left once it is back, whoever waits for that by then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

import zchat
import zchat.aio
from tests.conftest import BrokerProcess, eventually
from tests.sockets.relay import Relay

pytestmark = pytest.mark.slow  # the broker is a process

PATIENCE = 0.2  # seconds; less than the broker waits for who does not answer
LeadTo = Callable[[BrokerProcess], Relay]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscription waits for its end no longer than that."""
    monkeypatch.setattr("zchat.subscription.CLOSE_SECONDS", PATIENCE)
    monkeypatch.setattr("zchat.aio.subscription.CLOSE_SECONDS", PATIENCE)


def leave(way: Relay, watcher: zchat.Client) -> str:
    """As threads do. Returns the session, which has left all and stays."""
    with zchat.connect(way.address, "al") as al:
        al.join("room")
        other, jobs = al.listen("other"), al.listen("jobs", group="workers")
        all_in(watcher)
        way.stall(True)
        with pytest.raises(zchat.TimedOut):
            al.leave("room", timeout=PATIENCE)
        other.close()
        jobs.close()
        way.cut()
        way.stall(False)
        all_out(watcher)
        return al.session_id


def leave_in_a_loop(way: Relay, watcher: zchat.Client) -> str:
    """As tasks do."""

    async def talk() -> str:
        async with zchat.aio.connect(way.address, "al") as al:
            await al.join("room")
            other, jobs = await al.listen("other"), await al.listen("jobs", group="workers")
            await asyncio.to_thread(all_in, watcher)
            way.stall(True)
            with pytest.raises(zchat.TimedOut):
                await al.leave("room", timeout=PATIENCE)
            await other.close()
            await jobs.close()
            way.cut()
            way.stall(False)
            await asyncio.to_thread(all_out, watcher)
            return al.session_id

    return asyncio.run(talk())


def seen(watcher: zchat.Client) -> tuple[list[str], int]:
    """Where al is, and how many work."""
    rooms = [room for room in ("room", "other", "jobs") if watcher.who(room)]
    return rooms, sum(group.members for group in watcher.groups("jobs"))


def all_in(watcher: zchat.Client) -> None:
    eventually(lambda: seen(watcher) == (["room", "other", "jobs"], 1), "al is everywhere")


def all_out(watcher: zchat.Client) -> None:
    eventually(lambda: seen(watcher) == ([], 0), "al has left all")


@pytest.mark.parametrize("talk", [leave, leave_in_a_loop])
def test_who_gave_up_waiting_has_left_once_the_network_is_back(
    broker: BrokerProcess, relay: LeadTo, talk: Callable[[Relay, zchat.Client], str]
) -> None:
    with zchat.connect(broker.address, "watcher") as watcher:
        assert talk(relay(broker), watcher)


def test_a_member_that_ends_while_the_broker_is_away_is_none_when_it_is_back(
    broker: BrokerProcess, relay: LeadTo
) -> None:
    way = relay(broker)
    with zchat.connect(broker.address, "watcher") as watcher, zchat.connect(way.address, "al") as al:
        jobs = al.listen("jobs", group="workers")
        way.stall(True)
        way.cut()
        eventually(lambda: not al.is_connected, "the break is noticed")
        jobs.close()
        assert seen(watcher) == (["jobs"], 1)
        way.stall(False)
        all_out(watcher)
