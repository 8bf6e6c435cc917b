"""A subscriber's descriptor is another's at once: what the former one had sent makes nobody of the next one."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import zmq

from tests.conftest import eventually
from zchat.address import Address
from zchat.core import Instant
from zchat.core.identity import Identities
from zchat.keys import Grant, KeyList, KeyPair
from zchat.settings import Settings
from zchat.sockets import curve, options
from zchat.sockets.broker_port import SocketBrokerPort


def now() -> Instant:
    return Instant(time.monotonic(), time.time_ns() // 1000)


class KeyedPort:
    """A port with keys, of which nobody reads the subscriptions until a test does."""

    def __init__(self) -> None:
        self.own, self.identities = curve.new_pair(), Identities(KeyList({}, {}))
        self.port = SocketBrokerPort(Settings(), lambda text: None, self.own, self.identities)
        options.bind(self.port.router, Address("tcp", "127.0.0.1", 0))
        self.publisher = options.bind(self.port.xpub, Address("tcp", "127.0.0.1", 0))
        self.port.start(self.publisher.port)
        self._context = options.new_context()

    def let_in(self, **users: KeyPair) -> None:
        """Those, and nobody else."""
        self.identities.changed(KeyList({pair.public: Grant(user) for user, pair in users.items()}, {}))
        self.port.admit(self.identities.hears, now())

    def subscriber(self, pair: KeyPair) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
        """Who was let in, and has subscribed to something; with its monitor."""
        sub = options.client_sub(self._context)
        curve.prove(sub, pair, self.own.public)
        monitor = options.open_monitor(self._context, sub, options.CLIENT_MONITORED)
        sub.subscribe(b"#den\0")
        sub.connect(str(self.publisher))
        eventually(lambda: self.sees(monitor, zmq.EVENT_HANDSHAKE_SUCCEEDED), "it is let in")
        return sub, monitor

    def waits(self) -> bool:
        """Whether a subscription is there that nobody has read."""
        return bool(int(self.port.xpub.getsockopt(zmq.EVENTS)) & zmq.POLLIN)

    def sees(self, monitor: zmq.Socket[bytes], kind: int) -> bool:
        """Whether that is the next event; meanwhile it is answered who is let in."""
        self.port.poll(0.02, receives=False)
        event = options.read_event(monitor)
        return event is not None and event[0] == kind

    def close(self) -> None:
        """All of it."""
        self.port.close()
        self._context.destroy(linger=0)


@pytest.fixture
def keyed() -> Iterator[KeyedPort]:
    port = KeyedPort()
    yield port
    port.close()


def test_who_has_the_descriptor_of_another_goes_when_his_own_key_is_revoked(keyed: KeyedPort) -> None:
    alice, mallory = curve.new_pair(), curve.new_pair()
    keyed.let_in(alice=alice, mallory=mallory)
    first, monitor = keyed.subscriber(alice)
    eventually(keyed.waits, "the broker could read what alice has subscribed to")
    options.close_monitor(first, monitor)
    first.close(linger=0)
    second, monitor = keyed.subscriber(mallory)  # who gets the descriptor that alice had
    eventually(lambda: len(list(keyed.port.granted(now()))) == 0, "all is read")
    keyed.let_in(alice=alice)

    def is_cut_off() -> bool:
        list(keyed.port.granted(now()))
        return keyed.sees(monitor, zmq.EVENT_DISCONNECTED)

    eventually(is_cut_off, "it is cut off")
    options.close_monitor(second, monitor)
    second.close(linger=0)
