"""Reading a log that nobody has open, as far as it can be read: what check, repair and export share.

Rules of this file
1. The folder is locked meanwhile, and nothing in it is changed: it need not be writable.
2. What cannot be read is left out and can be told; an exception is only for a log that is not there.

It has more than 300 lines because all that reads damaged tables is here. Tests: tests/log/offline/test_salvage.py.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from zchat import wire
from zchat.errors import StartError
from zchat.log.offline import pages
from zchat.log.sqlite import opening, schema, starts, stored
from zchat.log.sqlite.folder import Folder
from zchat.log.sqlite.gap_detection import prev_of
from zchat.log.sqlite.scans import EveryRoom, Scanner
from zchat.log.sqlite.state import RoomRow
from zchat.wire import OFFSET_MAX

TellProgress = Callable[[int, int], object]
"""Is called now and then with how far it is and how far it goes, both as offsets."""

TOLD_ROWS = 1_000
GRAFTED = "log.db.grafted"
NEW = "log.db.first-page"

_LAST_PLACE = """SELECT base, records FROM batches INDEXED BY batches_of_room
    WHERE room = ? ORDER BY base DESC LIMIT 1"""


class Hole(NamedTuple):
    """Offsets in which a room has a batch, or several, that were not found."""

    room: int
    first: int
    last: int
    is_trimmed: bool = False  # they were joins and leaves that retention has removed


class Contents:
    """What is known of a log besides its batches."""

    def __init__(self, connection: sqlite3.Connection, path: Path, folder: Folder, *, is_grafted: bool = False) -> None:
        self.connection = connection
        self.folder = folder
        self.path = path
        self.is_grafted = is_grafted  # its first page is that of a new log
        self.scanner = Scanner(connection)
        self._is_whole: bool | None = None
        self.identity: schema.Identity | None = None
        self.rooms: dict[int, RoomRow] = {}
        self.unsound: list[str] = []  # rooms whose row is not what was written
        try:
            self.identity = schema.identity(connection)
        except (sqlite3.Error, UnicodeDecodeError):
            pass
        self._read_rooms()
        sessions, self.sessions_lost = self._sealed("sessions")
        self.sessions = [stored.StoredSession._make(row) for row in sessions]
        cursors, self.cursors_lost = self._sealed("cursors")
        self.cursors = [stored.StoredCursor._make(row) for row in cursors]
        groups, self.groups_lost = self._sealed("groups") if self._has("groups") else ([], False)
        self.groups = [stored.StoredGroup._make(row) for row in groups]
        scheduled, self.scheduled_lost = self._sealed("scheduled") if self._has("scheduled") else ([], False)
        self.scheduled = [stored.StoredScheduled._make(row) for row in scheduled]
        self.seen, _ = self.rows("SELECT user, seen FROM seen")
        lost, _ = self.rows("SELECT room, first, last FROM lost")
        sound = [Hole(*row) for row in lost if {type(value) for value in row} == {int}]
        self._lost = {(hole.room, hole.last): hole.first for hole in sound}
        rows, is_all = self.rows(starts.ROWS)  # an older log has none
        self.starts = starts.sound(rows) if is_all else []
        self.starts_lost = len(self.starts) < len(rows)
        self.head = max([0, *(room.last for room in self.rooms.values()), *(start.head for start in self.starts)])

    def rows(self, statement: str) -> tuple[list[Any], bool]:
        """The rows up to the first that cannot be read, and whether that is all."""
        found: list[Any] = []
        try:
            for row in self.connection.execute(statement):
                found.append(row)
        except (sqlite3.Error, UnicodeDecodeError):
            return found, False
        return found, True

    def room(self, room_id: int) -> RoomRow:
        """That room; one that is not there any more gets a name."""
        return self.rooms.get(room_id) or self._add(room_id, f"lost.room-{room_id}")

    def rows_by_tree(self) -> Iterator[stored.BatchRow]:
        """The sound batches, as far as SQLite finds them."""
        return self.scanner.by_table(1, OFFSET_MAX, EveryRoom())

    def is_trimmed(self, row: stored.BatchRow) -> bool:
        """Whether a batch was removed, and is only still there."""
        room = self.room(row.room)
        return row.base <= max(room.trimmed, room.presence_trimmed if row.kind == wire.PRESENCE else 0)

    def is_whole(self, progress: TellProgress | None) -> bool:
        """Whether every batch is found through the tree, but those that are known to be lost."""
        if self._is_whole is None:
            self._is_whole = self._scan(progress)
        return self._is_whole

    def _scan(self, progress: TellProgress | None) -> bool:
        detector = HoleDetector(self)
        for number, row in enumerate(self.rows_by_tree()):
            if progress is not None and number % TOLD_ROWS == 0:
                progress(min(row.base, self.head) // 2, self.head)
            if self.scanner.met_damage or (not self.is_trimmed(row) and self.is_new(detector.before(row))):
                return False
        return not self.scanner.met_damage and not any(map(self.is_new, detector.after_all()))

    def is_new(self, hole: Hole | None) -> bool:
        """Whether something is missing there that is not known to be."""
        if hole is None or hole.is_trimmed:
            return False
        first = self._lost.get((hole.room, hole.last))  # joins and leaves before it may be gone by now, too
        return first is None or not hole.first <= first <= max(hole.first, self.room(hole.room).presence_trimmed + 1)

    def _read_rooms(self) -> None:
        rows, _ = self.rows("SELECT * FROM rooms ORDER BY id")
        self.rooms = {room.id: room for row in rows if (room := stored.room_of(row))}
        named, _ = self.rows("SELECT id, name FROM rooms INDEXED BY sqlite_autoindex_rooms_1")
        for room_id, name in named:  # they are in their index, too
            if room_id not in self.rooms and isinstance(name, str):
                self._add(room_id, name)

    def _add(self, room_id: int, name: str) -> RoomRow:
        """A room of which only the name is known: where it ends, the index may say."""
        self.unsound.append(name)
        last = 0
        try:
            for base, records in self.connection.execute(_LAST_PLACE, (room_id,)).fetchall():
                last = base + records - 1
        except (sqlite3.Error, TypeError):
            pass
        self.rooms[room_id] = RoomRow(room_id, name, last, 0, 0, 0, 0)
        return self.rooms[room_id]

    def _has(self, table: str) -> bool:
        """False where it is known that there is none: an older log has no groups."""
        found, is_all = self.rows(f"SELECT 1 FROM sqlite_schema WHERE name = '{table}'")
        return bool(found) or not is_all

    def _sealed(self, table: str) -> tuple[list[Any], bool]:
        """The sound rows of a table, and whether there were others."""
        found, is_all = self.rows(f"SELECT * FROM {table}")
        sound = [row for row in found if stored.is_sealed(row)]
        return sound, not is_all or len(sound) < len(found)


class HoleDetector:
    """Goes over the batches of a log in order, and tells the holes between those of each room."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._known: dict[int, int] = {}  # room -> last offset that is accounted for

    def before(self, row: stored.BatchRow) -> Hole | None:
        """What is missing of the room before that batch."""
        room = row.room
        known, prev = self._known_of(room), prev_of(row)
        self._known[room] = row.last
        return self._hole(room, known + 1, prev) if prev > known else None

    def after_all(self) -> list[Hole]:
        """What is missing at the ends of the rooms."""
        rooms = sorted(self._contents.rooms.values(), key=_last)
        ends = [(room, self._known_of(room.id) + 1) for room in rooms]
        return [self._hole(room.id, first, room.last) for room, first in ends if first <= room.last]

    def _hole(self, room: int, first: int, last: int) -> Hole:
        is_trimmed = last <= self._contents.room(room).presence_trimmed
        return Hole(room, first, last, is_trimmed and not self._contents.scanner.places(room, first, last, 1))

    def _known_of(self, room: int) -> int:
        return self._known.get(room) or self._contents.room(room).trimmed


@contextmanager
def reading(folder: Path, *, graft: bool = False) -> Iterator[Contents]:
    """The log in a folder, locked. Raises StartError, also where nothing at all can be read.

    With `graft`, the first page of a new log stands in for one that cannot be read, in a copy.
    """
    path = folder / schema.FILE
    if not _is_there(path):
        raise StartError(f"there is no log in the folder {folder}")
    locked = Folder(folder, writes=graft)
    try:
        is_grafted = False
        try:
            connection = _connection(path, path)
        except StartError as error:
            if not graft or schema.is_newer(path):
                may_be_saved = error.__cause__ is not None and schema.is_unreadable(error.__cause__)
                raise StartError(f"{error}{': `zchat log repair` may save what is in it' * may_be_saved}") from error
            connection, is_grafted = _connection(_grafted(path), path), True
        try:
            yield Contents(connection, path, locked, is_grafted=is_grafted)
        finally:
            connection.close()
    finally:
        if graft:
            _remove(path.with_name(GRAFTED))
        locked.close()


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise StartError(f"cannot read {path}: {error.strerror}") from error


def _connection(path: Path, of: Path) -> sqlite3.Connection:
    """To a database, which may be a copy `of` another."""
    try:
        connection = schema.onlooker(path)
        try:
            # The tables are there, whatever is in them.
            connection.execute("SELECT base FROM batches WHERE 0").fetchone()
            opening.refuse_format(of, *schema.format_of(connection))
        except BaseException:
            connection.close()
            raise
    except (OSError, sqlite3.Error, UnicodeDecodeError) as error:
        raise StartError(f"nothing can be read of {of}: {error}") from error
    return connection


def _grafted(path: Path) -> Path:
    """A copy with the first page of a new log: the tables of every log begin in the same pages."""
    copy, new = path.with_name(GRAFTED), path.with_name(NEW)
    try:
        _remove(new)
        schema.create(new)
        first = bytearray(new.read_bytes()[: schema.PAGE_BYTES])
        size = max(path.stat().st_size, new.stat().st_size)  # an older log may lack a table
        pages = size // schema.PAGE_BYTES
        first[28:32] = pages.to_bytes(4, "big")  # the size of the database, which counts
        first[92:96] = first[24:28]  # as this says that it was written by the same change
        first[32:40] = bytes(8)  # no list of free pages: it is not for writing
        copy.touch(0o600)
        shutil.copyfile(path, copy)
        os.truncate(copy, size)
        with copy.open("r+b") as file:
            file.write(first)
        wal = path.with_name(f"{path.name}-wal")
        if wal.exists():
            shutil.copyfile(wal, copy.with_name(f"{GRAFTED}-wal"))
    except (OSError, sqlite3.Error) as error:
        _remove(copy)
        raise StartError(f"cannot make a copy of {path}: {error}") from error
    finally:
        _remove(new)
    return copy


def _beside(path: Path) -> list[Path]:
    """What SQLite has beside a database."""
    return [path.with_name(f"{path.name}{suffix}") for suffix in ("-wal", "-shm")]


def _remove(path: Path) -> None:
    for each in (path, *_beside(path)):
        each.unlink(missing_ok=True)


def sound_rows(contents: Contents, progress: TellProgress | None) -> Iterator[stored.BatchRow]:
    """Every batch that can be read and was not trimmed, in order: by the tree, or from the pages where it is broken.

    Of the progress, the first half is spent on finding out which. Raises StartError when the file cannot be read
    after all.
    """
    rows = contents.rows_by_tree() if contents.is_whole(progress) else _rows_by_pages(contents.path)
    for number, row in enumerate(rows):
        if progress is not None and number % TOLD_ROWS == 0:
            progress((contents.head + min(row.base, contents.head)) // 2, contents.head)
        if not contents.is_trimmed(row):
            yield row
    if progress is not None:
        progress(contents.head, contents.head)


def _rows_by_pages(path: Path) -> Iterator[stored.BatchRow]:
    try:
        yield from pages.batches(path)
    except OSError as error:
        raise StartError(f"cannot read {path}: {error.strerror}") from error


def _last(room: RoomRow) -> int:
    return room.last
