"""Gateways and those who come through them, over real TCP."""

from __future__ import annotations

import re
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from tests.conftest import WAIT_SECONDS, BrokerProcess, Running, eventually

READY = re.compile(r"zchat tcp ready on (\S+):(\d+), room (\S+)")


@dataclass
class Peer:
    """Somebody at the other end of a connection, and all that came."""

    connection: socket.socket
    came: bytes = b""
    has_ended: bool = False

    def send(self, data: bytes | str) -> None:
        self.connection.sendall(data.encode() if isinstance(data, str) else data)

    def until(self, expected: bytes | str) -> bytes:
        """All that came, once that is in it."""
        wanted = expected.encode() if isinstance(expected, str) else expected
        deadline = time.monotonic() + WAIT_SECONDS
        while wanted not in self.came:
            left = deadline - time.monotonic()
            assert left > 0 and self.read(left), f"{expected!r} did not come; there is {self.came[-2000:]!r}"
        return self.came

    def read(self, seconds: float = WAIT_SECONDS) -> bool:
        """Some more; False at the end."""
        if not (isinstance(self.connection, ssl.SSLSocket) and self.connection.pending()):
            assert select.select([self.connection], [], [], seconds)[0], f"nothing came; there is {self.came[-2000:]!r}"
        try:
            data = self.connection.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        self.came += data
        self.has_ended = not data
        return bool(data)

    def rest(self) -> bytes:
        """All, once it was ended by the other side."""
        while self.read():
            pass
        return self.came

    def name(self) -> str:
        """What it is called, as a guest."""
        found = re.search(rb"you are (guest-\w+) in ", self.until("/help lists what you can do"))
        assert found is not None
        return found[1].decode()


@dataclass
class GatewayProcess:
    """A `zchat tcp` that runs."""

    running: Running
    host: str
    port: int
    peers: list[Peer] = field(default_factory=list)

    def connect(self, wrap: Callable[[socket.socket], socket.socket] = lambda plain: plain) -> Peer:
        connection = socket.create_connection((self.host.strip("[]"), self.port), timeout=WAIT_SECONDS)
        self.peers.append(Peer(wrap(connection)))
        return self.peers[-1]


Starts = Callable[..., GatewayProcess]


@pytest.fixture
def start_gateway(start_zchat: Callable[..., Running]) -> Iterator[Starts]:
    """Starts them: `start_gateway(broker, "--raw")`; each must end well at SIGTERM."""
    gateways: list[GatewayProcess] = []

    def start(broker: BrokerProcess, *args: str, listen: str = "127.0.0.1:0") -> GatewayProcess:
        running = start_zchat("tcp", "--listen", listen, *args, broker=broker, env={"ZCHAT_USER": "gate"})
        found = eventually(
            lambda: READY.search(running.stderr) or running.process.poll() is not None, "the gateway is ready"
        )
        assert isinstance(found, re.Match), running.stderr
        gateways.append(GatewayProcess(running, found[1], int(found[2])))
        return gateways[-1]

    yield start
    for gateway in gateways:
        for peer in gateway.peers:
            peer.connection.close()
    for gateway in gateways:
        print(f"--- gateway\n{gateway.running.stderr}")
        if gateway.running.process.poll() is None:
            gateway.running.process.terminate()
            assert gateway.running.process.wait(WAIT_SECONDS) == 0
        assert "Traceback" not in gateway.running.stderr
