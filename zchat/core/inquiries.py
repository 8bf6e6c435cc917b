"""What one session asks its broker: each request has a number, is said again without an answer, and at a pace.

Rules of this file
1. What is asked while the broker is away is said with the next WELCOME, in the order in which it was asked.
2. How much is out at a time is the connection's business (gate.py); what has no answer, and what belongs to what, is
   in requests.py.

Tests: tests/core/test_inquiries.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zchat import wire
from zchat.core import Instant
from zchat.core.answers import Answer, Request
from zchat.core.gate import Gate
from zchat.core.requests import Requests, is_end
from zchat.core.wanted import WantedRooms

if TYPE_CHECKING:
    from zchat.core.listener import Listener


class Inquiries:
    """The part of a session that asks. Who it is a part of says whether the broker `is_ready`, and takes answers."""

    def __init__(self, gate: Gate) -> None:
        self._requests = Requests()
        self._gate = gate
        self._wanted = WantedRooms()
        self._of_listeners: dict[int, Listener] = {}  # number of a request -> the listener that asked
        # What the shell takes.
        self._sends: list[bytes] = []
        self._answers: list[tuple[int, Answer]] = []

    @property
    def is_ready(self) -> bool:
        """Whether the broker is there for it."""
        raise NotImplementedError

    def ask(self, request: Request, now: Instant) -> int:
        """Send a request; its answer comes out of `take_answers` under the number returned."""
        frame = self._requests.add(request, now)
        if self.is_ready and self._gate.enter(self, request.request, request):
            self._says(request.request, frame)
        return request.request

    def ask_for(self, listener: Listener, question: Request, now: Instant) -> int:
        """The same for one of its listeners, which gets the answer."""
        number = self.ask(question, now)
        self._of_listeners[number] = listener
        return number

    def forget(self, number: int) -> None:
        """Nobody waits for that answer any more."""
        self._requests.forget(number)
        self._of_listeners.pop(number, None)
        self._gate.leave(self, number)
        while (waiting := self._gate.free()) is not None:
            session, first = waiting
            assert isinstance(session, Inquiries)
            session.may_ask(first)

    def waits_no_more(self, number: int) -> None:
        """Who asked has given up. What ends something is still said until it is answered."""
        if not is_end(self._requests.of(number)):
            self.forget(number)

    def may_ask(self, number: int) -> None:
        """It has waited until its connection had less to ask."""
        request = self._requests.of(number)
        if request is None or not self.is_ready:
            self._gate.leave(self, number)  # it is asked with the next WELCOME, or not at all
        elif self._gate.enter(self, number, request):
            self._says(number, wire.encode(request))

    def put(self, request: Request, now: Instant) -> int:
        """The same, to be said with the requests that are about to be said again."""
        self._requests.add(request, now)
        return request.request

    def number_of(self, call: wire.Call) -> int:
        """Give it a number; who has it sees to its answer."""
        call.request = self._requests.next_number()
        return call.request

    def say(self, message: wire.Call | wire.Reply | wire.From) -> None:
        """Send it, once."""
        self._sends.append(wire.encode(message))

    def put_last(self, number: int) -> None:
        """It is said again behind all others."""
        self._requests.put_last(number)

    def take_answers(self) -> list[tuple[int, Answer]]:
        """(number, answer) of requests; WireError for one that makes no sense."""
        answers, self._answers = self._answers, []
        return answers

    # --- parts ------------------------------------------------------------------------------

    def _answered(self, number: int, answer: Answer, now: Instant) -> None:
        raise NotImplementedError

    def _ask_again(self, number: int, now: Instant) -> None:
        """Send it once more; what was overtaken is done."""
        frame, request = self._requests.again(number, self._wanted.rooms, now), self._requests.of(number)
        if frame is None or request is None:
            self._answered(number, wire.Done(number), now)
        elif self._gate.enter(self, number, request):
            self._says(number, frame)

    def _says(self, number: int, frame: bytes) -> None:
        self._requests.says(number)
        self._sends.append(frame)
