"""What one append changes in the tables of a log, within the transaction that its caller has begun.

Rules of this file
1. A record is never replaced: where a sound one has the offset, the append fails.
2. There is no work in Python for each record.

Tests: tests/log/sqlite/test_writing.py.
"""

from __future__ import annotations

import sqlite3

import msgspec

from zchat import wire
from zchat.core.log import Append, StoredBatch
from zchat.log.sqlite import schema, stored
from zchat.log.sqlite.scans import Scanner
from zchat.log.sqlite.state import RoomRow, RoomStates

INSERT_BATCH = "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?)"
UPSERT_SESSION = "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, ?)"
UPSERT_SEEN = "INSERT OR REPLACE INTO seen VALUES (?, ?)"
UPSERT_GROUP = "INSERT OR REPLACE INTO groups VALUES (?, ?, ?, ?, ?, ?, ?)"
UPSERT_SCHEDULED = "INSERT OR REPLACE INTO scheduled VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
UPSERT_CURSOR = "INSERT OR REPLACE INTO cursors VALUES (?, ?, ?, ?, ?)"

_json = msgspec.json.Encoder().encode


def insert(connection: sqlite3.Connection, rooms: RoomStates, append: Append) -> list[RoomRow]:
    """Everything that the append changes. Returns the rows of rooms as they are after it. Raises sqlite3.Error."""
    changed, rows = dict[str, RoomRow](), []
    next_id = rooms.next_id
    for base, name, kind, records, micros, frame in append.batches:
        room = changed.get(name) or rooms.get(name)
        if room is None:
            room = RoomRow(next_id, name, 0, 0, 0, 0, 0)
            next_id += 1
        presence = kind == wire.PRESENCE
        changed[name] = room.with_batch(base + records - 1, micros, records, len(frame), presence=presence)
        crc = stored.checksum(base, room.id, kind, records, micros, frame)
        rows.append((base, room.id, kind, records, micros, crc, frame))
    many = connection.executemany
    if rows:
        many(INSERT_BATCH, rows)
        many(schema.UPSERT_ROOM, map(stored.sealed_room, changed.values()))
    if append.sessions:
        many(UPSERT_SESSION, [stored.sealed(*row[:4], _json(row.rooms)) for row in append.sessions])
    if append.ended:
        many("DELETE FROM sessions WHERE session = ?", [(session,) for session in append.ended])
    if append.seen:
        many(UPSERT_SEEN, append.seen.items())
    if append.cursors:
        many(UPSERT_CURSOR, [stored.sealed(*row) for row in append.cursors])
    if append.dropped:
        many("DELETE FROM cursors WHERE user = ? AND name = ?", append.dropped)
    if append.groups:
        many(UPSERT_GROUP, [stored.sealed(*row[:5], _json(row.pending)) for row in append.groups])
    if append.removed:
        many("DELETE FROM groups WHERE room = ? AND name = ?", append.removed)
    if append.scheduled:
        many(UPSERT_SCHEDULED, [stored.sealed(*row) for row in append.scheduled])
    if append.forgotten:
        many("DELETE FROM scheduled WHERE owner = ? AND id = ?", append.forgotten)
    return list(changed.values())


def make_way(connection: sqlite3.Connection, batches: list[StoredBatch]) -> None:
    """Remove rows that are where these go and are no records: their offset was changed by damage."""
    scanner, within = Scanner(connection), (batches[0].base, batches[-1].base + batches[-1].records - 1)
    found = connection.execute("SELECT base FROM batches NOT INDEXED WHERE base BETWEEN ? AND ?", within).fetchall()
    for (base,) in found:
        if scanner.at(base) is None:
            connection.execute("DELETE FROM batches WHERE base = ?", (base,))
