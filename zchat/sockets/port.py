"""The client engine's port that is made of ZeroMQ's sockets: a DEALER, a SUB, their monitors, and a waker.

Rules of this file: it belongs to whoever drives the engine (client.py), but for `wake`. It decides nothing.
Tests: tests/sockets/test_client.py.
"""

from __future__ import annotations

import zmq

from zchat.address import Address
from zchat.core.port import BATCHES, CHANGES, REPLIES, SUB_CHANGES, WOKEN
from zchat.sockets import clock, options
from zchat.sockets.dealer import Dealer
from zchat.sockets.options import POLLIN
from zchat.sockets.subscriber import Subscriber


class SocketPort:
    """See `zchat.core.port.Port`."""

    def __init__(self, address: Address) -> None:
        self.now = clock.instant
        self._waker = waker = options.Waker()
        self.wake, self.woken = waker.wake, waker.clear
        self._waking = waker.fileno()
        self._poller = zmq.Poller()
        self._poller.register(self._waking, POLLIN)
        self._dealer = dealer = Dealer(self._poller, address, waker.wake)
        self.changes, self.replies, self.send, self.proved = dealer.changes, dealer.received, dealer.send, dealer.proved
        self._subscriber = subscriber = Subscriber(self._poller, waker.wake)
        self.batches, self.subscribe, self.is_unsubscribed = (
            subscriber.received,
            subscriber.subscribe,
            subscriber.is_disconnected,
        )
        self.hurry, self.refuse = subscriber.hurry, subscriber.refuse

    @property
    def due(self) -> float:
        """When `go_on` is to be called at the latest."""
        return min(self._dealer.due, self._subscriber.due)

    @property
    def is_full(self) -> bool:
        """Whether something waits to be sent."""
        return self._dealer.is_full

    @property
    def number(self) -> str:
        """The host's number that it is connected to, or tries."""
        return self._dealer.number

    @property
    def seen(self) -> str:
        """What happened last on the way to the broker."""
        return self._dealer.seen

    @property
    def place(self) -> tuple[str, str]:
        """Where it subscribes, and what keeps it from that."""
        return self._subscriber.place

    def poll(self, seconds: float) -> int:
        """Sleep until something is there, but not for longer. Returns what."""
        ready = dict(self._poller.poll(int(seconds * 1000 + 0.999)))
        found = WOKEN if self._waking in ready else 0
        if self._dealer.monitor in ready:
            found |= CHANGES
        if self._subscriber.monitor in ready:
            found |= SUB_CHANGES
        if self._subscriber.sub in ready:
            found |= BATCHES
        return found | REPLIES if self._dealer.socket in ready else found

    def hold_batches(self, hold: bool) -> None:
        """Leave what is broadcast where it is, and say nothing of it; or go on."""
        self._poller.register(self._subscriber.sub, 0 if hold else POLLIN)  # 0 takes it out

    def go_on(self, seconds: float) -> None:
        """Connect again, when it is time."""
        self._dealer.go_on(seconds)
        self._subscriber.go_on(seconds)

    def close(self) -> None:
        """End both."""
        self._subscriber.close()
        self._dealer.close()
        self._waker.close()
