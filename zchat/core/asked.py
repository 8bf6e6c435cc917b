"""Questions that wait for their answer: HEADS, WHO, ROOMS and CURSORS. Connections take turns.

Rules of this file
1. To answer one can take long, and an answer can be long. So they wait here, and the broker's loop answers as many as
   fit into its turn: whoever asks 2,000 questions at once waits for the answers, and nobody else does.
2. What waits of a connection is bounded; one too many is refused with `busy`.
3. A connection that does not read its answers gets no further ones, and keeps its place.

Tests: tests/core/test_asked.py.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Container

from zchat import wire
from zchat.errors import WireError

Question = wire.Heads | wire.Who | wire.Rooms | wire.Cursors


class Asked:
    """By connection, in the order of their turns."""

    def __init__(self, connection_questions_max: int) -> None:
        self._connection_questions_max = connection_questions_max
        self._waiting: OrderedDict[bytes, deque[Question]] = OrderedDict()

    def ask(self, connection: bytes, question: Question) -> None:
        """It waits for its turn. Raises WireError for one too many."""
        waiting = self._waiting.setdefault(connection, deque())
        if len(waiting) >= self._connection_questions_max:
            raise WireError("busy", f"{len(waiting)} questions are waiting")
        waiting.append(question)

    def next(self, full: Container[bytes]) -> tuple[bytes, Question] | None:
        """Whose turn it is, and its oldest question. Those in `full` are passed over."""
        for connection, waiting in self._waiting.items():
            if connection in full:
                continue
            question = waiting.popleft()
            if waiting:
                self._waiting.move_to_end(connection)
            else:
                del self._waiting[connection]
            return connection, question
        return None

    def has_next(self, full: Container[bytes]) -> bool:
        """Whether any waits that is not in `full`."""
        return any(connection not in full for connection in self._waiting)

    def forget(self, connection: bytes) -> None:
        """The connection is gone."""
        self._waiting.pop(connection, None)
