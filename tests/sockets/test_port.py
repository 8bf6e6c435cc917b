"""The client's port over real sockets: it sleeps on descriptors that tell once, and sleeps over nothing."""

from __future__ import annotations

import select
import selectors
import time
from collections.abc import Callable, Iterator
from itertools import islice

import pytest
import zmq

from tests.conftest import eventually
from zchat import address, wire
from zchat.core.port import BATCHES, CHANGES, REPLIES
from zchat.sockets import options
from zchat.sockets.port import SocketPort

TOPIC, WATERMARK = b"#a", wire.encode(wire.Watermark(1))
LONG = 20.0  # seconds: what is there is found at once, or the test fails


def tells(socket: zmq.Socket[bytes], seconds: float = 0.0) -> bool:
    """Whether the descriptor says that something may be there."""
    return bool(select.select([options.descriptor(socket)], [], [], seconds)[0])


class Ends:
    """A port that is connected and subscribes, and who it is connected to: a ROUTER and a PUB."""

    def __init__(self) -> None:
        self._context = options.new_context()
        self.router, self.pub = self._context.socket(zmq.ROUTER), self._context.socket(zmq.XPUB)
        places = [f"tcp://127.0.0.1:{each.bind_to_random_port('tcp://127.0.0.1')}" for each in (self.router, self.pub)]
        self.port = port = SocketPort(address.parse(places[0]))
        port.go_on(time.monotonic())
        assert self.polled(CHANGES) and list(port.changes(time.monotonic())) == [True]
        port.send([b"first"], away=False)
        self.peer, frame = self.router.recv_multipart()
        assert frame == b"first"
        port.subscribe(address.parse(places[1]), [(True, TOPIC)])
        port.go_on(time.monotonic())

        def is_subscribed() -> int:
            port.go_on(time.monotonic())
            return self.pub.poll(10)

        eventually(is_subscribed, "its subscription is there")
        assert self.pub.recv() == b"\1" + TOPIC
        eventually(lambda: not port.look() & (REPLIES | BATCHES), "nothing is there")

    def polled(self, wanted: int) -> bool:
        """Whether it sleeps until that is there."""
        until = time.monotonic() + LONG
        while not (found := self.port.look()) & wanted and time.monotonic() < until:
            self.port.sleep(LONG)
        return bool(found & wanted)

    def close(self) -> None:
        self.port.close()
        self._context.destroy(linger=0)


@pytest.fixture
def ends() -> Iterator[Ends]:
    both = Ends()
    yield both
    both.close()


def test_replies_that_a_send_has_taken_the_notice_of_are_found(ends: Ends) -> None:
    dealer = ends.port._dealer.socket
    ends.router.send_multipart([ends.peer, b"reply"])
    assert tells(dealer, LONG)

    def is_silent() -> bool:
        ends.port.send([b"more"], away=False)  # libzmq looks at what has come, now and then
        return not tells(dealer)

    eventually(is_silent, "the descriptor has told, and does not again")
    began = time.monotonic()
    assert ends.polled(REPLIES) and list(ends.port.replies()) == [b"reply"]
    assert time.monotonic() - began < LONG / 2


@pytest.mark.parametrize("kind", ["replies", "batches"])
def test_what_was_not_read_to_its_end_is_found_again_and_then_it_sleeps(ends: Ends, kind: str) -> None:
    flag = REPLIES if kind == "replies" else BATCHES
    take: Callable[[], Iterator[object]] = ends.port.replies if flag == REPLIES else ends.port.batches
    for _ in range(3):
        ends.router.send_multipart([ends.peer, b"reply"])
        ends.pub.send_multipart([TOPIC, WATERMARK])
    first = ends.port._dealer.socket if flag == REPLIES else ends.port._subscriber.sub
    assert first is not None and tells(first, LONG)
    for _ in range(3):
        assert ends.polled(flag)
        assert list(islice(take(), 1)) == [b"reply" if flag == REPLIES else (TOPIC, WATERMARK)]
    ends.port.sleep(0.0)
    if ends.port.look() & flag:  # its descriptor may have told of the last one by now
        assert list(take()) == []
    assert not ends.port.look() & flag


def test_what_is_held_is_not_told_and_found_when_it_goes_on(ends: Ends) -> None:
    ends.port.hold_batches(True)
    ends.pub.send_multipart([TOPIC, WATERMARK])
    sub = ends.port._subscriber.sub
    assert sub is not None and tells(sub, LONG)
    ends.port.sleep(0.0)
    assert not ends.port.look() & BATCHES
    ends.port.hold_batches(False)
    assert ends.polled(BATCHES) and list(ends.port.batches()) == [(TOPIC, WATERMARK)]


def test_nobody_watches_a_descriptor_that_is_closed() -> None:
    """Its number may be another's by then."""
    was_open: list[bool] = []

    class Watching(selectors.DefaultSelector):
        def close(self) -> None:
            was_open.append(not port._dealer.socket.closed)
            super().close()

    port = SocketPort(address.parse("tcp://127.0.0.1:1"), None, Watching())
    port.close()
    assert was_open == [True]


@pytest.mark.parametrize("kind", ["replies", "batches"])
def test_where_they_come_one_by_one_one_is_read_and_the_next_ones_are_found(ends: Ends, kind: str) -> None:
    flag = REPLIES if kind == "replies" else BATCHES
    take: Callable[[], Iterator[object]] = ends.port.replies if flag == REPLIES else ends.port.batches

    def send() -> None:
        if flag == REPLIES:
            ends.router.send_multipart([ends.peer, b"reply"])
        else:
            ends.pub.send_multipart([TOPIC, WATERMARK])

    for _ in range(3):
        send()
        assert ends.polled(flag) and len(list(take())) == 1
        assert not ends.port.look() & flag

    def many_are_read_at_once() -> bool:
        for _ in range(20):
            send()
        counts = list[int]()
        while sum(counts) < 20:
            assert ends.polled(flag)
            counts.append(len(list(take())))
        assert not ends.port.look() & flag
        return max(counts) > 1

    eventually(many_are_read_at_once, "more than one is read where more came")
