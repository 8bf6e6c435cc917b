"""One session on a channel of a connection, for a program of asyncio.

Rules of this file: thousands may begin at once, so none of them is asked after each turn: it is told.
Spec: docs/client.md, "Many sessions". Tests: tests/aio/test_sessions.py.
"""

from __future__ import annotations

from collections.abc import Callable

from zchat.aio.connection import LoopConnection
from zchat.aio.publication import Publication
from zchat.aio.wait import Wait
from zchat.core.gaps import Notice
from zchat.errors import ZchatError
from zchat.sockets.channel import ChannelLink
from zchat.sockets.clock import Deadline


class LoopSession(ChannelLink, LoopConnection):
    """Another session of a connection. `start` waits for the broker; `close` ends this session alone."""

    def __init__(self, connection: LoopConnection, user: str, on_notice: Callable[[Notice], object] | None) -> None:
        self.loop, self._turns = connection.loop, connection._turns
        self.in_time = self._turns.in_time
        self._asked: dict[int, Wait] = {}
        self._begun = self._turns.new_wait()
        self._open(connection, user, on_notice, Publication)

    async def start(self, wait: float) -> None:
        """Say hello. Raises Unreachable, Refused; then nothing is left of it."""
        try:
            await self.in_time(self._begun, Deadline("the broker", wait))
            self._welcomed(wait)
        except BaseException:  # it may have been cancelled
            self.end()
            raise

    def end(self) -> None:
        """The end of this session, at once."""
        self._end_it()

    # --- by the engine ----------------------------------------------------------------------

    def there(self) -> None:
        """The broker is there."""
        super().there()
        self._turns.over(self._begun)

    def ended(self, error: ZchatError, unsettled: int) -> None:
        """The session goes on no more."""
        super().ended(error, unsettled)
        self._turns.touch(self._core)
        self._turns.over(self._begun)
        for wait in self._asked.values():
            self._turns.over(wait)
