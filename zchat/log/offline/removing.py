"""Removes rooms, sessions, cursors and users who have gone from a log that nobody has open.

Rules of this file
1. Cut short, it leaves a whole log: a room is marked as trimmed before its batches go, and goes itself at the end.
2. An offset that was given is never given again, also when its room is gone: the list of starts has the head.
3. A session that is a member of rooms stays: its leaves are still to be written, which the next broker does.

Tests: tests/log/offline/test_removing.py.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import msgspec

from zchat.errors import StartError
from zchat.log.offline.salvage import TellProgress
from zchat.log.sqlite import opening, schema, starts, stored
from zchat.log.sqlite.folder import Folder
from zchat.log.sqlite.state import RoomRow
from zchat.names import matcher, user_key
from zchat.wire import STARTS_MAX

STEP_BATCHES = 5_000
VACUUM_PAGES = 10_000

_rooms_of = msgspec.json.Decoder(dict[str, int]).decode
_rooms_in = msgspec.json.Encoder().encode
_BATCHES = """DELETE FROM batches WHERE base IN (
    SELECT base FROM batches INDEXED BY batches_of_room WHERE room = ? ORDER BY base LIMIT ?)"""


class What(NamedTuple):
    """What is to go. In names of users `*` stands for any characters."""

    rooms: list[str] = []  # patterns
    sessions_of: list[str] = []
    cursors_of: list[str] = []
    seen: list[str] = []


class Removed(NamedTuple):
    """What went, or would go."""

    rooms: int
    records: int
    sessions: int
    members: int  # sessions that stay, because they are in rooms
    cursors: int
    seen: int


def remove(folder: Path, what: What, *, dry_run: bool = False, progress: TellProgress | None = None) -> Removed:
    """Remove it, or only count it. `progress`: records removed, of how many. Raises StartError."""
    path = folder / schema.FILE
    if not path.is_file():
        raise StartError(f"there is no log in the folder {folder}")
    locked = Folder(folder)
    try:
        opened = opening.open_database(path, "full")
        with closing(opened.connection) as connection:
            removing = _Removing(connection, what)
            if not dry_run:
                removing.remove(opened, progress)
            return removing.removed
    except sqlite3.Error as error:
        raise StartError(f"cannot remove from {path}: {error}") from error
    finally:
        locked.close()


class _Removing:
    def __init__(self, connection: sqlite3.Connection, what: What) -> None:
        self._connection = connection
        is_room = matcher(what.rooms) if what.rooms else lambda name: False
        rows = map(stored.room_of, connection.execute("SELECT * FROM rooms").fetchall())
        self._rooms = [room for room in rows if room is not None and is_room(room.name)]
        is_theirs, stay = _matches(what.sessions_of), 0
        self._sessions: list[str] = []
        self._stripped: list[tuple[object, ...]] = []  # rows of sessions without the rooms that go
        gone = {room.name for room in self._rooms}
        for row in map(stored.StoredSession._make, connection.execute("SELECT * FROM sessions").fetchall()):
            rooms = _rooms_of(row.rooms)
            left = {name: since for name, since in rooms.items() if name not in gone}
            if is_theirs(row.user) and not left:
                self._sessions.append(row.session)
            elif len(left) < len(rooms):
                stripped = stored.sealed(row.session, row.user, row.last_seq, row.seen, _rooms_in(left))
                self._stripped.append(stripped)
            stay += bool(is_theirs(row.user) and left)
        is_theirs = _matches(what.cursors_of)
        cursors = connection.execute("SELECT user, name FROM cursors").fetchall()
        self._cursors = [(user, name) for user, name in cursors if is_theirs(user)]
        is_theirs = _matches(what.seen)
        self._seen = [(user,) for (user,) in connection.execute("SELECT user FROM seen").fetchall() if is_theirs(user)]
        records = sum(room.records for room in self._rooms)
        self.removed = Removed(
            len(self._rooms), records, len(self._sessions), stay, len(self._cursors), len(self._seen)
        )

    def remove(self, opened: opening.Opened, progress: TellProgress | None) -> None:
        connection, many = self._connection, self._connection.executemany
        connection.execute("BEGIN IMMEDIATE")
        if self._rooms:
            starts.save(connection, [*opened.starts, starts.new_start(opened.rooms.head)][-STARTS_MAX:])
            many(schema.UPSERT_ROOM, map(stored.sealed_room, map(_emptied, self._rooms)))
        many("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, ?)", self._stripped)
        many("DELETE FROM sessions WHERE session = ?", [(session,) for session in self._sessions])
        many("DELETE FROM cursors WHERE user = ? AND name = ?", self._cursors)
        many("DELETE FROM seen WHERE user = ?", self._seen)
        connection.execute("COMMIT")
        done = 0
        for room in self._rooms:
            while removed := connection.execute(_BATCHES, (room.id, STEP_BATCHES)).rowcount:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if progress is not None:
                    progress(done + min(removed, room.records), self.removed.records)
            done += room.records
        connection.execute("BEGIN IMMEDIATE")
        gone = [(room.id,) for room in self._rooms]
        many("DELETE FROM lost WHERE room = ?", gone)
        many("DELETE FROM rooms WHERE id = ?", gone)
        connection.execute("COMMIT")
        while connection.execute("PRAGMA freelist_count").fetchone()[0]:  # the space is given back
            connection.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").fetchall()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _emptied(room: RoomRow) -> RoomRow:
    return RoomRow(room.id, room.name, room.last, room.time, 0, 0, room.last, room.time)


def _matches(users: Iterable[str]) -> Callable[[str], bool]:
    texts = [".*".join(map(re.escape, user_key(user).split("*"))) for user in users]
    found = re.compile("|".join(texts) if texts else r"(?!)", re.DOTALL).fullmatch
    return lambda user: found(user_key(user)) is not None
