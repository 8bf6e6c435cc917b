"""Gateways with tokens and a broker with rules: each reads by his own rights, whatever the gateway itself may."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import socketio
import websockets

import zchat
from tests.conftest import BrokerProcess, eventually
from tests.tcp.conftest import Starts
from tests.tcp.conftest import start_gateway as start_gateway
from tests.web.conftest import WebProcess
from zchat.tokens import TokenFile

pytestmark = pytest.mark.slow  # each starts processes

RULES = '[rooms."ops"]\nread = [{}]\nwrite = ["*"]\n'
SECRET = "the password is swordfish"


class Ruled(NamedTuple):
    broker: BrokerProcess
    rules: Path
    tokens: Path
    alice: str  # may read ops
    bob: str  # may not

    def told(self) -> None:
        """Somebody says something in the room."""
        with zchat.connect(self.broker.address, "alice") as alice:
            alice.send("ops", SECRET)


@pytest.fixture
def ruled(start_broker: Callable[..., BrokerProcess], tmp_path: Path) -> Ruled:
    rules, file = tmp_path / "rules.toml", TokenFile(tmp_path / "tokens")
    rules.write_text(RULES.format('"alice", "web", "gate"'))
    broker = start_broker("--insecure", "--config", str(rules))
    ruled = Ruled(broker, rules, file.path, file.new("alice", 600), file.new("bob", 600))
    ruled.told()
    return ruled


def curl(url: str, token: str, *more: str) -> str:
    done = subprocess.run(
        ["curl", "-sS", "-m", "3", "-H", f"Authorization: Bearer {token}", *more, url], capture_output=True, timeout=60
    )
    return done.stdout.decode()


def test_a_browser_or_script_reads_what_its_user_may(ruled: Ruled, start_web: Callable[..., WebProcess]) -> None:
    web = start_web(ruled.broker, "--tokens", str(ruled.tokens))
    ways = ("json?poll=1&last=5", "sse?last=5", "json?last=5", "1", "who", "sse")
    assert SECRET in curl(f"{web.url}/ops/{ways[0]}", ruled.alice)
    assert SECRET in curl(f"{web.url}/ops/{ways[1]}", ruled.alice), "alice hears it"
    reading = [
        subprocess.Popen(
            ["curl", "-sSN", "-m", "4", "-H", f"Authorization: Bearer {ruled.bob}", f"{web.url}/ops/{way}"],
            stdout=subprocess.PIPE,
        )
        for way in ways
    ]
    ruled.told()
    for way, one in zip(ways, reading, strict=True):
        shown = one.communicate(timeout=60)[0].decode()
        assert "swordfish" not in shown and ("denied" in shown or way == "who"), (way, shown)

    async def talk() -> None:
        at, told = web.url.replace("http", "ws"), {"authorization": f"Bearer {ruled.bob}"}
        async with websockets.connect(f"{at}/ws", additional_headers=told) as page:
            asked = (
                {"do": "hello"},
                *({"do": do, "room": "ops", "text": "pass"} for do in ("join", "history", "search", "who")),
            )
            for number, ask in enumerate(asked):
                await page.send(json.dumps(ask | {"n": number}))
                answer = json.loads(str(await asyncio.wait_for(page.recv(), 20)))
                assert ("error" in answer) == bool(number) and "swordfish" not in str(answer), ask
        async with websockets.connect(f"{at}/ops/ws?last=5", additional_headers=told) as room:
            assert "denied" in str(await asyncio.wait_for(room.recv(), 20))
        bob = socketio.AsyncClient(reconnection=False)
        await bob.connect(web.url, auth={"token": ruled.bob, "room": "general"}, transports=["websocket"])
        for event in ("join", "history", "who"):
            assert "swordfish" not in str(answer := await bob.call(event, "ops", timeout=20))
            assert "denied" in str(answer), event
        await bob.disconnect()

    asyncio.run(talk())


def test_who_may_read_no_more_hears_no_more(ruled: Ruled, start_web: Callable[..., WebProcess]) -> None:
    web = start_web(ruled.broker, "--tokens", str(ruled.tokens))
    reading = subprocess.Popen(
        ["curl", "-sSN", "-H", f"Authorization: Bearer {ruled.alice}", f"{web.url}/ops/sse?last=1"],
        stdout=subprocess.PIPE,
    )
    try:
        assert reading.stdout is not None
        while b"swordfish" not in reading.stdout.readline():
            pass
        ruled.rules.write_text(RULES.format('"carol", "web"'))
        eventually(lambda: reading.poll() is not None, "it ends")
    finally:
        reading.kill()
        reading.communicate()
    assert "denied" in curl(f"{web.url}/ops/json?poll=1&last=1", ruled.alice)


def test_a_visitor_reads_what_its_user_may(ruled: Ruled, start_gateway: Starts) -> None:
    gateway = start_gateway(ruled.broker, "--tokens", str(ruled.tokens))
    alice, bob = gateway.connect(), gateway.connect()
    for peer, token in ((alice, ruled.alice), (bob, ruled.bob)):
        peer.send(f"/login {token}\n")
        peer.until("/help lists what you can do")
        peer.send("/join ops\n")
    alice.until("you are in ops")
    bob.until("may not read ops")
    bob.send("/who ops\n/last\nstill in general\n")
    ruled.told()
    alice.until(SECRET)
    bob.until("bob: still in general")
    bob.connection.shutdown(socket.SHUT_WR)
    assert b"swordfish" not in bob.rest()
    ruled.rules.write_text(RULES.format('"carol"'))
    alice.until("ops reaches you any more")
