"""Opening the database of a log, and refusing to when it is not what it should be.

Rules of this file
1. Whatever keeps a log from being opened is a StartError of one line: which file, what, what to do.
2. All that is read at start is checked by its CRC; batches are checked when they are read. So opening
   takes no longer for a long log.

Tests: tests/log/sqlite/test_opening.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from zchat.core.log import LogStart
from zchat.errors import StartError
from zchat.log.sqlite import schema, starts, stored
from zchat.log.sqlite.readers import Readers
from zchat.log.sqlite.scans import Scanner
from zchat.log.sqlite.state import RoomRow, RoomStates

SALVAGE = "`zchat log repair` saves what can be read"


class Opened(NamedTuple):
    """An open log."""

    connection: sqlite3.Connection  # that writes
    identity: schema.Identity
    rooms: RoomStates
    starts: list[LogStart]  # before this one


class _Wrong(Exception):
    """Something that was read is not what was written."""


def open_database(path: Path, sync: str) -> Opened:
    """Open the log, or make one where there is none. Raises StartError."""
    try:
        _refuse_other_files(path)
        if not path.exists() or path.stat().st_size == 0:
            schema.create(path)
        connection = schema.writer(path, sync)
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter: its text quotes what is damaged
        raise _start_error(path, error) from error
    except OSError as error:
        raise StartError(f"cannot open {path}: {error.strerror}") from error
    try:
        return _load(path, connection)
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error | UnicodeDecodeError):
            raise _start_error(path, error) from error
        if isinstance(error, _Wrong):
            raise StartError(f"the log {path} is damaged ({error}): {SALVAGE}") from error
        raise


def open_readers(path: Path, quiet: Callable[[], None]) -> Readers:
    """See `Readers`. Raises StartError."""
    try:
        return Readers(path, quiet)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise _start_error(path, error) from error


def _refuse_other_files(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise StartError(f"{path} is not a file")
    if path.exists():
        with path.open("rb") as file:
            begin = file.read(16)
        if begin and begin != b"SQLite format 3\0":
            raise StartError(f"{path} is no log of zchat, or its beginning is damaged: {SALVAGE}")


def refuse_format(path: Path, application: int, version: int) -> None:
    """Raises StartError for what this version does not know."""
    if application != schema.APPLICATION_ID:
        raise StartError(f"{path} is the database of another program: choose another folder")
    if version > schema.VERSION:
        text = f"was written by a newer zchat (format {version}, this one knows {schema.VERSION})"
        raise StartError(f"the log {path} {text}")
    if version < 1:
        raise StartError(f"the log {path} has a format that is not known ({version})")


def _load(path: Path, connection: sqlite3.Connection) -> Opened:
    application, version = schema.format_of(connection)
    if not application and not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        schema.create(path)  # its making was cut short
        application, version = schema.APPLICATION_ID, schema.VERSION
    refuse_format(path, application, version)
    if version < schema.VERSION:
        schema.upgrade(connection, version)
    identity = schema.identity(connection)
    if identity is None:
        raise _Wrong("its name cannot be read")
    known = starts.load(connection)
    rooms = RoomStates(_rooms(connection), max((start.head for start in known), default=0))
    _refuse_above_head(connection, rooms)
    for table in ("sessions", "cursors", "groups", "scheduled"):
        for row in connection.execute(f"SELECT * FROM {table}"):
            if not stored.is_sealed(row):
                raise _Wrong(f"a row of {table} has another checksum")
    connection.execute("SELECT user, seen FROM seen ORDER BY seen DESC LIMIT 10000").fetchall()
    _begin_wal_anew(connection)
    return Opened(connection, identity, rooms, known)


def _begin_wal_anew(connection: sqlite3.Connection) -> None:
    """Nothing is written behind what another process has left in the WAL. Raises sqlite3.Error.

    If that ended at an error of fsync, the system may have dropped a part of the WAL that is still read from memory:
    after a power cut all behind that part would be lost, however often it was synced. What is read now is moved into
    the database and synced there. Where somebody reads the log meanwhile, or its disk is full, that is done later.
    """
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:
        if schema.name_of(error).startswith("IOERR"):
            raise


def _rooms(connection: sqlite3.Connection) -> list[RoomRow]:
    rows = []
    for row in connection.execute("SELECT * FROM rooms ORDER BY id"):
        room = stored.room_of(row)
        if room is None:
            raise _Wrong("a row of rooms has another checksum")
        rows.append(room)
    return rows


def _refuse_above_head(connection: sqlite3.Connection, rooms: RoomStates) -> None:
    """Offsets that were given would be given again, if the rooms' rows were older than the batches."""
    # Where this page cannot be read, nothing can be written behind it.
    above = connection.execute("SELECT base FROM batches WHERE base > ? ORDER BY base DESC", (rooms.head,)).fetchall()
    for (base,) in above:
        if Scanner(connection).at(base):
            raise _Wrong(f"its newest batch is {base}, and its rooms end at {rooms.head}")


def _start_error(path: Path, error: Exception) -> StartError:
    name = schema.name_of(error)
    if schema.is_unreadable(error):
        return StartError(f"the log {path} is damaged ({name or 'its schema'}): {SALVAGE}")
    if name.startswith(("BUSY", "LOCKED")):
        return StartError(f"the log {path} is in use by another program")
    if name.startswith("FULL"):
        return StartError(f"cannot open {path}: its disk is full")
    if name.startswith(("READONLY", "CANTOPEN", "PERM")):
        return StartError(f"cannot open {path} for writing: see whose it is, and whether its disk is read-only")
    return StartError(f"cannot open {path}: {error}")
