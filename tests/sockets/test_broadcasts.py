"""The XPUB's way out: whose queue is full has a batch refused, or loses it, and nobody else does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq

from tests.conftest import eventually
from zchat import wire
from zchat.sockets import options
from zchat.sockets.broadcasts import Broadcasts

STORED = bytes([0x95, wire.MESSAGES]) + b"x" * 200_000
VOLATILE = bytes([0x95, wire.VOLATILE_MESSAGES]) + b"x" * 200_000
QUICK, SLOW = b"#quick", b"#slow"


@pytest.fixture
def sockets() -> Iterator[tuple[zmq.Socket[bytes], zmq.Socket[bytes], zmq.Socket[bytes]]]:
    """The XPUB, one subscriber of all, and one of `#slow` that does not read."""
    with zmq.Context() as context:
        xpub = options.broker_xpub(context)
        port = xpub.bind_to_random_port("tcp://127.0.0.1")
        quick, slow = options.client_sub(context), options.client_sub(context)
        for sub, topic in ((quick, b"#"), (slow, SLOW)):
            sub.connect(f"tcp://127.0.0.1:{port}")
            sub.subscribe(topic)
            assert xpub.poll(10_000)
            xpub.setsockopt(zmq.SUBSCRIBE, xpub.recv()[1:])
        yield xpub, quick, slow
        for each in (xpub, quick, slow):
            each.close(linger=0)


def fill(broadcasts: Broadcasts, quick: zmq.Socket[bytes]) -> int:
    """Send, and have the quick one read, until a batch is refused. Returns how many came."""
    for sent in range(10_000):
        if broadcasts.send([(SLOW, VOLATILE)], patient=True):
            assert not quick.poll(50)
            return sent
        assert quick.poll(10_000) and quick.recv_multipart() == [SLOW, VOLATILE]
    raise AssertionError("it is never full")


def test_a_volatile_batch_is_refused_while_a_subscriber_of_it_is_full_and_others_are_sent(
    sockets: tuple[zmq.Socket[bytes], zmq.Socket[bytes], zmq.Socket[bytes]],
) -> None:
    xpub, quick, slow = sockets
    broadcasts = Broadcasts(xpub)
    sent = fill(broadcasts, quick)
    assert broadcasts.bytes == sent * len(VOLATILE)
    other = VOLATILE + b"other"
    assert broadcasts.send([(SLOW, VOLATILE), (QUICK, other), (SLOW, VOLATILE)], patient=True) == {VOLATILE}
    assert quick.poll(10_000) and quick.recv_multipart() == [QUICK, other]
    for _ in range(sent):
        assert slow.poll(10_000) and slow.recv_multipart() == [SLOW, VOLATILE]
    eventually(lambda: not broadcasts.send([(SLOW, VOLATILE)], patient=True), "there is room again")


@pytest.mark.parametrize(("frame", "patient"), [(VOLATILE, False), (STORED, True)])
def test_what_may_not_wait_is_lost_by_who_is_full_and_nobody_else(
    sockets: tuple[zmq.Socket[bytes], zmq.Socket[bytes], zmq.Socket[bytes]], frame: bytes, patient: bool
) -> None:
    xpub, quick, slow = sockets
    broadcasts = Broadcasts(xpub)
    sent = fill(broadcasts, quick)
    assert broadcasts.send([(SLOW, frame)], patient=patient) == set()
    assert quick.poll(10_000) and quick.recv_multipart() == [SLOW, frame]
    assert broadcasts.send([(SLOW, VOLATILE)], patient=True) == set()  # and then nobody waits for it
    assert quick.poll(10_000) and quick.recv_multipart() == [SLOW, VOLATILE]
    for _ in range(sent):
        assert slow.poll(10_000) and slow.recv_multipart() == [SLOW, VOLATILE]
    assert not slow.poll(50)
