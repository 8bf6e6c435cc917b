"""What a program holds of a message that it has published, and how it learns what became of it.

Rules of this file: what does not wait is here once, for all faces; each has its own way to wait.
Tests: tests/sockets/test_outbox.py, tests/test_endings.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, Self

import msgspec

from zchat.core.publishing import Chunk
from zchat.errors import UsageError
from zchat.sockets.clock import waitable


class Tells(Protocol):
    """Who says what became of a publication."""

    def call_when_settled(self, chunk: Chunk, function: Callable[[], object]) -> None:
        """Have a function of the program called once the chunk's outcome is known."""

    def told(self, error: Exception) -> None:
        """The program gets that as an outcome."""


class OutcomeWaiter(Tells, Protocol):
    """Who can wait for it, too."""

    def wait_for_settled(self, chunk: Chunk, timeout: float | None) -> None:
        """Until the chunk's outcome is known. Raises TimedOut, Closed."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """One message on its way to the broker."""

    _waiter: Any  # of the face: a Tells
    _chunk: Chunk
    _index: int

    def __repr__(self) -> str:
        """`<zchat.Publication to general: offset 12>`; or what became of it instead."""
        chunk = self._chunk
        if not chunk.is_settled:
            state = "no outcome yet"
        elif chunk.error is not None:
            state = f"{type(chunk.error).__name__}: {chunk.error}"
        else:
            state = f"offset {chunk.first + self._index}" if chunk.first else "broadcast"
        return f"<zchat.Publication to {chunk.room}: {state}>"

    def done(self) -> bool:
        """Whether its outcome is known."""
        return self._chunk.is_settled

    def add_done_callback(self, function: Callable[[Self], object]) -> None:
        """Have `function(publication)` called once its outcome is known, soon where it is known already.

        Functions are called one after the other, beside what the program does, so they may use the client; what one
        raises is reported, and changes nothing. Raises UsageError.
        """
        if not callable(function):
            raise UsageError("add_done_callback takes a function")
        waiter: Tells = self._waiter
        waiter.call_when_settled(self._chunk, partial(function, self))

    def _outcome(self) -> int:
        chunk = self._chunk
        if chunk.error is not None:
            self._waiter.told(chunk.error)
            raise chunk.error
        return chunk.first + self._index if chunk.first else 0


class Publication(Outcome, frozen=True, gc=False):
    """One message on its way to the broker."""

    def result(self, timeout: float | None = None) -> int:
        """Its offset, once it is stored; 0 for a volatile message, which has none.

        Raises Refused when it was not stored, TimedOut (ask again: it is still being sent), and Closed when the client
        ended without knowing.
        """
        seconds, waiter = waitable(timeout), self._waiter
        if not self._chunk.is_settled:
            waiter.wait_for_settled(self._chunk, seconds)
        return self._outcome()
