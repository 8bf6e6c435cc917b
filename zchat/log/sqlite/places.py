"""Where the batches of a log lie, without their frames: what trimming goes through.

Rules of this file
1. No checksum covers what is read here without its frame: damage may have changed a value, and its type.
2. What cannot be read is passed over. No batch reaches beyond where the next one begins.

Tests: tests/log/sqlite/test_places.py.
"""

from __future__ import annotations

import sqlite3
from typing import Any, NamedTuple

from zchat.log.sqlite.scans import Scanner
from zchat.log.sqlite.schema import PAGE_BYTES, is_unreadable
from zchat.wire import OFFSET_MAX

CHUNK_ROWS = 64
CHUNK_ROWS_MIN = 8
CHUNK_BYTES = 64 * 1024  # of pages that a chunk lies in, which may have to come from the disk

_OLDEST = """SELECT base, time FROM batches INDEXED BY batches_of_room WHERE room = ? ORDER BY base LIMIT 1"""
_FROM = """SELECT base, room, kind, records, time, length(frame) FROM batches NOT INDEXED
    WHERE base >= ? ORDER BY base LIMIT ?"""
_OF_ROOM = """SELECT base, kind, records FROM batches INDEXED BY batches_of_room
    WHERE room = ? AND base > ? ORDER BY base LIMIT ?"""
_AT = "SELECT time, length(frame) FROM batches NOT INDEXED WHERE base = ?"
_BETWEEN = """SELECT base FROM batches INDEXED BY batches_of_room
    WHERE room = ? AND base > ? AND base < ? LIMIT 1"""


class StoredPlace(NamedTuple):
    """One batch without its frame."""

    base: int
    room: int  # its id
    kind: int
    records: int
    time: int
    size: int  # of its frame

    @property
    def is_sound(self) -> bool:
        """Whether what is reckoned with are numbers."""
        return type(self.records) is type(self.time) is type(self.size) is int

    @property
    def last(self) -> int:
        """The offset of its last record."""
        return self.base + self.records - 1


class IndexEntry(NamedTuple):
    """What the index of the rooms says of a batch."""

    base: int
    kind: int
    records: int


class Oldest(NamedTuple):
    """The oldest batch of a room."""

    base: int
    time: int


class Places:
    """The places in one database, by the connection of its writer."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._chunk_rows = CHUNK_ROWS_MIN

    def oldest(self, room: int) -> Oldest | None:
        """The oldest batch of a room; None: there is none, or it cannot be read."""
        found = self._select(_OLDEST, (room,))
        return Oldest._make(found[0]) if found else None

    def of_room(self, room: int, after: int, limit: int) -> list[IndexEntry] | None:
        """The batches of a room that begin above an offset; None: one of them cannot be read."""
        found = self._select(_OF_ROOM, (room, after, limit))
        return None if found is None else [IndexEntry._make(row) for row in found]

    def of_entry(self, room: int, entry: IndexEntry) -> StoredPlace | None:
        """The batch of an entry; None: it cannot be read."""
        found = self._select(_AT, (entry.base,))
        place = StoredPlace(entry.base, room, entry.kind, entry.records, *found[0]) if found else None
        return place if place is not None and place.is_sound else None

    def has_between(self, room: int, after: int, before: int) -> bool:
        """Whether a batch of the room begins between two offsets, or may."""
        return self._select(_BETWEEN, (room, after, before)) != []

    def chunk(self, position: int) -> tuple[list[StoredPlace], int]:
        """The next batches from an offset on, and where to go on."""
        while position < OFFSET_MAX:
            for rows in (self._chunk_rows, 2, 1):  # few, to come close to what cannot be read
                selected = self._select(_FROM, (position, rows))
                if selected is not None:
                    return self._cut([StoredPlace._make(row) for row in selected], rows)
            position = Scanner(self._connection).behind(position, OFFSET_MAX - 1)
        return [], position

    def _cut(self, found: list[StoredPlace], rows: int) -> tuple[list[StoredPlace], int]:
        """The same, of what was found where `rows` were asked for."""
        self._chunk_rows = _rows_of_next(found)
        is_last = len(found) < rows
        following = [place.base for place in found[1:]]
        if is_last or rows == 1:
            following.append(OFFSET_MAX)
        places = [
            place._replace(records=min(place.records, next_base - place.base))
            for place, next_base in zip(found, following, strict=False)
            if place.is_sound
        ]
        return places, OFFSET_MAX if is_last else found[-1].base + (rows == 1)

    def _select(self, statement: str, values: tuple[int, ...]) -> list[Any] | None:
        """All rows; None: one of them cannot be read."""
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            if not is_unreadable(error):
                raise
            return None


def _rows_of_next(chunk: list[StoredPlace]) -> int:
    """How many rows lie in about `CHUNK_BYTES` of pages, when they are like these."""
    sizes = [min(place.size, PAGE_BYTES) for place in chunk if type(place.size) is int]
    return max(CHUNK_ROWS_MIN, min(CHUNK_ROWS, CHUNK_BYTES * len(sizes) // (sum(sizes) or 1)))
