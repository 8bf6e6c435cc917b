"""One client's connection for a program of asyncio: how a program waits for what the loop's turns bring.

    tasks --outbox, commands--> turns: engine --DEALER--> broker
          <--queues, futures--                <--SUB-----

Rules of this file
1. Nothing here blocks the loop: a host's name is looked up in a thread (sockets/resolve.py), all else is the loop's.
2. Whatever is cancelled waits no more, and that is all: what it would have had, the next one gets.
3. A client that is left open is ended with the process, also when its loop runs no more.

Spec: docs/client.md, "asyncio". Tests: tests/aio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic
from typing import TypeVar

from zchat import wire
from zchat.address import Address
from zchat.aio.incoming import LoopIncoming
from zchat.aio.publication import Publication
from zchat.aio.selector import LoopSelector
from zchat.aio.turns import Turns
from zchat.aio.wait import Wait
from zchat.core import Instant
from zchat.core.answers import A, given
from zchat.core.client_session import CLOSED, READY, Answer, Request, SessionCore
from zchat.core.publishing import Chunk
from zchat.core.steps import Ask, Leave, Listen, Steps, begin, done
from zchat.core.working import Receiver
from zchat.errors import Closed, Refused, TimedOut
from zchat.sockets import context, exits
from zchat.sockets.clock import Deadline
from zchat.sockets.commands import AwaitedCommand
from zchat.sockets.link import Link, OnNotice, OwnKey, Seals

T = TypeVar("T")

READ_SECONDS = 0.005  # of a turn, for other tasks wait meanwhile
DRAINED_BYTES = 1 << 20  # what may wait to be sent when `drain` returns: enough to keep the broker busy


class LoopConnection(Link):
    """One client's connection. `start` waits for the broker; `close` ends the session."""

    def __init__(
        self, address: Address, user: str, info: dict[str, str], told: OnNotice, seals: Seals | None, known: OwnKey
    ) -> None:
        self.loop = asyncio.get_running_loop()
        call, selector = self._call_soon, LoopSelector()
        super().__init__(address, user, info, told, seals, known, made=Publication, call=call, selector=selector)
        self._port.read_for(READ_SECONDS)
        self._turns = Turns(self._engine, self._port, selector, self._end)
        self._asked: dict[int, Wait] = {}  # number of a request -> who waits for its answer
        self.in_time = self._turns.in_time

    async def start(self, wait: float) -> None:
        """Connect and say hello. Raises Unreachable, Refused."""
        context.keep_from_forks(self)
        exits.close_at_exit(self)
        _open.add(self)
        try:
            self._turns.start()
            await self.wait_until(lambda: self._core.welcome, Deadline("the broker", wait))
            self._welcomed(wait)
        except BaseException:  # it may have been cancelled
            self.end()
            raise

    # --- waiting ----------------------------------------------------------------------------

    async def wait_until(self, condition: Callable[[], object], deadline: Deadline, *what: object) -> bool:
        """Wait for it, or the end. False when the time is over. `what`: as `Turns.wait` has it."""
        return await self._turns.wait(lambda: condition() or self._failure is not None, deadline, *what)

    async def wait_for(self, condition: Callable[[], object], deadline: Deadline, *what: object) -> None:
        """Wait for it. Raises TimedOut, and Closed or Refused when it has ended."""
        if not await self.wait_until(condition, deadline, *what):
            raise self.late(deadline)
        if self._failure is not None and not condition():
            raise self._failure

    def do(self, command: Callable[[SessionCore, Instant], T]) -> T:
        """Do it now. Returns what it returns; raises what it raises, and Closed or Refused when it has ended."""
        if self._failure is not None:
            raise self._failure
        self._turns.check()
        once = AwaitedCommand(partial(self._command, command))
        self._engine.add(once)
        self._turns.turn()
        if not once.was_done:
            raise self._failure or Closed()
        return once.result

    async def ask(self, request: Request, kind: type[A], deadline: Deadline) -> A:
        """Send a request and wait for its answer of that kind. Raises Refused, TimedOut, Closed, WireError."""
        return given(await self.answer(partial(begin, Ask(request)), deadline), kind)

    async def run(
        self,
        steps: Steps[T],
        deadline: Deadline,
        listen: Callable[[Receiver], Awaitable[None]] | None = None,
    ) -> T:
        """Carry out steps one after the other; `listen` subscribes, and returns once that is live.

        Raises what the steps and `listen` raise, TimedOut, Closed.
        """
        try:
            step = next(steps)
            while True:
                if isinstance(step, Listen) and listen is not None:
                    await listen(step.listener)
                    answer: Answer = wire.Done(0)
                else:
                    answer = await self.answer(partial(begin, step), deadline)
                step = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    async def answer(self, ask: Callable[[SessionCore, Instant], int], deadline: Deadline) -> Answer:
        """Ask, and wait for what the broker says. `ask` gives the number of a request; 0 is done already.

        Raises TimedOut, Closed.
        """
        number = self.do(self._expecting(ask))
        if not number:
            return wire.Done(0)
        try:
            await self._wait_for_answer(number, deadline)
            answer = self._answers[number]
        except BaseException:  # it may have been cancelled
            self.later(lambda core, now: core.waits_no_more(number))
            raise
        finally:
            self._answers.pop(number, None)
        assert answer is not None
        return answer

    async def listen(self, listener: Receiver, incoming: LoopIncoming, deadline: Deadline) -> None:
        """Subscribe. What is ordered goes to `incoming`.

        Returns when everything from now on goes there. Raises Unreachable, Closed.
        """
        is_over, began = self._subscribe(listener, incoming), monotonic()
        try:
            await self.wait_for(is_over, deadline, self._core, incoming, self._own)
        except TimedOut:
            raise self._not_live(deadline, began, is_late=True) from None
        if not listener.is_begun:
            raise self._not_live(deadline, began, is_late=False)

    def incoming(self, pause: Callable[[bool], None]) -> LoopIncoming:
        """For the consumer of a subscription."""
        return LoopIncoming(pause, self._turns)

    async def part(self, rooms: set[str], deadline: Deadline) -> None:
        """Take a `join` back. Where the broker is away, it is told when it is back, and nobody waits."""
        if self.is_ready:
            await self.run(done(Leave(rooms)), deadline)
        else:
            self.part_later(rooms)

    def part_later(self, rooms: set[str]) -> None:
        """The same, and nobody waits."""
        self.later(lambda core, now: begin(Leave(rooms), core, now))

    async def flush(self, timeout: float | None) -> None:
        """Wait until all that was published is settled. Raises the first Refused since the last flush, TimedOut."""
        await self.wait_for(self._want_acks(), self.deadline("acks", timeout), self._core)
        self._flushed()

    @property
    def drained(self) -> asyncio.Future[None]:
        """What `drain` waits for where there is nothing to wait for."""
        return self._turns.nothing

    async def drain(self, timeout: float | None) -> None:
        """Wait until little waits to be sent. Raises TimedOut, Closed."""
        outbox = self.outbox
        if outbox.bytes_waiting > DRAINED_BYTES:
            deadline = self.deadline("room for another message", timeout)
            await self.wait_for(lambda: outbox.bytes_waiting <= DRAINED_BYTES, deadline)

    async def wait_for_settled(self, chunk: Chunk, timeout: float | None) -> None:
        """Until the chunk's outcome is known. Raises TimedOut, Closed."""
        if self._failure is not None:
            raise self._failure
        self._turns.check()
        wait, deadline = self._turns.new_wait(), self.deadline("ack", timeout)
        tell = partial(self._turns.over, wait)
        chunk.when_settled(tell)
        try:
            self._want_ack_of(chunk)
            if not await self.in_time(wait, deadline) and not chunk.is_settled:
                raise self.late(deadline)
        finally:
            chunk.waits_no_more(tell)

    # --- its end ----------------------------------------------------------------------------

    async def close(self, timeout: float) -> None:
        """Wait for acks and say bye while the broker is there. What is unacked stays unknown."""
        deadline = Deadline("close", timeout)
        if self._failure is None:
            self._turns.check()
        try:
            if self._failure is None and timeout > 0:
                is_settled, what = self._want_all_acks(), [self._core] if self._core is not self._own else []
                await self.wait_until(lambda: is_settled() or not self.is_ready, deadline, *what)
                has_ended = self._bye()
                if has_ended is not None:
                    await self.wait_until(has_ended, deadline, self._core)
        finally:  # it may have been cancelled
            self.end()

    def end(self) -> None:
        """The end, at once."""
        self._turns.end()
        exits.closed(self)
        _open.discard(self)
        self._tell_lost()

    def settle(self, deadline: Deadline) -> None:
        """At the end of the process: its loop runs no more, so this thread takes the turns."""
        engine, are_known = self._engine, list[Callable[[], bool]]()
        engine.add(lambda core, now: are_known.append(engine.want_acks()))
        self._turns.drive(lambda: are_known and are_known[0](), deadline)

    def finish(self, deadline: Deadline) -> None:
        """The same."""
        if self._core.state == READY:
            self._engine.add(lambda core, now: core.bye())
            self._turns.drive(lambda: self._core.state == CLOSED, deadline)
        if not self.loop.is_running():
            self.end()
        elif self._failure is None:  # in a thread that ends with the process
            self._lost = self._engine.unsettled()
            self._tell_lost()

    def forked(self) -> None:
        """In a child after a fork: the loop is the parent's, and so is what it watches."""
        self._turns.is_over = True
        super().forked()

    # --- by the engine and the outbox -------------------------------------------------------

    def push(self) -> None:
        """Something was published, and nobody is awake to send it."""
        self._turns.push()

    def wake(self) -> None:
        """The engine rests, and there is something to do."""
        self._turns.soon()

    def stir(self) -> None:
        """What somebody waits for may be there, and no turn brought it."""
        self._turns.soon()

    def room_deadline(self) -> Deadline:
        """A `publish` cannot wait."""
        return Deadline("room for another message (`await client.drain()` waits for it)", 0.0)

    def news(self, refused: list[Refused], answers: list[tuple[int, Answer]]) -> None:
        """Something that somebody may wait for."""
        super().news(refused, answers)
        for number, _ in answers:
            wait = self._asked.get(number)
            if wait is not None:
                self._turns.over(wait)
        self._turns.touch(self._core)

    # --- parts ------------------------------------------------------------------------------

    async def _wait_for_answer(self, number: int, deadline: Deadline) -> None:
        wait = self._asked[number] = self._turns.new_wait()
        try:
            if self._answers[number] is None and self._failure is None:
                await self.in_time(wait, deadline)
        finally:
            del self._asked[number]
        if self._answers[number] is None:
            raise self._failure or self.late(deadline)

    def _end(self, error: Exception | None) -> None:
        super()._end(error)
        for wait in self._asked.values():
            wait.settle(True)

    def _call_soon(self, function: Callable[[], object]) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon(function)


_open: set[LoopConnection] = set()  # a loop that is closed has forgotten them
