"""The connections that read a log, and how they let the writer begin its WAL anew.

Rules of this file
1. A connection is used by one thread at a time, within one snapshot, and given back with nothing half read.
2. What is read pauses as its thread says, in the middle of a statement too: a statement may be long, and one of
   many short ones gives the interpreter up and takes it again so fast that no other thread gets it.
3. The WAL can begin anew only while nobody reads from it. Readers that follow each other without a pause
   would make it grow without end; so when it is too long, new ones wait until it was begun anew.

Tests: tests/log/sqlite/test_readers.py.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from zchat.core.read_pause import read_pause
from zchat.errors import LogError
from zchat.log.sqlite import schema

OPENED = 3  # at start, so that none needs a descriptor later: two reader threads and the loop
STEPS = 1_000  # of SQLite's machine, about 80 rows: so often a reader may pause
PAUSE_SECONDS_MAX = 1.0  # a reader waits no longer for a writer that does not come to it


class Readers:
    """A few connections that read."""

    def __init__(self, path: Path, quiet: Callable[[], None]) -> None:
        """`quiet` is called when the last reader has gone after `pause`. Raises sqlite3.Error."""
        self._path = path
        self._quiet = quiet
        self._changed = threading.Condition()
        self._idle: list[sqlite3.Connection] = []
        self._reading = 0
        self._paused = False
        self._closed = False
        for _ in range(OPENED):
            self._idle.append(schema.reader(path))

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A connection on which every read sees the same commits. Errors come out as LogError."""
        connection = self._take()
        try:
            if (pause := read_pause.get()) is not None:
                connection.set_progress_handler(pause, STEPS)
            connection.execute("BEGIN")
            yield connection
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise schema.log_error(error) from error
        finally:
            self._give_back(connection)

    def pause(self) -> bool:
        """Let nobody begin to read until `resume`. Returns whether nobody reads now; else `quiet` will be called."""
        with self._changed:
            self._paused = True
            return not self._reading

    def resume(self) -> None:
        """Go on."""
        with self._changed:
            self._paused = False
            self._changed.notify_all()

    def close(self) -> None:
        """Wait for those who read, then close every connection."""
        with self._changed:
            self._closed = True
            self._paused = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._reading)
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> sqlite3.Connection:
        with self._changed:
            if self._paused:
                self._changed.wait_for(lambda: not self._paused, PAUSE_SECONDS_MAX)
            if self._closed:
                raise LogError("log-failed", "the log is closed")
            self._reading += 1
            if self._idle:
                return self._idle.pop()
        try:
            return schema.reader(self._path)
        except sqlite3.Error as error:
            self._gone()
            raise schema.log_error(error) from error

    def _give_back(self, connection: sqlite3.Connection) -> None:
        try:
            connection.set_progress_handler(None, 0)
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            pass  # a read that could not end: the next one on it says what is wrong
        with self._changed:
            self._idle.append(connection)
        self._gone()

    def _gone(self) -> None:
        with self._changed:
            self._reading -= 1
            self._changed.notify_all()
            quiet = self._paused and not self._reading
        if quiet:
            self._quiet()
