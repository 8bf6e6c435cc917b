"""What a client's engine works on and with: the port, what programs publish, who is handed what, who is told.

Rules of this file: it holds nothing but what each has to do. The real ones are in sockets/ (port.py, outbox.py,
incoming.py, client.py), the simulator's in tests/simulation/. Tests: tests/core/test_port.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from zchat.address import Address
from zchat.core import Instant
from zchat.core.answers import Answer
from zchat.core.publishing import Chunk
from zchat.errors import Refused, ZchatError

# What a turn is told is there to be taken, together as one number.
CHANGES, SUB_CHANGES, BATCHES, REPLIES = 1, 2, 4, 8


class Port(Protocol):
    """The way to one broker and back, and both clocks. Whoever drives the engine knows when there is something."""

    @property
    def due(self) -> float:
        """When `go_on` is to be called at the latest."""

    @property
    def is_full(self) -> bool:
        """Whether something waits to be sent."""

    @property
    def number(self) -> str:
        """The host's number that it is connected to, or tries."""

    @property
    def seen(self) -> str:
        """What happened last on the way to the broker."""

    @property
    def refusal(self) -> Refused | None:
        """Why the broker's key and ours do not fit, if they do not."""

    @property
    def place(self) -> tuple[str, str]:
        """Where it subscribes, and what keeps it from that."""

    def now(self) -> Instant:
        """Both clocks."""

    def changes(self, seconds: float) -> Iterable[bool]:
        """Each time that the connection came up (True) or went down. What was unsent is void then."""

    def is_unsubscribed(self, seconds: float) -> bool:
        """Whether the subscriptions' connection has ended since this was asked last."""

    def batches(self) -> Iterable[tuple[bytes, bytes]]:
        """(topic, frame) of what was broadcast, up to a bound."""

    def hold_batches(self, hold: bool) -> None:
        """Leave what is broadcast where it is, and say nothing of it; or go on."""

    def replies(self) -> Iterable[bytes]:
        """What the broker says, up to a bound."""

    def send(self, frames: Iterable[bytes], *, away: bool) -> None:
        """In order, as much as it takes; what it does not take is void while the broker is `away`."""

    def subscribe(self, publisher: Address, subscriptions: list[tuple[bool, bytes]]) -> None:
        """Connect there, and nowhere else; then (subscribe or unsubscribe, topic), in order."""

    def hurry(self, seconds: float) -> None:
        """The broker is there: so is what it publishes."""

    def refuse(self, seconds: float) -> None:
        """What publishes there is another broker: nothing more of it comes, and the connection is made anew."""

    def proved(self) -> None:
        """The broker is the one that was looked for."""

    def go_on(self, seconds: float) -> None:
        """Connect again, when it is time."""


class Outgoing(Protocol):
    """What programs have published and nobody has sent: sockets/outbox.py."""

    is_waiting: bool  # who publishes is to wake the engine
    opened: int  # chunks so far
    chunks: list[Chunk]  # oldest first

    def take(self) -> Chunk | None:
        """The oldest of it."""

    def close(self, error: ZchatError) -> list[Chunk]:
        """Take no more. Returns what was never sent."""


class Consumer(Protocol):
    """Who gets what one listener delivers."""

    @property
    def waiting(self) -> int:
        """Bytes of what it has not taken."""

    def put(self, items: list[Any]) -> None:
        """The next of it, in order."""

    def end(self) -> None:
        """Nothing more comes."""

    def forked(self) -> None:
        """In a child after a fork: it is the parent's."""


class Owner(Protocol):
    """Who has the engine, drives it, and is told of what it does."""

    def wake(self) -> None:
        """There is something to do: take a turn soon. Called by any thread."""

    def there(self) -> None:
        """The broker is there; said as often as one likes."""

    def lost(self) -> None:
        """The connection is lost; said as often as one likes."""

    def news(self, refused: list[Refused], answers: list[tuple[int, Answer]]) -> None:
        """These publishes were refused, these requests answered; the state or what is settled may be another."""
