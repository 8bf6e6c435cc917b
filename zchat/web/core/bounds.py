"""What one client may take of the gateway: bytes, events, time; and from where a browser may come.

Rules of this file: time is an argument. Each bound says whom it protects.
Spec: docs/web.md, "Limits". Tests: tests/web/test_bounds.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from zchat.bucket import Bucket


class WebLimits(NamedTuple):
    """The bounds of one gateway."""

    event_bytes_max: int = 1_000_000  # what comes in at once; a broker takes a record of 1 MiB
    waiting_bytes_max: int = 4 << 20  # that wait for a client which does not read: then it is cut off
    waiting_max: int = 16_384  # and packets
    held_max: int = 16_384  # messages that come while a client catches up: then it is cut off
    events_a_second: float = 100.0  # of a client; what comes faster waits in its own connection
    events_at_once: float = 400.0
    unanswered_max: int = 256  # events of a client that wait for the broker: then its connection is not read
    connections_max: int = 16_384
    connections_of_address_max: int = 16_384  # behind a proxy all are of one
    silent_seconds: float = 15.0  # for the head of a request, and again for its body
    rooms_max: int = 1_500  # that are heard at once: a connection has 4,096 subscriptions, a room takes two
    publishes_a_second: float = 50.0  # by plain HTTP, of an address
    publishes_at_once: float = 500.0
    reads_a_second: float = 100.0  # requests by plain HTTP that read, of an address
    reads_at_once: float = 1_000.0
    keys_max: int = 65_536  # that were published under lately


class Buckets:
    """One for each address. The oldest are forgotten: they are full by then, unless thousands come at once."""

    KEPT_MAX = 16_384

    def __init__(self, rate: float, capacity: float) -> None:
        self._rate, self._capacity = rate, capacity
        self._of: dict[str, Bucket] = {}

    def try_take(self, address: str, now: float) -> float:
        """As `Bucket.try_take`."""
        bucket = self._of.pop(address, None) or Bucket(self._rate, self._capacity, now)
        self._of[address] = bucket  # the newest is the last
        while len(self._of) > self.KEPT_MAX:
            del self._of[next(iter(self._of))]
        return bucket.try_take(now)


def is_allowed(origin: str | None, hosts: Collection[str], allowed: Collection[str]) -> bool:
    """Whether a page of that origin may talk to the gateway: one that it served itself, or one that is allowed.

    What is no browser sends no origin, and may.
    """
    if origin is None:
        return True
    if "*" in allowed or origin in allowed:
        return True
    host = origin.partition("://")[2]
    return bool(host) and host in hosts


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str | None:
    """The value of a header of an ASGI scope; None where there is none. Two are none that can be trusted."""
    found = [value for key, value in headers if key.lower() == name]
    if not found:
        return None
    return found[0].decode("latin-1") if len(found) == 1 else "\0"


def address_of(scope: Mapping[str, object]) -> str:
    """From where a request comes."""
    client = scope.get("client")
    return str(client[0]) if isinstance(client, tuple | list) and client else ""
