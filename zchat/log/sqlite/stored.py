"""Rows of the tables of a log, as they are stored: each proves itself by a checksum.

Rules of this file
1. A changed bit can change the type of a value, too: whoever reads a row asks whether it is sound.
2. A batch has its checksum over its frame and its place; a row of any other table over all of its values.

Tests: tests/log/sqlite/test_stored.py.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

from zchat.log.sqlite.state import RoomRow

LATER = (  # columns of `rooms`
    "trimmed_time",
    "presence",
    "presence_bytes",
    "presence_trimmed",
    "presence_time",
    "purged",
)

_place = struct.Struct("<QQIIQ").pack
_packed = msgspec.msgpack.Encoder().encode


class BatchRow(NamedTuple):
    """Of `batches`: one batch as it lies on the disk. A changed bit can change the type of a value."""

    base: int
    room: int  # its id
    kind: int
    records: int
    time: int
    crc: int
    frame: bytes

    @classmethod
    def sealed(cls, base: int, room: int, kind: int, records: int, time: int, frame: bytes) -> BatchRow:
        """With its checksum."""
        return cls(base, room, kind, records, time, checksum(base, room, kind, records, time, frame), frame)

    @property
    def last(self) -> int:
        """The offset of its last record."""
        return self.base + self.records - 1


ROW = ", ".join(BatchRow._fields)


class StoredSession(NamedTuple):
    """Of `sessions`."""

    session: str
    user: str
    last_seq: int
    seen: int
    rooms: bytes  # JSON: room -> member since
    crc: int


class StoredCursor(NamedTuple):
    """Of `cursors`."""

    user: str
    name: str
    offset: int
    time: int
    crc: int


class StoredGroup(NamedTuple):
    """Of `groups`."""

    room: str
    name: str
    upto: int
    max_deliveries: int
    time: int
    pending: bytes  # JSON: first, last, deliveries of each run
    crc: int


class StoredScheduled(NamedTuple):
    """Of `scheduled`."""

    owner: str
    id: str
    user: str
    session: str
    room: str
    due: int
    origin: str
    records: bytes
    crc: int


class StoredStart(NamedTuple):
    """Of `starts`."""

    number: int
    start: str
    head: int
    crc: int


def checksum(base: int, room: int, kind: int, records: int, time: int, frame: bytes) -> int:
    """Of a row of `batches`."""
    return crc32(frame, crc32(_place(base, room, kind, records, time)))


def is_sound(base: int, room: int, kind: int, records: int, time: int, crc: int, frame: bytes) -> bool:
    """Whether a row of `batches` is what was written. A changed bit can change the type of a value, too."""
    try:
        return checksum(base, room, kind, records, time, frame) == crc
    except (TypeError, struct.error):
        return False


def sealed(*values: Any) -> tuple[Any, ...]:
    """A row of any other table, with its CRC at the end."""
    return (*values, crc32(_packed(values)))


def is_sealed(row: tuple[Any, ...]) -> bool:
    """Whether a row ends with its CRC."""
    return sealed(*row[:-1]) == row


def sealed_room(row: RoomRow) -> tuple[Any, ...]:
    """A row of `rooms`. Zeros of what came later are not covered by its CRC: an older log does not have them."""
    known, later = row[: -len(LATER)], row[-len(LATER) :]
    covered: tuple[Any, ...] = row
    while len(covered) > len(known) and covered[-1] == 0:
        covered = covered[:-1]
    return (*known, crc32(_packed(covered)), *later)


def room_of(row: tuple[Any, ...]) -> RoomRow | None:
    """What is in a row of `rooms`, of any version; None when it is not what was written."""
    known = len(RoomRow._fields) - len(LATER)
    later = (*row[known + 1 :], *(0,) * len(LATER))[: len(LATER)]
    room = RoomRow._make((*row[:known], *later))
    return room if sealed_room(room)[: len(row)] == row else None
