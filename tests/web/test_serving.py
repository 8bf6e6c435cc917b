"""Clients that stall, flood and connect by the thousand, and the application inside of another one."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.request import urlopen

import pytest
import uvicorn
import websockets
from starlette.applications import Starlette
from starlette.routing import Mount

import zchat
import zchat.aio
import zchat.web
from tests.conftest import BrokerProcess, eventually
from tests.conftest import zchat as run_zchat
from tests.web.conftest import Clients, WebProcess
from zchat.web.application import WebApplication
from zchat.web.core.bounds import WebLimits
from zchat.web.serving import listening

pytestmark = pytest.mark.slow  # processes

StartClients = Callable[[WebProcess], Clients]
StartWeb = Callable[..., WebProcess]
MB = 1 << 20


def connected(url: str, auth: dict[str, Any]) -> websockets.connect:
    return websockets.connect(f"ws{url.removeprefix('http')}/socket.io/?EIO=4&transport=websocket", max_queue=1)


def test_a_client_that_does_not_read_is_cut_off_and_the_others_go_on(
    shared_broker: BrokerProcess, start_web: StartWeb, start_clients: StartClients, room: str
) -> None:
    web = start_web(shared_broker, "--room", room)
    clients = start_clients(web)
    clients.connect("a", transports=["websocket"])
    host, _, port = web.url.removeprefix("http://").partition(":")
    stalled = socket.create_connection((host, int(port)))
    upgrade = f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
    key = "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    stalled.sendall((upgrade + key).encode())
    assert stalled.recv(MB).startswith(b"HTTP/1.1 101 ")
    stalled.sendall(b"\x81\x82\x00\x00\x00\x0040")  # a masked frame: CONNECT
    clients.wait("a", "join")
    before = web.resident_bytes
    with zchat.connect(shared_broker.address, "terry") as terry:
        for _ in range(400):  # 40 MB, ten times what may wait
            terry.send(room, b"x" * 100_000)
        clients.wait("a", "message", 400)
        eventually(lambda: clients.events("a", "leave"), "it has left the room")
        assert web.resident_bytes - before < 40 * MB
        assert clients.ask("a", "message", "still here")["room"] == room
    stalled.settimeout(20)
    with pytest.raises(OSError):
        while stalled.recv(MB):
            pass
        raise ConnectionResetError
    stalled.close()


def test_what_is_too_large_ends_its_connection_before_it_is_whole(shared_web: WebProcess, room: str) -> None:
    async def flood() -> None:
        async with connected(shared_web.url, {}) as socket:
            await socket.send("40")
            with pytest.raises(websockets.ConnectionClosed):
                await socket.send(iter(["x" * MB] * 64))
                while True:
                    await socket.recv()

    before = shared_web.resident_bytes
    asyncio.run(flood())
    assert shared_web.resident_bytes - before < 8 * MB


def test_who_says_too_much_waits_in_its_own_connection(
    shared_web: WebProcess, start_clients: StartClients, room: str
) -> None:
    clients = start_clients(shared_web)
    clients.connect("b", auth={"room": room})

    async def flood() -> None:
        async with connected(shared_web.url, {}) as socket:
            await socket.send("40" + json.dumps({"user": "loud", "room": room}))
            for number in range(600):
                await socket.send(f'42["n",{number}]')
            assert clients.ask("b", "message", "heard")["room"] == room
            eventually(lambda: len(clients.events("b", "n")) >= 400, "what may come at once has come")

    asyncio.run(flood())


def test_who_posts_too_much_is_read_later_and_loses_nothing(
    shared_web: WebProcess, start_clients: StartClients, room: str
) -> None:
    clients = start_clients(shared_web)
    clients.connect("polls", auth={"room": room}, transports=["polling"])
    clients.connect("b", auth={"room": room})
    before = slowed(shared_web)
    for number in range(700):
        clients.step("polls", emit=["n", number])
    assert clients.ask("b", "message", "meanwhile")["room"] == room
    clients.wait("b", "n", 700)
    assert [args[0] for args in clients.args("b", "n")] == list(range(700))
    assert slowed(shared_web) > before


def test_who_reads_or_publishes_too_much_by_requests_is_told_when_to_come_again(
    shared_broker: BrokerProcess, room: str
) -> None:
    limits = WebLimits(reads_a_second=0.1, reads_at_once=2, publishes_a_second=0.1, publishes_at_once=3)

    async def ask() -> None:
        app = WebApplication(shared_broker.address, limits=limits)
        for method, path, allowed in (("GET", f"/{room}/who", 2), ("POST", f"/{room}", 3)):
            told = [await status(app, method, path, "10.0.0.1") for _ in range(allowed + 1)]
            assert [each for each, _ in told] == [200] * allowed + [429]
            assert 1 <= int(told[-1][1][b"retry-after"]) <= 11
            assert (await status(app, method, path, "10.0.0.2"))[0] == 200, "another one may"
        assert (await status(app, "GET", "/healthz", "10.0.0.1"))[0] == 200
        await app.close()

    asyncio.run(asyncio.wait_for(ask(), 60))


async def status(app: WebApplication, method: str, path: str, address: str) -> tuple[int, dict[bytes, bytes]]:
    """Of the answer, and its headers."""
    told: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"hi"}

    async def send(message: Any) -> None:
        told.append(message)

    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": [], "client": (address, 1)}
    await app(scope, receive, send)
    return told[0]["status"], dict(told[0]["headers"])


def slowed(web: WebProcess) -> int:
    """How often anybody was read later."""
    with urlopen(f"{web.url}/metrics", timeout=30) as answer:
        found = re.search(r"^zchat_web_slowed_total (\d+)$", answer.read().decode(), re.M)
    assert found is not None
    return int(found[1])


def test_hundreds_that_say_nothing_or_half_of_it_stop_nobody(
    shared_web: WebProcess, start_clients: StartClients, room: str
) -> None:
    host, _, port = shared_web.url.removeprefix("http://").partition(":")
    half = [
        b"",
        b"GET / HT",
        b"GET /socket.io/?EIO=4 HTTP/1.1\r\nHost: a\r\n",
        b"\xff\x00" * 50,
        b"POST / HTTP/1.1\r\n",
    ]
    opened = []
    for number in range(500):
        opened.append(socket.create_connection((host, int(port))))
        opened[-1].sendall(half[number % len(half)])
    smuggled = b"POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n"
    opened[0].sendall(smuggled + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    opened[0].settimeout(20)
    assert opened[0].recv(100).startswith(b"HTTP/1.1 400 ")
    clients = start_clients(shared_web)
    clients.connect("a", auth={"room": room})
    assert clients.ask("a", "message", "hi")["room"] == room
    for each in opened:
        each.close()


def test_what_is_no_http_and_no_text_ends_its_connection_in_silence_whatever_was_being_said(
    shared_broker: BrokerProcess, start_web: StartWeb, room: str
) -> None:
    web = start_web(shared_broker)
    host, _, port = web.url.removeprefix("http://").partition(":")
    head = f"GET /{room}/sse HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"  # whose body is still to come
    for request in ("", head):
        with socket.create_connection((host, int(port)), 20) as peer:
            if request:
                peer.sendall(request.encode())
                assert peer.recv(MB).startswith(b"HTTP/1.1 200 ")
            peer.sendall(b"\0no HTTP\r\n\r\n")
            try:
                while peer.recv(MB):
                    pass
            except ConnectionResetError:
                pass
    with socket.create_connection((host, int(port)), 20) as peer:  # says that it closes, and then what is no text
        upgrade = f"GET /{room}/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        upgrade += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        peer.sendall(upgrade.encode())
        assert peer.recv(MB).startswith(b"HTTP/1.1 101 ")
        peer.sendall(b"\x81\x82\0\0\0\0\xa9\xa9\x88\x80\0\0\0\0\x81\x82\0\0\0\0\xa9\xa9")
        try:
            while peer.recv(MB):
                pass
        except ConnectionResetError:
            pass
    assert "Traceback" not in web.stderr() and "error" not in web.stderr()


def test_it_is_mounted_in_an_application_of_ones_own(shared_broker: BrokerProcess, room: str) -> None:
    async def talk() -> None:
        chat = zchat.web.app(shared_broker.address, room=room)
        app = Starlette(routes=[Mount("/chat", app=chat)])
        listening = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
        serving = asyncio.create_task(server.serve([listening]))
        port = listening.getsockname()[1]
        async with zchat.aio.connect(shared_broker.address, "terry") as terry, terry.listen(room) as messages:
            url = f"ws://127.0.0.1:{port}/chat/socket.io/?EIO=4&transport=websocket"
            async with websockets.connect(url) as client:
                await client.send('40{"user":"mounted"}')
                while not str(await client.recv()).startswith("40"):
                    pass
                await client.send('42["message","hi"]')
                message = await messages.get(20)
                assert (message.user, message.text) == ("mounted", "hi")
        await chat.close()
        server.should_exit = True
        await serving

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_what_cannot_be_served_is_said_in_one_line(shared_web: WebProcess, tmp_path: Any) -> None:
    listen = shared_web.url.removeprefix("http://")
    broker = ("-b", shared_web.broker.address)
    taken = run_zchat("web", "--listen", listen, *broker)
    assert (taken.status, taken.stderr) == (1, f"zchat: cannot listen on {listen}: Address already in use\n")
    assert run_zchat("web", "--listen", "here", *broker).status == 2
    inbox = run_zchat("web", "--listen", "127.0.0.1:0", "--room", "@me", *broker)
    assert (inbox.status, inbox.stderr) == (2, "zchat: --room @me: an inbox is no room that people meet in\n")
    assert run_zchat("web", "--app", "nothing", *broker).status == 2
    assert "No module named 'nothing'" in run_zchat("web", "--app", "nothing:x", *broker).stderr
    assert run_zchat("web", "--listen", "0", "--wait", "100ms", "-b", "tcp://127.0.0.1:9").status == 3
    (tmp_path / "socketio.py").write_text("raise ModuleNotFoundError(name='socketio')")
    missing = run_zchat("web", *broker, env={"PYTHONPATH": str(tmp_path)})
    assert (missing.status, missing.stderr) == (1, "zchat: zchat web needs socketio: pip install 'zchat[web]'\n")


def test_what_is_accepted_sends_the_rest_of_an_answer_at_once() -> None:
    with closing(listening("127.0.0.1", 0)) as listener, closing(socket.create_connection(listener.getsockname())):
        accepted, _ = listener.accept()
        with closing(accepted):
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
