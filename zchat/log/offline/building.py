"""Making a whole log at once: for a repair, an import, and logs to try a broker on.

Rules of this file
1. It is made under another name and takes its place when it is whole and on disk: cut short, it leaves nothing.
2. Rows are written as a broker writes them; only the commits are larger, and synced once at the end.

Tests: tests/log/offline/test_building.py.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from zchat import wire
from zchat.core.log import CursorRow, LogStart
from zchat.errors import StartError
from zchat.log.sqlite import schema, starts, stored
from zchat.log.sqlite.state import RoomRow

SUFFIX = ".new"
COMMIT_ROWS = 10_000
COMMIT_BYTES = 32 << 20


class Builder:
    """A new log, as a context manager: left without `finish`, it is gone."""

    def __init__(self, path: Path, identity: schema.Identity | None = None) -> None:
        """`path` is its database. Raises StartError."""
        self._path = path
        self._making = path.with_name(path.name + SUFFIX)
        self._rows: list[stored.BatchRow] = []
        self._bytes = 0
        self._rooms: dict[int, RoomRow] = {}
        identity = identity or schema.new_identity()
        self.log_id = identity.log_id
        try:
            self._remove()
            schema.create(self._making, identity)
            self._connection = schema.writer(self._making, "off")
        except (OSError, sqlite3.Error) as error:
            raise StartError(f"cannot make {self._making}: {error}") from error

    def __enter__(self) -> Builder:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clear up; what SQLite has against it comes out as StartError."""
        self._connection.close()
        self._remove()
        if isinstance(error, sqlite3.Error | OSError):
            raise StartError(f"cannot write {self._path}: {error}") from error

    def room(self, row: RoomRow) -> None:
        """Know a room; batches that are added to it go on from its row."""
        self._rooms[row.id] = row

    def add(self, row: stored.BatchRow) -> None:
        """The next batch, in the order of their offsets, of a room that is known."""
        base, room, kind, records, time, _, frame = row
        known, last, size = self._rooms[room], base + records - 1, len(frame)
        self._rooms[room] = known.with_batch(last, time, records, size, presence=kind == wire.PRESENCE)
        self._rows.append(row)
        self._bytes += size
        if len(self._rows) >= COMMIT_ROWS or self._bytes >= COMMIT_BYTES:
            self._commit()

    def sessions(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Rows of `sessions`, sealed."""
        self._connection.executemany("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?)", rows)

    def seen(self, rows: Iterable[tuple[str, int]]) -> None:
        """Users who have gone."""
        self._connection.executemany("INSERT INTO seen VALUES (?, ?)", rows)

    def cursors(self, rows: Iterable[CursorRow]) -> None:
        """Cursors."""
        self._connection.executemany(
            "INSERT INTO cursors VALUES (?, ?, ?, ?, ?)", [stored.sealed(*row) for row in rows]
        )

    def groups(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Rows of `groups`, sealed."""
        self._connection.executemany("INSERT INTO groups VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def scheduled(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Rows of `scheduled`, sealed."""
        self._connection.executemany("INSERT INTO scheduled VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def starts(self, rows: Iterable[LogStart]) -> None:
        """Who wrote it before."""
        self._connection.execute("BEGIN")
        starts.save(self._connection, rows)
        self._connection.execute("COMMIT")

    def extend(self, room: int, last: int, trimmed: int = 0, trimmed_time: int = 0, purged: int = 0) -> None:
        """The room went on to that offset, also when that is gone."""
        row = self._rooms[room]
        row = row._replace(purged=max(row.purged, purged))
        if trimmed > row.trimmed:
            row = row._replace(trimmed=trimmed, trimmed_time=trimmed_time)
        self._rooms[room] = row._replace(last=max(row.last, last))

    def thinned(self, room: int, last: int, time: int) -> None:
        """Joins and leaves of a room are gone up to that offset, behind what stays."""
        self._rooms[room] = self._rooms[room]._replace(presence_trimmed=last, presence_time=time)
        self.extend(room, last)

    def lost(self, room: int, first: int, last: int) -> None:
        """These offsets of a room are not there, and that is known."""
        self._connection.execute("INSERT INTO lost VALUES (?, ?, ?)", (room, first, last))

    def knows(self, room: int) -> bool:
        """Whether batches of that room can be added."""
        return room in self._rooms

    def finish(self, before: Callable[[], object] | None = None) -> None:
        """Put it on disk and in its place; `before` is called when all but that is done. Raises sqlite3.Error."""
        self._commit()
        self._connection.execute("BEGIN")
        self._connection.executemany(schema.UPSERT_ROOM, map(stored.sealed_room, self._rooms.values()))
        self._connection.execute("COMMIT")
        schema.set_sync(self._connection, "full")
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self._connection.close()
        if before is not None:
            before()
        os.replace(self._making, self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _commit(self) -> None:
        self._connection.execute("BEGIN")
        self._connection.executemany("INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?)", self._rows)
        self._connection.execute("COMMIT")
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        self._rows, self._bytes = [], 0

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self._making.with_name(self._making.name + suffix).unlink(missing_ok=True)
