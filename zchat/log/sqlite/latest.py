"""The last messages of each room of a log, by the index: whatever else the rooms have is not looked at.

Rules of this file
1. For each room the index is asked once where its last messages begin; then the batches are read as their turn comes,
   in the order of offsets, until the page is full.
2. A page is read in slices with a snapshot each. What was trimmed in between is left out: it is not the last any more.
3. What the index has and the table cannot give is a gap. An index that cannot be read is an error: without it each
   room would cost a scan of the log.

Spec: `zchat.core.log.Log.latest`. Tests: tests/log/sqlite/test_latest.py, and the contract.
"""

from __future__ import annotations

import sqlite3
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from zchat import wire
from zchat.core.log import Gap, LogPage, Sliced
from zchat.errors import WireError
from zchat.log.slices import Slice, paced
from zchat.log.sqlite.scans import Scanner
from zchat.log.sqlite.schema import Snapshot
from zchat.log.sqlite.state import RoomRow, RoomStates, Wanted

ROOMS_A_STEP = 64  # are looked for before a look at the time

_BACK = f"""SELECT base, records FROM batches INDEXED BY batches_of_room
    WHERE room = ? AND base <= ? AND kind <> {wire.PRESENCE} ORDER BY base DESC LIMIT ?"""
_NEXT = f"""SELECT base, records FROM batches INDEXED BY batches_of_room
    WHERE room = ? AND base > ? AND base <= ? AND kind <> {wire.PRESENCE} ORDER BY base LIMIT 1"""


class Ahead(NamedTuple):
    """The next batch of a room that is to be in the page; ordered by its place."""

    base: int
    records: int
    room: int
    wanted: int  # of its records
    more: int  # batches of the room behind it


def page(
    snapshot: Snapshot, rooms: RoomStates, wanted: Wanted, after: int, until: int, count: int, bytes_max: int
) -> Sliced[LogPage]:
    """See `Log.latest`."""
    end = min(until, rooms.head) if until else rooms.head
    matched = yield from paced(rooms.match(*wanted))
    request = _LatestRequest(rooms, matched.ids[:], after, end, count, bytes_max)
    while True:
        with snapshot() as connection:
            is_done = request.go_on(connection)
        if is_done:
            return LogPage(request.batches, request.upto, request.more, request.gaps)
        yield


class _LatestRequest:
    """One page to be read, and what is read of it."""

    def __init__(self, rooms: RoomStates, ids: list[int], after: int, end: int, count: int, bytes_max: int) -> None:
        self._rooms = rooms
        self._after = after
        self._end = end
        self._count = count
        self._bytes_max = bytes_max
        self._ids = ids  # rooms whose last messages are still to be found
        self._found: list[Ahead] = []  # a heap, once all are
        self._bytes = 0
        self.batches: list[tuple[str, bytes]] = []
        self.gaps: list[Gap] = []
        self.upto = end
        self.more = False

    def go_on(self, connection: sqlite3.Connection) -> bool:
        """Work for a slice. Returns whether the page is done."""
        begun = Slice()
        while self._ids:
            for room in self._ids[-ROOMS_A_STEP:]:
                self._find(connection, self._rooms.row(room))
            del self._ids[-ROOMS_A_STEP:]
            if not self._ids:
                heapify(self._found)
            if begun.is_over:
                return False
        scanner = Scanner(connection)
        while self._found:
            if self._bytes >= self._bytes_max:
                self.more = True
                return True
            self._read(scanner, heappop(self._found))
            if begun.is_over:
                return False
        self.upto = self._end
        return True

    # --- parts ------------------------------------------------------------------------------

    def _find(self, connection: sqlite3.Connection, row: RoomRow) -> None:
        """Where the last messages of a room begin."""
        if row.last <= self._after or row.records == row.presence:
            return
        low, left, batches, first = max(self._after, row.trimmed), self._count, 0, None
        for base, records in connection.execute(_BACK, (row.id, self._end, self._count)).fetchall():
            within = min(base + records - 1, self._end) - max(base - 1, low)
            if within <= 0:
                break
            taken = min(within, left)
            first = Ahead(base, records, row.id, self._wanted(base, records, taken), batches)
            left, batches = left - taken, batches + 1
            if not left:
                break
        if first is not None:
            self._found.append(first)

    def _wanted(self, base: int, records: int, taken: int) -> int:
        """Of its records, with those behind the end, which the reader leaves out."""
        return taken + max(0, base + records - 1 - self._end)

    def _read(self, scanner: Scanner, ahead: Ahead) -> None:
        """The next batch, and what follows it in its room."""
        base, records, room, wanted, more = ahead
        if more:
            self._find_next(scanner.connection, room, base, more)
        row, known = scanner.at(base), self._rooms.row(room)
        last = base + records - 1
        if row is not None and row.room == room and row.records == records:
            try:
                frame = wire.end_of(row.frame, records, wanted)
            except WireError:
                row = None
            else:
                self.batches.append((known.name, frame))
                self._bytes += len(frame)
        else:
            row = None
        if row is None and last > known.trimmed:
            self.gaps.append(Gap(known.name, last + 1 - wanted, min(last, self._end), "damaged"))
        self.upto = min(last, self._end)

    def _find_next(self, connection: sqlite3.Connection, room: int, base: int, more: int) -> None:
        for following, records in connection.execute(_NEXT, (room, base, self._end)).fetchall():
            heappush(self._found, Ahead(following, records, room, records, more - 1))
