"""Trimming a log, and giving file space back, in steps that are short enough to come between commits.

Rules of this file
1. A step takes about `STEP_SECONDS` and is one transaction; it is not synced, for a power cut that brings
   back what was removed does no harm.
2. What is to be removed follows from the rooms' rows and their oldest batches: nothing is counted.
3. A room whose batches cannot be read is passed over.

Tests: tests/log/test_trimming.py.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator

from zchat.log import Keep, schema
from zchat.log.state import RoomRow, RoomStates

STEP_SECONDS = 0.005
CHUNK_ROWS = 64
VACUUM_PAGES = 16  # in the first step; it is doubled or halved by how long that took
FREE_PAGES_KEPT = 256  # 1 MB that the next batches take
FREE_SHARE_KEPT = 10  # and one tenth of the file, or it would be cut and grow again all the time

_OLDEST = """SELECT base, records, time, length(frame) FROM batches INDEXED BY batches_of_room
    WHERE room = ? ORDER BY base LIMIT ?"""


class Trimming:
    """What is left to be done of `Log.trim`."""

    def __init__(self, connection: sqlite3.Connection, rooms: RoomStates, sync: str) -> None:
        self._connection = connection
        self._rooms = rooms
        self._sync = sync
        self.written_bytes = 0  # about, into the WAL
        self._work: Iterator[None] | None = None
        self._changed: dict[int, RoomRow] = {}  # in this step
        self._oldest: dict[int, int] = {}  # room -> time of its oldest batch, where that was looked at
        self._lone: dict[int, int] = {}  # room -> its last offset when its newest batch was all that there was
        self._passed_over: set[int] = set()

    @property
    def is_at_work(self) -> bool:
        """Whether a step is to be made."""
        return self._work is not None

    def begin(self, keep: list[Keep], now: int) -> None:
        """Keep only this. What was begun before is given up."""
        self._work = self._steps(keep, now)

    def step(self) -> None:
        """Do a little. Raises sqlite3.Error, with nothing of the step done and nothing left to do."""
        assert self._work is not None
        self._ends = time.monotonic() + STEP_SECONDS
        schema.set_sync(self._connection, "normal")
        try:
            next(self._work)
        except StopIteration:
            self._work = None
        except sqlite3.Error:
            self._work = None
            self._undo()
            raise
        finally:
            schema.set_sync(self._connection, self._sync)

    # --- parts ------------------------------------------------------------------------------

    def _steps(self, keep: list[Keep], now: int) -> Iterator[None]:
        for rule in keep:
            before = now - int(rule.age_seconds * 1_000_000) if rule.age_seconds else 0
            for room in list(self._rooms.matching([rule.pattern]).ids):
                while self._may_have_too_much(room, rule, before) and self._remove_some(room, rule, before):
                    if time.monotonic() > self._ends:
                        self._commit()
                        yield
                if time.monotonic() > self._ends:
                    self._commit()
                    yield
        self._commit()
        yield from self._give_back()

    def _may_have_too_much(self, room: int, rule: Keep, before: int) -> bool:
        """What the room's row, and what is known of its oldest batch, say."""
        row = self._changed.get(room) or self._rooms.row(room)
        if self._lone.get(room) == row.last or room in self._passed_over:
            return False
        too_many = rule.records and row.records > rule.records
        too_large = rule.bytes and row.bytes > rule.bytes
        return bool(too_many or too_large or self._oldest.get(room, 0) < before)

    def _remove_some(self, room: int, rule: Keep, before: int) -> bool:
        """Of the oldest batches, those that the rule does not keep. Returns whether there may be more of them."""
        connection = self._connection
        if not connection.in_transaction:
            connection.execute("BEGIN IMMEDIATE")
        row = self._changed.get(room) or self._rooms.row(room)
        try:
            chunk = connection.execute(_OLDEST, (room, CHUNK_ROWS)).fetchall()
            for base, records, micros, size in chunk:
                last = base + records - 1
                self._oldest[room] = micros
                if last >= row.last:
                    self._lone[room] = row.last
                    return False
                too_many = rule.records and row.records - records >= rule.records
                too_large = rule.bytes and row.bytes > rule.bytes
                if not (too_many or too_large or micros < before):
                    return False
                connection.execute("DELETE FROM batches WHERE base = ?", (base,))
                row = row._replace(records=row.records - records, bytes=row.bytes - size, trimmed=last)
                self._changed[room] = row
                self.written_bytes += schema.PAGE_BYTES
                if time.monotonic() > self._ends:
                    break
        except sqlite3.Error as error:
            if not schema.is_unreadable(error):
                raise
            self._undo()
            self._passed_over.add(room)
            return False
        return bool(chunk)

    def _commit(self) -> None:
        if not self._connection.in_transaction:
            return
        self._connection.executemany(schema.UPSERT_ROOM, [schema.sealed(*row) for row in self._changed.values()])
        self._connection.execute("COMMIT")
        self._rooms.commit(self._changed.values())
        self._changed = {}

    def _undo(self) -> None:
        self._changed = {}
        self._oldest.clear()
        self._lone.clear()
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _give_back(self) -> Iterator[None]:
        """Cut free pages off the file. A page that lies behind one that is in use changes places with it."""
        pages = VACUUM_PAGES
        while True:
            free, total = self._pragma("freelist_count"), self._pragma("page_count")
            surplus = free - max(FREE_PAGES_KEPT, (total - free) // FREE_SHARE_KEPT)
            if surplus <= 0:
                return
            began = time.monotonic()
            # By execute, it would free one page only: it takes a step for each.
            self._connection.executescript(f"PRAGMA incremental_vacuum({min(pages, surplus)})")
            took = time.monotonic() - began
            self.written_bytes += min(pages, surplus) * schema.PAGE_BYTES
            pages = pages * 2 if took < STEP_SECONDS / 2 else max(1, pages // 2) if took > STEP_SECONDS else pages
            yield

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])
