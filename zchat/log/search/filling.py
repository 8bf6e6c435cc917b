"""Fills the index of words up to the head of the log, then ends: `python -m zchat.log.search.filling FOLDER`.

Rules of this file
1. It is a process of its own, with the lowest priority: to find words takes Python some microseconds a message, and
   beside the broker's loop a thread that does so would cost it as much.
2. It reads the log in short snapshots and works on what it read without one, so the WAL can begin anew meanwhile.
3. An index of another log, of a copy of it, of another version, or one that is damaged, is made again.
4. It ends when who started it has gone.
5. While the log grows faster than it can follow, it rests most of the time: the processor is the broker's.

    read some batches ─► find words ─► one commit: rows, and how far it is

Tests: tests/log/search/test_filling.py.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import groupby
from pathlib import Path

from zchat import wire
from zchat.core.words import searched, words_of
from zchat.errors import WireError
from zchat.log.search import tables
from zchat.log.sqlite import schema, starts
from zchat.log.sqlite.stored import ROW, BatchRow, is_sound
from zchat.names import user_key

NICE = 19
BATCHES_MAX = 256  # of one read: a snapshot of some milliseconds
READ_BYTES = 1 << 20
ROWS_A_COMMIT = 8_192  # about
RESTS = 6  # times as long as it worked, while more came than it found the words of: the broker is busy
LOCK = "search.lock"

_ROWS = f"SELECT {ROW} FROM batches WHERE base > ? ORDER BY base LIMIT {BATCHES_MAX}"
_ROOM = "SELECT name FROM rooms WHERE id = ?"
_FIRST = "SELECT min(base) FROM batches"
_LAST = "SELECT max(base) FROM batches"

Row = tuple[int, str, str, str]  # offset, text, room, user


def fill(folder: Path) -> int:
    """Do it. Returns up to which offset the index knows. Raises sqlite3.Error, OSError."""
    path = folder / tables.FILE
    with closing(schema.reader(folder / schema.FILE)) as log:
        try:
            return _Filling(log, _opened(path, log)).run()
        except sqlite3.DatabaseError as error:
            if not schema.is_unreadable(error):
                raise
            return _Filling(log, _made(path, log)).run()


class _Filling:
    def __init__(self, log: sqlite3.Connection, index: sqlite3.Connection) -> None:
        self._log = log
        self._index = index
        self._tables = set(tables.numbers(index))
        self._rooms: dict[int, str] = {}  # id -> its words
        self._users: dict[str, str] = {}
        self._parent = os.getppid()

    def run(self) -> int:
        with closing(self._index):
            upto = int(str(tables.meta(self._index)["upto"]))
            while os.getppid() == self._parent and (batches := self._read(upto)):
                began, last = time.monotonic(), self._last()
                rows = [row for batch in batches for row in self._found(batch)]
                self._keep(rows, batches[-1].last)
                if self._last() - last > batches[-1].last - upto:
                    time.sleep(RESTS * (time.monotonic() - began))
                upto = batches[-1].last
            self._drop_trimmed()
            return upto

    def _read(self, upto: int) -> list[BatchRow]:
        batches: list[BatchRow] = []
        records = size = 0
        with closing(self._log.execute(_ROWS, (upto,))) as rows:
            for row in map(BatchRow._make, rows):
                batches.append(row)
                records += row.records
                size += len(row.frame)
                if records >= ROWS_A_COMMIT or size >= READ_BYTES:
                    break
        return batches

    def _found(self, row: BatchRow) -> Iterator[Row]:
        if row.kind != wire.MESSAGES or not is_sound(*row):
            return
        try:
            batch = wire.decode_batch(row.frame)
        except WireError:
            return
        room = self._room(row.room)
        offset = row.base - 1
        for entry in batch.entries:
            user = self._user(entry.user)
            for record in entry.records:
                offset += 1
                if text := tables.text_of(words_of(searched(record))):
                    yield offset, text, room, user

    def _keep(self, rows: list[Row], upto: int) -> None:
        """One commit."""
        index = self._index
        index.execute("BEGIN IMMEDIATE")
        for number, some in groupby(rows, lambda row: tables.number_of(row[0])):
            if number not in self._tables:
                if self._tables:
                    tables.finish(index, max(self._tables))
                tables.make(index, number)
                self._tables.add(number)
            tables.add(index, number, some)
        tables.set_meta(index, upto=upto)
        index.execute("COMMIT")

    def _last(self) -> int:
        return int(self._log.execute(_LAST).fetchone()[0] or 0)

    def _drop_trimmed(self) -> None:
        first = self._log.execute(_FIRST).fetchone()[0]
        for number in [number for number in self._tables if first and number < tables.number_of(first)]:
            tables.drop(self._index, number)

    def _room(self, number: int) -> str:
        known = self._rooms.get(number)
        if known is None:
            name = self._log.execute(_ROOM, (number,)).fetchone()
            known = self._rooms[number] = tables.room_words(name[0]) if name else ""
        return known

    def _user(self, user: str) -> str:
        known = self._users.get(user)
        if known is None:
            known = self._users[user] = tables.user_word(user_key(user))
        return known


def _opened(path: Path, log: sqlite3.Connection) -> sqlite3.Connection:
    """The index of that log, made where there is none."""
    try:
        index = tables.open_to_write(path)
    except sqlite3.OperationalError:
        return _made(path, log)
    try:
        identity, known = schema.identity(log), starts.load(log)
        if identity is not None and tables.known_upto(tables.meta(index), identity.log_id, known):
            tables.set_meta(index, start=known[-1].start)
            return index
    except BaseException:
        index.close()
        raise
    index.close()
    return _made(path, log)


def _made(path: Path, log: sqlite3.Connection) -> sqlite3.Connection:
    index = tables.make_file(path)
    identity = schema.identity(log)
    assert identity is not None, "a broker has opened it"
    known = starts.load(log)
    start = known[-1].start if known else ""
    tables.set_meta(index, version=tables.VERSION, log_id=identity.log_id, start=start, upto=0)
    return index


def main(folder: Path) -> int:
    """The process. Returns its exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's is for the broker, which ends this
    os.nice(NICE)
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fill(folder)
    except BlockingIOError:
        return 0  # that of the broker before is about to end
    except (sqlite3.Error, OSError) as error:
        print(f"zchat: the index of words cannot be filled: {error}", file=sys.stderr)
        return 1
    finally:
        os.close(lock)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
