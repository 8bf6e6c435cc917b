"""A connection without libzmq: it greets, sends at its own pace, and ends in a way of its own.

Rules of this file
1. No call takes longer than a second or raises because of the other side: `is_open` says what is left.
2. Only loopback is dialled.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from attacks import zmtp

SEND_SECONDS = 1.0
LOOK_BYTES = 1 << 16


class Place(NamedTuple):
    """Where a broker is."""

    host: str
    router: int
    publisher: int

    def check(self) -> None:
        """Raises ValueError for a host that is not this one."""
        if not self.host.startswith("127."):
            raise ValueError(f"{self.host} is not this machine: attacks stay on loopback")


class Peer:
    """One TCP connection."""

    def __init__(self, host: str, port: int) -> None:
        self.is_open = True
        self.sent = 0
        self._socket = socket.socket()
        self._socket.settimeout(SEND_SECONDS)
        try:
            self._socket.connect((host, port))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            self._closed()

    def send(self, data: bytes) -> bool:
        """All of it, unless the other side takes nothing for a second."""
        view = memoryview(data)
        deadline = time.monotonic() + SEND_SECONDS
        while view and self.is_open and time.monotonic() < deadline:
            try:
                count = self._socket.send(view)
            except TimeoutError:
                return False
            except OSError:
                self._closed()
                return False
            self.sent += count
            view = view[count:]
        return not view

    def dribble(self, data: bytes, pause: float = 0.0) -> None:
        """Byte by byte, a segment each."""
        for number in range(len(data)):
            if not self.send(data[number : number + 1]):
                return
            if pause:
                time.sleep(pause)

    def read(self, seconds: float = 0.0, least: int = 1) -> bytes:
        """What comes within that time, as soon as it is that much."""
        got = b""
        deadline = time.monotonic() + seconds
        while self.is_open and len(got) < least:
            try:
                left = max(0.0, deadline - time.monotonic())
                if not select.select([self._socket], [], [], left)[0]:
                    break
                data = self._socket.recv(LOOK_BYTES)
            except (OSError, ValueError):
                self._closed()
                break
            if not data:
                self._closed()
            got += data
        return got

    def greet(self, socket_type: bytes, name: bytes | None = None, minor: int = 0) -> bool:
        """As a peer of ZMTP 3, until the other side is ready too: what is sent before is refused. Whether it is."""
        self.send(zmtp.greeting(minor))
        greeted = self.read(SEND_SECONDS, zmtp.GREETING_BYTES + 1)  # and READY behind it
        self.send(zmtp.ready(socket_type, name))
        return len(greeted) > zmtp.GREETING_BYTES

    # --- its end ----------------------------------------------------------------------------

    def fin(self) -> None:
        """The usual end."""
        self._closed()

    def reset(self) -> None:
        """RST: what is on the way is thrown away."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
        self._closed()

    def half(self) -> None:
        """It sends no more, and still could read."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._closed()

    def deaf(self) -> None:
        """It reads no more, and still could send: the other side's next bytes are answered with RST."""
        try:
            self._socket.shutdown(socket.SHUT_RD)
        except OSError:
            self._closed()

    def _closed(self) -> None:
        self.is_open = False
        self._socket.close()


ENDS: dict[str, Callable[[Peer], None]] = {
    "fin": Peer.fin,
    "reset": Peer.reset,
    "half": Peer.half,
    "deaf": Peer.deaf,
    "stays": lambda peer: None,  # open, and it reads nothing
}


def end(peer: Peer, draw: Random) -> str:
    """One way to end, and what it is called. After `half`, `deaf` and `stays` the caller keeps the peer."""
    name = draw.choice([*ENDS, "fin", "reset", "reset"])
    ENDS[name](peer)
    return name
