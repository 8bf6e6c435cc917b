"""What a program's threads wait for: the broker's answers, and whatever else a turn of its client's engine changes.

Rules of this file
1. Whoever needs the broker waits until a deadline: that of the call, else that of the client; none is for ever.
2. When it is over, the error says whether the broker is away (Unreachable) or does not answer in time (TimedOut).
3. A client that has ended ends every wait.

Spec: docs/client.md, "How long a call waits". Tests: tests/sockets/test_client.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from zchat import wire
from zchat.address import Address
from zchat.core import Instant
from zchat.core.answers import A, given
from zchat.core.client import AWAY, CLOSED, READY, Answer, ClientCore, Request
from zchat.core.engine import Engine
from zchat.core.listening import Listener
from zchat.core.steps import Listen, Steps, begin
from zchat.errors import TimedOut, Unreachable, ZchatError
from zchat.sockets.clock import Deadline
from zchat.sockets.driver import Driver, Over

T = TypeVar("T")


class Waiting:
    """The part of a connection that a program's threads call; client.py has the thread that it waits for."""

    _engine: Engine
    _driver: Driver

    def __init__(self, address: Address, core: ClientCore) -> None:
        self.address = address
        self.timeout: float | None = None  # of each call that says nothing else; None: as long as it takes
        self._core = core
        self._answers: dict[int, Answer | None] = {}  # None: asked, not answered
        self._failure: ZchatError | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the broker is there."""
        return self.state == READY

    @property
    def state(self) -> str:
        """READY, AWAY or CLOSED, for whoever has been connected once."""
        state = self._core.state
        return CLOSED if self._failure is not None or state == CLOSED else READY if state == READY else AWAY

    def why_not(self) -> str:
        """What keeps the broker from answering, as far as we know."""
        raise NotImplementedError

    def deadline(self, what: str, timeout: float | None) -> Deadline:
        """Of a call."""
        return Deadline(what, self.timeout if timeout is None else timeout)

    def late(self, deadline: Deadline) -> TimedOut:
        """What a call raises when its time is over."""
        seconds = deadline.seconds or 0.0
        if self.is_ready:
            return TimedOut(deadline.what, seconds)
        return Unreachable(str(self.address), seconds, self.why_not())

    def wait_until(self, done: Callable[[], object], deadline: Deadline) -> bool:
        """Wait for it, or the end. False when the time is over."""
        return self._driver.wait(lambda: done() or self._failure is not None, deadline)

    def wait_for(self, condition: Callable[[], object], deadline: Deadline) -> None:
        """Wait for it. Raises TimedOut, and Closed or Refused when it has ended."""
        if not self.wait_until(condition, deadline):
            raise self.late(deadline)
        if not condition():
            assert self._failure is not None
            raise self._failure

    def later(self, command: Callable[[ClientCore, Instant], object]) -> None:
        """Have a command done soon."""
        self._engine.later(command)

    def do(self, command: Callable[[ClientCore, Instant], T]) -> T:
        """Do it now. Returns what it returns; raises what it raises, and Closed or Refused when it has ended."""
        try:
            return self._driver.do(command)
        except Over:
            self.wait_for(lambda: False, Deadline("the end", None))
            raise

    def ask(self, request: Request, kind: type[A], deadline: Deadline) -> A:
        """Send a request and wait for its answer of that kind. Raises Refused, TimedOut, Closed, WireError."""
        return given(self.answer(request, deadline), kind)

    def answer(self, request: Request, deadline: Deadline) -> Answer:
        """Send a request and wait for what the broker says to it. Raises TimedOut, Closed."""
        return self._answer(lambda core, now: core.ask(request, now), deadline)

    def run(self, steps: Steps[T], deadline: Deadline, listen: Callable[[Listener], None] | None = None) -> T:
        """Carry out steps one after the other; `listen` subscribes, and returns once that is live.

        Raises what the steps and `listen` raise, TimedOut, Closed.
        """
        try:
            step = next(steps)
            while True:
                if isinstance(step, Listen) and listen is not None:
                    listen(step.listener)
                    answer: Answer = wire.Done(0)
                else:
                    answer = self._answer(partial(begin, step), deadline)
                step = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    def set_cursor(self, name: str, offset: int, deadline: Deadline) -> None:
        """Store a cursor; returns once it is. Raises as `ask`."""

        def set_it(core: ClientCore, now: Instant) -> int:
            assert core.welcome is not None, "connected"
            return core.ask(wire.SetCursor(0, name, core.welcome.log_id, offset), now)

        given(self._answer(set_it, deadline), wire.Done)

    def part(self, rooms: set[str], deadline: Deadline) -> None:
        """Take a `join` back. Where the broker is away, it is told when it is back, and nobody waits."""
        if self.is_ready:
            given(self._answer(lambda core, now: core.part(rooms, now), deadline), wire.Done)
        else:
            self.later(lambda core, now: core.part(rooms, now))

    def _answer(self, ask: Callable[[ClientCore, Instant], int], deadline: Deadline) -> Answer:
        """Ask, and wait for the answer. `ask` gives the number of a request; 0 is done already."""

        def expect(core: ClientCore, now: Instant) -> int:
            number = ask(core, now)
            if number:
                self._answers[number] = None
            return number

        number = self.do(expect)
        if not number:
            return wire.Done(0)
        try:
            self.wait_for(lambda: self._answers[number] is not None, deadline)
            answer = self._answers[number]
        except BaseException:  # a signal, too
            self.later(lambda core, now: core.forget(number))
            raise
        finally:
            self._answers.pop(number, None)
        assert answer is not None
        return answer
