"""Who is connected to the broker's two sockets, and who takes more than its share: raw peers of theirs, over TCP."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator

import pytest

from tests.conftest import eventually
from tests.sockets.test_overload import zmtp
from zchat import wire
from zchat.address import Address
from zchat.core import Instant
from zchat.settings import Settings
from zchat.sockets import options
from zchat.sockets.cutoffs import CutOffs
from zchat.sockets.kernel import name_of_peer, traffic
from zchat.sockets.meters import GREETING_BYTES_MAX, SUBSCRIBING_BYTES_MAX, WAITING_BYTES_MAX, Meters
from zchat.sockets.peer import Peer
from zchat.sockets.peers import Peers

PING = b"\4\7\4PING\0\0"  # of ZMTP 3.1 (RFC 37): what a peer with heartbeats of its own sends


class Bound:
    """Both sockets of a broker, bound, without its loop."""

    def __init__(self, **settings: int) -> None:
        self.told: list[str] = []
        self.settings = Settings(**settings)  # type: ignore[arg-type]
        self.cutoffs = CutOffs(self.told.append)
        self._context = options.broker_context()
        self.router, self.xpub = options.broker_router(self._context), options.broker_xpub(self._context)
        self.peers = Peers(self._context, self.router, self.xpub, self.settings, self.cutoffs, 100)
        self.address = str(options.bind(self.router, Address("tcp", "127.0.0.1", 0)))
        published = options.bind(self.xpub, Address("tcp", "127.0.0.1", 0))
        self.publish_address, self.peers.publisher_port = str(published), published.port
        self._meters: Meters | None = None

    def meters(self) -> Meters:
        """Made when they are asked for: their thread looks by itself, too."""
        if self._meters is None:
            self._meters = Meters(self.peers, self.cutoffs, self.settings, self.xpub.fileno())
        return self._meters

    def only(self, peers: dict[int, Peer]) -> Peer:
        """The one that is there, once it is."""

        def found() -> Peer | None:
            self.peers.read_monitors(now())
            return next(iter(peers.values()), None)

        return eventually(found, "it is known")  # type: ignore[no-any-return]

    def close(self) -> None:
        if self._meters is not None:
            self._meters.close()
        self.peers.close()
        self.router.close()
        self.xpub.close()
        self._context.term()
        self.cutoffs.close()


def now() -> Instant:
    return Instant(time.monotonic(), 0)


@pytest.fixture
def bound() -> Iterator[Bound]:
    sockets = Bound()
    yield sockets
    sockets.close()


def cut_off_soon(bound: Bound, *, is_stuck: bool = False) -> None:
    """Look until somebody is cut off."""

    def told() -> list[str]:
        bound.meters().look(time.monotonic(), 0, is_stuck=is_stuck)
        return bound.told

    eventually(told, "it is cut off")


def ping(peer: Peer, connection: socket.socket, size: int) -> None:
    """So many bytes of pings, until the kernel has them. libzmq answers each by itself: a million take a while."""
    before = traffic(peer.descriptor).received
    left = memoryview(PING * (size // len(PING)))
    while left:  # the answers are read: who takes nothing for seconds is given up by the kernel
        readable, writable, _ = select.select([connection], [connection], [], 10)
        assert readable or writable, "neither takes anything"
        if readable:
            connection.recv(1 << 20)
        if writable:
            left = left[connection.send(left, socket.MSG_DONTWAIT) :]
    eventually(lambda: traffic(peer.descriptor).received - before > size - len(PING), "they came", within=120)


def meet(bound: Bound, connection: socket.socket, message: bytes = b"\0\1x") -> Peer:
    """A client says something."""
    connection.sendall(message)
    assert bound.router.poll(5000)
    routing_id = bound.router.recv()
    return bound.peers.meet(routing_id, bound.router.recv(copy=False), now())


def talk(bound: Bound, connection: socket.socket, taken: int, messages: int) -> Peer:
    """A client has said HELLO, and so much of it was taken; there may be more."""
    peer = meet(bound, connection)
    peer.taken, peer.messages = taken, messages
    bound.peers.spoke(peer, True, now())
    bound.meters().is_dry = False
    return peer


# --- meters -------------------------------------------------------------------------------------


def test_subscriptions_that_come_faster_than_they_are_taken_are_a_flood(bound: Bound) -> None:
    with zmtp(bound.publish_address, b"SUB") as connection:
        peer = bound.only(bound.peers.subscribers)
        ping(peer, connection, SUBSCRIBING_BYTES_MAX - 1000)
        bound.meters().look(time.monotonic(), 0, is_stuck=False)
        assert not bound.told
        connection.sendall(PING * 300)
        cut_off_soon(bound)
        assert bound.told == ["127.0.0.1 is cut off: it subscribes without end"]


def test_the_pings_of_a_peer_never_add_up_to_a_flood(bound: Bound) -> None:
    with zmtp(bound.publish_address, b"SUB") as connection:
        peer = bound.only(bound.peers.subscribers)
        meters, later = bound.meters(), time.monotonic()
        for _ in range(8):  # as if hours lay between the looks
            ping(peer, connection, SUBSCRIBING_BYTES_MAX // 3)
            later += 3600.0
            meters.look(later, 0, is_stuck=False)
        assert not bound.told


def test_a_subscriber_of_whom_the_loop_has_not_heard_is_found_as_well(bound: Bound) -> None:
    with zmtp(bound.publish_address, b"SUB") as connection:
        connection.sendall(PING * (SUBSCRIBING_BYTES_MAX // len(PING) + 1000))
        cut_off_soon(bound, is_stuck=True)
        assert bound.told == ["127.0.0.1 is cut off: it subscribes without end"]


def test_a_client_may_have_twice_its_window_waiting_and_no_more(bound: Bound) -> None:
    with zmtp(bound.address, b"DEALER") as connection:
        peer = talk(bound, connection, 1 << 20, 16)  # large ones, so far
        ping(peer, connection, (1 << 20) + WAITING_BYTES_MAX - 10_000)
        bound.meters().look(time.monotonic(), 0, is_stuck=False)
        assert not bound.told
        connection.sendall(PING * 3000)
        cut_off_soon(bound)
        assert bound.told == ["127.0.0.1 is cut off: it sends faster than it is allowed to"]


def test_small_messages_count_for_what_they_take_in_memory(bound: Bound) -> None:
    with zmtp(bound.address, b"DEALER") as connection:
        peer = talk(bound, connection, 3, 1)
        connection.sendall(b"\0\1x" * 400_000)
        eventually(lambda: traffic(peer.descriptor).received > 1_200_000, "they came")
        bound.meters().look(time.monotonic(), 0, is_stuck=False)
        assert not bound.told
        peer.taken, peer.messages = 3 * (wire.IN_FLIGHT_MAX + 2), wire.IN_FLIGHT_MAX + 2
        cut_off_soon(bound)


def test_one_large_message_behind_small_ones_is_no_flood(bound: Bound) -> None:
    with zmtp(bound.address, b"DEALER") as connection:
        peer = talk(bound, connection, 3, 1)
        connection.sendall(b"\2" + (1 << 20).to_bytes(8, "big") + bytes(1 << 20))
        eventually(lambda: traffic(peer.descriptor).received > 1 << 20, "it came")
        for later in range(10):
            bound.meters().look(time.monotonic() + later / 100, 0, is_stuck=False)
            peer.taken, peer.messages = peer.taken + 3 * 20, peer.messages + 20  # those in front of it are taken
        assert not bound.told


def test_when_memory_is_short_the_one_that_takes_most_goes_first(bound: Bound) -> None:
    with zmtp(bound.address, b"DEALER") as much, zmtp(bound.address, b"DEALER") as little:
        large, small = meet(bound, much), meet(bound, little)
        for peer, connection, size in ((large, much, 3 << 20), (small, little, 4096)):
            peer.taken, peer.messages = 1 << 16, 1
            bound.peers.spoke(peer, True, now())
            ping(peer, connection, size)
        bound.meters().look(time.monotonic(), 1 << 40, is_stuck=False)
        assert bound.told == ["127.0.0.1 is cut off: it takes most of the broker's memory, which is short"]
        assert much.recv(1 << 20) is not None
        little.sendall(b"\0\1x")
        eventually(lambda: bound.router.poll(0), "the other one is served")


def test_who_has_flooded_is_not_let_in_again_at_once_and_only_at_that_port(bound: Bound) -> None:
    with zmtp(bound.address, b"DEALER") as connection:
        bound.only(bound.peers.clients)
        connection.sendall(PING * (GREETING_BYTES_MAX // len(PING) + 1000))
        cut_off_soon(bound)
    with socket.create_connection(("127.0.0.1", int(bound.address.rpartition(":")[2])), timeout=5) as again:

        def refused() -> bool:
            bound.peers.read_monitors(now())
            return len(bound.told) > 1

        eventually(refused, "it is refused")
        while again.recv(4096):
            pass
    with zmtp(bound.publish_address, b"SUB"):
        bound.only(bound.peers.subscribers)
    assert bound.told[1:] == ["127.0.0.1 is cut off: it comes again at once after it has flooded"]


# --- peers --------------------------------------------------------------------------------------


def test_who_has_said_no_hello_is_cut_off_and_who_has_is_not(bound: Bound) -> None:
    with zmtp(bound.address, b"DEALER") as silent, zmtp(bound.address, b"DEALER") as speaks:
        bound.peers.spoke(meet(bound, speaks), True, now())
        bound.peers.elapsed(Instant(time.monotonic() + 6.0, 0), dry=True)
        assert bound.told == ["127.0.0.1 is cut off: it did not say HELLO"]
        while silent.recv(4096):
            pass
        speaks.sendall(b"\0\1y")
        assert bound.router.poll(5000)


def test_who_does_not_read_its_answers_is_full_until_it_does() -> None:
    sockets = Bound(connection_unread_bytes_max=1 << 20)
    try:
        with zmtp(sockets.address, b"DEALER") as connection:
            peer = meet(sockets, connection)
            for _ in range(64):
                sockets.router.send_multipart([peer.connection, bytes(1 << 18)])
                sockets.peers.sent(peer.connection, 1 << 18)
            assert sockets.peers.full == {peer.connection}
            connection.settimeout(10)
            left = 64 << 18
            while left > 0:
                left -= len(connection.recv(1 << 20))

            def is_free() -> bool:
                sockets.peers.elapsed(now(), dry=True)
                return not sockets.peers.full

            eventually(is_free, "it is not any more")
    finally:
        sockets.close()


def test_what_was_said_last_is_with_the_peers_kernels_before_the_sockets_are_closed(bound: Bound) -> None:
    with zmtp(bound.address, b"DEALER") as connection:
        peer = meet(bound, connection)
        bound.router.send_multipart([peer.connection, b"bye"])
        bound.peers.wait_until_sent(5.0)
        assert connection.recv(64).endswith(b"bye")


def ended(bound: Bound) -> bool:
    bound.peers.read_monitors(now())
    return bool(bound.peers.ends)


@pytest.mark.parametrize("is_cut_off", [False, True])
def test_what_one_whose_end_was_told_has_left_is_passed_over_until_all_is_read(bound: Bound, is_cut_off: bool) -> None:
    with zmtp(bound.address, b"DEALER") as connection:
        peer = meet(bound, connection)
        routing_id = peer.connection
        if is_cut_off:
            bound.peers.cut_off_later(routing_id, now())
    eventually(lambda: ended(bound), "its end is known")
    bound.peers.forget(routing_id, now(), dry=False)
    assert not bound.peers.ends
    bound.peers.elapsed(now(), dry=False)
    assert bound.peers.of[routing_id].is_cut_off, "what comes of it is not taken for a new connection's"
    bound.peers.elapsed(now(), dry=True)
    assert routing_id not in bound.peers.of


def says_and_goes(bound: Bound) -> None:
    """A client says something and ends, and the broker knows of its end alone."""
    with zmtp(bound.address, b"DEALER") as connection:
        connection.sendall(b"\0\1x")
        bound.only(bound.peers.clients)

    def gone() -> bool:
        bound.peers.read_monitors(now())
        return not bound.peers.clients

    eventually(gone, "it has ended")


def test_one_that_has_gone_and_did_not_begin_with_hello_is_passed_over_at_once(bound: Bound) -> None:
    says_and_goes(bound)
    routing_id = bound.router.recv()
    peer = bound.peers.meet(routing_id, bound.router.recv(copy=False), now())
    assert not peer.is_cut_off, "it may say HELLO"
    bound.peers.spoke(peer, False, now())
    assert peer.is_cut_off
    assert list(bound.peers.ends) == [routing_id]
    bound.peers.forget(routing_id, now(), dry=True)
    assert not bound.peers.of


def test_a_client_that_pings_and_then_says_nothing_is_dead_and_one_that_does_not_ping_is_not(bound: Bound) -> None:
    for _ in range(30):  # a busy machine may leave no time to ping
        with zmtp(bound.address, b"DEALER") as pings, zmtp(bound.address, b"DEALER") as quiet:
            peers = [meet(bound, connection) for connection in (pings, quiet)]
            for peer, ttl_ms in zip(peers, (500, 0), strict=True):
                bound.peers.spoke(peer, True, now(), ttl_ms)
            if not pinged_in_time(bound, pings, 0.25):
                continue
            assert all(map(alive, peers))
            pings.sendall(b"\0\1x")  # the last sign of life: libzmq waits for no ping after it
            eventually(lambda: list(map(alive, peers)) == [False, True], "it is dead")  # noqa: B023
            return
    pytest.skip("the machine is too busy to ping twice a second")


def pinged_in_time(bound: Bound, connection: socket.socket, pause_max: float) -> bool:
    """Ping for a second. False when there was a longer pause than that."""
    began = last = time.monotonic()
    while last - began < 1.0:
        try:
            connection.sendall(PING)
        except OSError:
            return False  # it was taken for dead
        bound.meters().look(time.monotonic(), 0, is_stuck=False)
        before, last = last, time.monotonic()
        if last - before > pause_max:
            return False
    return True


def alive(peer: Peer) -> bool:
    return name_of_peer(peer.descriptor) == peer.name


def knock(address: str, source: str) -> socket.socket:
    """A connection that begins, from there: it has not said a word."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    peer = socket.socket()
    peer.bind((source, 0))
    peer.setblocking(False)
    peer.connect_ex((host, int(port)))
    return peer


def is_accepted(peer: socket.socket) -> bool:
    """Whether the broker's system has begun it."""
    poll = select.poll()
    poll.register(peer, select.POLLOUT)
    return bool(poll.poll(0))


@pytest.mark.parametrize("port", ["clients", "subscribers"])
def test_an_address_whose_connections_come_to_nothing_is_not_let_in_for_a_while(port: str) -> None:
    bound = Bound(address_failures_max=3, address_failures_a_second_max=1)
    where = bound.address if port == "clients" else bound.publish_address
    met: dict[str, int] = {}

    def look() -> None:
        bound.peers.read_monitors(now())
        bound.peers.elapsed(now(), dry=True)
        met.update({limit: times for (limit, _), times in bound.cutoffs.take_met().items()})

    try:
        for _ in range(4):
            with knock(where, "127.0.0.2"):
                bound.only(getattr(bound.peers, port))

            def has_gone() -> bool:
                look()
                return not getattr(bound.peers, port)

            eventually(has_gone, "it has gone")

        assert met == {"address_failures_max": 1}
        assert bound.told == ["127.0.0.2 is cut off: it comes too often, or too often for nothing"]
        with knock(where, "127.0.0.2") as shut, knock(where, "127.0.0.1") as honest:

            def is_there() -> bool:
                look()
                return any(peer.host == "127.0.0.1" for peer in getattr(bound.peers, port).values())

            eventually(is_there, "who comes from elsewhere is let in")
            assert is_accepted(honest)

            def is_let_in() -> bool:
                look()
                return is_accepted(shut)

            eventually(is_let_in, "and the other one after a while")
    finally:
        bound.close()


def test_who_says_a_word_and_goes_before_it_is_read_has_not_come_for_nothing() -> None:
    bound = Bound(address_failures_max=3, address_failures_a_second_max=1)
    try:
        for _ in range(8):
            says_and_goes(bound)
            bound.peers.elapsed(now(), dry=False)
        for _ in range(8):
            assert bound.router.poll(20_000)
            routing_id = bound.router.recv()
            bound.peers.meet(routing_id, bound.router.recv(copy=False), now())
        bound.peers.elapsed(now(), dry=True)
        assert not bound.cutoffs.take_met() and not bound.told
        with zmtp(bound.address, b"DEALER"):
            assert not bound.only(bound.peers.clients).is_cut_off
    finally:
        bound.close()
