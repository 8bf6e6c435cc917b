"""Where a session is reached: on a connection, or on one of its channels; and what those of a connection share.

    connection      a session of its own, which speaks without any wrapping: channel 0
      ├─ channel 1  another session: what it says comes as FROM(1, message), what it is told goes as FOR(1, message)
      └─ channel 7  …

Rules of this file
1. Whoever has a session's endpoint can answer it; only who sends looks at what the endpoint is.
2. What a peer may have waiting has a bound for the connection, however many sessions it has.

Spec: docs/protocol.md, "Channels". Tests: tests/core/test_channels.py.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from zchat import wire


class Channel(NamedTuple):
    """One of a connection's channels but the first."""

    connection: bytes
    number: int


Endpoint: TypeAlias = bytes | Channel  # a connection stands for its channel 0


def connection_of(endpoint: Endpoint) -> bytes:
    """The connection that leads there."""
    return endpoint if isinstance(endpoint, bytes) else endpoint.connection


def reply_to(endpoint: Endpoint, frame: bytes) -> tuple[bytes, bytes]:
    """The connection on which a reply is sent, and the frame that is sent."""
    if isinstance(endpoint, bytes):
        return endpoint, frame
    return endpoint.connection, wire.for_channel(endpoint.number) + frame


class Carrier:
    """A connection that has channels, and what all of its sessions have waiting for the log together."""

    __slots__ = ("channels", "waiting", "waiting_bytes")

    def __init__(self) -> None:
        self.channels: dict[Channel, None] = {}  # that have a session
        self.waiting = 0  # publishes,
        self.waiting_bytes = 0  # and the bytes of their frames

    def add(self, publishes: int, size: int) -> None:
        """So many more wait; less than 0: fewer."""
        self.waiting += publishes
        self.waiting_bytes += size
