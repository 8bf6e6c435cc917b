"""What a listener is handed, in order: batches and marks; and where it starts.

Notices of what happens beside them: gaps.py.

Tests: tests/core/test_deliveries.py.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from zchat import wire
from zchat.core.gaps import Notice
from zchat.errors import Refused


class Delivery(NamedTuple):
    """A batch for the listener: its records from offset `first` on."""

    room: str
    batch: wire.Batch
    first: int
    last: int  # offset of its last record; 0 for volatile ones
    size: int  # bytes, for the bound of what waits for a slow consumer


class Handed(NamedTuple):
    """A batch for one member of a group: all of it is the member's."""

    room: str
    batch: wire.Batch
    last: int  # offset of its last record
    size: int  # bytes
    deliveries: int  # how often it was handed out, this time too
    log: int  # of which log, as the member counts them


class Mark(NamedTuple):
    """Everything up to this offset, in all rooms, was delivered before this."""

    offset: int


Consumed: TypeAlias = Delivery | Handed | Notice | Mark


class Start(NamedTuple):
    """Where a listener starts: at most one is set; with none it starts live."""

    after: int | None = None
    last: int | None = None
    since: int | None = None  # microseconds since 1970
    last_per_room: int | None = None  # messages of each room, up to what comes live

    def seek(self, patterns: list[str], presence: bool) -> wire.Seek:
        """The question where that is. Joins and leaves are none of the last messages: those between them are read."""
        return wire.Seek(0, patterns, self.last or 0, self.since or 0, presence and not self.last)

    def found(self, position: wire.Position) -> int:
        """The offset after which it is, as the broker answered. Raises Refused for one above the head: that is an
        offset of another log, or of what a log had before it went back."""
        if (self.after or 0) > position.head:
            raise Refused("bad-request", f"offset {self.after} is above the head, {position.head}")
        return self.after or 0 if self.last is None and self.since is None else position.after
