"""Where to start reading a log: the last records, or a time.

Rules of this file
1. Nothing is sorted and nothing is read twice: the newest batches come first, from the table as they lie
   or from the index room by room; a time is found by halving, for times rise with the offsets.
2. Only what a search ends on is read with its frame; of the rest its place is enough. Nothing is scanned where
   the rooms' rows have the answer: they have fewer records than that.
3. A scan goes on in the next slice where it was, on another snapshot: it goes back, and what comes is ahead.

Tests: tests/log/sqlite/test_seek.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from zchat import wire
from zchat.core.log import Sliced
from zchat.log.slices import Slice, paced
from zchat.log.sqlite.scans import EveryRoom, Scanner
from zchat.log.sqlite.schema import Snapshot, is_unreadable
from zchat.log.sqlite.state import Matched, RoomRow, RoomStates, Wanted
from zchat.wire import OFFSET_MAX

FEW_ROOMS = 16  # their newest batches are asked of the index at once; of more, the table's newest are looked at first
SKIPPED_ROWS_MAX = 2_000  # that match nothing: then the index is asked
CHUNK_ROWS_MAX = 2_048
ROOMS_A_STEP = 2_000  # are looked at: about 0.5 ms
NO_KIND = -1


_TABLE = """SELECT base, room, kind, records FROM batches NOT INDEXED
    WHERE base < ? ORDER BY base DESC LIMIT ?"""
_ROOM = """SELECT base, records FROM batches INDEXED BY batches_of_room
    WHERE room = ? AND base <= ? AND kind <> ? ORDER BY base DESC LIMIT ?"""


class BatchPlace(NamedTuple):
    """A batch without its frame."""

    base: int
    records: int


def last_records(snapshot: Snapshot, rooms: RoomStates, wanted: Wanted, count: int, presence: bool) -> Sliced[int]:
    """The offset after which the last `count` records start; 0: there are fewer."""
    below = rooms.head + 1
    matched = yield from paced(rooms.match(*wanted))
    rows = yield from paced(_rows(rooms, matched))
    if count > sum(row.records if presence else row.records - row.presence for row in rows):
        return 0
    back = _Back(below, matched, rows, NO_KIND if presence else wire.PRESENCE)
    few = len(rows) <= FEW_ROOMS
    found = yield from _counted(snapshot, back, back.by_index() if few else back.by_both(), count)
    if found is None:
        other = back.by_table() if few else back.by_index()
        found = yield from _counted(snapshot, back, other, count, is_last_way=True)
    return found or 0


def since(snapshot: Snapshot, rooms: RoomStates, wanted: Wanted, time: int) -> Sliced[int]:
    """The offset after which everything is at least as young; the head when nothing is.

    What is older is found by what is left of it, and by what is known of what was trimmed; of that, all that may
    be as young lies behind.
    """
    matched = yield from paced(rooms.match(*wanted))
    older = yield from paced(_trimmed_before(rooms, matched, time))
    with snapshot() as connection:
        scanner = Scanner(connection)
        # What is at or below `low` is older, what begins at or above `high` is not.
        low, high = older, rooms.head + 1
        while high - low > 1:
            middle = (low + high) // 2
            row = next(scanner.by_table(middle, high - 1, EveryRoom(), rows=1), None)
            if row is None or row.time >= time:
                high = middle
            else:
                low = row.last
        return low


# --- parts --------------------------------------------------------------------------------------


def _rows(rooms: RoomStates, matched: Matched) -> Sliced[list[RoomRow]]:
    rows: list[RoomRow] = []
    for at in range(0, len(matched.ids), ROOMS_A_STEP):
        rows += map(rooms.row, matched.ids[at : at + ROOMS_A_STEP])
        yield
    return rows


def _trimmed_before(rooms: RoomStates, matched: Matched, time: int) -> Sliced[int]:
    older = 0
    for at in range(0, len(matched.ids), ROOMS_A_STEP):
        older = max(older, rooms.trimmed_before(time, matched.ids[at : at + ROOMS_A_STEP]))
        yield
    return older


def _counted(
    snapshot: Snapshot, back: _Back, places: Iterator[BatchPlace | None], count: int, *, is_last_way: bool = False
) -> Sliced[int | None]:
    """None: something on the way cannot be read, and there is another way."""
    while True:
        with snapshot() as connection:
            back.connection, scanner, begun = connection, Scanner(connection), Slice()
            try:
                for place in places:
                    # What cannot be read does not count, and its number of records may be wrong.
                    if place is not None and (place.records == 1 or scanner.at(place.base) is not None):
                        if count <= place.records:
                            return place.base + place.records - count - 1
                        count -= place.records
                    if (place is None or place.records != 1) and begun.is_over:
                        break
                else:
                    return 0
            except (sqlite3.Error, UnicodeDecodeError) as error:
                if is_last_way or not is_unreadable(error):
                    raise
                return None
        yield


class _Back:
    """Ways through the batches of some rooms, the newest first; None now and then: a slice may end there."""

    connection: sqlite3.Connection  # of the slice

    def __init__(self, below: int, matched: Matched, rows: list[RoomRow], left_out: int) -> None:
        """`left_out`: the kind of batches that do not count."""
        self._matched = matched
        self._left_out = left_out
        self._below = below
        self._rows = rows

    def by_index(self) -> Iterator[BatchPlace | None]:
        return self._of_rooms(self._below)

    def by_table(self) -> Iterator[BatchPlace | None]:
        return self._of_table(OFFSET_MAX)

    def by_both(self) -> Iterator[BatchPlace | None]:
        """By the table, and where that has too many rows that do not count, by the index."""
        below = yield from self._of_table(SKIPPED_ROWS_MAX)
        yield from self._of_rooms(below)

    def _of_table(self, skipped_max: int) -> Generator[BatchPlace | None, None, int]:
        """Returns where it stopped."""
        rows, skipped, below = 64, 0, self._below
        while skipped < skipped_max:
            chunk = self.connection.execute(_TABLE, (below, rows)).fetchall()
            for below, room, kind, records in chunk:
                skipped += 1
                if room in self._matched and kind != self._left_out:
                    skipped = 0
                    yield BatchPlace(below, records)
            if len(chunk) < rows:
                return 0
            rows = min(2 * rows, CHUNK_ROWS_MAX)
            yield None
        return below

    def _of_rooms(self, below: int) -> Iterator[BatchPlace | None]:
        """A room's last offset bounds where its newest batch begins: it is asked only when its turn may have come."""
        heap: list[tuple[int, int]] = []
        for at in range(0, len(self._rows) if below > 1 else 0, ROOMS_A_STEP):
            heap += [(-min(row.last, below - 1), row.id) for row in self._rows[at : at + ROOMS_A_STEP]]
            yield None
        heapify(heap)
        ahead: dict[int, list[BatchPlace]] = {}  # room -> its next ones, the newest at the end
        rows: dict[int, int] = {}
        while heap:
            bound, room = heappop(heap)
            following = ahead.get(room)
            if following:
                yield following.pop()
                bound += 1
            else:
                rows[room] = min(2 * rows.get(room, 2), CHUNK_ROWS_MAX)
                values = (room, -bound, self._left_out, rows[room])
                chunk = self.connection.execute(_ROOM, values).fetchall()
                following = ahead[room] = [BatchPlace._make(row) for row in reversed(chunk)]
                yield None
                if not chunk:
                    continue
            heappush(heap, (-following[-1].base if following else bound, room))
