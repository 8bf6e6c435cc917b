"""Options of the sockets, binding, monitors, cutting off and waking: real sockets, no broker."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from tests.conftest import eventually
from zchat.address import Address, parse_bind
from zchat.errors import BadAddress, StartError
from zchat.sockets import options
from zchat.sockets.cutoffs import CutOffs
from zchat.sockets.kernel import name_of_peer

Context = zmq.Context[zmq.Socket[bytes]]


@pytest.fixture
def ours() -> Iterator[Context]:
    context = options.new_context()
    yield context
    context.destroy(linger=0)


def option(of: zmq.Socket[bytes], name: int) -> int:
    value = of.getsockopt(name)
    assert isinstance(value, int)
    return value


def test_a_context_hangs_no_program_at_its_end(ours: Context) -> None:
    dealer = options.client_dealer(ours)
    assert dealer.linger == 0
    assert ours.get(zmq.MAX_SOCKETS) > 60_000
    dealer.immediate = False
    dealer.connect("tcp://127.0.0.1:1")
    dealer.send(b"to nobody", zmq.DONTWAIT)
    began = time.monotonic()
    dealer.close()
    ours.term()
    assert time.monotonic() - began < 1.0


def test_each_socket_is_of_its_type_and_bounded(ours: Context) -> None:
    router, xpub = options.broker_router(ours), options.broker_xpub(ours)
    dealer, sub = options.client_dealer(ours), options.client_sub(ours)
    assert [each.type for each in (router, xpub, dealer, sub)] == [zmq.ROUTER, zmq.XPUB, zmq.DEALER, zmq.SUB]
    for each in (router, xpub):
        assert option(each, zmq.MAXMSGSIZE) > 0, "one frame has a bound"
        assert 0 < option(each, zmq.SNDHWM) < 10_000, "who does not read costs a bounded queue"
        assert option(each, zmq.HANDSHAKE_IVL) > 0, "who never speaks is closed"
    for each in (dealer, sub):
        assert 16 << 20 < option(each, zmq.MAXMSGSIZE) <= 64 << 20, "a frame has a bound, above any answer of a broker"
    assert option(sub, zmq.SNDHWM) == 0, "no subscription is lost"
    for each in (router, xpub, dealer):
        assert option(each, zmq.RCVHWM) == 0, "a peer that goes while the queue is full ends the process"
    for each in (router, xpub):
        assert option(each, zmq.HEARTBEAT_IVL) == 0, "so does a ping to it"
    assert option(dealer, zmq.IMMEDIATE), "nothing waits in libzmq for a broker that is away"
    assert 0 < 2 * option(dealer, zmq.HEARTBEAT_IVL) < option(dealer, zmq.HEARTBEAT_TTL) == 1500, "then it is dead"
    assert all(option(each, zmq.IPV6) for each in (router, xpub, dealer, sub))


@pytest.mark.parametrize("bind", ["tcp://127.0.0.1:0", "tcp://[::1]:0", "tcp://*:0", "tcp://lo:0"])
def test_bind_tells_the_port_that_it_got(ours: Context, bind: str) -> None:
    router = options.broker_router(ours)
    bound = options.bind(router, parse_bind(bind))
    assert bound.port > 0
    assert bound.host == {"tcp://lo:0": "127.0.0.1"}.get(bind, parse_bind(bind).host)
    dealer = options.client_dealer(ours)
    dealer.connect(f"tcp://{'[::1]' if '[' in bind else '127.0.0.1'}:{bound.port}")
    assert dealer.poll(5000, zmq.POLLOUT), "it is reached there"


def test_what_cannot_be_bound_says_why(ours: Context, tmp_path: Path) -> None:
    router = options.broker_router(ours)
    bound = options.bind(router, Address("tcp", "127.0.0.1", 0))
    file = tmp_path / "file"
    file.write_text("mine")
    for address, error, text in [
        (bound, StartError, f"{bound} is in use"),
        (Address("tcp", "10.255.255.1", 0), StartError, "no such interface or address"),
        (Address("tcp", "no-such-interface", 0), StartError, "no such interface or address"),
        (Address("ipc", path=str(tmp_path / "none" / "z")), StartError, "cannot listen on"),
        (Address("ipc", path=str(file)), StartError, "a file is there"),
    ]:
        with pytest.raises((StartError, BadAddress)) as caught:
            options.bind(options.broker_router(ours), address)
        assert isinstance(caught.value, error) and text in str(caught.value)
    assert file.read_text() == "mine"


def test_an_ipc_path_of_a_living_socket_is_in_use_and_one_left_behind_is_free(ours: Context, tmp_path: Path) -> None:
    address = Address("ipc", path=str(tmp_path / "z"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address.path)
        listener.listen()
        with pytest.raises(StartError, match="in use"):
            options.bind(options.broker_router(ours), address)
    router = options.broker_router(ours)
    assert options.bind(router, address) == address


def test_a_monitor_tells_who_comes_and_goes_and_cut_off_ends_one_peer(ours: Context) -> None:
    router = options.broker_router(ours)
    bound = options.bind(router, Address("tcp", "127.0.0.1", 0))
    monitor = options.open_monitor(ours, router, options.MONITORED)
    assert options.read_event(monitor) is None
    stays, goes = options.client_dealer(ours), options.client_dealer(ours)
    goes.reconnect_ivl = -1
    for dealer in (stays, goes):
        dealer.connect(bound.endpoint)
        dealer.send(b"hello")
    descriptors = {}
    for _ in range(2):
        identity = router.recv()
        frame = router.recv(copy=False)
        descriptors[identity] = options.metadata(frame, zmq.SRCFD)
    events = [eventually(lambda: options.read_event(monitor), "it came") for _ in range(2)]
    assert sorted(events) == sorted((int(zmq.EVENT_ACCEPTED), descriptor) for descriptor in descriptors.values())

    goes.send(b"I")
    identity = router.recv()
    router.recv()
    cutoffs = CutOffs(lambda text: None)
    assert cutoffs.cut_off(descriptors[identity], name_of_peer(descriptors[identity]), "shouts")
    cutoffs.close()
    event = eventually(lambda: options.read_event(monitor), "it went")
    assert event == (int(zmq.EVENT_DISCONNECTED), descriptors[identity])
    stays.send(b"I am here")
    router.recv()
    assert router.recv() == b"I am here"
    options.close_monitor(router, monitor)


def test_a_router_names_every_peer_itself_whatever_the_peer_calls_itself(ours: Context) -> None:
    router = options.broker_router(ours)
    bound = options.bind(router, Address("tcp", "127.0.0.1", 0))
    options.name_every_peer(router)

    def joined(name: bytes) -> tuple[zmq.Socket[bytes], bytes]:
        dealer = options.client_dealer(ours)
        if name:
            dealer.routing_id = name
        dealer.connect(bound.endpoint)
        dealer.send(b"I")
        assert router.poll(5000), "nothing of it is read"
        given, word = router.recv_multipart()
        assert (len(given), given[:1], word) == (5, b"\0", b"I")
        return dealer, given

    dealers = [joined(b"taken"), joined(b"taken"), joined(b"")]
    following = (int.from_bytes(dealers[-1][1][1:], "big") + 2) & 0xFFFFFFFF
    dealers += [joined(b"\0" + following.to_bytes(4, "big")), joined(b""), joined(b"")]
    assert len({given for _, given in dealers}) == len(dealers)
    for dealer, given in dealers:
        router.send_multipart([given, given])
        assert dealer.poll(5000)
        assert dealer.recv() == given


def test_a_property_that_libzmq_has_not_is_none(ours: Context) -> None:
    frame = zmq.Frame(b"made here")
    assert options.metadata(frame, "Peer-Address") is None
    assert options.metadata(frame, "User-Id") is None


def test_a_waker_wakes_from_any_thread_and_however_often() -> None:
    waker = options.Waker()
    began = time.monotonic()
    waker.wait(0.05)
    assert time.monotonic() - began >= 0.04, "nobody woke it"
    threading.Thread(target=waker.wake).start()
    waker.wait(10)
    assert time.monotonic() - began < 5
    for _ in range(70_000):  # more than its buffer holds
        waker.wake()
    waker.clear()
    began = time.monotonic()
    waker.wait(0.05)
    assert time.monotonic() - began >= 0.04, "it was cleared"
    waker.close()
    waker.wake()  # a late one does no harm
    waker.close()
