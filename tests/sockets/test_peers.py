"""Who takes more than its share, by what the kernel says: the broker's sockets, and raw peers of theirs."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.conftest import eventually
from tests.sockets.test_overload import zmtp
from zchat.address import Address
from zchat.core import Instant
from zchat.settings import Settings
from zchat.sockets import options
from zchat.sockets.cutoffs import CutOffs
from zchat.sockets.kernel import bytes_received
from zchat.sockets.peers import SUBSCRIBING_BYTES_MAX, Peers

PING = b"\4\7\4PING\0\0"  # of ZMTP 3.1 (RFC 37): what a peer with heartbeats of its own sends


class Bound:
    """Both sockets of a broker, bound, without its loop."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self._context = options.new_context()
        self._router, self._xpub = options.broker_router(self._context), options.broker_xpub(self._context)
        self.peers = Peers(self._context, self._router, self._xpub, Settings(), CutOffs(self.told.append), 100)
        at = options.bind(self._xpub, Address("tcp", "127.0.0.1", 0))
        self.address, self.peers.publisher_port = str(at), at.port

    def elapsed(self, seconds: float) -> None:
        self.peers.read_monitors(Instant(seconds, 0))
        self.peers.elapsed(Instant(seconds, 0), is_behind=False)

    def received(self) -> int:
        """Bytes that came of the one subscriber, once it is known."""
        self.peers.read_monitors(Instant(1, 0))
        return sum(map(bytes_received, self.peers._subscribers))

    def close(self) -> None:
        self.peers.close()
        self._router.close()
        self._xpub.close()
        self._context.term()


@pytest.fixture
def bound() -> Iterator[Bound]:
    sockets = Bound()
    yield sockets
    sockets.close()


def ping(bound: Bound, peer: socket.socket, size: int) -> None:
    """So many bytes of pings, until the kernel has them."""
    before = bound.received()
    peer.sendall(PING * (size // len(PING)))
    eventually(lambda: bound.received() - before > size - len(PING), "they came")


def test_the_pings_of_a_peer_never_add_up_to_a_flood(bound: Bound) -> None:
    much = SUBSCRIBING_BYTES_MAX * 2 // 3
    with zmtp(bound.address, b"SUB") as peer:
        eventually(bound.received, "it is known")
        for second in range(2, 5):
            ping(bound, peer, much)
            bound.peers.cut_off_floods()
            assert not bound.told
            bound.elapsed(second)


def test_what_comes_faster_than_it_is_taken_is_a_flood(bound: Bound) -> None:
    with zmtp(bound.address, b"SUB") as peer:
        eventually(bound.received, "it is known")
        ping(bound, peer, SUBSCRIBING_BYTES_MAX + 1000)
        bound.peers.cut_off_floods()
        assert bound.told == ["127.0.0.1 is cut off: it subscribes without end"]
