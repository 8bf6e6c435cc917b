"""What a connection keeps of its request: next to nothing, as thousands of them are open."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.request import urlopen

import pytest
import uvicorn
import websockets
from starlette.requests import ClientDisconnect
from uvicorn.protocols.http.h11_impl import H11Protocol

import zchat
from tests.conftest import BrokerProcess, eventually
from tests.web.conftest import WebProcess
from zchat.web.core.bounds import WebLimits
from zchat.web.plain import StreamedLines
from zchat.web.queues import LeanEvent, LeanQueue
from zchat.web.serving import LeanWebSocket, http_protocol

AGENT = "a-name-that-nobody-else-has"


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """An application: what comes goes back, and once the agent that the scope has now."""
    assert AGENT.encode() in dict(scope["headers"]).values()
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": json.dumps([key.decode() for key, _ in scope["headers"]])})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


def test_a_websocket_keeps_neither_what_spoke_http_nor_the_head_of_its_request() -> None:
    async def talk() -> None:
        limits = WebLimits(silent_seconds=1_000.0)
        http = http_protocol(limits)
        config = uvicorn.Config(echo, http=http, ws=LeanWebSocket, lifespan="off", log_level="critical")
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            serving = asyncio.create_task(server.serve([listening]))
            url = f"ws://127.0.0.1:{listening.getsockname()[1]}/socket.io/"
            async with websockets.connect(url, user_agent_header=AGENT) as client:
                assert json.loads(await client.recv()) == []
                for number in range(50):  # that come in one packet, too
                    await client.send(str(number))
                assert [await client.recv() for _ in range(50)] == [str(number) for number in range(50)]
                gc.collect()
                assert not [each for each in gc.get_objects() if isinstance(each, H11Protocol)]
                (kept,) = [each for each in gc.get_objects() if isinstance(each, LeanWebSocket)]
                assert not kept.request.headers and not kept.response.headers
            server.should_exit = True
            await serving

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_an_empty_queue_hands_over_to_who_waits_and_else_keeps_in_order() -> None:
    async def flow() -> None:
        queue = LeanQueue()
        waits = queue.get()
        for item in range(3):
            queue.put_nowait(item)
        assert await waits == 0 and queue.qsize() == 2 and not queue.empty()
        assert [await queue.get(), queue.get_nowait()] == [1, 2] and queue.empty()
        with pytest.raises(asyncio.QueueEmpty):
            queue.get_nowait()
        queue.get().cancel()
        queue.put_nowait("kept, as who waited has gone")
        assert await queue.get() == "kept, as who waited has gone"

    asyncio.run(asyncio.wait_for(flow(), 30))


def test_an_event_is_set_at_first_and_lets_all_go_on_who_waited() -> None:
    async def flow() -> None:
        event = LeanEvent()
        await event.wait()
        event.clear()
        event.clear()
        waiting = [asyncio.create_task(event.wait()) for _ in range(3)]
        done, _ = await asyncio.wait(waiting, timeout=0.01)
        assert not done
        event.set()
        event.clear()  # at once: they go on all the same
        await asyncio.gather(*waiting)
        event.set()
        await event.wait()

    asyncio.run(asyncio.wait_for(flow(), 30))


@pytest.mark.slow
def test_who_leaves_and_connects_again_on_the_same_connection_is_who_its_address_says(
    shared_web: WebProcess, room: str
) -> None:
    async def talk() -> None:
        where = f"ws{shared_web.url.removeprefix('http')}/socket.io/?EIO=4&transport=websocket&room={room}&user=ann"
        async with websockets.connect(where) as client:
            for _ in range(2):
                await client.send("40")
                while not str(said := await client.recv()).startswith('42["joined"'):
                    pass
                joined = json.loads(str(said).removeprefix("42"))[1]
                assert (joined["room"], joined["user"]) == (room, "ann")
                await client.send("41")

    asyncio.run(asyncio.wait_for(talk(), 60))


@pytest.mark.slow
def test_who_leaves_while_the_broker_is_away_is_gone_and_what_it_had_said_is_said(
    start_broker: Callable[..., BrokerProcess], start_web: Callable[..., WebProcess], room: str
) -> None:
    broker = start_broker()
    web = start_web(broker)
    address = f"ws{web.url.removeprefix('http')}"

    async def say(where: str, *texts: str) -> None:
        async with websockets.connect(address + where) as client:
            for text in texts:
                await client.send(text)

    def connections() -> int:
        with urlopen(f"{web.url}/metrics", timeout=30) as answer:
            found = re.search(r"^zchat_web_connections (\d+)$", answer.read().decode(), re.M)
        assert found is not None
        return int(found[1])

    told = [json.dumps({"do": "send", "room": room, "text": f"page {number}"}) for number in range(20)]
    with zchat.connect(broker.address, "terry") as terry, terry.listen(room, join=False) as messages:
        asyncio.run(say(f"/{room}/ws?user=anna&last=0", *(f"room {number}" for number in range(20))))
        assert [messages.get(30).text for _ in range(20)] == [f"room {number}" for number in range(20)]
    broker.kill()
    for where in (f"/{room}/ws?user=anna", f"/{room}/ws", "/ws"):
        for _ in range(5):
            asyncio.run(say(where, json.dumps({"do": "hello", "user": "ben"}), *told))
    eventually(lambda: connections() == 1, "all who have left are gone")


def test_an_answer_that_nobody_reads_the_beginning_of_is_over_all_the_same() -> None:
    async def gone(message: Any) -> None:
        raise OSError

    async def lines() -> AsyncIterator[bytes]:
        yield b"never"

    async def answer() -> None:
        over = list[bool]()
        streamed = StreamedLines(lines(), lambda: over.append(True), "text/plain")
        scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
        with pytest.raises(ClientDisconnect):
            await streamed(scope, asyncio.Queue().get, gone)
        assert over == [True]

    asyncio.run(answer())
