"""Trimming a log in steps that are short enough to come between commits.

Rules of this file
1. A step is one transaction of at most `STEP_SECONDS`; nothing is held over from one to the next.
2. What is to be removed follows from the rooms' rows and the oldest batches alone.

Tests: tests/log/test_trimming.py.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator

from zchat.log import Keep
from zchat.log.state import RoomRow, RoomStates

STEP_SECONDS = 0.005
CHUNK_ROWS = 64


def steps(connection: sqlite3.Connection, rooms: RoomStates, keep: list[Keep], now: int) -> Iterator[None]:
    """Remove what no rule keeps; each `next` is one step. Raises sqlite3.Error, perhaps within a transaction."""
    for rule in keep:
        for room_id in list(rooms.matching([rule.pattern]).ids):
            while _step(connection, rooms, room_id, rule, now):
                yield


def _step(connection: sqlite3.Connection, rooms: RoomStates, room_id: int, rule: Keep, now: int) -> bool:
    """One room, one rule. Returns whether something was removed."""
    ends = time.monotonic() + STEP_SECONDS
    row = rooms.row(room_id)
    oldest = now - int(rule.age_seconds * 1_000_000) if rule.age_seconds else 0
    removed = 0
    connection.execute("BEGIN IMMEDIATE")
    batches = connection.execute(
        "SELECT base, records, time, length(frame) FROM batches WHERE room = ? ORDER BY base LIMIT ?",
        (room_id, CHUNK_ROWS),
    ).fetchall()
    for base, records, micros, size in batches:
        last = base + records - 1
        too_many = rule.records and row.records - records >= rule.records
        too_large = rule.bytes and row.bytes > rule.bytes
        if last >= row.last or not (too_many or too_large or micros < oldest) or time.monotonic() > ends:
            break
        connection.execute("DELETE FROM batches WHERE base = ?", (base,))
        row = RoomRow(row.id, row.name, row.last, row.time, row.records - records, row.bytes - size, last)
        removed += 1
    if removed:
        connection.execute(
            "UPDATE rooms SET records = ?, bytes = ?, trimmed = ? WHERE id = ?",
            (row.records, row.bytes, row.trimmed, room_id),
        )
    connection.execute("COMMIT")
    rooms.commit([row])
    return removed > 0
