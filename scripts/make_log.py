#!/usr/bin/env python3
"""make_log.py: makes a log of millions of records, to try a broker on.

    .venv/bin/python scripts/make_log.py /var/tmp/large --records 20000000 --per-batch 1 --rooms 100
    .venv/bin/zchat broker --data /var/tmp/large

The rooms are load.0 … load.N-1, in turn; one user wrote everything, a record a millisecond, up to now. The
rows are what a broker would have written; only the commits are larger, and synced once.
Exit status: 0; 1 when it cannot be made; 2 usage.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from zchat import wire
from zchat.errors import StartError
from zchat.log.offline.building import Builder
from zchat.log.sqlite import schema, stored
from zchat.log.sqlite.folder import Folder
from zchat.log.sqlite.state import RoomRow

RECORD_MICROS = 1_000  # between one record and the next
USER, SESSION = "maker", "made-by-make-log"
TOLD_RECORDS = 50_000


def main() -> int:
    """Parse, make, say how long it took."""
    parser = argparse.ArgumentParser(description="Make a log of many records.")
    parser.add_argument("folder", type=Path, help="made where it is not there; it must hold no log yet")
    parser.add_argument("--records", type=int, default=1_000_000, help="how many (default: %(default)s)")
    parser.add_argument("--per-batch", type=int, default=1, help="records in a batch (default: %(default)s)")
    parser.add_argument("--rooms", type=int, default=1, help="that take turns, batch by batch (default: %(default)s)")
    parser.add_argument("--bytes", type=int, default=128, help="of a body (default: %(default)s)")
    wanted = parser.parse_args()
    if min(wanted.records, wanted.per_batch, wanted.rooms, wanted.bytes) < 1:
        parser.error("every number is at least 1")
    path = wanted.folder / schema.FILE
    began = time.monotonic()
    try:
        folder = Folder(wanted.folder)
        try:
            if path.exists():
                raise StartError(f"{path} is there already")
            make(path, wanted.records, wanted.per_batch, wanted.rooms, bytes(wanted.bytes))
        finally:
            folder.close()
    except StartError as error:
        print(f"make_log: {error}", file=sys.stderr)
        return 1
    seconds = time.monotonic() - began
    print(f"make_log: {path}: {path.stat().st_size >> 20} MB in {seconds:.0f} s", file=sys.stderr)
    return 0


def make(path: Path, records: int, per_batch: int, rooms: int, body: bytes) -> None:
    """The whole log."""
    told = 0
    with Builder(path) as builder:
        for number in range(min(rooms, -(-records // per_batch))):
            builder.room(RoomRow(number + 1, f"load.{number}", 0, 0, 0, 0, 0))
        for row in batches(records, per_batch, rooms, body):
            builder.add(row)
            if row[0] >= told:
                tell(f"{row[0]:,} of {records:,} records")
                told += TOLD_RECORDS
        tell("sync")
        builder.finish()
    tell("")


def batches(records: int, per_batch: int, rooms: int, body: bytes) -> Iterator[stored.BatchRow]:
    """The rows, in order."""
    lasts = [0] * rooms
    first = time.time_ns() // 1000 - records * RECORD_MICROS
    raw = wire.raw(wire.encode_records([body] * per_batch))
    for base in range(1, records + 1, per_batch):
        count = min(per_batch, records - base + 1)
        if count < per_batch:
            raw = wire.raw(wire.encode_records([body] * count))
        at = (base - 1) // per_batch % rooms
        micros = first + base * RECORD_MICROS
        entries = [wire.RawEntry(USER, SESSION, base, raw)]
        frame = wire.encode(wire.RawBatch(wire.MESSAGES, base, lasts[at], micros, entries))
        lasts[at] = base + count - 1
        yield stored.BatchRow.sealed(base, at + 1, wire.MESSAGES, count, micros, frame)


def tell(line: str) -> None:
    """Progress: on one line of a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
    elif line:
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
