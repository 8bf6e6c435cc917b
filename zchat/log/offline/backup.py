"""A copy of a log, made while its broker runs, or not.

Rules of this file
1. It reads in steps, each a short read of its own: a long one would keep the broker's WAL from beginning anew. The
   records are copied up to where the log goes; then one last step takes the few that came meanwhile, and all else.
2. What was trimmed while it copied is removed from the copy again, so that it is what the last step saw.
3. It writes under another name, and puts the copy in its place when it is on disk. Nothing is overwritten.

    batches 1…1000, 1001…9000, … (short reads)   ->   last step: the rest, and all other tables

Docs: docs/backup.md. Tests: tests/log/offline/test_backup.py.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from zchat import wire
from zchat.errors import StartError
from zchat.log.offline.salvage import TellProgress
from zchat.log.sqlite import opening, schema
from zchat.log.sqlite.folder import Folder, is_in_use

MAKING = ".making"
STEP_SECONDS = 0.1  # a read takes about so long
STEP_ROWS_MAX = 100_000
SPACE_KEPT_BYTES = 16 << 20

_REST = ("rooms", "sessions", "seen", "cursors", "groups", "scheduled", "starts", "lost")
_STEP = "INSERT INTO main.batches SELECT * FROM source.batches NOT INDEXED WHERE base > ? ORDER BY base LIMIT ?"
_TRIMMED = """DELETE FROM main.batches WHERE base IN (
    SELECT base FROM main.rooms JOIN main.batches INDEXED BY batches_of_room ON room = rooms.id
    WHERE rooms.trimmed > 0 AND base <= rooms.trimmed)"""
_THINNED = f"""DELETE FROM main.batches WHERE base IN (
    SELECT base FROM main.rooms JOIN main.batches INDEXED BY batches_of_room ON room = rooms.id
    WHERE rooms.presence_trimmed > 0 AND base <= rooms.presence_trimmed AND kind = {wire.PRESENCE})"""


class BackedUp(NamedTuple):
    """What was copied."""

    path: Path
    log_id: str
    rooms: int
    records: int
    head: int


def backup(folder: Path, target: Path, progress: TellProgress | None = None) -> BackedUp:
    """Copy the log of that folder to a file, or into a folder that is there. Raises StartError.

    `progress`: offset reached, head of the log.
    """
    path = folder / schema.FILE
    if not path.is_file():
        raise StartError(f"there is no log in the folder {folder}")
    if target.is_dir():
        target /= schema.FILE
    if os.path.lexists(target):
        raise StartError(f"{target} is there already: a backup overwrites nothing")
    making = target.with_name(target.name + MAKING)
    try:
        with _at_rest(folder) as is_at_rest:
            _refuse_without_space(path, target)
            try:
                return _copy(path, making, target, progress, is_at_rest=is_at_rest)
            finally:
                for suffix in ("", "-wal", "-shm", "-journal"):
                    making.with_name(making.name + suffix).unlink(missing_ok=True)
    except OSError as error:
        raise StartError(f"cannot write {target}: {error.strerror}") from error


@contextmanager
def _at_rest(folder: Path) -> Iterator[bool]:
    """Whether nobody has the log; then nobody gets it meanwhile."""
    try:
        locked = Folder(folder, writes=False)
    except StartError:
        if not is_in_use(folder):
            raise
        yield False
        return
    try:
        yield True
    finally:
        locked.close()


def _refuse_without_space(path: Path, target: Path) -> None:
    disk = os.statvfs(target.parent)
    needed = path.stat().st_size + SPACE_KEPT_BYTES
    if disk.f_bavail * disk.f_frsize < needed:
        raise StartError(f"a backup needs {needed >> 20} MB of free space on the disk of {target.parent}")


def _copy(path: Path, making: Path, target: Path, progress: TellProgress | None, *, is_at_rest: bool) -> BackedUp:
    try:
        with closing(schema.onlooker(path) if is_at_rest else schema.reader(path)) as source:
            opening.refuse_format(path, *schema.format_of(source))
            if (version := schema.format_of(source)[1]) != schema.VERSION:
                raise StartError(f"the log {path} has format {version}: start a broker of this version once")
            identity = schema.identity(source)
        if identity is None:
            raise StartError(f"the log {path} is damaged (its name cannot be read): see `zchat log check`")
        schema.create(making, identity)
        with closing(schema.writer(making, "off")) as connection:
            _attach(connection, path, is_at_rest=is_at_rest)
            _copy_batches(connection, progress)
            records, rooms = connection.execute("SELECT total(records), count(*) FROM main.rooms").fetchone()
            lasts = "SELECT last FROM main.rooms UNION ALL SELECT head FROM main.starts"
            (head,) = connection.execute(f"SELECT coalesce(max(last), 0) FROM ({lasts})").fetchone()
            connection.execute("DETACH source")
            schema.set_sync(connection, "full")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        if schema.is_unreadable(error):
            raise StartError(f"the log {path} is damaged ({schema.name_of(error)}): see `zchat log check`") from error
        raise StartError(f"cannot copy {path} to {target}: {error}") from error
    _put(making, target)
    return BackedUp(target, identity.log_id, int(rooms), int(records), head)


def _attach(connection: sqlite3.Connection, path: Path, *, is_at_rest: bool) -> None:
    wal = path.with_name(f"{path.name}-wal")
    mode = "ro"
    if is_at_rest:  # nobody has it, so that it may be on a disk that is read-only; see `schema.onlooker`
        mode = "ro&vfs=unix-none" if wal.exists() and wal.stat().st_size else "ro&immutable=1"
    if "vfs" in mode:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")  # of what is attached, too: before it is read
    connection.execute("ATTACH ? AS source", (f"file:{quote(os.fsencode(path))}?mode={mode}",))
    connection.execute("PRAGMA source.mmap_size=0")
    connection.execute(f"PRAGMA source.cache_size=-{schema.READER_CACHE_KIB}")


def _copy_batches(connection: sqlite3.Connection, progress: TellProgress | None) -> None:
    rows, last = 256, 0
    while True:
        began = time.monotonic()
        copied = connection.execute(_STEP, (last, rows)).rowcount
        if copied < rows:
            break
        connection.execute("PRAGMA main.wal_checkpoint(PASSIVE)").fetchone()
        (last,) = connection.execute("SELECT max(base) FROM main.batches").fetchone()
        if progress is not None:
            (head,) = connection.execute("SELECT max(base) FROM source.batches").fetchone()
            progress(last, max(head or 0, last))
        took = time.monotonic() - began
        rows = (
            min(2 * rows, STEP_ROWS_MAX)
            if took < STEP_SECONDS / 2
            else max(rows // 2, 1)
            if took > STEP_SECONDS
            else rows
        )
    (last,) = connection.execute("SELECT coalesce(max(base), 0) FROM main.batches").fetchone()
    connection.execute("BEGIN")
    connection.execute(_STEP, (last, -1))
    for table in _REST:
        connection.execute(f"INSERT INTO main.{table} SELECT * FROM source.{table}")
    connection.execute("COMMIT")
    connection.execute(_TRIMMED)
    connection.execute(_THINNED)


def _put(making: Path, target: Path) -> None:
    """In its place, where nothing may have come meanwhile."""
    try:
        os.link(making, target)
    except FileExistsError:
        raise StartError(f"{target} is there already: a backup overwrites nothing") from None
    except OSError:  # a file system without links
        making.rename(target)
    for path in (target, target.parent):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
