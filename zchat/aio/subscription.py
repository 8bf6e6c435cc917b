"""One subscription as a program of asyncio holds it: opened when it is first awaited, then messages, in order.

Rules of this file
1. It waits, and converts nothing. What was handed over, and where the cursor stands, is in sockets/intake.py.
2. A wait that is cancelled has taken nothing. Where that was while it opened, it is opened by the next one.

Spec: docs/client.md, "asyncio". Tests: tests/aio/test_listening.py.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Generator
from queue import Empty
from types import TracebackType
from typing import Any

from zchat import wire
from zchat.aio.connection import LoopConnection
from zchat.aio.incoming import LoopIncoming
from zchat.core.gaps import Notice
from zchat.core.steps import Steps
from zchat.core.working import Receiver
from zchat.errors import Closed, TimedOut, UsageError, ZchatError
from zchat.message import Message
from zchat.sockets.clock import Deadline, waitable
from zchat.sockets.intake import Intake, TakenOut
from zchat.sockets.job_intake import JobIntake, intake_of

CLOSE_SECONDS = 3.0  # for the broker's word that the cursor is stored and the rooms are left


class Subscription:
    """Messages as they come, in order: `async for`, or `get`. Made by `listen`.

    It is live once it was awaited, entered by `async with`, or asked for a message.
    """

    def __init__(
        self,
        connection: LoopConnection,
        steps: Callable[[wire.Welcome, int], Steps[Receiver]],
        *,
        echo: bool,
        follows: bool,
        on_notice: Callable[[Notice], None] | None,
        timeout: float | None,
        opened: dict[Subscription, None],
    ) -> None:
        self._connection = connection
        self._steps = steps
        self._echo, self._follows = echo, follows
        self._on_notice = on_notice
        self._timeout = timeout
        self._all_opened = opened
        self._is_closed = False
        self._opens = asyncio.Lock()
        self._intake: Intake | JobIntake | None = None
        self._incoming: LoopIncoming | None = None
        self._buffer: deque[Message] = deque()  # once it is open, that of the incoming

    def __await__(self) -> Generator[Any, None, Subscription]:
        """Live, or raise as `listen` of the blocking client does."""
        return self._live().__await__()

    async def __aenter__(self) -> Subscription:
        return await self._live()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        counts = kind is None or self._intake is None or not self._intake.of_group
        await self._end(Deadline("close", CLOSE_SECONDS), counts=counts)

    def __repr__(self) -> str:
        """`<zchat.aio.Subscription of alice to general, build.**: open>`."""
        state = "closed" if self._is_closed else "not open yet"
        return f"<zchat.aio.Subscription {state if self._intake is None else repr(self._intake)}>"

    def __aiter__(self) -> Subscription:
        """Messages until the subscription or the client is closed."""
        return self

    async def __anext__(self) -> Message:
        """The next message; StopAsyncIteration when the subscription or the client is closed."""
        try:
            return self._buffer.popleft()
        except IndexError:
            pass
        deadline = Deadline("message", None)
        while True:
            if not await self._take(deadline):
                raise StopAsyncIteration
            if self._buffer:
                return self._buffer.popleft()

    async def get(self, timeout: float | None = None) -> Message:
        """The next message. Raises TimedOut, Closed after the end, UsageError."""
        deadline = Deadline("message", waitable(timeout))
        while not self._buffer:
            try:
                if not await self._take(deadline):
                    raise Closed("the subscription is closed")
            except Empty:
                raise TimedOut("message", deadline.seconds or 0.0) from None
        return self._buffer.popleft()

    def pending(self) -> bool:
        """Whether a message can be had without waiting; with a job in hand, whether anything is there."""
        incoming = self._incoming
        if incoming is not None and self._intake is not None and self._intake.has_job_in_hand:
            return bool(self._buffer or incoming.has_some())
        while incoming is not None and not self._buffer and incoming.has_some():
            if self._intake is None or not self._intake.asks() or not self._move(self._intake, incoming):
                return False
        return bool(self._buffer)

    def commit(self) -> None:
        """Move the cursor here: all that was handed over is done. Returns at once; it is stored soon after.

        Raises UsageError without a cursor, Closed after the end.
        """
        if self._intake is None:
            raise Closed("the subscription is closed") if self._is_closed else UsageError("it is not open yet")
        self._intake.commit()

    @property
    def repeats_after(self) -> int | None:
        """Told by `close`: above this offset what was handed over may come again; None: nothing does."""
        return None if self._intake is None else self._intake.repeats_after

    async def close(self) -> None:
        """End it: nothing more comes, the rooms are left, and a cursor that follows by itself is stored."""
        await self._end(Deadline("close", CLOSE_SECONDS))

    # --- opening ----------------------------------------------------------------------------

    async def _live(self) -> Subscription:
        async with self._opens:
            if self._intake is None and not self._is_closed:
                await self._open()
        if self._is_closed:
            raise Closed("the subscription is closed")
        return self

    async def _open(self) -> None:
        connection = self._connection
        deadline = connection.deadline("the subscription", self._timeout)
        opened: list[Intake | JobIntake] = []

        async def subscribe(listener: Receiver) -> None:
            incoming = connection.incoming(lambda on: connection.later(lambda core, now: core.paused(listener, on)))
            opened.append(intake_of(connection, listener, incoming, echo=self._echo, follows=self._follows))
            self._incoming = incoming
            await connection.listen(listener, incoming, deadline)

        try:
            await connection.run(self._steps(connection.welcome, connection.member_number()), deadline, subscribe)
        except BaseException:  # it may have been cancelled
            for intake in opened:
                intake.close(counts=False)
                self._leave_soon(intake)
            self._incoming = None
            raise
        (self._intake,) = opened
        self._buffer = self._intake.buffer
        self._all_opened[self] = None
        if self._is_closed:  # meanwhile
            await self._end(Deadline("close", CLOSE_SECONDS))

    # --- taking -----------------------------------------------------------------------------

    async def _take(self, deadline: Deadline) -> bool:
        """Move what comes next into the buffer. False at the end; raises queue.Empty, and why the client broke."""
        if self._intake is None and not self._is_closed:
            await self._live()
        intake, incoming = self._intake, self._incoming
        if intake is None or incoming is None or not intake.asks():
            return False
        await incoming.wait(deadline)
        return bool(self._buffer) or self._move(intake, incoming)

    def _move(self, intake: Intake | JobIntake, incoming: LoopIncoming) -> bool:
        try:
            notice = intake.take(incoming.take())
        except TakenOut:
            return False
        if notice is not None and self._on_notice is not None:
            self._on_notice(notice)
        return True

    # --- its end ----------------------------------------------------------------------------

    async def _end(self, deadline: Deadline, *, counts: bool = True, with_client: bool = False) -> None:
        """`close`. Unless it `counts`, the message in hand was not handed over. A client that ends leaves all rooms."""
        self._is_closed = True
        intake = self._intake
        if intake is None or intake.is_closed:
            return
        steps = intake.close(counts=counts)
        self._all_opened.pop(self, None)
        try:
            if steps is not None:
                await self._connection.run(steps, deadline)
        except ZchatError:
            pass  # it is behind: at least once
        except BaseException:  # it was cancelled
            self._leave_soon(intake)
            raise
        intake.incoming.end()
        if not with_client:
            await self._leave(intake, deadline)

    async def _leave(self, intake: Intake | JobIntake, deadline: Deadline) -> None:
        try:
            self._connection.unlisten(intake.listener)
            if intake.listener.is_joined:
                await self._connection.part(intake.listener.rooms, deadline)
        except ZchatError:
            pass  # the client has ended, or the broker is away

    def _leave_soon(self, intake: Intake | JobIntake) -> None:
        """The same, where nobody waits for it."""
        intake.incoming.end()
        try:
            self._connection.unlisten(intake.listener)
            if intake.listener.is_joined:
                self._connection.part_later(intake.listener.rooms)
        except ZchatError:
            pass  # the client has ended
