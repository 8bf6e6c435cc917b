"""Questions that wait for their answer: HEADS, WHO, ROOMS and CURSORS. Connections take turns.

Rules of this file
1. To answer one can take long, and an answer can be long. So they wait here, and the broker's loop works on as many as
   fit into its turn, each in steps: whoever asks 2,000 questions at once waits for the answers, and nobody else does.
2. Each question is tried for a few steps, those of all connections in turn. One that takes longer is begun anew in
   another lane, where one is worked on at a time, beside those that are tried: so what is short waits for nothing that
   is long, and what is half made takes the memory of one.
3. Next in that lane is the connection that has had least of it.
4. What waits of a connection is bounded; one too many is refused with `busy`.
5. A connection that does not read its answers gets no further ones, and keeps its place.

Tests: tests/core/test_asked.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Generator
from typing import NamedTuple

from zchat import wire
from zchat.errors import WireError

TRIED_STEPS = 32  # about 2 ms

Question = wire.Heads | wire.Who | wire.Rooms | wire.Cursors
Work = Generator[None, None, bytes]  # steps, and then the answer


class Waiting(NamedTuple):
    """A question, and how many had been asked by then."""

    question: Question
    asked: int


class Asker:
    """A connection that has asked."""

    __slots__ = ("connection", "steps", "used", "waiting", "work")

    def __init__(self, connection: bytes) -> None:
        self.connection = connection
        self.waiting: deque[Waiting] = deque()
        self.work: Work | None = None  # on the oldest of those
        self.steps = 0  # of that
        self.used = 0  # steps of what took long


class Asked:
    """Who has asked, in the order of their turns."""

    def __init__(self, connection_questions_max: int) -> None:
        self._connection_questions_max = connection_questions_max
        self._askers: dict[bytes, Asker] = {}
        self._tried: deque[Asker] = deque()
        self._long: dict[bytes, Asker] = {}
        self._at_work: Asker | None = None  # of the long ones
        self._used = 0  # by that one, when it was chosen
        self._is_long_next = False
        self.count = 0  # of all questions

    def ask(self, connection: bytes, question: Question) -> None:
        """It waits for its turn. Raises WireError for one too many."""
        asker = self._askers.get(connection)
        if asker is None:
            asker = self._askers[connection] = Asker(connection)
            self._tried.append(asker)
        if len(asker.waiting) >= self._connection_questions_max:
            raise WireError("busy", f"{len(asker.waiting)} questions are waiting")
        self.count += 1
        asker.waiting.append(Waiting(question, self.count))

    def next(self, full: Container[bytes]) -> Asker | None:
        """Whose oldest question is to be worked on for a step. Those in `full` are passed over."""
        self._is_long_next = not self._is_long_next
        if self._is_long_next:
            return self._next_long(full) or self._next_tried(full)
        return self._next_tried(full) or self._next_long(full)

    def work(self, asker: Asker) -> bytes | None:
        """Do a step of its work; without any its session has gone. Returns the answer, once it is made."""
        try:
            if asker.work is not None:
                next(asker.work)
                self._stepped(asker)
                return None
            answer = None
        except StopIteration as end:
            answer = end.value
        asker.waiting.popleft()
        asker.work, asker.steps = None, 0
        if self._long.pop(asker.connection, None) is None:
            self._tried.remove(asker)
        if asker.waiting:
            self._tried.append(asker)
        else:
            del self._askers[asker.connection]
        return answer

    def has_next(self, full: Container[bytes]) -> bool:
        """Whether any waits that is not in `full`."""
        return any(connection not in full for connection in self._askers)

    def forget(self, connection: bytes) -> None:
        """The connection is gone."""
        asker = self._askers.pop(connection, None)
        if asker is not None and self._long.pop(connection, None) is None:
            self._tried.remove(asker)

    # --- parts ------------------------------------------------------------------------------

    def _stepped(self, asker: Asker) -> None:
        """There is more to do."""
        asker.steps += 1
        if asker.connection in self._long:
            asker.used += 1
        elif asker.steps >= TRIED_STEPS:
            self._tried.remove(asker)
            asker.work = None
            asker.used = max(asker.used, self._used)
            self._long[asker.connection] = asker

    def _next_tried(self, full: Container[bytes]) -> Asker | None:
        return next((asker for asker in self._tried if asker.connection not in full), None)

    def _next_long(self, full: Container[bytes]) -> Asker | None:
        at_work = self._at_work
        if at_work is not None and at_work.connection not in full and self._long.get(at_work.connection) is at_work:
            return at_work
        if at_work is not None:
            at_work.work = None  # what is half made takes memory
        readers = (asker for asker in self._long.values() if asker.connection not in full)
        self._at_work = at_work = min(readers, key=_used, default=None)
        if at_work is not None:
            self._used = at_work.used
        return at_work


def _used(asker: Asker) -> int:
    return asker.used
