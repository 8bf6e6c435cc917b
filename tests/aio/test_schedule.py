"""Messages that the broker sends later, for a program of asyncio."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import zchat
import zchat.aio
from tests.aio.conftest import Loops
from tests.conftest import BrokerProcess

pytestmark = pytest.mark.slow  # the broker is a process


def test_a_message_comes_when_it_is_due_and_one_that_was_cancelled_does_not(
    run: Loops, shared_broker: BrokerProcess, room: str
) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "ann") as ann, ann.listen(room) as heard:
            await ann.schedule(room, "soon", delay=0.2, headers={"a": "b"})
            name = await ann.schedule(room, "never", at=datetime.now(UTC) + timedelta(days=1))
            assert [(message.id, message.preview) for message in await ann.scheduled()][-1] == (name, "never")
            message = await heard.get(20)
            assert (message.user, message.text, message.headers) == ("ann", "soon", {"a": "b"})
            await ann.cancel(name)
            await ann.cancel(name)
            assert await ann.scheduled() == []

    run(talk())


@pytest.mark.parametrize(
    "when",
    [
        {},
        {"at": 1.0, "delay": 1.0},
        {"at": "10m"},
        {"at": math.nan},
        {"delay": -1},
        {"delay": "soon"},
        {"at": True},
    ],
)
def test_a_time_that_cannot_be_is_an_error_and_nothing_is_scheduled(
    run: Loops, shared_broker: BrokerProcess, room: str, when: dict[str, Any]
) -> None:
    async def talk() -> None:
        async with zchat.aio.connect(shared_broker.address, "bob") as bob:
            with pytest.raises(zchat.UsageError):
                await bob.schedule(room, "x", **when)
            with pytest.raises(zchat.TooLarge):
                await bob.schedule(room, b"x" * (1 << 21), delay=1)
            with pytest.raises(zchat.Refused):
                await bob.cancel("no id")
            assert await bob.scheduled() == []

    run(talk())
