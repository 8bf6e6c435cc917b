"""What a client has asked and what has no answer yet, by number.

Rules of this file
1. A request is repeated until it is answered; answering it twice is the same.
2. An answer belongs to the request of its number, and is of the kind that answers.py says; anything else is a WireError
   for who asked, or is nobody's.
3. What was overtaken by what was wanted later is not repeated: it must not undo that.
4. A refusal of what was said twice on one connection may be of the first time, and the second is done after all: so of
   what changes something for the program nobody knows then.
5. What ends something is repeated also when nobody waits for its answer any more: nobody else would say it.

Spec: docs/protocol.md, "From the client". Tests: tests/core/test_requests.py.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from itertools import count
from typing import NamedTuple

from zchat import wire
from zchat.core import Instant
from zchat.core.answers import Answer, Request, check_kind
from zchat.errors import WireError

CHANGES = wire.Schedule | wire.Cancel | wire.SetGroup | wire.DropCursor | wire.Purge  # whose refusals are told as such

REPEAT_SECONDS = 3.0  # a request without an answer is sent again; the broker may drop replies


def is_end(request: Request | None) -> bool:
    """Whether it takes something back that the broker would keep up else: a membership, a part in a group, a server."""
    return isinstance(request, wire.Part) or (
        isinstance(request, wire.JoinGroup | wire.Serve) and not request.max_in_flight
    )


class Answered(NamedTuple):
    """A request, and what is to be taken for its answer."""

    request: Request
    answer: Answer


class Requests:
    """The requests that have no answer yet."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._out: dict[int, tuple[Request, float]] = {}  # and when it is sent again
        self._said: dict[int, int] = {}  # number -> how often, on whatever connections
        self._cursors: dict[str, int] = {}  # name -> number of the last request that changes it

    def __len__(self) -> int:
        """How many."""
        return len(self._out)

    def __iter__(self) -> Iterator[tuple[int, Request]]:
        """Each with its number; some may be settled meanwhile."""
        return iter([(number, request) for number, (request, _) in self._out.items()])

    def next_number(self) -> int:
        """Of something that is asked, and answered elsewhere."""
        return next(self._numbers)

    def add(self, request: Request, now: Instant) -> bytes:
        """Give it a number, and have it answered. Returns its frame; what has no encoding raises."""
        request.request = number = next(self._numbers)
        frame = wire.encode(request)  # before anything is changed
        if isinstance(request, wire.SetCursor | wire.DropCursor):
            self._cursors[request.name] = number
        self._out[number] = (request, now.seconds + REPEAT_SECONDS)
        return frame

    def of(self, number: int) -> Request | None:
        """That one, if it is out."""
        request, _ = self._out.get(number, (None, 0.0))
        return request

    def put_last(self, number: int) -> None:
        """It comes behind all others."""
        if number in self._out:
            self._out[number] = self._out.pop(number)

    def forget(self, number: int) -> None:
        """Nobody waits for that answer any more."""
        self._out.pop(number, None)
        self._said.pop(number, None)

    def says(self, number: int) -> None:
        """Its frame is on its way."""
        self._said[number] = self._said.get(number, 0) + 1

    def due(self, now: Instant) -> list[int]:
        """Those that are to be sent again."""
        return [number for number, (_, at) in self._out.items() if at <= now.seconds]

    def again(self, number: int, joined: Container[str], now: Instant) -> bytes | None:
        """Its frame once more, for who is `joined` in these rooms; None where it was overtaken by what came later."""
        request, _ = self._out[number]
        self._out[number] = (request, now.seconds + REPEAT_SECONDS)
        if isinstance(request, wire.Join | wire.Part):
            joins = isinstance(request, wire.Join)
            request.rooms = [room for room in request.rooms if (room in joined) == joins]
            if not request.rooms:
                return None
        elif isinstance(request, wire.SetCursor | wire.DropCursor) and self._cursors[request.name] != number:
            return None
        return wire.encode(request)

    def answered(self, number: int, answer: Answer) -> Answered | None:
        """What was asked under that number, if it is out; with a WireError for an answer of another kind."""
        request, _ = self._out.get(number, (None, 0.0))
        if request is None:
            return None
        try:
            check_kind(request, answer)
        except WireError as error:
            answer = error
        if isinstance(answer, wire.Error) and isinstance(request, CHANGES) and self._said.get(number, 0) > 1:
            answer = wire.Error(answer.about, number, "repeat-unknown", f"said twice, and refused once: {answer.text}")
        return Answered(request, answer)
