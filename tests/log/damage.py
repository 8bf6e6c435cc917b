"""Logs that were damaged, and the rule that holds for them: served as it was written, or told as a gap."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from tests.log.contract import Scribe, read_all
from zchat import wire
from zchat.core.log import CursorRow, GroupRow, LogPage, ScheduledRow, SessionRow, StoredBatch
from zchat.log.sqlite import schema, stored
from zchat.log.sqlite.log import SqliteLog


def written(folder: Path, rooms: int = 3, batches: int = 200, size: int = 200) -> list[StoredBatch]:
    """A closed log in that folder, everything in its one file; returns what is in it."""
    chance = random.Random(7)
    log = SqliteLog(folder, sync="normal")
    scribe = Scribe(log)
    kept = [
        scribe.batch(
            f"r{chance.randrange(rooms)}", *[chance.randbytes(chance.randrange(1, size))] * chance.randint(1, 3)
        )
        for _ in range(batches)
    ]
    scribe.keep(
        *kept,
        sessions=[SessionRow("s", "alice", 1, 2, {"r0": 1})],
        cursors=[CursorRow("alice", "x", 1, 2)],
        groups=[GroupRow("r0", "workers", 9, 3, 2, [(4, 5, 1)])],
        scheduled=[ScheduledRow("alice", "5f3a", "alice", "s", "r0", 9, "-", b"\x91\xc4\x01x")],
        seen={"bob": 1},
    )
    log.close()
    return kept


def copied(folder: Path, to: Path) -> Path:
    """The database of another folder, alone."""
    to.mkdir(exist_ok=True)
    shutil.copy(folder / schema.FILE, to / schema.FILE)
    return to


def change(folder: Path, statement: str, values: Iterable[object] = ()) -> None:
    """Change the database behind the log's back."""
    connection = sqlite3.connect(folder / schema.FILE)
    with connection:
        connection.execute(statement, list(values))
    connection.close()


def as_version_1(folder: Path) -> None:
    """Make a closed log what a zchat wrote that did not know the times of what it had removed."""
    change(folder, "PRAGMA user_version=1")
    _without_columns(folder, stored.LATER)


def as_version_2(folder: Path) -> None:
    """Make a closed log what a zchat wrote that counted joins and leaves as messages."""
    change(folder, "PRAGMA user_version=2")
    _without_columns(folder, stored.LATER[1:])


def _without_columns(folder: Path, names: tuple[str, ...]) -> None:
    change(folder, "DROP INDEX rooms_thinned")
    for name in names:
        change(folder, f"ALTER TABLE rooms DROP COLUMN {name}")
    connection = sqlite3.connect(folder / schema.FILE)
    with connection:
        for row in connection.execute("SELECT * FROM rooms").fetchall():
            covered = [*row[:7], *(value for value in row[8:] if value)]
            connection.execute("UPDATE rooms SET crc = ? WHERE id = ?", [stored.sealed(*covered)[-1], row[0]])
    connection.close()


def flip(folder: Path, position: int, bit: int = 0) -> None:
    """Change one bit of the file."""
    with (folder / schema.FILE).open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1 << bit]))


def pages_of(folder: Path, name: str, kind: str = "leaf") -> list[int]:
    """Where the pages of a table or index begin in the file."""
    connection = sqlite3.connect(folder / schema.FILE)
    rows = connection.execute(
        "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = ? ORDER BY path", (name, kind)
    ).fetchall()
    connection.close()
    return [(number - 1) * schema.PAGE_BYTES for (number,) in rows]


def overwrite(folder: Path, position: int, what: bytes) -> None:
    """Put something else there."""
    with (folder / schema.FILE).open("r+b") as file:
        file.seek(position)
        file.write(what)


def silent(log: SqliteLog, kept: list[StoredBatch], patterns: list[str], bytes_max: int = 1 << 20) -> list[int]:
    """Where the batches begin that were neither served nor told of. Anything served wrongly fails at once."""
    page = read_all(log, patterns, bytes_max)
    by_base = {batch.base: batch for batch in kept}
    served = set()
    for room, frame in page.batches:
        batch = by_base[wire.decode_raw_batch(frame).base]
        assert (batch.room, batch.frame) == (room, frame), "what was served is not what was written"
        assert batch.base not in served, "served twice"
        served.add(batch.base)
    asked_for = [batch for batch in kept if patterns == ["**"] or batch.room in patterns]
    return [batch.base for batch in asked_for if (batch.base in served) == is_told(page, batch)]


def is_told(page: LogPage, batch: StoredBatch) -> bool:
    """Whether a gap has the whole batch in it."""
    last = batch.base + batch.records - 1
    return any(room == batch.room and first <= batch.base and last <= end for room, first, end, _ in page.gaps)
