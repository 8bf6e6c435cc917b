"""The client's SUB socket: made with the first subscription, connected to where the broker publishes.

Rules of this file: it belongs to whoever drives the engine (client.py), and decides nothing.
Tests: tests/sockets/test_client.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic
from typing import TYPE_CHECKING

import zmq

from zchat import wire
from zchat.address import Address
from zchat.sockets import context, options
from zchat.sockets.connector import WENT_DOWN, Connector
from zchat.sockets.options import DONTWAIT, EVENTS, POLLIN, RCVMORE

if TYPE_CHECKING:
    from zchat.keys import Credentials

RECEIVED_MAX = 256  # batches per turn, …
RECEIVED_BYTES_MAX = 512 << 10  # … or so much: it is read while the processor has it in its cache
RECEIVED_SECONDS_MAX = 0.1  # … or as many as this takes: then it is time to deliver and send
LONE_BYTES = 4096  # larger ones are of a stream: more will come

# What a topic begins with, and what an array of msgpack: so a frame too many or too few is noticed, at no cost.
TOPICS = frozenset([b"#", b"@", wire.PRESENCE_TOPIC, wire.PRIVATE_TOPIC])
ARRAYS = frozenset([*(bytes([first]) for first in range(0x90, 0xA0)), b"\xdc", b"\xdd"])


class Subscriber:
    """Batches as they arrive."""

    def __init__(
        self, credentials: Credentials | None, wake: Callable[[], object], is_dry: Callable[[], object]
    ) -> None:
        """`is_dry` is called when all that has come was received."""
        self._credentials = credentials
        self._wake = wake
        self._is_dry = is_dry
        self.read_seconds = RECEIVED_SECONDS_MAX
        self.is_lone = False  # the last one came alone: the next is had before it is asked whether more came
        self.connector: Connector | None = None
        self.sub: zmq.Socket[bytes] | None = None
        self.monitor: zmq.Socket[bytes] | None = None

    def subscribe(self, publisher: Address, subscriptions: list[tuple[bool, bytes]]) -> None:
        """Connect there, and nowhere else; then (subscribe or unsubscribe, topic), in order."""
        if self.connector is None or self.sub is None:
            if not subscriptions:
                return
            self.connector = Connector(options.client_sub(context.shared()), self._credentials, self._wake)
            self.sub, self.monitor = self.connector.socket, self.connector.monitor
        self.connector.aim(publisher)
        for subscribes, topic in subscriptions:
            self.sub.setsockopt(zmq.SUBSCRIBE if subscribes else zmq.UNSUBSCRIBE, topic)

    def is_disconnected(self, seconds: float) -> bool:
        """Whether the connection has ended since this was asked last."""
        assert self.connector is not None, "its monitor said something"
        return WENT_DOWN in list(self.connector.changes(seconds))

    def go_on(self, seconds: float) -> None:
        """Connect again, when it is time."""
        if self.connector is not None:
            self.connector.go_on(seconds)

    def refuse(self, seconds: float) -> None:
        """What it is connected to is another broker: nothing more of it comes, and the connection is made anew."""
        if self.connector is not None:
            self.connector.refuse(seconds)

    @property
    def place(self) -> tuple[str, str]:
        """Where it connects to, and what keeps it from that."""
        connector = self.connector
        return ("", "") if connector is None else (str(connector.address or ""), connector.why)

    def hurry(self, seconds: float) -> None:
        """The broker is there: so is what it publishes."""
        if self.connector is not None:
            self.connector.hurry(seconds)

    def received(self) -> Iterator[tuple[bytes, bytes]]:
        """(topic, frame) of what is there, up to a bound; messages of more or fewer frames are none."""
        assert self.sub is not None, "it can be read"
        receive, events, until = self.sub.recv, self.sub.getsockopt, monotonic() + self.read_seconds
        taken_bytes = 0
        for before in range(RECEIVED_MAX):
            try:
                topic = receive(DONTWAIT)
                frame = receive(DONTWAIT)
                if topic[:1] in TOPICS and frame[:1] in ARRAYS:
                    taken_bytes += len(frame)
                    yield topic, frame
                else:
                    while self.sub.getsockopt(RCVMORE):  # to where the next message begins
                        receive(DONTWAIT)
            except zmq.Again:
                break
            if self.is_lone:
                return
            if not int(events(EVENTS)) & POLLIN:  # an exception costs six times as much
                self.is_lone = not before and taken_bytes < LONE_BYTES
                break
            if taken_bytes > RECEIVED_BYTES_MAX or monotonic() > until:
                return
        else:
            return
        self._is_dry()

    def close(self) -> None:
        """End it."""
        if self.connector is not None:
            self.connector.close()
