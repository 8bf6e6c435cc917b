"""For tests that speak to a broker past the library: one Context, whose sockets end with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import zmq

from tests.conftest import BrokerProcess
from tests.sockets.raw import Speaker
from tests.sockets.relay import Relay


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    """A Context of the test's own."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.linger = 0
    yield context
    context.destroy(linger=0)


@pytest.fixture
def speak(context: zmq.Context[zmq.Socket[bytes]]) -> Callable[[str], Speaker]:
    """Connects: `speak(broker.address)` is a DEALER that says whatever it is told to."""
    speakers: list[Speaker] = []  # one that nobody holds would be closed

    def connect(address: str) -> Speaker:
        speakers.append(Speaker(context, address))
        return speakers[-1]

    return connect


@pytest.fixture
def relay() -> Iterator[Callable[..., Relay]]:
    """Makes ways to a broker that can be cut."""
    relays: list[Relay] = []

    def lead_to(broker: BrokerProcess, *ways: tuple[int, int]) -> Relay:
        relays.append(Relay(broker, *ways))
        return relays[-1]

    yield lead_to
    for each in relays:
        each.close()
