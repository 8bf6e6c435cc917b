"""A command that is done in a turn of the engine, for whoever waits for what comes of it.

Rules of this file: what it raises is its caller's trouble, and not the engine's.
Tests: tests/sockets/test_driver.py, tests/sockets/test_client.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from zchat.core import Instant
from zchat.core.client import ClientCore

T = TypeVar("T")


class AwaitedCommand(Generic[T]):
    """Give it to the engine, have a turn taken, and ask for its `result`."""

    def __init__(self, command: Callable[[ClientCore, Instant], T]) -> None:
        self._command = command
        self._result: list[T] = []
        self._raised: Exception | None = None

    def __call__(self, core: ClientCore, now: Instant) -> None:
        """By the engine."""
        try:
            self._result.append(self._command(core, now))
        except Exception as error:
            self._raised = error

    @property
    def has_failed(self) -> bool:
        """Whether it raised something."""
        return self._raised is not None

    @property
    def was_done(self) -> bool:
        """Whether the engine has come to it."""
        return bool(self._result) or self._raised is not None

    @property
    def result(self) -> T:
        """What it returned; raises what it raised."""
        if self._raised is not None:
            raise self._raised
        return self._result[0]
