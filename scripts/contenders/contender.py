"""What a contender does, and how what it received is counted.

Bodies carry their number in the first 8 bytes, so a listener can tell what it missed, got twice or out of order.
Times are of `time.monotonic()`, which is one clock for all processes of a host.
"""

from __future__ import annotations

import importlib.util
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from contenders.servers import Server

ROOM = "bench"
PING = "bench-ping"
PONG = "bench-pong"

Signal = Callable[[], None]  # `ready` tells the others; `go` waits until they are ready too


def bodies(count: int, size: int) -> list[bytes]:
    """Bodies to publish, numbered from 0."""
    filler = b"x" * (size - 8)
    return [number.to_bytes(8, "big") + filler for number in range(count)]


@dataclass(frozen=True)
class Received:
    """What one listener got: times of the first and the last message, and what was wrong."""

    count: int
    first: float
    last: float
    lost: int
    repeated: int
    out_of_order: int


class Tally:
    """Takes the messages of one listener. `take` says when it has all; the check comes after the race."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._bodies: list[bytes] = []
        self._first = 0.0
        self._last = 0.0
        self.take: Callable[[bytes], bool] = self._take_first

    def _take_first(self, body: bytes) -> bool:
        self._first = time.monotonic()
        taken, expected = self._bodies, self._expected
        append = taken.append

        def take(body: bytes) -> bool:
            append(body)
            return len(taken) == expected

        self.take = take
        return take(body)

    def finish(self) -> None:
        """Called when `take` said true: the clock stops."""
        self._last = time.monotonic()

    def received(self) -> Received:
        """Check the sequence."""
        numbers = [int.from_bytes(body[:8], "big") for body in self._bodies]
        distinct = set(numbers)
        return Received(
            count=len(numbers),
            first=self._first,
            last=self._last or time.monotonic(),
            lost=self._expected - len(distinct),
            repeated=len(numbers) - len(distinct),
            out_of_order=sum(after < before for before, after in pairwise(numbers)),
        )


@dataclass(frozen=True)
class Contender(ABC):
    """One way to send messages from process to process. It is pickled, so it holds settings only."""

    name: str
    count: int  # messages that take it a second or two
    stored: bool = False  # a message outlives the server
    note: str = ""  # how the client is used, where there is a choice
    modules: tuple[str, ...] = field(default=(), kw_only=True)
    program: str = field(default="", kw_only=True)

    def missing(self) -> str | None:
        """Why it cannot take part here."""
        from contenders.servers import find_program

        absent = [module for module in self.modules if importlib.util.find_spec(module) is None]
        if absent:
            return f"Python module {absent[0]} is not installed"
        if self.program and find_program(self.program) is None:
            return f"{self.program} is not installed"
        return None

    @abstractmethod
    def serve(self, folder: Path) -> AbstractContextManager[Server]:
        """Its server, new and empty, with its files in the folder; ended on exit."""

    @abstractmethod
    def publish(self, server: Server, messages: list[bytes], go: Signal) -> tuple[float, float]:
        """Connect, `go`, publish one by one; gives the time of the first and when all was accepted."""

    @abstractmethod
    def listen(self, server: Server, tally: Tally, ready: Signal) -> None:
        """Subscribe, `ready`, take messages until the tally has all."""

    @abstractmethod
    def echo(self, server: Server, ready: Signal) -> None:
        """Publish on PONG what comes on PING, until the process is ended."""

    @abstractmethod
    def ping(self, server: Server, messages: list[bytes], go: Signal) -> list[float]:
        """One message at a time from PING back to PONG; gives each round trip in seconds."""

    @abstractmethod
    def crowd(self, server: Server, clients: int, tally: Tally, first: Signal, ready: Signal) -> None:
        """Connect clients, each with a subscription, `first` after the first, `ready`, take one message with each."""
