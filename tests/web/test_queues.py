"""What waits for a client is bounded, in bytes and in packets, and what is one connection's may be cut off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import MutableMapping
from typing import Any

import pytest

from zchat.web.core.bounds import WebLimits
from zchat.web.guard import CutOff, Guard
from zchat.web.metrics import WebCounts
from zchat.web.packets import EncodedPacket, event_packets
from zchat.web.posts import PostPace
from zchat.web.queues import WaitingPackets

LIMITS = WebLimits(waiting_bytes_max=1_000, waiting_max=10, unanswered_max=2, events_a_second=1e6, events_at_once=1e6)


@pytest.mark.parametrize(("size", "taken"), [(300, 4), (1, 11)])
def test_above_its_bounds_it_takes_nothing_more_and_says_so_once(size: int, taken: int) -> None:
    async def fill() -> None:
        queue, calls = WaitingPackets(LIMITS), list[int]()
        queue.overflows = lambda: calls.append(queue.qsize())
        for _ in range(20):
            await queue.put(EncodedPacket("x" * size))
        assert (queue.qsize(), calls) == (taken, [taken]) and queue.is_far_behind
        queue.end()
        await queue.put(EncodedPacket("late"))
        await queue.put(None)
        assert (queue.qsize(), await queue.get()) == (1, None)

    asyncio.run(fill())


def test_what_was_taken_counts_no_more() -> None:
    async def flow() -> None:
        queue = WaitingPackets(LIMITS)
        for _ in range(100):
            await queue.put(EncodedPacket("x" * 400))
            await queue.put(EncodedPacket(b"x" * 400))
            assert len((await queue.get()).data) + len(queue.get_nowait().data) == 800
        assert not queue.is_far_behind

    asyncio.run(flow())


def test_a_packet_is_encoded_once_for_all() -> None:
    first, attachment = event_packets("photo", [b"\xff", 1])
    assert first.encode() == '451-["photo",{"_placeholder":true,"num":0},1]' and first.encode() is first.encode()
    assert (attachment.encode(), attachment.encode(b64=True)) == (b"\xff", "b/w==")


def test_a_connection_that_is_cut_off_reads_and_writes_no_more() -> None:
    async def cut() -> None:
        async def receive() -> MutableMapping[str, Any]:
            await asyncio.Event().wait()
            return {}

        async def send(message: MutableMapping[str, Any]) -> None:
            await asyncio.Event().wait()

        guard = Guard({}, receive, send, LIMITS, WebCounts())
        reading, writing = asyncio.ensure_future(guard.receive()), asyncio.create_task(guard.send({}))
        await asyncio.wait([reading], timeout=0.01)
        guard.cut()
        assert (await reading)["type"] == "websocket.disconnect"
        with pytest.raises(CutOff):
            await writing
        with pytest.raises(CutOff):
            await guard.send({})
        assert (await guard.receive())["code"] == 1008

    asyncio.run(cut())


def test_while_much_is_unanswered_nothing_is_read() -> None:
    async def read() -> None:
        async def receive() -> MutableMapping[str, Any]:
            return {"type": "websocket.receive", "text": "x"}

        async def send(message: MutableMapping[str, Any]) -> None:
            pass

        guard = Guard({}, receive, send, LIMITS, WebCounts())
        guard.begins()
        guard.begins()
        reading = asyncio.ensure_future(guard.receive())
        done, _ = await asyncio.wait([reading], timeout=0.01)
        assert not done
        guard.ends()
        assert (await reading)["text"] == "x"

    asyncio.run(read())


def test_who_posts_too_fast_or_much_that_is_unanswered_waits_before_the_next() -> None:
    async def post() -> None:
        counts = WebCounts()
        pace = PostPace(LIMITS._replace(events_a_second=100.0, events_at_once=10.0, unanswered_max=30), counts)
        for _ in range(20):
            pace.begins()
        pace.costs(30)
        began = time.monotonic()
        await asyncio.gather(pace.turn(), pace.turn())
        assert time.monotonic() - began > 0.15 and counts.slowed
        for _ in range(10):
            pace.begins()
        waits = asyncio.ensure_future(pace.turn())
        await asyncio.wait([waits], timeout=0.5)
        assert not waits.done(), "thirty are unanswered"
        pace.ends()
        await waits

    asyncio.run(asyncio.wait_for(post(), 30))
