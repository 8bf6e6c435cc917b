"""What a listener is told besides messages, and of what cannot be had any more: each hole once.

Rules of this file
1. A page tells the part of a hole that lies in it. The parts are joined, however many pages the hole has.
2. A gap of a room is told before the room's next record, and before it is said that nothing more is missing.

Spec: docs/protocol.md, "Gaps". Tests: tests/core/test_gaps.py.
"""

from __future__ import annotations

from typing import NamedTuple


class Notice(NamedTuple):
    """What a listener is told besides messages, in order with them."""

    kind: str  # "live", "lost", "stranger", "back", "recovered" or "gap"
    offset: int = 0  # live: everything above it comes by itself; gap: the first that is missing
    last: int = 0  # gap: the last that is missing
    room: str = ""  # gap: whose; empty where it concerns all
    records: int = 0  # back, recovered: how many were fetched; gap of volatile ones: how many are lost
    # lost, stranger: why; gap: "damaged", "trimmed", "purged", "volatile", or "log": with a `last` it went back,
    reason: str = ""  # else it is another
    log_id: str = ""  # gap: of the other log


class Gaps:
    """The gaps of one listener's rooms that are still to be told."""

    def __init__(self) -> None:
        self._of_room: dict[str, Notice] = {}  # one that the next page may go on with

    def __len__(self) -> int:
        """Rooms that have one."""
        return len(self._of_room)

    def add(self, gap: Notice) -> Notice | None:
        """Tell this one later. Returns the one before it in the room, when that is to be told now."""
        before = self._of_room.get(gap.room)
        if before is not None and before.reason == gap.reason:
            self._of_room[gap.room] = gap._replace(offset=before.offset)
            return None
        self._of_room[gap.room] = gap
        return before

    def take(self, room: str) -> list[Notice]:
        """What is to be told of that room now."""
        gap = self._of_room.pop(room, None) if self._of_room else None
        return [] if gap is None else [gap]

    def take_all(self) -> list[Notice]:
        """What is to be told of all rooms now."""
        gaps, self._of_room = list(self._of_room.values()), {}
        return gaps


class Told:
    """What a listener was told of its connection, so that each change is told once."""

    def __init__(self) -> None:
        self._live = False
        self._lost = False
        self._recovered = 0  # records that were fetched since it was last live

    def lost(self, reason: str) -> list[Notice]:
        """The connection broke. Who is not live yet has lost nothing."""
        return self.broken(reason) if self._live else []

    def broken(self, reason: str) -> list[Notice]:
        """The broker makes no sense, or is silent."""
        if self._lost:
            return []
        self._lost = True
        return [Notice("lost", reason=reason)]

    def stranger(self, reason: str) -> list[Notice]:
        """Another broker is where this one should be. That is told also where it was lost before."""
        self._lost = True
        return [Notice("stranger", reason=reason)]

    def recovered(self, records: int) -> None:
        """So many were fetched; what is fetched before it is live for the first time is history."""
        if self._live:
            self._recovered += records

    def live(self, offset: int, *, is_synced: bool) -> list[Notice]:
        """Nothing is missing that is known of."""
        if not self._live:
            self._live, self._lost = True, False
            return [Notice("live", offset)]
        kind = "back" if self._lost and is_synced else "recovered" if not self._lost and self._recovered else ""
        if not kind:
            return []
        records, self._recovered, self._lost = self._recovered, 0, False
        return [Notice(kind, records=records)]
