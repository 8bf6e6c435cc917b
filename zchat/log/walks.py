"""Two ways through the batches of a log in offset order: the table itself, and the index room by room.

Rules of this file
1. A walk yields sound rows only. What it passes over shows in the links (`links.py`), not here.
2. Rows are taken in chunks that are read whole: no cursor stays half read, which would let the WAL grow.
3. The index is trusted as long as it agrees with the rows; else IndexDamaged, and the table has the word.

    few rooms    by_rooms: merge the rooms' walks through the index; its rows lie scattered
    many rooms   by_table: take the rows as they lie, skip other rooms'; if that skips too much, by_rooms

Tests: tests/log/test_walks.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterable, Iterator
from heapq import merge

from zchat.log.schema import ROW, Row, is_sound, is_unreadable

CHUNK_ROWS_MAX = 512
CHUNK_BYTES_MAX = 1 << 20  # a chunk of so many bytes is not followed by a larger one
SKIPPED_ROWS_MAX = 1_000  # of other rooms in a row: a look into the index is cheaper then
SKIPPED_BYTES_MAX = 2 << 20
OFFSET_MAX = (1 << 63) - 1
UNREADABLE = -1
PASSED_ROWS_MAX = 200_000  # by a walk that only the table can serve: about half a second, then the page ends

_TABLE = f"SELECT {ROW} FROM batches NOT INDEXED WHERE base BETWEEN ? AND ? ORDER BY base LIMIT ?"
_ROOM = f"""SELECT {ROW} FROM batches INDEXED BY batches_of_room
    WHERE room = ? AND base BETWEEN ? AND ? ORDER BY base LIMIT ?"""
_ROOM_PLACE = """SELECT base, records FROM batches INDEXED BY batches_of_room
    WHERE room = ? AND base BETWEEN ? AND ? ORDER BY base LIMIT ?"""
_NEXT = "SELECT base FROM batches NOT INDEXED WHERE base BETWEEN ? AND ? ORDER BY base LIMIT 1"
_AT = f"SELECT {ROW} FROM batches NOT INDEXED WHERE base = ?"
_BEFORE = "SELECT base, records FROM batches NOT INDEXED WHERE base <= ? ORDER BY base DESC LIMIT 1"


class IndexDamaged(Exception):
    """The index says something that the rows do not."""


class Sparse(Exception):
    """The table has too few of the rooms asked for; `position` is where the walk stopped."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


def across(connection: sqlite3.Connection, offset: int) -> Row | None:
    """The sound row of the one batch of the log that has records both at or below and above an offset."""
    try:
        found = connection.execute(_BEFORE, (offset,)).fetchone()
        if found is None or found[0] + found[1] - 1 <= offset:
            return None
        row: Row | None = connection.execute(_AT, (found[0],)).fetchone()
    except sqlite3.Error as error:
        if not is_unreadable(error):
            raise
        return None
    return row if row is not None and is_sound(*row) else None


def by_table(
    connection: sqlite3.Connection, first: int, end: int, wanted: Container[int], skipped_max: int = SKIPPED_ROWS_MAX
) -> Iterator[Row]:
    """The rows as they lie. What cannot be read is passed over. Raises Sparse."""
    position, rows = first, 8
    skipped = skipped_bytes = 0
    while position <= end:
        try:
            chunk = connection.execute(_TABLE, (position, end, rows)).fetchall()
        except sqlite3.Error as error:
            if not is_unreadable(error):
                raise
            # One by one up to the row that cannot be read, so that those before it are served.
            position = position if rows > 1 else behind(connection, position, end)
            rows = 1
            continue
        for row in chunk:
            position = row[0] + 1
            if row[1] in wanted:
                if is_sound(*row):
                    skipped = skipped_bytes = 0
                    yield row
            else:
                skipped += 1
                skipped_bytes += len(row[6])
        if len(chunk) < rows:
            return
        if skipped > skipped_max or (skipped_bytes > SKIPPED_BYTES_MAX and skipped_max == SKIPPED_ROWS_MAX):
            raise Sparse(position)
        rows = _next_size(rows, chunk)


def by_rooms(connection: sqlite3.Connection, rooms: Iterable[int], first: int, end: int) -> Iterator[Row]:
    """The rows of some rooms, by the index. Raises IndexDamaged."""
    walks = [_by_room(connection, room, first, end) for room in rooms]
    return walks[0] if len(walks) == 1 else merge(*walks)


def places(connection: sqlite3.Connection, room: int, first: int, end: int, limit: int = -1) -> list[tuple[int, int]]:
    """First and last offset of the batches of a room that begin in a range, as the index has them."""
    try:
        rows = connection.execute(_ROOM_PLACE, (room, first, end, limit)).fetchall()
        return [(base, base + records - 1) for base, records in rows]
    except sqlite3.Error as error:
        if not is_unreadable(error):
            raise
        return []


def next_of(connection: sqlite3.Connection, room: int, first: int) -> Row | None:
    """The next batch of a room, when it is sound."""
    try:
        row: Row | None = connection.execute(_ROOM, (room, first, OFFSET_MAX, 1)).fetchone()
    except sqlite3.Error as error:
        if not is_unreadable(error):
            raise
        return None
    return row if row is not None and row[1] == room and is_sound(*row) else None


def _by_room(connection: sqlite3.Connection, room: int, first: int, end: int) -> Iterator[Row]:
    position, rows = first, 4
    while position <= end:
        try:
            chunk = connection.execute(_ROOM, (room, position, end, rows)).fetchall()
        except sqlite3.Error as error:
            if not is_unreadable(error):
                raise
            if rows == 1:  # this one row: pass over it, if its place at least is known
                at = places(connection, room, position, end, 1)
                if not at:
                    raise IndexDamaged from error
                position = at[0][0] + 1
            rows = 1
            continue
        for row in chunk:
            if row[0] < position or row[1] != room:
                raise IndexDamaged
            position = row[0] + 1
            if is_sound(*row):
                yield row
            elif _is_sound_there(connection, row[0]):
                raise IndexDamaged
        if len(chunk) < rows:
            return
        rows = _next_size(rows, chunk)


def _is_sound_there(connection: sqlite3.Connection, base: int) -> bool:
    """Whether the row is sound by itself, so that it is the index that has another place for it."""
    row = connection.execute(_AT, (base,)).fetchone()
    return row is None or is_sound(*row)


def _next_size(rows: int, chunk: list[Row]) -> int:
    """Start small, for a page may need only one; then grow, for a query costs more than a row."""
    if sum(len(row[6]) for row in chunk) > CHUNK_BYTES_MAX:
        return rows
    return min(2 * rows, CHUNK_ROWS_MAX)


def behind(connection: sqlite3.Connection, position: int, end: int) -> int:
    """The lowest offset above what cannot be read at a position."""
    base = _next_base(connection, position, end)
    if base != UNREADABLE:  # its frame only: the page that it begins in is sound
        return base + 1
    reach = 1
    while _next_base(connection, position + reach, end) == UNREADABLE:
        reach *= 2
    low, high = reach // 2, reach  # unreadable from position + low, readable from position + high
    while high - low > 1:
        middle = (low + high) // 2
        if _next_base(connection, position + middle, end) == UNREADABLE:
            low = middle
        else:
            high = middle
    return position + high


def _next_base(connection: sqlite3.Connection, position: int, end: int) -> int:
    """The next row's, `end` when there is none, UNREADABLE when the page that would tell cannot be read."""
    if position > end:
        return end
    try:
        found = connection.execute(_NEXT, (position, end)).fetchone()
    except sqlite3.Error as error:
        if not is_unreadable(error):
            raise
        return UNREADABLE
    return int(found[0]) if found else end
