"""Questions that wait for their answer: HEADS, WHO, ROOMS, CURSORS, GROUPS and SCHEDULED. Connections take turns.

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
from zchat.core.channels import Endpoint, connection_of
from zchat.errors import over_limit

TRIED_STEPS = 32  # about 2 ms

Question = wire.Heads | wire.Who | wire.Rooms | wire.Cursors | wire.Groups | wire.Scheduled
Work = Generator[None, None, bytes]  # steps, and then the answer


class WaitingQuestion(NamedTuple):
    """A question, how many had been asked by then, and whose it is."""

    question: Question
    asked: int
    endpoint: Endpoint


class QuestionQueue:
    """The questions of one connection that wait for their turn."""

    __slots__ = ("connection", "steps", "used", "waiting", "work")

    def __init__(self, connection: bytes) -> None:
        self.connection = connection
        self.waiting: deque[WaitingQuestion] = deque()
        self.work: Work | None = None  # on the oldest of those
        self.steps = 0  # of that
        self.used = 0  # steps of what took long


class Asked:
    """Who has asked, in the order of their turns."""

    def __init__(self, connection_questions_max: int) -> None:
        self._connection_questions_max = connection_questions_max
        self.queues: dict[bytes, QuestionQueue] = {}
        self._tried: deque[QuestionQueue] = deque()
        self._long: dict[bytes, QuestionQueue] = {}
        self._at_work: QuestionQueue | None = None  # of the long ones
        self._used = 0  # by that one, when it was chosen
        self._is_long_next = False
        self.count = 0  # of all questions

    def ask(self, endpoint: Endpoint, question: Question) -> None:
        """It waits for its turn. Raises WireError for one too many of its connection."""
        connection = connection_of(endpoint)
        queue = self.queues.get(connection)
        if queue is None:
            queue = self.queues[connection] = QuestionQueue(connection)
            self._tried.append(queue)
        if len(queue.waiting) >= self._connection_questions_max:
            raise over_limit("connection_questions_max", "busy", f"{len(queue.waiting)} questions are waiting")
        self.count += 1
        queue.waiting.append(WaitingQuestion(question, self.count, endpoint))

    def next(self, full: Container[bytes]) -> QuestionQueue | None:
        """Whose oldest question is to be worked on for a step. Those in `full` are passed over."""
        self._is_long_next = not self._is_long_next
        if self._is_long_next:
            return self._next_long(full) or self._next_tried(full)
        return self._next_tried(full) or self._next_long(full)

    def work(self, queue: QuestionQueue) -> bytes | None:
        """Do a step of its work; without any its session has gone. Returns the answer, once it is made."""
        try:
            if queue.work is not None:
                next(queue.work)
                self._stepped(queue)
                return None
            answer = None
        except StopIteration as end:
            answer = end.value
        queue.waiting.popleft()
        queue.work, queue.steps = None, 0
        if self._long.pop(queue.connection, None) is None:
            self._tried.remove(queue)
        if queue.waiting:
            self._tried.append(queue)
        else:
            del self.queues[queue.connection]
        return answer

    def has_next(self, full: Container[bytes]) -> bool:
        """Whether any waits that is not in `full`."""
        return bool(self.queues) and any(connection not in full for connection in self.queues)

    def begin_anew(self) -> None:
        """What is half made is made by other rules."""
        for queue in self.queues.values():
            queue.work, queue.steps = None, 0

    def forget(self, connection: bytes) -> None:
        """The connection is gone."""
        queue = self.queues.pop(connection, None)
        if queue is not None and self._long.pop(connection, None) is None:
            self._tried.remove(queue)

    # --- parts ------------------------------------------------------------------------------

    def _stepped(self, queue: QuestionQueue) -> None:
        """There is more to do."""
        queue.steps += 1
        if queue.connection in self._long:
            queue.used += 1
        elif queue.steps >= TRIED_STEPS:
            self._tried.remove(queue)
            queue.work = None
            queue.used = max(queue.used, self._used)
            self._long[queue.connection] = queue

    def _next_tried(self, full: Container[bytes]) -> QuestionQueue | None:
        return next((queue for queue in self._tried if queue.connection not in full), None)

    def _next_long(self, full: Container[bytes]) -> QuestionQueue | None:
        at_work = self._at_work
        if at_work is not None and at_work.connection not in full and self._long.get(at_work.connection) is at_work:
            return at_work
        if at_work is not None:
            at_work.work = None  # what is half made takes memory
        readers = (queue for queue in self._long.values() if queue.connection not in full)
        self._at_work = at_work = min(readers, key=_used, default=None)
        if at_work is not None:
            self._used = at_work.used
        return at_work


def _used(queue: QuestionQueue) -> int:
    return queue.used
