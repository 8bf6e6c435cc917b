"""The log on disk: one SQLite database, a thread that writes it, and connections that read it.

Rules of this file
1. Only the writer thread writes. One append is one commit; `done` is called after it, from that thread.
2. Reads borrow a connection of their own and give it back with nothing half read.
3. No work in Python for each record.

Spec: `zchat.log.Log`. Tests: tests/log/test_sqlite.py, which runs the contract.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from zchat.errors import LogError, StartError
from zchat.log import Append, CursorRow, Keep, LogPage, SessionRow, reading, schema, trimming
from zchat.log.folder import Folder
from zchat.log.state import RoomRow, RoomStates

READERS = 3  # opened at start, so that none needs a descriptor later: two reader threads and the loop
TRIM_SHARE = 4  # a step of trimming is followed by so many times its own time without one

Done = Callable[[LogError | None], None]
Task = tuple[Append, Done] | tuple[list[Keep], int] | None

_rooms_encoder = msgspec.json.Encoder()
_rooms_decoder = msgspec.json.Decoder(dict[str, int])

INSERT_BATCH = "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?)"
UPSERT_ROOM = """INSERT INTO rooms (id, name, last, time, records, bytes, trimmed) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET last = excluded.last, time = excluded.time,
    records = excluded.records, bytes = excluded.bytes, trimmed = excluded.trimmed"""


class SqliteLog:
    """See `zchat.log.Log`."""

    def __init__(self, folder: Path, sync: str = "full") -> None:
        """Open the log in that folder, or make one. Raises StartError."""
        self._folder = Folder(folder)
        self._idle: list[sqlite3.Connection] = []
        self._closed = False
        try:
            path = folder / schema.FILE
            if not path.exists():
                schema.create(path)
            self._writer = schema.writer(path, sync)
            rows = self._writer.execute("SELECT id, name, last, time, records, bytes, trimmed FROM rooms")
            self._rooms = RoomStates(map(RoomRow._make, rows))
            meta = dict(self._writer.execute("SELECT key, value FROM meta"))
            self._path = path
            self._idle += [schema.reader(path) for _ in range(READERS)]
        except sqlite3.Error as error:
            self._folder.close()
            raise StartError(f"cannot open the log in {folder}: {error}") from error
        self.log_id = meta["log_id"].decode()
        self.secret: bytes = meta["secret"]
        self._tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self._trimming: Iterator[None] | None = None
        self._thread = threading.Thread(target=self._write, name="zchat-log", daemon=True)
        self._thread.start()

    def append(self, append: Append, done: Done) -> None:
        """Hand it to the writer thread."""
        if self._closed:
            done(LogError("log-failed", "the log is closed"))
        else:
            self._tasks.put((append, done))

    def read(self, patterns: list[str], after: int, until: int, limit: int, bytes_max: int) -> LogPage:
        """A page, read within one snapshot of the database."""
        with self._reading() as connection:
            return reading.page(connection, self._rooms, patterns, after, until, limit, bytes_max)

    def seek(self, patterns: list[str], last: int, since: int, presence: bool) -> int:
        """By the index, back from the newest; a time by binary search."""
        with self._reading() as connection:
            if last:
                return reading.seek_last(connection, self._rooms, patterns, last, presence)
            return reading.seek_time(connection, self._rooms, since)

    def find(self, session: str, seq: int) -> int:
        """In the newest batches."""
        with self._reading() as connection:
            return reading.find(connection, session, seq)

    def head(self) -> int:
        """Of the last commit."""
        return self._rooms.head

    def last_time(self) -> int:
        """Of the last commit."""
        return self._rooms.time

    def rooms(self) -> dict[str, int]:
        """Of the last commit."""
        return self._rooms.lasts()

    def sessions(self) -> list[SessionRow]:
        """In no order."""
        with self._reading() as connection:
            rows = connection.execute("SELECT session, user, last_seq, seen, rooms FROM sessions").fetchall()
        return [SessionRow._make((*facts, _rooms_decoder.decode(rooms))) for *facts, rooms in rows]

    def users_seen(self, limit: int) -> list[tuple[str, int]]:
        """Latest first."""
        with self._reading() as connection:
            return connection.execute("SELECT user, seen FROM seen ORDER BY seen DESC LIMIT ?", (limit,)).fetchall()

    def cursors(self) -> list[CursorRow]:
        """In no order."""
        with self._reading() as connection:
            rows = connection.execute("SELECT user, name, offset, time FROM cursors").fetchall()
        return [CursorRow._make(row) for row in rows]

    def trim(self, keep: list[Keep], now: int) -> None:
        """Hand it to the writer thread."""
        if not self._closed:
            self._tasks.put((keep, now))

    def close(self) -> None:
        """Keep what was taken, end the thread, move everything into the database file."""
        if self._closed:
            return
        self._closed = True
        self._tasks.put(None)
        self._thread.join()
        while self._idle:
            self._idle.pop().close()
        self._writer.close()
        self._folder.close()

    # --- the writer thread ------------------------------------------------------------------

    def _write(self) -> None:
        next_step = 0.0
        while True:
            wait = None if self._trimming is None else max(0.0, next_step - time.monotonic())
            try:
                task = self._tasks.get(timeout=wait) if wait != 0.0 else None
            except queue.Empty:
                task = None
            else:
                if wait != 0.0 and task is None:
                    return
            if task is None:
                began = time.monotonic()
                self._trim_step()
                now = time.monotonic()
                next_step = now + TRIM_SHARE * (now - began)
            elif isinstance(task[0], Append):
                append, done = task
                done(self._commit(append))
            else:
                keep, now_micros = task
                self._trimming = trimming.steps(self._writer, self._rooms, keep, now_micros)

    def _trim_step(self) -> None:
        assert self._trimming is not None
        try:
            next(self._trimming)
        except StopIteration:
            self._trimming = None
        except sqlite3.Error:
            self._trimming = None
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")

    def _commit(self, append: Append) -> LogError | None:
        connection = self._writer
        try:
            connection.execute("BEGIN IMMEDIATE")
            changed = self._insert(append)
            connection.execute("COMMIT")
        except Exception as error:
            try:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            except sqlite3.Error:
                pass
            return schema.log_error(error)
        self._rooms.commit(changed)
        return None

    def _insert(self, append: Append) -> list[RoomRow]:
        """Everything in the transaction; returns the rows of rooms that it changes."""
        connection, rooms = self._writer, self._rooms
        changed: dict[str, RoomRow] = {}
        rows = []
        next_id = rooms.next_id
        for base, name, kind, records, micros, frame in append.batches:
            room = changed.get(name) or rooms.get(name)
            if room is None:
                room = RoomRow(next_id, name, 0, 0, 0, 0, 0)
                next_id += 1
            changed[name] = RoomRow(
                room.id, name, base + records - 1, micros, room.records + records, room.bytes + len(frame), room.trimmed
            )
            crc = schema.checksum(base, room.id, kind, records, micros, frame)
            rows.append((base, room.id, kind, records, micros, crc, frame))
        if rows:
            connection.executemany(INSERT_BATCH, rows)
            connection.executemany(UPSERT_ROOM, changed.values())
        if append.sessions:
            connection.executemany(
                "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?)",
                [(*row[:4], _rooms_encoder.encode(row.rooms)) for row in append.sessions],
            )
        if append.ended:
            connection.executemany("DELETE FROM sessions WHERE session = ?", [(each,) for each in append.ended])
        if append.seen:
            connection.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?)", append.seen.items())
        if append.cursors:
            connection.executemany("INSERT OR REPLACE INTO cursors VALUES (?, ?, ?, ?)", append.cursors)
        if append.dropped:
            connection.executemany("DELETE FROM cursors WHERE user = ? AND name = ?", append.dropped)
        return list(changed.values())

    # --- readers ----------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A connection within one snapshot."""
        with schema.translated():
            try:
                connection = self._idle.pop()
            except IndexError:
                if self._closed:
                    raise LogError("log-failed", "the log is closed") from None
                connection = schema.reader(self._path)
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                self._idle.append(connection)
