"""What a program of asyncio holds of a message that it has published: it can be awaited.

Tests: tests/aio/test_publishing.py.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from zchat.sockets.clock import waitable
from zchat.sockets.publication import Outcome


class Publication(Outcome, frozen=True, gc=False):
    """One message on its way to the broker. `await publication` is its offset."""

    def __await__(self) -> Generator[Any, None, int]:
        """As `result`, without a timeout of its own."""
        return self.result().__await__()

    async def result(self, timeout: float | None = None) -> int:
        """Its offset, once it is stored; 0 for a volatile message, which has none.

        Raises Refused when it was not stored, TimedOut (ask again: it is still being sent), and Closed when the client
        ended without knowing.
        """
        seconds, waiter = waitable(timeout), self._waiter
        if not self._chunk.is_settled:
            await waiter.wait_for_settled(self._chunk, seconds)
        return self._outcome()
