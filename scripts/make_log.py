#!/usr/bin/env python3
"""make_log.py: makes a log of millions of records, to try a broker on.

    .venv/bin/python scripts/make_log.py /var/tmp/large --records 20000000 --per-batch 1 --rooms 100
    .venv/bin/zchat broker --data /var/tmp/large

The rooms are load.0 … load.N-1, in turn; one user wrote everything, a record a millisecond, up to now. The
rows are what a broker would have written; only the commits are larger and not synced.
Exit status: 0; 1 when it cannot be made; 2 usage.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from zchat import wire
from zchat.errors import StartError
from zchat.log import schema
from zchat.log.folder import Folder
from zchat.log.state import RoomRow

COMMIT_ROWS = 50_000
RECORD_MICROS = 1_000  # between one record and the next
USER, SESSION = "maker", "made-by-make-log"
BODY_BYTES = 128

Rows = Iterator[schema.Row]


def main() -> int:
    """Parse, make, say how long it took."""
    parser = argparse.ArgumentParser(description="Make a log of many records.")
    parser.add_argument("folder", type=Path, help="made where it is not there; it must hold no log yet")
    parser.add_argument("--records", type=int, default=1_000_000, help="how many (default: %(default)s)")
    parser.add_argument("--per-batch", type=int, default=1, help="records in a batch (default: %(default)s)")
    parser.add_argument("--rooms", type=int, default=1, help="that take turns, batch by batch (default: %(default)s)")
    parser.add_argument("--bytes", type=int, default=BODY_BYTES, help="of a body (default: %(default)s)")
    wanted = parser.parse_args()
    if min(wanted.records, wanted.per_batch, wanted.rooms, wanted.bytes) < 1:
        parser.error("every number is at least 1")
    try:
        folder = Folder(wanted.folder)
    except StartError as error:
        print(f"make_log: {error}", file=sys.stderr)
        return 1
    try:
        path = wanted.folder / schema.FILE
        if path.exists():
            print(f"make_log: {path} is there already", file=sys.stderr)
            return 1
        began = time.monotonic()
        make(path, wanted.records, wanted.per_batch, wanted.rooms, wanted.bytes)
        seconds = time.monotonic() - began
        print(f"make_log: {path}: {path.stat().st_size >> 20} MB in {seconds:.0f} s", file=sys.stderr)
    finally:
        folder.close()
    return 0


def make(path: Path, records: int, per_batch: int, rooms: int, body_bytes: int) -> None:
    """The whole log."""
    schema.create(path)
    connection = schema.writer(path, "off")
    connection.execute("PRAGMA temp_store=FILE")  # the entries of a large index are no matter for memory
    # The index is made at the end, when its entries can be sorted.
    index = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'batches_of_room'").fetchone()[0]
    connection.execute("DROP INDEX batches_of_room")
    states = [RoomRow(number + 1, f"load.{number}", 0, 0, 0, 0, 0) for number in range(rooms)]
    rows = batches(states, records, per_batch, bytes(body_bytes))
    made = 0
    while chunk := list(islice(rows, COMMIT_ROWS)):
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?)", chunk)
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        made = chunk[-1][0] + chunk[-1][3] - 1
        tell(f"{made:,} of {records:,} records")
    tell("index")
    connection.execute(index)
    connection.execute("BEGIN")
    connection.executemany(schema.UPSERT_ROOM, [schema.sealed(*row) for row in states if row.last])
    connection.execute("COMMIT")
    tell("sync")
    finish(connection)
    tell("")


def batches(states: list[RoomRow], records: int, per_batch: int, body: bytes) -> Rows:
    """The rows, in order; `states` become the rooms' rows after them."""
    base, count = 1, min(per_batch, records)
    first = time.time_ns() // 1000 - records * RECORD_MICROS
    raw = wire.raw(wire.encode_records([body] * per_batch))
    while base <= records:
        if records - base + 1 < count:
            count = records - base + 1
            raw = wire.raw(wire.encode_records([body] * count))
        at = (base - 1) // per_batch % len(states)
        room, name, prev, _, kept, size, _ = states[at]
        micros = first + base * RECORD_MICROS
        frame = wire.encode(wire.RawBatch(wire.MESSAGES, base, prev, micros, [wire.RawEntry(USER, SESSION, base, raw)]))
        crc = schema.checksum(base, room, wire.MESSAGES, count, micros, frame)
        yield base, room, wire.MESSAGES, count, micros, crc, frame
        states[at] = RoomRow(room, name, base + count - 1, micros, kept + count, size + len(frame), 0)
        base += count


def finish(connection: sqlite3.Connection) -> None:
    """On disk, in one file."""
    schema.set_sync(connection, "full")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    connection.close()


def tell(line: str) -> None:
    """Progress, on one line of a terminal."""
    end = "" if sys.stderr.isatty() else "\n"
    if line or sys.stderr.isatty():
        print(f"\r\x1b[K{line}" if sys.stderr.isatty() else line, end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
