"""Whatever comes through the web door, it goes on for the others, and says no traceback."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import uuid
from collections.abc import Callable
from typing import Any
from urllib.request import Request, urlopen

import pytest
import uvicorn
import websockets

import zchat
from tests.conftest import BrokerProcess
from tests.web.conftest import WebProcess
from zchat.web.core.bounds import WebLimits
from zchat.web.serving import LeanWebSocket, http_protocol

pytestmark = pytest.mark.slow  # processes

SMUGGLED = b"POST /{room} HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nsmuggled"
HEADS = (  # of a request that a proxy and a server may see differently; its body is the smuggled one
    b"Content-Length: 0\r\nContent-Length: {size}",
    b"Content-Length: {size}\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nContent-Length: {size}",
    b"Transfer-Encoding: xchunked\r\nContent-Length: {size}",
    b"Transfer-Encoding:\x0bchunked\r\nContent-Length: {size}",
    b"Content-Length: +{size}",
    b"Content-Length : {size}",
    b"Content-Length: {size}, {size}1",
    b"X: y\r\n Content-Length: {size}",
    b"X: y\nContent-Length: {size}",
    b"\x00Content-Length: {size}",
)


def said(where: socket.socket) -> bytes:
    """All that comes until the end, or until nothing does."""
    came = b""
    try:
        while data := where.recv(1 << 16):
            came += data
    except OSError:
        pass
    return came


def connected(web: WebProcess) -> socket.socket:
    host, _, port = web.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def goes_on(web: WebProcess, room: str) -> None:
    """Somebody publishes, and it is there."""
    word = uuid.uuid4().hex
    with urlopen(Request(f"{web.url}/{room}", word.encode(), method="POST"), timeout=30) as answer:
        offset = json.loads(answer.read())["offset"]
    with urlopen(f"{web.url}/{room}/{offset}", timeout=30) as answer:
        assert answer.read().decode() == word


def test_no_request_is_smuggled_in_the_body_of_another(shared_web: WebProcess, room: str) -> None:
    inner = SMUGGLED.replace(b"{room}", room.encode())
    for head in HEADS:
        with connected(shared_web) as one:
            told = head.replace(b"{size}", b"%d" % len(inner))
            one.sendall(b"POST /elsewhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + told + b"\r\n\r\n" + inner)
            one.shutdown(socket.SHUT_WR)
            answer = said(one)
            assert answer.count(b"HTTP/1.1 ") <= 1, (head, answer)
    with zchat.connect(shared_web.broker.address, "terry") as terry:
        assert not [each for each in terry.history(room) if each.text == "smuggled"]
    goes_on(shared_web, room)


def test_games_with_upgrades_end_their_own_connection_alone(
    shared_broker: BrokerProcess, start_web: Callable[..., WebProcess], room: str
) -> None:
    web = start_web(shared_broker)
    socket_io, address = f"{web.url}/socket.io/?EIO=4&transport=", f"ws{web.url.removeprefix('http')}"

    def polling() -> str:
        with urlopen(f"{socket_io}polling", timeout=30) as answer:
            return str(json.loads(answer.read()[1:])["sid"])

    async def play() -> None:
        where = f"{address}/socket.io/?EIO=4&transport=websocket"
        for wrong in (f"{where}&sid=nobodys", where.replace("EIO=4", "EIO=3"), where.replace("websocket", "x")):
            with pytest.raises((websockets.InvalidStatus, websockets.ConnectionClosed)):
                async with websockets.connect(wrong) as client:
                    await client.recv()
        for first in ("2nothing", "5", "40", b"\xff\x00", "2probe"):
            async with websockets.connect(f"{where}&sid={polling()}") as client:
                await client.send(first)
                if first == "2probe":
                    assert await client.recv() == "3probe"
                    await client.send("40")  # and not the upgrade that it spoke of
                with pytest.raises(websockets.ConnectionClosed):
                    while True:
                        await client.recv()
        sid = polling()
        async with websockets.connect(f"{where}&sid={sid}") as first_one:
            await first_one.send("2probe")
            assert await first_one.recv() == "3probe"
            await first_one.send("5")
            with pytest.raises((websockets.InvalidStatus, websockets.ConnectionClosed)):
                async with websockets.connect(f"{where}&sid={sid}") as second:
                    await second.send("2probe")
                    while True:
                        await second.recv()

    asyncio.run(asyncio.wait_for(play(), 60))
    for head in (
        b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 99\r\nSec-WebSocket-Key: x",
        b"Upgrade: websocket\r\nConnection: Upgrade",
        b"Upgrade: websocket, websocket\r\nConnection: close, Upgrade\r\nSec-WebSocket-Version: 13",
    ):
        with connected(web) as one:
            one.sendall(b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n\r\n")
            one.shutdown(socket.SHUT_WR)
            assert b" 101 " not in said(one)
    goes_on(web, room)
    assert "Traceback" not in web.stderr()


def test_names_and_arguments_of_the_gateways_own_events_may_be_anything(shared_web: WebProcess, room: str) -> None:
    async def ask() -> None:
        where = f"ws{shared_web.url.removeprefix('http')}/socket.io/?EIO=4&transport=websocket"
        async with websockets.connect(where) as client:
            await client.send("40" + json.dumps({"user": "constructor", "room": room}))
            while not str(await client.recv()).startswith('42["joined"'):
                pass
            anything: list[Any] = [
                [],
                {},
                5,
                None,
                True,
                "a b",
                "@bob",
                "x" * 300,
                {"room": []},
                {"room": "__proto__"},
                [[]],
            ]
            number = 0
            for event in ("join", "leave", "who", "history", "message"):
                for each in anything:
                    number += 1
                    await client.send(f"42{number}" + json.dumps([event, each]))
                    while not (came := str(await client.recv())).startswith(f"43{number}["):
                        assert came.startswith(("42", "2")), came
            await client.send("42899" + json.dumps(["join", room]))
            while not str(await client.recv()).startswith("43899["):
                pass
            await client.send('42900["who"]')
            while not (came := str(await client.recv())).startswith("43900["):
                pass
            assert "constructor" in came

    asyncio.run(asyncio.wait_for(ask(), 60))
    goes_on(shared_web, room)


def test_the_head_of_a_second_request_has_its_time_too() -> None:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def drip() -> None:
        http = http_protocol(WebLimits(silent_seconds=1.0))
        config = uvicorn.Config(answer, http=http, ws=LeanWebSocket, lifespan="off", log_level="critical")
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            serving = asyncio.create_task(server.serve([listening]))
            for first in (b"", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"):
                reader, writer = await asyncio.open_connection(*listening.getsockname())
                writer.write(first)
                if first:
                    assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
                began, ended = time.monotonic(), asyncio.ensure_future(reader.read())
                while not ended.done() and time.monotonic() < began + 20:
                    writer.write(b"G" if time.monotonic() == began else b"E")  # never whole
                    await asyncio.wait([ended], timeout=0.1)
                assert ended.done(), "a head that drips does not keep its connection"
                writer.close()
            server.should_exit = True
            await serving

    asyncio.run(asyncio.wait_for(drip(), 60))


def test_a_post_that_has_no_length_or_does_not_come_is_refused(shared_web: WebProcess, room: str) -> None:
    with urlopen(f"{shared_web.url}/socket.io/?EIO=4&transport=polling", timeout=30) as answer:
        sid = json.loads(answer.read()[1:])["sid"]
    start = f"POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: a\r\n".encode()
    with connected(shared_web) as one:
        one.sendall(start + b"Transfer-Encoding: chunked\r\n\r\n2\r\n40\r\n")
        assert one.recv(100).startswith(b"HTTP/1.1 411 ")
    with urlopen(f"{shared_web.url}/socket.io/?EIO=4&transport=polling", timeout=30) as answer:
        sid = json.loads(answer.read()[1:])["sid"]
    start = f"POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: a\r\n".encode()
    with connected(shared_web) as one:
        one.sendall(start + b"Content-Length: 10000\r\n\r\n" + b"\x1e" * 10_000)
        assert one.recv(100).startswith(b"HTTP/1.1 413 "), "it has more packets than are taken"
    goes_on(shared_web, room)
