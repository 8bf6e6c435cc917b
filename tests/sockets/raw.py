"""A client of nothing but the protocol: it says what a test tells it to, and hands over what it hears."""

from __future__ import annotations

import time
from typing import TypeVar

import pytest
import zmq

from zchat import wire

T = TypeVar("T", bound=wire.BrokerMessage)
HEAR_SECONDS = 30.0


class Speaker:
    """One DEALER."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str, *, rcvhwm: int = 1000) -> None:
        self.dealer = context.socket(zmq.DEALER)
        self.dealer.rcvhwm = rcvhwm
        self.dealer.connect(address)

    def say(self, *messages: wire.ClientMessage | bytes) -> None:
        """Send messages, or frames as they are."""
        for message in messages:
            self.dealer.send(message if isinstance(message, bytes) else wire.encode(message))

    def hear(self, kind: type[T], within: float = HEAR_SECONDS) -> T:
        """The next message of that kind; what else comes before it is passed over."""
        return self.hear_all(kind, within)[0]

    def hear_all(self, kind: type[T], within: float = HEAR_SECONDS) -> tuple[T, list[wire.BrokerMessage]]:
        """The next message of that kind, and what came before it."""
        deadline = time.monotonic() + within
        before: list[wire.BrokerMessage] = []
        while (left := deadline - time.monotonic()) > 0:
            if self.dealer.poll(int(left * 1000) + 1):
                message = wire.decode_broker(self.dealer.recv())
                if isinstance(message, kind):
                    return message, before
                before.append(message)
        pytest.fail(f"no {kind.__name__} within {within:g} s; heard {before[-10:]}")

    def hello(self, user: str, session: str = "", token: bytes = b"") -> wire.Welcome:
        """Begin, or go on with, a session."""
        self.say(wire.Hello(wire.VERSION, user, session, token))
        return self.hear(wire.Welcome)

    def join(self, *rooms: str) -> None:
        """Become a member, and wait until that is kept."""
        self.say(wire.Join(1, list(rooms)))
        self.hear(wire.Done)

    def close(self) -> None:
        """End the connection without a word."""
        self.dealer.close(linger=0)


def publish(seq: int, room: str, *bodies: bytes, flags: int = 0) -> wire.Publish:
    """A PUBLISH of plain bodies."""
    return wire.Publish(seq, room, flags, wire.raw(wire.encode_records(bodies)))
