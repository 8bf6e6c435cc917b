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

    __slots__ = ("_command", "_result", "raised", "was_done")

    _result: T

    def __init__(self, command: Callable[[ClientCore, Instant], T]) -> None:
        self._command = command
        self.was_done = False  # the engine has come to it,
        self.raised: Exception | None = None  # and it has failed

    def __call__(self, core: ClientCore, now: Instant) -> None:
        """By the engine."""
        try:
            self._result = self._command(core, now)
        except Exception as error:
            self.raised = error
        self.was_done = True

    @property
    def result(self) -> T:
        """What it returned; raises what it raised."""
        if self.raised is not None:
            raise self.raised
        return self._result
