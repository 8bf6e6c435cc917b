"""What goes out to one listener, in order: batches, gaps, marks, and notices of its connection.

Rules of this file
1. A gap of a room is told before the room's next batch, before a mark, and before it is said that nothing is missing.
2. A mark says that all up to an offset, in all rooms, went out before it. A listener with a cursor wants them.

Tests: tests/core/test_telling.py.
"""

from __future__ import annotations

from zchat.core.deliveries import Delivery, Mark
from zchat.core.gaps import Gaps, Notice, Told

GAPS_HELD_MAX = 10_000  # of so many rooms, to be told as one each; then they are told as they are


class Telling:
    """The queue of one listener. `take` what is in it."""

    def __init__(self, *, marks: bool) -> None:
        self.delivered = 0  # offset of the last record that went out
        self.gaps = Gaps()  # that are still to be told
        self._connection = Told()
        self._marks = marks
        self._marked = 0  # offset of the last mark
        self._out: list[Delivery | Notice | Mark] = []

    def take(self) -> list[Delivery | Notice | Mark]:
        """All of it."""
        out, self._out = self._out, []
        return out

    # --- messages ---------------------------------------------------------------------------

    def comes(self, room: str) -> None:
        """The room's next batch is there, whether or not it is delivered."""
        self._out += self.gaps.take(room)

    def deliver(self, delivery: Delivery) -> None:
        """It goes out."""
        self.delivered = delivery.last
        self._out.append(delivery)

    def volatile(self, items: list[Delivery | Notice] | list[Notice]) -> None:
        """Volatile batches, which have no offset, and how many are lost."""
        self._out += items

    # --- what is missing, and what is not ---------------------------------------------------

    def gap(self, gap: Notice) -> None:
        """What can never be had any more. One hole is told once, however many pages it has."""
        before = self.gaps.add(gap)
        if before is not None:
            self._out.append(before)
        if len(self.gaps) > GAPS_HELD_MAX:
            self.all_gaps()

    def all_gaps(self) -> None:
        """Of all rooms."""
        self._out += self.gaps.take_all()

    def reached(self, low: int) -> None:
        """Nothing is missing up to there, in any room."""
        if self._marks and low > self._marked:
            self.all_gaps()
            self._marked = low
            self._out.append(Mark(low))

    @property
    def wants_mark(self) -> bool:
        """Whether something went out since the last mark."""
        return self._marks and self.delivered > self._marked

    def other_offsets(self, gap: Notice | None) -> None:
        """The log is not what it was, which is told, unless it has been told already."""
        self.all_gaps()
        if gap is not None:
            self._out.append(gap)
        self.delivered = self._marked = 0

    # --- the connection ---------------------------------------------------------------------

    def live(self, low: int, *, is_synced: bool) -> None:
        """Nothing is missing that is known of."""
        self._out += self._connection.live(low, is_synced=is_synced)

    def recovered(self, records: int) -> None:
        """So many were fetched."""
        self._connection.recovered(records)

    def lost(self, reason: str) -> None:
        """The connection broke."""
        self._out += self._connection.lost(reason)

    def broken(self, reason: str) -> None:
        """The broker answers nothing that makes sense, or nothing at all: it is asked again."""
        self._out += self._connection.broken(reason)

    def stranger(self, reason: str) -> None:
        """Another broker publishes where this one is said to."""
        self._out += self._connection.stranger(reason)
