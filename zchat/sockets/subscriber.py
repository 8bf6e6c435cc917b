"""The client's SUB socket: made with the first subscription, connected to where the broker publishes.

Rules of this file: it belongs to the I/O thread (client.py), and decides nothing. Tests: tests/sockets/test_client.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import zmq

from zchat.sockets import context, options
from zchat.sockets.options import DONTWAIT, POLLIN

RECEIVED_MAX = 256  # batches per turn: then it is time to hand on and send


class Subscriber:
    """Batches as they arrive."""

    def __init__(self, poller: zmq.Poller) -> None:
        self._poller = poller
        self._publisher = ""
        self.sub: zmq.Socket[bytes] | None = None
        self.monitor: zmq.Socket[bytes] | None = None

    def subscribe(self, publisher: str, subscriptions: list[tuple[bool, bytes]]) -> None:
        """Connect to that endpoint, and to no other; then (subscribe or unsubscribe, topic), in order."""
        if self.sub is None:
            if not subscriptions:
                return
            self.sub = options.client_sub(context.shared())
            self.monitor = options.open_monitor(context.shared(), self.sub, zmq.EVENT_DISCONNECTED)
            self._poller.register(self.sub, POLLIN)
            self._poller.register(self.monitor, POLLIN)
        if publisher != self._publisher:
            if self._publisher:
                self.sub.disconnect(self._publisher)
            self.sub.connect(publisher)
            self._publisher = publisher
        for subscribes, topic in subscriptions:
            self.sub.setsockopt(zmq.SUBSCRIBE if subscribes else zmq.UNSUBSCRIBE, topic)

    def is_disconnected(self) -> bool:
        """Whether the connection has ended since this was asked last."""
        assert self.monitor is not None
        ended = False
        while (event := options.read_event(self.monitor)) is not None:
            ended |= event[0] == zmq.EVENT_DISCONNECTED
        return ended

    def received(self) -> Iterator[tuple[bytes, bytes]]:
        """(topic, frame) of what is there, up to a bound."""
        assert self.sub is not None
        receive = self.sub.recv
        for _ in range(RECEIVED_MAX):
            try:
                topic = receive(DONTWAIT)
            except zmq.Again:
                return
            yield topic, receive()

    def close(self) -> None:
        """End it."""
        if self.sub is not None and self.monitor is not None:
            options.close_monitor(self.sub, self.monitor)
            self.sub.close()
