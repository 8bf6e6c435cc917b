"""One room that a program of asyncio serves: each request is a task.

Spec: docs/client.md, "asyncio". Tests: tests/test_requests.py.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Generator
from typing import Any

from zchat import wire
from zchat.aio.connection import LoopConnection
from zchat.core.steps import ServeNoMore, ServeRoom, done
from zchat.errors import ZchatError
from zchat.message import Message, message_of
from zchat.sockets.clock import CLOSE_SECONDS, Deadline
from zchat.work import failure_of, handler_of, said_of, served_of

ServerReply = bytes | str | Message | None
LoopHandler = Callable[[Message], "ServerReply | Awaitable[ServerReply]"]


class LoopService:
    """Serves once it was awaited or entered, until it or its client is closed. Made by `serve`."""

    def __init__(
        self,
        connection: LoopConnection,
        room: str,
        handler: LoopHandler,
        group: str | None,
        max_in_flight: int,
        timeout: float | None,
    ) -> None:
        self._connection = connection
        self._handler = handler_of(handler)
        self._timeout = timeout
        self._server = served_of(connection.server_number(), room, group, max_in_flight, self._put)
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()

    def __await__(self) -> Generator[Any, None, LoopService]:
        """It serves, or raises Refused, TimedOut, Closed."""
        return self._begun().__await__()

    async def __aenter__(self) -> LoopService:
        return await self._begun()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def wait(self) -> None:
        """Until it has ended."""
        await self._ended.wait()

    async def close(self) -> None:
        """Take no more requests; those in hand are answered first."""
        if self._ended.is_set():
            return
        self._ended.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
        try:
            await self._connection.run(done(ServeNoMore(self._server)), Deadline("close", CLOSE_SECONDS))
        except ZchatError:
            pass  # the client has ended, or the broker is away

    async def _begun(self) -> LoopService:
        deadline = self._connection.deadline("serve", self._timeout)
        try:
            await self._connection.run(done(ServeRoom(self._server)), deadline)
        except BaseException:  # it may be stored all the same, and nobody is there who answers
            self._connection.later(lambda core, now: core.calling.end(self._server, core, now))
            raise
        return self

    def _put(self, called: wire.Called | None) -> None:
        """By the engine, in the loop."""
        if called is None:
            self._ended.set()
            return
        # No factory of the program's: one that begins tasks at once would do so in the middle of a turn.
        task = asyncio.Task(self._serve(called), loop=asyncio.get_running_loop())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, called: wire.Called) -> None:
        record, error = await self._handled(called)
        try:
            self._connection.do(lambda core, now: core.calling.reply(core, called, record, error))
        except ZchatError:
            pass  # the client has ended

    async def _handled(self, called: wire.Called) -> tuple[wire.RecordOrBody, str]:
        room, connection = called.room, self._connection
        try:
            said = self._handler(message_of(room, called, connection.opens))
            return said_of(await said if inspect.isawaitable(said) else said, room, connection.sealed), ""
        except Exception as error:  # whatever it is: who asked is told, and the next one is served
            if not isinstance(error, ZchatError):  # that is the program's word to who asked
                logging.getLogger("zchat").exception("a request to %s failed", room)
            return b"", failure_of(error, room, connection.is_sealed)
