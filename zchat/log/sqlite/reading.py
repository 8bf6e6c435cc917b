"""Pages of a log: the batches of many rooms in offset order, and an account of what is missing.

Rules of this file
1. A page is read in slices, and each slice is a whole page by itself: it has a snapshot of its own, begins
   where the one before ended, and accounts for all up to where it ends. So what is trimmed in between is a gap.
2. The highest offset in a page is taken before its first snapshot begins, and so is the last of each room.
3. The index is asked first. When it turns out to be damaged, the slice is read again from the table alone.

Tests: tests/log/sqlite/test_reading.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing
from heapq import heappop, heappush, heapreplace
from time import monotonic

from zchat.core.log import Gap, LogPage, Sliced
from zchat.log.slices import Slice, add_gaps, paced
from zchat.log.sqlite import scans
from zchat.log.sqlite.gap_detection import GapDetector, Lasts, PageRooms
from zchat.log.sqlite.schema import Snapshot, is_unreadable
from zchat.log.sqlite.state import Matched, RoomStates, Wanted
from zchat.log.sqlite.stored import BatchRow
from zchat.wire import PRESENCE

_TRIMMED = "SELECT id, trimmed FROM rooms WHERE trimmed > ? AND trimmed > 0"
_THINNED = "SELECT id, presence_trimmed FROM rooms WHERE presence_trimmed > ? AND presence_trimmed > 0"
_OF_ROOM = "SELECT trimmed, presence_trimmed FROM rooms WHERE id = ?"
FEW_ROOMS = 64  # their scans are merged; of more, the table is scanned
ROOMS_A_STEP = 2_000  # are looked at: about 0.5 ms
SLICES_WITHOUT_INDEX_MAX = 25  # then the page ends: about half a second


def page(
    snapshot: Snapshot, rooms: RoomStates, wanted: Wanted, after: int, until: int, limit: int, bytes_max: int
) -> Sliced[LogPage]:
    """See `Log.read`."""
    end = min(until, rooms.head) if until else rooms.head
    matched = yield from paced(rooms.match(*wanted))
    lasts = yield from paced(_lasts(rooms, matched, after))
    request = _PageRequest(rooms, matched, lasts, after, end, limit, bytes_max)
    while lasts:
        with snapshot() as connection:
            is_done = request.go_on(connection)
        if is_done:
            break
        yield
    return LogPage(request.batches, request.upto if lasts else end, request.more, request.gaps)


def _lasts(rooms: RoomStates, matched: Matched, after: int) -> Sliced[Lasts]:
    """Of the rooms that match and go on behind an offset."""
    pairs: list[tuple[int, int]] = []
    for at in range(0, len(matched.ids), ROOMS_A_STEP):
        ids = matched.ids[at : at + ROOMS_A_STEP]
        pairs += sorted([(last, room) for room in ids if (last := rooms.row(room).last) > after])
        yield
    return Lasts(sorted(pairs))


class _PageRequest:
    """One page to be read, and what is read of it."""

    def __init__(
        self, rooms: RoomStates, matched: Matched, lasts: Lasts, after: int, end: int, limit: int, bytes_max: int
    ) -> None:
        self.rooms = rooms
        self.matched = matched
        self.lasts = lasts
        self.end = end
        self.limit = limit
        self.bytes_max = bytes_max
        self.by_index = True
        self.nexts: list[tuple[int, int]] = []  # a heap of (no later than its next batch, room), once there are many
        self.slices = 0
        # What is read.
        self.batches: list[tuple[str, bytes]] = []
        self.gaps: list[Gap] = []
        self.records = self.bytes = 0
        self.is_full = False  # nothing more is to be in it
        self.upto = after
        self.more = False

    def go_on(self, connection: sqlite3.Connection) -> bool:
        """Read for a slice. Returns whether the page is done."""
        self.slices += 1
        try:
            return self._slice(connection)
        except scans.IndexDamaged:
            self.by_index = False
            return False

    def _slice(self, connection: sqlite3.Connection) -> bool:
        scanner, after = scans.Scanner(connection), self.upto
        trimmed, thinned = self._marks(connection)
        end, is_marked = Slice().end, bool(trimmed or thinned)
        names = self.matched.names
        purged = {room: self.rooms.row(room).purged for room in trimmed}  # it never goes back
        of_page = PageRooms(names, self.lasts, trimmed, thinned, purged)
        detector = GapDetector(scanner, of_page, after, by_index=self.by_index)
        batches_before, records_before, bytes_before = len(self.batches), self.records, self.bytes
        upto, is_done, self.more = after, True, True
        try:
            with closing(self._rows(scanner, after + 1)) as rows:
                for row in rows:
                    if isinstance(row, int):
                        if monotonic() >= end:
                            is_done = self.is_full
                            upto = upto if is_done else max(upto, row - 1)
                            break
                        continue
                    if self.is_full:
                        break
                    base, room, kind, count, _, _, frame = row
                    last = base + count - 1
                    if is_marked and last <= max(
                        (thinned if kind == PRESENCE else trimmed).get(room, 0), trimmed.get(room, 0)
                    ):
                        continue  # it could not be removed, for damage beside it
                    detector.add(row)
                    self._add(names[room], count, frame)
                    upto = last
                    if monotonic() >= end and not self.is_full:
                        is_done = False
                        break
                else:
                    self.more, upto = False, self.end
            gaps = detector.close(upto) if upto > after or is_done else []
        except scans.Sparse as sparse:  # only without an index: the rest is for the next page
            upto = max(upto, sparse.position - 1)
            gaps = detector.close(upto)
        except scans.IndexDamaged:
            del self.batches[batches_before:]
            self.records, self.bytes = records_before, bytes_before
            self.is_full = False  # or it would be done
            raise
        add_gaps(self.gaps, gaps, after)
        self.upto = upto
        return is_done or (not self.by_index and self.slices >= SLICES_WITHOUT_INDEX_MAX and upto > after)

    def _add(self, room: str, records: int, frame: bytes) -> None:
        self.batches.append((room, frame))
        self.records += records
        self.bytes += len(frame)
        self.is_full = self.bytes >= self.bytes_max or 0 < self.limit <= self.records

    def _marks(self, connection: sqlite3.Connection) -> tuple[dict[int, int], dict[int, int]]:
        """Room -> what was trimmed of it, and of its joins and leaves, behind the beginning.

        From the snapshot: what is trimmed meanwhile is still in it.
        """
        of, after = self.lasts.of, self.upto
        try:
            if len(of) <= FEW_ROOMS:
                found = [(room, row) for room in of for row in connection.execute(_OF_ROOM, (room,)).fetchall()]
                trimmed = [(room, last) for room, (last, _) in found]
                thinned = [(room, last) for room, (_, last) in found]
            else:
                trimmed = connection.execute(_TRIMMED, (after,)).fetchall()
                thinned = connection.execute(_THINNED, (after,)).fetchall()
        except sqlite3.Error as error:
            if not is_unreadable(error):
                raise
            rows = [self.rooms.row(room) for room in of]
            trimmed, thinned = [(row.id, row.trimmed) for row in rows], [(row.id, row.presence_trimmed) for row in rows]
        return (
            {room: last for room, last in trimmed if type(last) is int and last > after and room in of},
            {room: last for room, last in thinned if type(last) is int and last > after and room in of},
        )

    def _rows(self, scanner: scans.Scanner, first: int) -> Generator[BatchRow | int, None, None]:
        """The rows; and now and then the offset that the scan has got to: all below it was passed."""
        across = scanner.across(first - 1)
        if across is not None:
            first = across.last + 1
            if across.room in self.matched and across.base <= self.end:
                yield across
        if not self.by_index:
            yield from scanner.steps_by_table(first, self.end, self.matched, skipped_max=scans.PASSED_ROWS_MAX)
            return
        if self.lasts.count_above(first - 1) > FEW_ROOMS:
            try:
                yield from scanner.steps_by_table(first, self.end, self.matched)
                return
            except scans.Sparse as sparse:
                first = sparse.position
                yield first
            yield from self._scattered(scanner, first)
            return
        yield from scanner.by_rooms(self.lasts.above(first - 1), first, self.end)

    def _scattered(self, scanner: scans.Scanner, first: int) -> Iterator[BatchRow | int]:
        """The rows of many rooms that lie far apart: a few rooms at a time, those whose batches come next.

        Where the next batch of a room is at the earliest stays true, whatever is written and trimmed: it is found out
        once for all slices.
        """
        nexts = self.nexts = self.nexts or [(0, room) for room in self.lasts.above(first - 1)]
        while nexts:
            low, room = nexts[0]
            if low < first:
                found = scanner.places(room, first, self.end, 1)
                if found:
                    heapreplace(nexts, (found[0].first, room))
                else:
                    heappop(nexts)
                yield first
                continue
            taken = [room for _, room in (heappop(nexts) for _ in range(min(len(nexts), FEW_ROOMS)))]
            reach = next((low - 1 for low, _ in nexts[:1]), self.end)
            try:
                yield from scanner.by_rooms(taken, first, reach)
            finally:
                for room in taken:
                    heappush(nexts, (0, room))
            first = reach + 1
            yield first
