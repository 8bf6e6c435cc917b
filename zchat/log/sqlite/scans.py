"""Two ways through the batches of a log in offset order: the table itself, and the index room by room.

Rules of this file
1. A scan yields sound rows only. What it passes over is found by `gap_detection.py`, not here.
2. Rows are taken in chunks, bounded by bytes: one room may have large batches where another has small ones. No
   cursor stays half read, which would let the WAL grow.
3. The index is trusted as long as it agrees with the rows; else IndexDamaged, and the table has the word.

    few rooms    by_rooms: merge the rooms' scans through the index; their rows lie scattered
    many rooms   by_table: take the rows as they lie, skip other rooms'; where that skips too much, by_rooms

Tests: tests/log/sqlite/test_scans.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterable, Iterator
from contextlib import closing
from heapq import merge
from itertools import pairwise
from typing import NamedTuple

from zchat.log.sqlite.schema import is_unreadable
from zchat.log.sqlite.stored import ROW, BatchRow, is_sound
from zchat.wire import OFFSET_MAX

CHUNK_ROWS_MAX = 512
CHUNK_BYTES_MAX = 1 << 20  # a chunk ends with the rows that reach it, and is not followed by a larger one
ROOM_CHUNK_BYTES = 64 << 10  # where many rooms are merged, each has as much in memory
FETCHED_ROWS = 8  # at once: so many may be above the bound
SKIPPED_ROWS_MAX = 1_000  # of other rooms in a row: a look into the index is cheaper then
SKIPPED_BYTES_MAX = 2 << 20
PASSED_ROWS_MAX = 200_000  # by a scan that only the table can serve: about half a second, then the page ends

_TABLE = f"SELECT {ROW} FROM batches NOT INDEXED WHERE base BETWEEN ? AND ? ORDER BY base LIMIT ?"
_ROOM = f"""SELECT {ROW} FROM batches INDEXED BY batches_of_room
    WHERE room = ? AND base BETWEEN ? AND ? ORDER BY base LIMIT ?"""
_ROOM_PLACE = """SELECT room, base, records FROM batches INDEXED BY batches_of_room
    WHERE room = ? AND base BETWEEN ? AND ? ORDER BY base LIMIT ?"""
_NEXT = "SELECT base FROM batches NOT INDEXED WHERE base BETWEEN ? AND ? ORDER BY base LIMIT 1"
_AT = f"SELECT {ROW} FROM batches NOT INDEXED WHERE base = ?"
_BEFORE = "SELECT base, records FROM batches NOT INDEXED WHERE base <= ? ORDER BY base DESC LIMIT 1"


class Span(NamedTuple):
    """The offsets of a batch, both ends in it."""

    first: int
    last: int


class EveryRoom:
    """Has every room in it."""

    def __contains__(self, room: object) -> bool:
        """Always."""
        return True


class IndexDamaged(Exception):
    """The index says something that the rows do not."""


class Sparse(Exception):
    """The table has too few of the rooms asked for; `position` is where the scan stopped."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


class Scanner:
    """Scans over one snapshot."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.met_damage = False

    def by_table(
        self, first: int, end: int, wanted: Container[int], *, rows: int = 8, skipped_max: int = SKIPPED_ROWS_MAX
    ) -> Iterator[BatchRow]:
        """The rows as they lie, `rows` in the first chunk.

        Raises Sparse when `skipped_max` in a row, or fewer but large ones, are of other rooms.
        """
        for step in self.steps_by_table(first, end, wanted, rows=rows, skipped_max=skipped_max):
            if not isinstance(step, int):
                yield step

    def steps_by_table(
        self, first: int, end: int, wanted: Container[int], *, rows: int = 8, skipped_max: int = SKIPPED_ROWS_MAX
    ) -> Iterator[BatchRow | int]:
        """The same; and after each chunk the offset that the scan has got to: all below it was passed."""
        bytes_max = SKIPPED_BYTES_MAX * skipped_max // SKIPPED_ROWS_MAX
        position = first
        skipped = skipped_bytes = 0
        while position <= end:
            chunk, size = self._chunk(_TABLE, (position, end, rows))
            if chunk is None:
                # One by one up to the row that cannot be read, so that those before it are served.
                position = position if rows > 1 else self.behind(position, end)
                rows = 1
                yield position
                continue
            for row in chunk:
                if row.base < position:  # a page that lies in the place of another
                    self.met_damage = True
                    continue
                position = row.base + 1
                if row.room not in wanted:
                    skipped += 1
                    skipped_bytes += _size(row)
                elif self._is_sound(row):
                    skipped = skipped_bytes = 0
                    yield row
            if len(chunk) < rows and size <= CHUNK_BYTES_MAX:
                if self._is_end(position, end):
                    return
                position = self.behind(position, end)
            if skipped > skipped_max or skipped_bytes > bytes_max:
                raise Sparse(position)
            rows = _next_size(rows, size)
            yield position

    def by_rooms(self, rooms: Iterable[int], first: int, end: int) -> Iterator[BatchRow]:
        """The rows of some rooms, by the index. Raises IndexDamaged."""
        rooms = list(rooms)
        bytes_max = max(CHUNK_BYTES_MAX // max(len(rooms), 1), ROOM_CHUNK_BYTES)
        scans = [self._by_room(room, first, end, bytes_max) for room in rooms]
        return scans[0] if len(scans) == 1 else merge(*scans)

    def across(self, offset: int) -> BatchRow | None:
        """The one batch of the log that has records on both sides of an offset, or else None."""
        for base, records in self._numbers(_BEFORE, (offset,)) or ():
            return self.at(base) if base + records - 1 > offset else None
        return None

    def at(self, base: int) -> BatchRow | None:
        """The batch at its offset, when it is sound."""
        found, _ = self._chunk(_AT, (base,))
        return found[0] if found and self._is_sound(found[0]) else None

    def places(self, room: int, first: int, end: int, limit: int = -1) -> list[Span]:
        """First and last offset of the batches of a room that begin in a range, as far as the index makes sense."""
        found = self._numbers(_ROOM_PLACE, (room, first, end, limit)) or []
        bases = [first - 1, *(base for _, base, _ in found), end + 1]
        if any(low >= high for low, high in pairwise(bases)) or any(each != room for each, _, _ in found):
            return []
        return [Span(base, base + records - 1) for _, base, records in found]

    def next_of(self, room: int, first: int) -> BatchRow | None:
        """The next batch of a room, when it is sound. Raises IndexDamaged where the index has none."""
        places = self.places(room, first, OFFSET_MAX - 1, 1)
        if not places:
            raise IndexDamaged
        row = self.at(places[0].first)
        return row if row and row.room == room else None

    def first_of_each(self, rooms: Iterable[int], first: int) -> list[BatchRow]:
        """The next batch of each room by the table alone; only of those that are found soon."""
        missing, found = set(rooms), []
        try:
            for row in self.by_table(first, OFFSET_MAX, missing, skipped_max=PASSED_ROWS_MAX) if missing else ():
                found.append(row)
                missing.discard(row.room)
                if not missing:
                    break
        except Sparse:
            pass
        return found

    def behind(self, position: int, end: int) -> int:
        """The lowest offset above what cannot be read at a position."""
        if base := self._next_base(position, end):  # its frame only: the page that it begins in is sound
            return base + 1
        reach = 1
        while position + reach <= end and not self._next_base(position + reach, end):
            reach *= 2
        low, high = reach // 2, min(reach, end + 1 - position)  # unreadable from position + low
        while high - low > 1:
            middle = (low + high) // 2
            if self._next_base(position + middle, end):
                high = middle
            else:
                low = middle
        return position + high

    # --- parts ------------------------------------------------------------------------------

    def _by_room(self, room: int, first: int, end: int, bytes_max: int) -> Iterator[BatchRow]:
        position, rows = first, 4
        while position <= end:
            chunk, size = self._chunk(_ROOM, (room, position, end, rows), bytes_max)
            if chunk is None:
                if rows == 1:  # this one row: pass over it, if its place at least is known
                    places = self.places(room, position, end, 1)
                    if not places:
                        raise IndexDamaged
                    position = places[0].first + 1
                rows = 1
                continue
            for row in chunk:
                if row.base < position or row.room != room:
                    raise IndexDamaged
                position = row.base + 1
                if self._is_sound(row):
                    yield row
                elif self.at(row.base):  # by itself it is: the index has a wrong place for it
                    raise IndexDamaged
            if len(chunk) < rows and size <= bytes_max:
                return
            rows = _next_size(rows, size)

    def _next_base(self, position: int, end: int) -> int:
        """The first offset of the next row; 0: there is none that can be read."""
        for (base,) in self._numbers(_NEXT, (position, end)) or ():
            return base if base >= position else 0
        return 0

    def _is_end(self, position: int, end: int) -> bool:
        """Whether there is no row from a position on: one whose offset was changed can hide those behind it."""
        found = self._numbers(_BEFORE, (end,))
        if found is not None and all(base < position for base, _ in found):
            return True
        self.met_damage = True
        return False

    def _chunk(
        self, statement: str, values: tuple[int, ...], bytes_max: int = CHUNK_BYTES_MAX
    ) -> tuple[list[BatchRow] | None, int]:
        """The rows of a query and their bytes; those that reach `bytes_max` are the last.

        None: something on the way to them cannot be read.
        """
        step = FETCHED_ROWS if bytes_max == CHUNK_BYTES_MAX else 1
        chunk: list[BatchRow] = []
        size = 0
        try:
            with closing(self.connection.execute(statement, values)) as cursor:
                while rows := [*map(BatchRow._make, cursor.fetchmany(step))]:
                    chunk += rows
                    size += sum(map(_size, rows))
                    if size > bytes_max:
                        break
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self._met(error)
            return None, 0
        return chunk, size

    def _numbers(self, statement: str, values: tuple[int, ...]) -> list[tuple[int, ...]] | None:
        """The same for a query without frames, whose values no checksum covers."""
        try:
            found: list[tuple[int, ...]] = self.connection.execute(statement, values).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self._met(error)
            return None
        if {type(value) for row in found for value in row} - {int}:
            self.met_damage = True
            return None
        return found

    def _met(self, error: Exception) -> None:
        if not is_unreadable(error):
            raise error
        self.met_damage = True

    def _is_sound(self, row: BatchRow) -> bool:
        if is_sound(*row):
            return True
        self.met_damage = True
        return False


def _next_size(rows: int, size: int) -> int:
    """Start small, for a page may need only one; then grow, for a query costs more than a row."""
    if size > CHUNK_BYTES_MAX:
        return rows
    return min(2 * rows, CHUNK_ROWS_MAX)


def _size(row: BatchRow) -> int:
    return len(row.frame) if type(row.frame) is bytes else 0  # a changed bit can change the type
