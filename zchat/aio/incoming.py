"""What the engine has for the tasks that consume one subscription.

Rules of this file: a task that waits takes nothing before it runs again, so one that is cancelled has taken nothing.
Tests: tests/aio/test_listening.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from queue import Empty

from zchat.aio.turns import Turns
from zchat.aio.wait import Wait
from zchat.sockets.clock import Deadline
from zchat.sockets.incoming import Incoming, Item

TAKEN_BYTES = 256 * 1024  # by a consumer that never had to wait: then the loop has its turn


class LoopIncoming(Incoming):
    """See `zchat.sockets.incoming`. It has no lock to wait for, as all of it is in one thread."""

    def __init__(self, pause: Callable[[bool], None], turns: Turns) -> None:
        super().__init__(pause, self.stir)
        self._turns = turns
        self._waits: set[Wait] = set()
        self._rested_at = 0  # bytes that had been taken when a consumer last waited

    def put(self, items: list[Item]) -> None:
        """What was ordered. By the engine."""
        super().put(items)
        self.stir()
        self._turns.touch(self)

    def stir(self) -> None:
        """There is something to be taken, or there never will be."""
        for wait in self._waits:
            self._turns.over(wait)

    async def wait(self, deadline: Deadline) -> None:
        """Until there is something in the queue or, of another task, in the buffer. Raises queue.Empty."""
        if self._taken_bytes - self._rested_at > TAKEN_BYTES:
            self._rested_at = self._taken_bytes
            await asyncio.sleep(0)
        while not (self.has_some() or self.buffer):
            self._turns.check()
            left = deadline.left()
            if left == 0.0:
                await self._turns.wait(self.has_some, deadline)
                if not (self.has_some() or self.buffer):
                    raise Empty
                return
            self._rested_at = self._taken_bytes
            wait = self._turns.new_wait()
            self._waits.add(wait)
            try:
                await (wait if left is None else self._turns.in_time(wait, deadline))
            finally:
                self._waits.discard(wait)
