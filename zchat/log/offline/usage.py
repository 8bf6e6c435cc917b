"""What a log keeps, and for whom: so that its operator sees what others have made the broker keep.

Rules of this file: it reads a log that nobody has open, and counts what its rows say; batches are not read.
Tests: tests/log/offline/test_usage.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from zchat.log.offline import salvage
from zchat.log.sqlite.state import RoomRow

MOST = 20  # of each list


class RoomUsage(NamedTuple):
    """What one room has."""

    room: str
    records: int
    bytes: int  # of its batches
    time: int  # of the newest one, microseconds since 1970


class Usage(NamedTuple):
    """What there is, and the largest and newest of it."""

    rooms: int
    records: int
    bytes: int
    sessions: int
    cursors: int
    users_seen: int  # who have gone
    largest_rooms: list[RoomUsage]
    newest_rooms: list[RoomUsage]  # the one that was made last comes first
    sessions_of: list[tuple[str, int]]  # user, how many
    cursors_of: list[tuple[str, int]]


def usage(folder: Path) -> Usage:
    """Raises StartError when the folder is in use or holds nothing that can be read."""
    with salvage.reading(folder) as contents:
        rooms = sorted(contents.rooms.values())  # by their number, as they were made
        return Usage(
            len(rooms),
            sum(room.records for room in rooms),
            sum(room.bytes for room in rooms),
            len(contents.sessions),
            len(contents.cursors),
            len(contents.seen),
            _first(sorted(rooms, key=_bytes, reverse=True)),
            _first(reversed(rooms)),
            Counter(row.user for row in contents.sessions).most_common(MOST),
            Counter(row.user for row in contents.cursors).most_common(MOST),
        )


def _first(rooms: Iterable[RoomRow]) -> list[RoomUsage]:
    return [
        RoomUsage(room.name, room.records, room.bytes, room.time) for room, _ in zip(rooms, range(MOST), strict=False)
    ]


def _bytes(room: RoomRow) -> int:
    return room.bytes
