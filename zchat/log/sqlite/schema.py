"""The database of a log: its tables, its settings, and what its errors mean.

Rules of this file
1. Every PRAGMA is here, with its reason.
2. A row of `batches` proves itself: its CRC covers the frame and its place (offset, room, kind, count,
   time), so that a changed bit anywhere in it is seen when it is read. The rows that are read when a log
   is opened have a CRC as well.
3. A room's row changes in the commit of its batches: nothing is counted when a log is opened.

    rooms     one row a room: its last offset and time, how much is kept of it, what was trimmed of it;
              all of it, and for joins and leaves once more
    batches   one row a batch, by its first offset; `batches_of_room` finds a room's without their frames
    sessions, seen, cursors, groups, scheduled     what `Append` says of them
    starts                      one row a start of a broker, see `starts.py`
    lost                        ranges that a repair or an import has left out

It has more than 300 lines because statements, seals and connections have to agree.
Tests: tests/log/sqlite/test_schema.py.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote
from zlib import crc32

from zchat import wire
from zchat.errors import LogError
from zchat.log.sqlite.stored import LATER, room_of, sealed_room

FILE = "log.db"
APPLICATION_ID = 0x7A636874  # "zcht": tells a log from any other database
VERSION = 7  # of the tables; a newer one is refused, an older one is brought up to it
# Measured, in CPU time: 8192 take 16 % less than 4096 for a batch of 128 KiB, and 6 us more for a small one.
PAGE_BYTES = 8192
WRITER_CACHE_KIB = 16 * 1024  # the newest pages of many rooms' part of the index
READER_CACHE_KIB = 8 * 1024  # a few pages' worth of the longest answer
ROOMS_A_PAGE = 64  # about
WAL_KEPT_BYTES = 16 << 20  # a WAL that had to grow larger is cut back to this
BUSY_SECONDS = 5.0  # somebody looks into the database with another program

THINNED = "CREATE INDEX IF NOT EXISTS rooms_thinned ON rooms (presence_trimmed) WHERE presence_trimmed > 0"
STARTS = """CREATE TABLE IF NOT EXISTS starts (
    number INTEGER PRIMARY KEY,
    start TEXT NOT NULL,
    head INTEGER NOT NULL,      -- of the log, at that time
    crc INTEGER NOT NULL
)"""
GROUPS = """CREATE TABLE IF NOT EXISTS groups (
    room TEXT NOT NULL,
    name TEXT NOT NULL,
    upto INTEGER NOT NULL,
    max_deliveries INTEGER NOT NULL,
    time INTEGER NOT NULL,
    pending BLOB NOT NULL,      -- JSON: [first, last, deliveries], …
    crc INTEGER NOT NULL,
    PRIMARY KEY (room, name)
) WITHOUT ROWID"""
SCHEDULED = """CREATE TABLE IF NOT EXISTS scheduled (
    owner TEXT NOT NULL,
    id TEXT NOT NULL,
    user TEXT NOT NULL,
    session TEXT NOT NULL,
    room TEXT NOT NULL,
    due INTEGER NOT NULL,
    origin TEXT NOT NULL,
    records BLOB NOT NULL,      -- none: it was sent, or taken back
    crc INTEGER NOT NULL,
    PRIMARY KEY (owner, id)
)"""
TABLES = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE rooms (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    last INTEGER NOT NULL,      -- offset of its last record, also when that is gone
    time INTEGER NOT NULL,      -- of its newest batch
    records INTEGER NOT NULL,   -- that are kept
    bytes INTEGER NOT NULL,     -- of the frames that are kept
    trimmed INTEGER NOT NULL,   -- last offset of what was removed
    crc INTEGER NOT NULL,
    -- What came later is last: see `RoomRow`.
    trimmed_time INTEGER NOT NULL DEFAULT 0,
    presence INTEGER NOT NULL DEFAULT 0,
    presence_bytes INTEGER NOT NULL DEFAULT 0,
    presence_trimmed INTEGER NOT NULL DEFAULT 0,
    presence_time INTEGER NOT NULL DEFAULT 0,
    purged INTEGER NOT NULL DEFAULT 0   -- last offset of what was removed because somebody asked for it
);
CREATE INDEX rooms_trimmed ON rooms (trimmed) WHERE trimmed > 0;
CREATE TABLE batches (
    base INTEGER PRIMARY KEY,   -- offset of its first record
    room INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    records INTEGER NOT NULL,
    time INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    frame BLOB NOT NULL         -- last: the other columns are read without it
);
CREATE INDEX batches_of_room ON batches (room, base, kind, records);
CREATE TABLE sessions (
    session TEXT PRIMARY KEY,
    user TEXT NOT NULL,
    last_seq INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    rooms BLOB NOT NULL,        -- JSON: room -> member since
    crc INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE seen (user TEXT PRIMARY KEY, seen INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX seen_latest ON seen (seen);
CREATE TABLE cursors (
    user TEXT NOT NULL,
    name TEXT NOT NULL,
    offset INTEGER NOT NULL,
    time INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (user, name)
) WITHOUT ROWID;
CREATE TABLE lost (             -- what a repair could not save: known, so no finding of a check
    room INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL
);
{THINNED};
{STARTS};
{GROUPS};
{SCHEDULED}
"""
_PRESENCE = f"""SELECT room, sum(records), sum(length(frame)) FROM batches INDEXED BY batches_of_room
    WHERE kind = {wire.PRESENCE} GROUP BY room"""


Snapshot = Callable[[], AbstractContextManager[sqlite3.Connection]]
INSERT_ROOM = "INSERT INTO rooms VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
UPSERT_ROOM = f"""{INSERT_ROOM} ON CONFLICT (id) DO UPDATE SET
    last = excluded.last, time = excluded.time, records = excluded.records, bytes = excluded.bytes,
    trimmed = excluded.trimmed, crc = excluded.crc, trimmed_time = excluded.trimmed_time,
    presence = excluded.presence, presence_bytes = excluded.presence_bytes,
    presence_trimmed = excluded.presence_trimmed, presence_time = excluded.presence_time,
    purged = excluded.purged"""


class Identity(NamedTuple):
    """What makes a log this one."""

    log_id: str
    secret: bytes


def new_identity() -> Identity:
    """Of a log that is made."""
    return Identity(secrets.token_hex(8), secrets.token_bytes(32))


def pages_of_rooms(changed: int, rooms: int) -> int:
    """About as many pages are written when so many rooms change: a page of the index for each, and of their rows."""
    return changed + min(changed, 1 + rooms // ROOMS_A_PAGE)


# --- connections --------------------------------------------------------------------------------


def create(path: Path, identity: Identity | None = None) -> None:
    """Make the tables of a new log. Raises sqlite3.Error or OSError."""
    log_id, secret = identity or new_identity()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    os.fchmod(descriptor, 0o600)  # whatever the umask is; what SQLite has beside it is made like it
    os.close(descriptor)
    connection = connect(path, "rw")
    try:
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")  # before the first table: space can be given back
        connection.execute("PRAGMA journal_mode=WAL")  # kept in the file: readers and the writer never wait
        connection.execute("BEGIN IMMEDIATE")
        for statement in TABLES.split(";\n"):
            connection.execute(statement)
        identity_crc = crc32(log_id.encode() + secret).to_bytes(4, "big")
        rows = [("log_id", log_id.encode()), ("secret", secret), ("crc", identity_crc)]
        connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute("COMMIT")
    finally:
        connection.close()


def upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Bring the tables of an older version up to this one. Raises sqlite3.Error."""
    connection.execute("BEGIN IMMEDIATE")
    _add_columns(connection)
    if version < 3:
        _count_presence(connection)
    connection.execute(STARTS)
    connection.execute(GROUPS)
    connection.execute(SCHEDULED)
    connection.execute(f"PRAGMA user_version={VERSION}")
    connection.execute("COMMIT")


def _add_columns(connection: sqlite3.Connection) -> None:
    columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(rooms)")]
    for name in LATER:
        if name not in columns:
            connection.execute(f"ALTER TABLE rooms ADD COLUMN {name} INTEGER NOT NULL DEFAULT 0")


def _count_presence(connection: sqlite3.Connection) -> None:
    """Joins and leaves are counted apart since version 3."""
    connection.execute(THINNED)
    counted = {room: kept for room, *kept in connection.execute(_PRESENCE).fetchall()}
    rooms = [room_of(row) for row in connection.execute("SELECT * FROM rooms").fetchall()]
    for room in rooms:
        if room is not None and room.id in counted:
            records, size = counted[room.id]
            connection.execute(UPSERT_ROOM, sealed_room(room._replace(presence=records, presence_bytes=size)))


def format_of(connection: sqlite3.Connection) -> tuple[int, int]:
    """Whose database it is, and in which version. Raises sqlite3.Error."""
    found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    return found[0], found[1]


def is_newer(path: Path) -> bool:
    """Whether its header says, and not by damage, that a newer zchat wrote it. Raises OSError."""
    with path.open("rb") as file:
        header = file.read(72)
    application, version = header[68:72], int.from_bytes(header[60:64], "big")
    return application == APPLICATION_ID.to_bytes(4, "big") and VERSION < version < VERSION + 1_000


def identity(connection: sqlite3.Connection) -> Identity | None:
    """Of an open log; None when it is not what was written. Raises sqlite3.Error."""
    meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    try:
        log_id, secret, crc = meta["log_id"], meta["secret"], meta["crc"]
        if crc32(log_id + secret).to_bytes(4, "big") == crc:
            return Identity(log_id.decode(), secret)
    except (KeyError, TypeError, UnicodeDecodeError):
        pass
    return None


def writer(path: Path, sync: str) -> sqlite3.Connection:
    """The one connection that writes. Raises sqlite3.Error."""
    connection = connect(path, "rw")
    set_sync(connection, sync)
    connection.execute("PRAGMA wal_autocheckpoint=0")  # the writer does it itself, after it has said `done`
    connection.execute(f"PRAGMA journal_size_limit={WAL_KEPT_BYTES}")
    connection.execute(f"PRAGMA cache_size=-{WRITER_CACHE_KIB}")
    connection.execute("PRAGMA secure_delete=OFF")  # Debian's default writes zeros over all that is trimmed
    return connection


def set_sync(connection: sqlite3.Connection, sync: str) -> None:
    """`full`: a commit is on disk when it returns. `normal`: it is written, a power cut may undo it."""
    connection.execute(f"PRAGMA synchronous={sync.upper()}")


def reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. Raises sqlite3.Error."""
    return _reading(connect(path, "ro"))


def _reading(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.execute(f"PRAGMA cache_size=-{READER_CACHE_KIB}")
    connection.text_factory = _text
    return connection


def onlooker(path: Path) -> sqlite3.Connection:
    """A reader of a log that nobody has open: it makes no file, so that a disk may be read-only or full."""
    wal = path.with_name(f"{path.name}-wal")
    if not wal.exists() or not wal.stat().st_size:
        return _reading(connect(path, "ro&immutable=1"))
    connection = connect(path, "ro&vfs=unix-none")  # without locks,
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")  # the index of the WAL is in memory: before anything is read
    return _reading(connection)


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """With what holds for every connection. Raises sqlite3.Error."""
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,  # transactions are begun by us, with BEGIN IMMEDIATE
        check_same_thread=False,  # used by one thread at a time, and closed by another
        cached_statements=256,
    )
    connection.execute("PRAGMA mmap_size=0")  # a bad sector is an error then, not the signal that kills the process
    connection.execute("PRAGMA temp_store=MEMORY")  # no file is opened later, when descriptors may be short
    connection.execute("PRAGMA cell_size_check=ON")  # a damaged page is noticed when it is read, before it is used
    return connection


def _text(raw: bytes) -> str:
    """A changed bit in a text, or in the type of a value, is no error here: the CRC tells."""
    return raw.decode(errors="replace")


# --- errors -------------------------------------------------------------------------------------

_MEANING = {  # the first part of SQLite's name of the error
    "FULL": ("log-full", "the disk of the log is full"),
    "READONLY": ("log-read-only", "the log cannot be written"),
    "CORRUPT": ("log-damaged", "the log's file is damaged"),
    "CONSTRAINT": ("log-damaged", "another record is in the log at that offset"),
    "NOTADB": ("log-damaged", "the log's file is no database any more"),
}
_UNREADABLE = ("CORRUPT", "NOTADB", "IOERR_READ", "IOERR_SHORT_READ", "IOERR_DATA", "IOERR_CORRUPTFS")


def name_of(error: BaseException) -> str:
    """`IOERR_FSYNC`; empty when it is no error of SQLite's own."""
    return str(getattr(error, "sqlite_errorname", "")).removeprefix("SQLITE_")


def is_unreadable(error: BaseException) -> bool:
    """Whether the error says that a part of the file cannot be had: wrong content, or a bad sector."""
    return isinstance(error, UnicodeDecodeError) or name_of(error).startswith(_UNREADABLE)


def log_error(error: Exception) -> LogError:
    """What an error of SQLite or the system means to the user of a log."""
    name = "CORRUPT" if isinstance(error, UnicodeDecodeError) else name_of(error)
    code, text = _MEANING.get(name.partition("_")[0], ("log-failed", f"the log failed: {error}"))
    return LogError(code, f"{text} ({name})" if name else text)
