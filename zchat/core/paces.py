"""How fast a user may publish: who is faster is told later that it is stored, and so its own window slows it.

    100 records a second, 100 at once; a user sends 300 in three publishes: all three are stored at once, the first is
    acked then, the second 1 s later, the third 2 s later

Rules of this file
1. Nothing is refused because of a rate, and nobody else waits: what was sent is stored and broadcast as ever. A client
   that does not wait for its ACKs has too many publishes in flight before long, and is told so.
2. What a user has stored in a day is bounded too, where the operator says so: above that it is refused.
3. A rate is of a user, over all of its sessions. Without one this file costs one look at `is_on` for a publish.

Spec: docs/settings.md, "What a user may do". Tests: tests/core/test_paces.py.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import NamedTuple

from zchat.core import Instant
from zchat.core.allowances import Allowance
from zchat.core.replies import Replies
from zchat.core.session import Session
from zchat.errors import over_limit
from zchat.names import user_key
from zchat.settings import Settings

DAY_SECONDS = 86_400.0


class LateAck(NamedTuple):
    """A publish that is done, and acked when it is due."""

    due: float  # monotonic
    tie: int
    session: Session
    seq: int
    offset: int


class Paces:
    """Of all users."""

    def __init__(self, settings: Settings, replies: Replies) -> None:
        self._replies = replies
        self._in_flight_max = settings.in_flight_max
        self._records = _bucket(settings.user_records_max, settings.user_records_a_second_max)
        self._bytes = _bucket(settings.user_bytes_max, settings.user_bytes_a_second_max)
        day = settings.user_day_bytes_max
        self._day = _bucket(day, day / DAY_SECONDS)
        self._dues: dict[tuple[str, int], float] = {}  # session and seq -> when it is acked; of what is not stored yet
        self._late: list[LateAck] = []  # a heap
        self._ties = count()
        self.is_on = not (self._records is self._bytes is self._day is None)

    def publish(self, session: Session, seq: int, records: int, size: int, now: Instant, *, is_stored: bool) -> None:
        """It has sent so many records, in a frame of that size. Raises WireError."""
        user = user_key(session.user)
        if session.late >= self._in_flight_max:  # who waits for its ACKs is never here
            raise over_limit(
                "user_records_a_second_max", "busy", f"{session.late} publishes were sent faster than the user may"
            )
        if is_stored and self._day is not None and not self._day.take(user, size, now):
            raise over_limit("user_day_bytes_max", "over-limit", "the user has stored as much as it may in a day")
        late_records = 0.0 if self._records is None else self._records.overdraw(user, records, now)
        late_bytes = 0.0 if self._bytes is None else self._bytes.overdraw(user, size, now)
        late = max(late_records, late_bytes)
        if late:
            limit = "user_records_a_second_max" if late > late_bytes else "user_bytes_a_second_max"
            self._replies.limits.meet(limit, session.connection)
            self._dues[session.id, seq] = now.seconds + late

    def is_late(self, session: Session, seq: int, offset: int, size: int) -> bool:
        """A publish that waited is done, with that offset: whether its ACK is not due yet. Then `elapsed` tells it."""
        due = self._dues.pop((session.id, seq), None)
        if due is None:
            return False
        session.done_late(size)
        heappush(self._late, LateAck(due, next(self._ties), session, seq, offset))
        return True

    def dropped(self, session: Session, seq: int) -> None:
        """The log did not keep it."""
        self._dues.pop((session.id, seq), None)

    def elapsed(self, now: Instant) -> None:
        """Tell what is due. Then take replies."""
        while self._late and self._late[0].due <= now.seconds:
            _, _, session, seq, offset = heappop(self._late)
            session.late -= 1
            session.settle(seq, offset)
            self._replies.ack(session.connection, seq, offset)

    @property
    def next_deadline(self) -> float | None:
        """When `elapsed` has something to tell."""
        return self._late[0].due if self._late else None


def _bucket(burst: float, refill: float) -> Allowance[str] | None:
    """None where there is no bound."""
    return None if refill == inf else Allowance(burst, refill)
