"""Strangers at a broker with keys: connections that begin a CURVE handshake, make the broker reckon, and leave.

    greeting, HELLO ──►    ◄── greeting, WELCOME: three products of points for the broker, and none for the stranger

Rules of this file
1. One HELLO serves all of them: it is the same to the broker, which remembers nothing of it. So a stranger pays next to
   nothing, and this is the dearest that it can ask for at that price.
2. One thread, no waiting: who is not answered holds up no other.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from attacks import zmtp
from attacks.peers import Place

HELLO_SIGNED = bytes(64)
WELCOME_BYTES = 64 + 170  # a greeting, and WELCOME's frame
PATIENCE_SECONDS = 3.0
READ_BYTES = 4096


@dataclass(frozen=True)
class Knocks:
    """How they come: to a broker with keys."""

    a_second: float
    at_once: int  # in handshake
    publisher: bool = False


class Knocking:
    """All of them."""

    def __init__(self, place: Place, knocks: Knocks, server: str) -> None:
        """`server`: the broker's public key."""
        place.check()
        self.counts: Counter[str] = Counter()
        self._knocks = knocks
        self._where = place.host, place.publisher if knocks.publisher else place.router
        self._says = zmtp.greeting(1, b"CURVE") + hello(bytes.fromhex(server))
        self._poll = select.epoll()
        self._open: dict[int, tuple[socket.socket, float]] = {}
        self._got: dict[int, int] = {}
        self._order: deque[tuple[float, int]] = deque()

    def run(self, goes_on: Callable[[], bool]) -> None:
        """Until told otherwise."""
        tokens, at = 0.0, time.monotonic()
        while goes_on():
            now = time.monotonic()
            tokens = min(tokens + (now - at) * self._knocks.a_second, self._knocks.a_second * 0.05 + 1)
            at = now
            while tokens >= 1 and len(self._open) < self._knocks.at_once:
                tokens -= 1
                self._dial(now)
            for descriptor, events in self._poll.poll(0.002):
                self._event(descriptor, events)
            while self._order and self._order[0][0] < now - PATIENCE_SECONDS:
                began, descriptor = self._order.popleft()
                if self._open.get(descriptor, (None, 0.0))[1] == began:
                    self.counts["not answered"] += 1
                    self._end(descriptor)

    def close(self) -> None:
        """All leave at once."""
        for descriptor in list(self._open):
            self._end(descriptor)
        self._poll.close()

    def _dial(self, now: float) -> None:
        link = socket.socket()
        link.setblocking(False)
        if link.connect_ex(self._where) not in (0, errno.EINPROGRESS):
            link.close()
            self.counts["refused"] += 1
            return
        self.counts["connections"] += 1
        self._open[link.fileno()] = link, now
        self._order.append((now, link.fileno()))
        self._poll.register(link.fileno(), select.EPOLLOUT)

    def _event(self, descriptor: int, events: int) -> None:
        link, _ = self._open[descriptor]
        try:
            if descriptor not in self._got:
                self.counts["bytes"] += link.send(self._says)
                self._got[descriptor] = 0
                self._poll.modify(descriptor, select.EPOLLIN)
                return
            data = link.recv(READ_BYTES)
        except OSError:
            data = b""
        self._got[descriptor] = self._got.get(descriptor, 0) + len(data)
        if not data:
            self.counts["cut off"] += 1
            self._end(descriptor)
        elif self._got[descriptor] >= WELCOME_BYTES:
            self.counts["welcomed"] += 1
            self._end(descriptor)

    def _end(self, descriptor: int) -> None:
        link, _ = self._open.pop(descriptor)
        self._got.pop(descriptor, None)
        link.close()


def hello(server: bytes) -> bytes:
    """A CURVE HELLO to who has that key (RFC 26)."""
    from nacl.bindings import crypto_box, crypto_box_keypair

    public, secret = crypto_box_keypair()
    nonce = (1).to_bytes(8, "big")
    box = crypto_box(HELLO_SIGNED, b"CurveZMQHELLO---" + nonce, server, secret)
    return zmtp.command(b"HELLO", bytes((1, 0)) + bytes(72) + public + nonce + box)
