"""What is asked of a log on disk, and changes nothing: the part of it that any thread may call.

Rules of this file: what is not known in memory is read within a snapshot of a connection of its own; no lock is held.
Spec: `zchat.core.log.Log`. Tests: tests/log/sqlite/test_log.py, which runs the contract.
"""

from __future__ import annotations

import msgspec

from zchat.core.log import CursorRow, GroupRow, LogPage, May, ScheduledRow, SeenRow, SessionRow, Sliced
from zchat.log.sqlite import latest, reading, seek
from zchat.log.sqlite.deduplication import Deduplication
from zchat.log.sqlite.readers import Readers
from zchat.log.sqlite.state import RoomStates
from zchat.log.sqlite.trouble import Trouble

_runs = msgspec.json.Decoder(list[tuple[int, int, int]]).decode
_rooms_of = msgspec.json.Decoder(dict[str, int]).decode


class StoredReads:
    """The reads of `zchat.core.log.Log`."""

    _readers: Readers
    _rooms: RoomStates
    _deduplication: Deduplication
    _trouble: Trouble

    def read(
        self, patterns: list[str], after: int, until: int, limit: int, bytes_max: int, may: May | None = None
    ) -> Sliced[LogPage]:
        """Each slice within one snapshot of the database."""
        snapshot = self._readers.snapshot
        page = yield from reading.page(snapshot, self._rooms, (patterns, may), after, until, limit, bytes_max)
        if page.gaps:
            self._trouble.met(page.gaps)
        return page

    def latest(
        self, patterns: list[str], after: int, until: int, count: int, bytes_max: int, may: May | None = None
    ) -> Sliced[LogPage]:
        """By the index, room by room."""
        snapshot = self._readers.snapshot
        page = yield from latest.page(snapshot, self._rooms, (patterns, may), after, until, count, bytes_max)
        if page.gaps:
            self._trouble.met(page.gaps)
        return page

    def seek(self, patterns: list[str], last: int, since: int, presence: bool, may: May | None = None) -> Sliced[int]:
        """Back from the newest batch; a time by halving."""
        snapshot = self._readers.snapshot
        if last:
            return seek.last_records(snapshot, self._rooms, (patterns, may), last, presence)
        return seek.since(snapshot, self._rooms, (patterns, may), since)

    def find(self, session: str, seq: int) -> Sliced[int]:
        """Back from what was the newest batch when it was opened; then from what is."""
        return self._deduplication.find(self._readers.snapshot, session, seq, self._rooms.head)

    def head(self) -> int:
        """Of the last commit."""
        return self._rooms.head

    def last_time(self) -> int:
        """Of the last commit."""
        return self._rooms.time

    def rooms(self) -> dict[str, int]:
        """Of the last commit."""
        return self._rooms.lasts()

    def empty_rooms(self) -> list[str]:
        """Of the last commit."""
        return self._rooms.empty()

    def sessions(self) -> list[SessionRow]:
        """In no order."""
        with self._readers.snapshot() as connection:
            rows = connection.execute("SELECT session, user, last_seq, seen, rooms FROM sessions").fetchall()
        return [SessionRow(session, user, seq, seen, _rooms_of(rooms)) for session, user, seq, seen, rooms in rows]

    def users_seen(self, limit: int) -> list[SeenRow]:
        """By their index."""
        with self._readers.snapshot() as connection:
            rows = connection.execute("SELECT user, seen FROM seen ORDER BY seen DESC LIMIT ?", (limit,)).fetchall()
        return [SeenRow._make(row) for row in rows]

    def cursors(self) -> list[CursorRow]:
        """In no order."""
        with self._readers.snapshot() as connection:
            rows = connection.execute("SELECT user, name, offset, time FROM cursors").fetchall()
        return [CursorRow._make(row) for row in rows]

    def groups(self) -> list[GroupRow]:
        """In no order."""
        with self._readers.snapshot() as connection:
            rows = connection.execute("SELECT room, name, upto, max_deliveries, time, pending FROM groups").fetchall()
        return [GroupRow(room, name, upto, most, time, _runs(runs)) for room, name, upto, most, time, runs in rows]

    def scheduled(self) -> list[ScheduledRow]:
        """In no order."""
        with self._readers.snapshot() as connection:
            rows = connection.execute("SELECT * FROM scheduled").fetchall()
        return [ScheduledRow._make(row[:-1]) for row in rows]
