"""The database of a log: its tables, its settings, and what its errors mean.

Rules of this file
1. Every PRAGMA is here, with its reason. Errors of SQLite become ours through `translated`.
2. A row of `batches` proves itself: its CRC covers the frame and its place (offset, room, kind, count,
   time), so that a changed bit anywhere in it is seen when it is read.
3. A room's row changes in the commit of its batches: nothing needs to be counted when a log is opened.

    rooms     one row a room: last offset and its time, what is kept of it, what was trimmed of it
    batches   one row a batch, by its first offset; `batches_of_room` finds a room's without their frames
    sessions, seen, cursors     what `Append` says of them
    lost      ranges that a repair could not save: read as gaps

Tests: tests/log/test_schema.py.
"""

from __future__ import annotations

import secrets
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote
from zlib import crc32

from zchat.errors import LogError

FILE = "log.db"
APPLICATION_ID = 0x7A636874  # "zcht": tells a log from any other database
VERSION = 1  # of the tables; a newer one is refused
PAGE_BYTES = 4096
CHECKPOINT_PAGES = 1000  # 4 MB of WAL: what a checkpoint in the middle of a commit may cost
WRITER_CACHE_KIB = 16 * 1024
READER_CACHE_KIB = 8 * 1024
BUSY_MS = 5_000  # another process looks into the database; a broker is the only one that writes
MAGIC = b"SQLite format 3\0"

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE rooms (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    last INTEGER NOT NULL,     -- offset of its last record, also when that is gone
    time INTEGER NOT NULL,     -- of its newest batch
    records INTEGER NOT NULL,  -- kept
    bytes INTEGER NOT NULL,    -- of the frames that are kept
    trimmed INTEGER NOT NULL   -- last offset of what was removed
);
CREATE INDEX rooms_trimmed ON rooms (trimmed) WHERE trimmed > 0;
CREATE TABLE batches (
    base INTEGER PRIMARY KEY,
    room INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    records INTEGER NOT NULL,
    time INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    frame BLOB NOT NULL        -- last: the other columns are read without it
);
CREATE INDEX batches_of_room ON batches (room, base, kind, records);
CREATE TABLE sessions (
    session TEXT PRIMARY KEY,
    user TEXT NOT NULL,
    last_seq INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    rooms BLOB NOT NULL        -- JSON: room -> member since
) WITHOUT ROWID;
CREATE TABLE seen (user TEXT PRIMARY KEY, seen INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX seen_latest ON seen (seen);
CREATE TABLE cursors (
    user TEXT NOT NULL,
    name TEXT NOT NULL,
    offset INTEGER NOT NULL,
    time INTEGER NOT NULL,
    PRIMARY KEY (user, name)
) WITHOUT ROWID;
CREATE TABLE lost (
    room INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (room, first)
) WITHOUT ROWID;
"""

_place = struct.Struct("<QQIIQ").pack


class Identity(NamedTuple):
    """What makes a log this one."""

    log_id: str
    secret: bytes


def checksum(base: int, room: int, kind: int, records: int, time: int, frame: bytes) -> int:
    """Of a row of `batches`."""
    return crc32(frame, crc32(_place(base, room, kind, records, time)))


def is_sound(base: int, room: int, kind: int, records: int, time: int, crc: int, frame: bytes) -> bool:
    """Whether a row of `batches` is what was written. A changed bit can change the type of a value, too."""
    try:
        return checksum(base, room, kind, records, time, frame) == crc
    except (TypeError, struct.error):
        return False


# --- connections --------------------------------------------------------------------------------


def create(path: Path, identity: Identity | None = None) -> None:
    """Make the tables of a new log. Raises sqlite3.Error."""
    identity = identity or Identity(secrets.token_hex(8), secrets.token_bytes(32))
    connection = _connect(path, "rwc")
    try:
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # before the first table: space can be given back
        connection.execute("PRAGMA journal_mode=WAL")  # kept in the file: readers and the writer never wait
        connection.execute("BEGIN IMMEDIATE")
        for statement in TABLES.split(";\n"):
            connection.execute(statement)
        rows = [("log_id", identity.log_id.encode()), ("secret", identity.secret)]
        connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute("COMMIT")
    finally:
        connection.close()


def writer(path: Path, sync: str) -> sqlite3.Connection:
    """The one connection that writes. Raises sqlite3.Error."""
    connection = _connect(path, "rw")
    # A commit is on disk before anyone is told; NORMAL: it is written, and may be lost at a power cut.
    connection.execute(f"PRAGMA synchronous={sync.upper()}")
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA cache_size=-{WRITER_CACHE_KIB}")
    connection.execute("PRAGMA secure_delete=OFF")  # Debian's default writes zeros over all that is trimmed
    return connection


def reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. Raises sqlite3.Error."""
    connection = _connect(path, "ro")
    connection.execute(f"PRAGMA cache_size=-{READER_CACHE_KIB}")
    connection.text_factory = _text
    return connection


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}",
        uri=True,
        timeout=BUSY_MS / 1000,
        isolation_level=None,  # transactions are begun by us, with BEGIN IMMEDIATE
        check_same_thread=False,  # made by one thread, used by one other at a time, closed by `close`
        cached_statements=256,
    )
    connection.execute("PRAGMA mmap_size=0")  # a bad sector is an error then, and not the signal that kills
    connection.execute("PRAGMA temp_store=MEMORY")  # no file is opened later, when descriptors may be short
    return connection


def _text(raw: bytes) -> str:
    """A changed bit in a text, or in the type of a value, is no reason to fail: checksums tell."""
    return raw.decode(errors="replace")


# --- errors -------------------------------------------------------------------------------------

_CODES = {  # the first part of SQLite's name of the error -> ours
    "FULL": ("log-full", "the disk of the log is full"),
    "READONLY": ("log-read-only", "the log cannot be written"),
    "CORRUPT": ("log-damaged", "the log's file is damaged"),
    "NOTADB": ("log-damaged", "the log's file is no database any more"),
}


def name_of(error: BaseException) -> str:
    """`IOERR_FSYNC`; empty when it is no error of SQLite's own."""
    return str(getattr(error, "sqlite_errorname", "")).removeprefix("SQLITE_")


def is_damage(error: BaseException) -> bool:
    """Whether the error says that the file's content is wrong."""
    return name_of(error).partition("_")[0] in ("CORRUPT", "NOTADB")


def log_error(error: Exception) -> LogError:
    """What an error of SQLite or the system means to a user of the log."""
    name = name_of(error)
    code, text = _CODES.get(name.partition("_")[0], ("log-failed", f"the log failed: {error}"))
    return LogError(code, f"{text} ({name})" if name else text)


@contextmanager
def translated() -> Iterator[None]:
    """Errors of SQLite come out as LogError."""
    try:
        yield
    except sqlite3.Error as error:
        raise log_error(error) from error
