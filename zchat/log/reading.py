"""Reading a log: pages, and where to start.

Rules of this file
1. Everything here runs within one snapshot on a connection that only reads, and leaves no cursor half read.

Tests: tests/log/test_reading.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from zchat import wire
from zchat.log import LogPage, schema
from zchat.log.state import Matched, RoomStates

TAIL_BATCHES = 4096  # searched for a repeated publish
CHUNK_ROWS = 256

Row = tuple[int, int, int, int, int, int, bytes]
_COLUMNS = "base, room, kind, records, time, crc, frame"


def page(
    connection: sqlite3.Connection,
    rooms: RoomStates,
    patterns: list[str],
    after: int,
    until: int,
    limit: int,
    bytes_max: int,
) -> LogPage:
    """See `Log.read`."""
    end = min(until, rooms.head) if until else rooms.head
    matched = rooms.matching(patterns)
    batches: list[tuple[str, bytes]] = []
    damaged: list[tuple[str, int, int, str]] = []
    records = size = 0
    upto, more = end, False
    for row in _rows(connection, matched, after, end):
        base, room, _, count, _, _, frame = row
        if room not in matched or base + count - 1 <= after:
            continue
        if (batches or damaged) and (size >= bytes_max or (limit and records >= limit)):
            more = True
            break
        upto = base + count - 1
        if schema.is_sound(*row):
            batches.append((matched.names[room], frame))
            records += count
            size += len(frame)
        else:
            damaged.append((matched.names[room], base, upto, "damaged"))
    if not more:
        upto = end
    return LogPage(batches, upto, more, damaged + _trimmed(connection, matched, after, upto))


def _rows(connection: sqlite3.Connection, matched: Matched, after: int, end: int) -> Iterator[Row]:
    found = connection.execute("SELECT max(base) FROM batches WHERE base <= ?", (after,)).fetchone()[0]
    base = found or 0
    if len(matched.ids) == 1:
        sql = f"SELECT {_COLUMNS} FROM batches WHERE room = {matched.ids[0]} AND base BETWEEN ? AND ? ORDER BY base"
    else:
        sql = f"SELECT {_COLUMNS} FROM batches WHERE base BETWEEN ? AND ? ORDER BY base"
    rows = 16
    while True:
        chunk = connection.execute(f"{sql} LIMIT ?", (base, end, rows)).fetchall()
        yield from chunk
        if len(chunk) < rows:
            return
        base = chunk[-1][0] + 1
        rows = min(2 * rows, CHUNK_ROWS)


def _trimmed(
    connection: sqlite3.Connection, matched: Matched, after: int, upto: int
) -> list[tuple[str, int, int, str]]:
    rows = connection.execute("SELECT id, trimmed FROM rooms WHERE trimmed > max(?, 0)", (after,)).fetchall()
    return [
        (matched.names[room], after + 1, min(trimmed, upto), "trimmed")
        for room, trimmed in rows
        if room in matched and upto > after
    ]


def seek_last(connection: sqlite3.Connection, rooms: RoomStates, patterns: list[str], last: int, presence: bool) -> int:
    """Where the last records start."""
    matched = rooms.matching(patterns)
    where = f"room = {matched.ids[0]} AND base < ?" if len(matched.ids) == 1 else "base < ?"
    base = 1 << 62
    rows = 16
    while True:
        chunk = connection.execute(
            f"SELECT base, room, kind, records FROM batches WHERE {where} ORDER BY base DESC LIMIT ?", (base, rows)
        ).fetchall()
        for base, room, kind, records in chunk:
            if room not in matched or (kind == wire.PRESENCE and not presence):
                continue
            if last <= records:
                return int(base + records - last - 1)
            last -= records
        if len(chunk) < rows:
            return 0
        rows = min(2 * rows, 4096)


def seek_time(connection: sqlite3.Connection, rooms: RoomStates, since: int) -> int:
    """Where what is not older starts: times rise with the offsets, so a binary search finds it."""
    low, high = 0, rooms.head + 1  # everything at or below low is older; nothing from high on is
    while high - low > 1:
        middle = (low + high) // 2
        row = connection.execute(
            "SELECT base, time FROM batches WHERE base BETWEEN ? AND ? ORDER BY base LIMIT 1", (middle, high - 1)
        ).fetchone()
        if row is None or row[1] >= since:
            high = middle
        else:
            low = row[0]
    return min(high - 1, rooms.head)


def find(connection: sqlite3.Connection, session: str, seq: int) -> int:
    """The offset of that publish in the newest batches; 0: not there."""
    bases = connection.execute("SELECT base FROM batches ORDER BY base DESC LIMIT ?", (TAIL_BATCHES,)).fetchall()
    needle = session.encode()
    for (base,) in bases:
        (frame,) = connection.execute("SELECT frame FROM batches WHERE base = ?", (base,)).fetchone()
        if needle not in frame:
            continue
        offset = int(base)
        for entry in wire.decode_raw_batch(frame).entries:
            if (entry.session, entry.seq) == (session, seq):
                return offset
            offset += len(wire.decode_records(entry.records))
    return 0
