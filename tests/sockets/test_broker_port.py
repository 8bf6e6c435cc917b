"""The broker's port over real sockets: it sleeps on descriptors that tell once, and sleeps over nothing."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from itertools import islice

import pytest
import zmq

from tests.conftest import eventually
from zchat import wire
from zchat.address import Address
from zchat.core import Instant
from zchat.core.broker_port import ENDS, FRAMES, SUBSCRIPTIONS, WOKEN
from zchat.core.channels import Channel
from zchat.core.recipients import Addressed
from zchat.settings import Settings
from zchat.sockets import options
from zchat.sockets.broker_port import SocketBrokerPort

ACK = wire.encode(wire.Ack([]))
LONG = 20.0  # seconds: what is there is found at once, or the test fails


def now() -> Instant:
    return Instant(time.monotonic(), 0)


def tells(watched: zmq.Socket[bytes], seconds: float = 0.0) -> bool:
    """Whether the descriptor says that something may be there."""
    return bool(select.select([options.descriptor(watched)], [], [], seconds)[0])


class Ends:
    """A port, and a client of it: a DEALER and a SUB."""

    def __init__(self) -> None:
        self.port = SocketBrokerPort(Settings(), lambda text: None)
        address = options.bind(self.port.router, Address("tcp", "127.0.0.1", 0))
        publisher = options.bind(self.port.xpub, Address("tcp", "127.0.0.1", 0))
        options.name_every_peer(self.port.router)
        self.port.start(publisher.port)
        self._context = options.new_context()
        self.dealer, self.sub = options.client_dealer(self._context), options.client_sub(self._context)
        self.dealer.connect(str(address))
        self.sub.connect(str(publisher))
        self.dealer.send(b"first")
        self.connection, frame = self.received(1)[0]
        assert frame == b"first"

    def received(self, many: int) -> list[tuple[bytes, bytes | None]]:
        """So many frames."""
        found: list[tuple[bytes, bytes | None]] = []
        while len(found) < many:
            assert self.polled(FRAMES)
            for connection, frame, _, _ in self.port.received(now()):
                found.append((connection, frame))
        return found

    def rest(self, *, receives: bool = True) -> None:
        """Take all that is there, until it sleeps."""

        def sleeps() -> bool:
            self.port.read_ends(now())
            list(self.port.granted(now()))
            return self.port.poll(0.1, receives=receives) == 0

        eventually(sleeps, "nothing is there")

    def granted(self) -> bytes:
        """The next subscription's topic. Its descriptor may have told of something else."""
        while True:
            assert self.polled(SUBSCRIPTIONS)
            if topics := list(self.port.granted(now())):
                assert len(topics) == 1
                return topics[0]

    def polled(self, wanted: int) -> bool:
        """Whether a poll finds it, be it beside something else."""
        deadline = time.monotonic() + LONG
        while not (found := self.port.poll(LONG, receives=True)) & wanted and time.monotonic() < deadline:
            self.port.read_ends(now())
        return bool(found & wanted)

    def close(self) -> None:
        self.port.close()
        self._context.destroy(linger=0)


@pytest.fixture
def ends() -> Iterator[Ends]:
    both = Ends()
    yield both
    both.close()


@pytest.mark.parametrize("kind", ["router", "xpub"])
def test_the_first_who_comes_and_says_nothing_is_told_of(kind: str) -> None:
    port = SocketBrokerPort(Settings(), lambda text: None)
    bound = {name: options.bind(getattr(port, name), Address("tcp", "127.0.0.1", 0)) for name in ("router", "xpub")}
    port.start(bound["xpub"].port)
    try:
        with socket.create_connection((bound[kind].host, bound[kind].port), timeout=LONG):
            began = time.monotonic()
            while not port.poll(LONG, receives=True) & ENDS:
                assert time.monotonic() - began < LONG / 2
    finally:
        port.close()


def test_frames_that_a_send_has_taken_the_notice_of_are_found(ends: Ends) -> None:
    ends.dealer.send(b"more")
    assert tells(ends.port.router, LONG)

    def is_silent() -> bool:
        ends.port.send([(ends.connection, ACK)], now())  # libzmq looks at what has come, now and then
        return not tells(ends.port.router)

    eventually(is_silent, "the descriptor has told, and does not again")
    began = time.monotonic()
    assert ends.received(1) == [(ends.connection, b"more")] and time.monotonic() - began < LONG / 2


def test_subscriptions_that_a_broadcast_has_taken_the_notice_of_are_found(ends: Ends) -> None:
    ends.sub.subscribe(b"#a")
    assert ends.granted() == b"#a"
    ends.sub.subscribe(b"#b")
    assert tells(ends.port.xpub, LONG)

    def is_silent() -> bool:
        ends.port.broadcast([(b"#a", ACK)], patient=False)
        return not tells(ends.port.xpub)

    eventually(is_silent, "the descriptor has told, and does not again")
    began = time.monotonic()
    assert ends.granted() == b"#b"
    assert time.monotonic() - began < LONG / 2


@pytest.mark.parametrize("taken", [1, 2])
def test_what_was_not_read_to_its_end_is_found_again(ends: Ends, taken: int) -> None:
    left = [b"1", b"2", b"3"]
    for frame in left:
        ends.dealer.send(frame)
    while left:
        assert ends.polled(FRAMES)
        for _, taken_now, _, _ in islice(ends.port.received(now()), taken):
            assert taken_now == left.pop(0)


def test_frames_do_not_count_while_none_are_to_be_received_and_wait_until_they_are(ends: Ends) -> None:
    ends.dealer.send(b"more")
    assert tells(ends.port.router, LONG)
    ends.rest(receives=False)
    assert ends.received(1) == [(ends.connection, b"more")]


def test_after_all_was_read_it_sleeps_until_it_is_woken(ends: Ends) -> None:
    ends.port.send([(ends.connection, ACK)], now())
    ends.port.broadcast([(b"#a", ACK)], patient=False)
    ends.rest()
    ends.port.wake()
    assert ends.port.poll(LONG, receives=True) == WOKEN
    ends.port.woken()
    assert ends.port.poll(0.0, receives=True) == 0


VOLATILE = wire.encode(wire.Batch(wire.VOLATILE_MESSAGES, 7, 0, 1, [wire.Entry("bob", "s1", 1, [b"now"])]))
STORED = wire.encode(wire.Batch(wire.MESSAGES, 7, 0, 1, [wire.Entry("bob", "s1", 1, [b"kept"])]))


def test_a_batch_for_some_is_said_on_their_connections_and_channels(ends: Ends) -> None:
    said = wire.direct(b"@ann\0", STORED)
    addressed = Addressed(STORED, said, [ends.connection, Channel(ends.connection, 7), b"gone"])
    assert ends.port.deliver([addressed], now(), patient=True) == set()
    assert ends.dealer.poll(int(LONG * 1000))
    assert (ends.dealer.recv(), ends.dealer.recv()) == (said, wire.for_channel(7) + said)
    assert list(ends.port.ends) == [b"gone"]


@pytest.mark.parametrize(
    ("frame", "patient", "refused"), [(VOLATILE, True, {VOLATILE}), (VOLATILE, False, set()), (STORED, True, set())]
)
def test_one_that_does_not_read_has_a_volatile_batch_wait_and_loses_a_stored_one(
    ends: Ends, frame: bytes, patient: bool, refused: set[bytes]
) -> None:
    said = wire.direct(b"@ann\0", frame)
    ends.port._peers.full.add(ends.connection)
    addressed = Addressed(frame, said, [Channel(ends.connection, 7), ends.connection])
    assert ends.port.deliver([addressed], now(), patient=patient) == refused
    ends.port._peers.full.clear()
    ends.port.send([(ends.connection, ACK)], now())
    assert ends.dealer.poll(int(LONG * 1000)) and ends.dealer.recv() == ACK
