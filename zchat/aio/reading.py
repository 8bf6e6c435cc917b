"""History as a program of asyncio reads it: page by page, while it is iterated over.

Rules of this file: a wait that is cancelled has taken nothing; the next one asks for the same page.
Spec: docs/client.md, "asyncio". Tests: tests/aio/test_listening.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

from zchat.aio.connection import LoopConnection
from zchat.core.deliveries import Delivery
from zchat.core.gaps import Notice
from zchat.core.history import History
from zchat.core.steps import Ask, begin
from zchat.message import Message, messages
from zchat.sockets.clock import Deadline


class Reading(AsyncIterator[Message]):
    """What is stored, in the order of offsets. Made by `history`."""

    def __init__(
        self,
        connection: LoopConnection,
        history: History,
        on_notice: Callable[[Notice], None] | None,
        timeout: float | None,
    ) -> None:
        self._connection = connection
        self._history = history
        self._on_notice = on_notice
        self._timeout = timeout
        self._in_all: Deadline | None = None  # from the first message that is asked for
        self._items: deque[Delivery | Notice] = deque()
        self._messages: Iterator[Message] = iter(())

    async def __anext__(self) -> Message:
        """The next message."""
        while (message := next(self._messages, None)) is None:
            if not self._items:
                await self._read_on()
                continue
            item = self._items.popleft()
            if isinstance(item, Delivery):
                now, opens = self._connection.broker_time, self._connection.opens
                self._messages = messages(item.room, item.batch, item.first, last=item.last, now=now, opens=opens)
            elif self._on_notice is not None:
                self._on_notice(item)
        return message

    async def _read_on(self) -> None:
        history, connection = self._history, self._connection
        if history.request is None:
            raise StopAsyncIteration
        if self._timeout is not None and self._in_all is None:
            self._in_all = Deadline("history", self._timeout)
        deadline = self._in_all or connection.deadline("history", None)  # of the client's: for each page
        try:
            asked = connection.welcome
            answer = await connection.answer(partial(begin, Ask(history.request)), deadline)
            self._items.extend(history.take(answer, asked, connection.welcome))
        except Exception:
            history.request = None  # it has ended, as an iteration does that raised
            raise
