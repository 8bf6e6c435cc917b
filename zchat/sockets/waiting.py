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
from typing import TYPE_CHECKING, TypeVar

from zchat import wire
from zchat.core import Instant
from zchat.core.answers import A, given
from zchat.core.client_session import Answer, Request, SessionCore
from zchat.core.steps import Ask, Listen, Steps, begin
from zchat.core.working import Receiver
from zchat.sockets.clock import Deadline
from zchat.sockets.commands import AwaitedCommand
from zchat.sockets.driver import Driver, Over
from zchat.sockets.link import Link

if TYPE_CHECKING:  # who only publishes pays nothing for it
    from zchat.sockets.incoming import Incoming

T = TypeVar("T")


class Waiting(Link):
    """The part of a connection that a program's threads call; client.py has the thread that it waits for."""

    _driver: Driver

    def wait_until(self, done: Callable[[], object], deadline: Deadline) -> bool:
        """Wait for it, or the end. False when the time is over."""
        return self._driver.wait(lambda: done() or self._failure is not None, deadline)

    def wait_for_some(self, incoming: Incoming, deadline: Deadline) -> bool:
        """Wait for what comes next for a consumer, or the end, which comes there too. False when the time is over."""
        return self._driver.wait(incoming.has_some, deadline)

    def wait_for(self, condition: Callable[[], object], deadline: Deadline) -> None:
        """Wait for it. Raises TimedOut, and Closed or Refused when it has ended."""
        if not self.wait_until(condition, deadline):
            raise self.late(deadline)
        if self._failure is not None and not condition():
            raise self._failure

    def do(self, command: Callable[[SessionCore, Instant], T]) -> T:
        """Do it now. Returns what it returns; raises what it raises, and Closed or Refused when it has ended."""
        try:
            return self._driver.do(partial(self._command, command))
        except Over:
            self.wait_for(lambda: False, Deadline("the end", None))
            raise

    def ask(self, request: Request, kind: type[A], deadline: Deadline) -> A:
        """Send a request and wait for its answer of that kind. Raises Refused, TimedOut, Closed, WireError."""
        return given(self.answer(partial(begin, Ask(request)), deadline), kind)

    def run(self, steps: Steps[T], deadline: Deadline, listen: Callable[[Receiver], None] | None = None) -> T:
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
                    answer = self.answer(partial(begin, step), deadline)
                step = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    def answer(self, ask: Callable[[SessionCore, Instant], int], deadline: Deadline) -> Answer:
        """Ask, and wait for what the broker says. `ask` gives the number of a request; 0 is done already.

        Raises TimedOut, Closed.
        """
        asked = self.begin(self._expecting(ask))
        try:
            self.wait_for(lambda: asked.was_done and self._is_answered(asked), deadline)
            number = asked.result
        except BaseException:  # a signal, too
            self.later(lambda core, now: self._forget(asked, core))
            raise
        answer = self._answers.pop(number, None) if number else wire.Done(0)
        assert answer is not None
        return answer

    def begin(self, command: Callable[[SessionCore, Instant], T]) -> AwaitedCommand[T]:
        """As `do`, for who waits for what it brings: it is done soon, unless all is over."""
        return self._driver.begin(partial(self._command, command))

    # --- parts ------------------------------------------------------------------------------

    def _is_answered(self, asked: AwaitedCommand[int]) -> bool:
        return asked.raised is not None or not (number := asked.result) or self._answers[number] is not None

    def _forget(self, asked: AwaitedCommand[int], core: SessionCore) -> None:
        """Nobody waits any more. It was asked by now, as it was to be done before this."""
        if asked.was_done and asked.raised is None and asked.result:
            self._answers.pop(asked.result, None)
            core.waits_no_more(asked.result)
