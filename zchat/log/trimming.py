"""Trimming a log, and giving file space back, in steps that are short enough to come between commits.

Rules of this file
1. A step takes about `STEP_SECONDS`, as a commit may wait for it, and is a transaction or several; they are not
   synced, for a power cut that brings back what was removed does no harm.
2. Rooms' rows and their oldest batches say whether something is to be removed: nothing is counted.
3. What is to be removed is found in the order in which it lies, over all rooms at once, so that a page is
   changed once and not once for each room that has a batch in it.
4. What cannot be read is passed over.
5. Users who have gone are forgotten in the same way, the ones that were seen last excepted.

It has more than 300 lines because all of it shares a clock and a transaction.
Tests: tests/log/test_trimming.py.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator, Iterable, Iterator

from zchat.log import USERS_SEEN_KEPT, Keep, schema
from zchat.log.state import RoomRow, RoomStates
from zchat.log.walks import OFFSET_MAX, Walker

STEP_SECONDS = 0.003  # and in it, at the end,
ROOM_SECONDS = 0.000015  # for each room that has changed: its row, and its page of the index
CHUNK_ROWS = 64
CHUNK_ROWS_MIN = 8
CHUNK_BYTES = 64 * 1024  # of pages that a chunk lies in, which may have to come from the disk
DELETED_ROWS = 8  # at once, between two looks at the clock,
DELETED_BYTES = 64 * 1024  # or fewer that have so many bytes
SKIPPED_ROWS_MAX = 1_000  # of batches that stay: then the index is asked where to go on
FORGOTTEN_USERS = 64  # at once
VACUUM_PAGES = 16  # at once: about 0.2 ms
VACUUM_WRITES = 2  # pages that are written for one that is moved
FREE_PAGES_KEPT = 128  # 1 MB that the next batches take
FREE_SHARE_KEPT = 10  # and one tenth of the file, or it would be cut and grow again all the time

_OLDEST = """SELECT base, time FROM batches INDEXED BY batches_of_room WHERE room = ? ORDER BY base LIMIT 1"""
_FROM = """SELECT base, room, records, time, length(frame) FROM batches NOT INDEXED
    WHERE base >= ? ORDER BY base LIMIT ?"""
_DELETE = "DELETE FROM batches WHERE base = ?"
_USERS = "SELECT count(*) FROM (SELECT 1 FROM seen LIMIT ?)"
_FORGET = "DELETE FROM seen WHERE user IN (SELECT user FROM seen ORDER BY seen LIMIT ?)"

Place = tuple[int, int, int, int, int]  # a row of _FROM


class Trimming:
    """What is left to be done of `Log.trim`."""

    def __init__(self, connection: sqlite3.Connection, rooms: RoomStates, sync: str) -> None:
        self._connection = connection
        self._rooms = rooms
        self._sync = sync
        self.written_bytes = 0  # about, into the WAL
        self.removed = 0  # batches
        self._work: Iterator[None] | None = None
        self._next: tuple[list[Keep], int] | None = None  # what to begin after it
        self._changed: dict[int, RoomRow] = {}  # in this step
        self._doomed: list[tuple[int]] = []  # bases of batches to be deleted next,
        self._deleted: list[tuple[int]] = []  # and of those that were in this step
        self._doomed_bytes = 0
        self._oldest: dict[int, int] = {}  # room -> time of its oldest batch, where that was looked at
        self._chunk_rows = CHUNK_ROWS_MIN
        self._lone: dict[int, int] = {}  # room -> its last offset when its newest batch was all that there was

    @property
    def is_at_work(self) -> bool:
        """Whether a step is to be made."""
        return self._work is not None

    def begin(self, keep: list[Keep], now: int) -> None:
        """Keep only this; once what was begun before is done, or else it would never come to its end."""
        if self._work is None:
            self._work = self._steps(keep, now)
        elif keep or self._next is None:
            self._next = (keep, now)

    def step(self) -> None:
        """Do a little. What it raises ends the work, with nothing of the step done."""
        assert self._work is not None
        self._ends = time.monotonic() + STEP_SECONDS
        schema.set_sync(self._connection, "normal")
        try:
            next(self._work)
        except StopIteration:
            following, self._next = self._next, None
            self._work = self._steps(*following) if following else None
        except Exception:
            self._work = self._next = None
            self._undo()
            raise
        finally:
            schema.set_sync(self._connection, self._sync)

    # --- what has too much ------------------------------------------------------------------

    def _steps(self, keep: list[Keep], now: int) -> Iterator[None]:
        """Each `next` is a step."""
        for rule in keep:
            before = now - int(rule.age_seconds * 1_000_000) if rule.age_seconds else 0
            while not self._rooms.match_some([rule.pattern]):
                if self._is_over():
                    yield
            todo = yield from self._to_go(self._rooms.matching([rule.pattern]).ids, rule, before)
            yield from self._remove(todo, rule, before)
        yield from self._forget_users()
        yield from self._give_back()

    def _to_go(self, rooms: Iterable[int], rule: Keep, before: int) -> Generator[None, None, dict[int, int]]:
        """Returns room -> offset of its oldest batch, which goes."""
        todo = {}
        for room in list(rooms):
            if (base := self._oldest_to_go(room, rule, before)) is not None:
                todo[room] = base
            if self._is_over():
                yield
        return todo

    def _oldest_to_go(self, room: int, rule: Keep, before: int) -> int | None:
        """Where the room's oldest batch begins, when there may be too much of the room."""
        row = self._rooms.row(room)
        too_much = (rule.records and row.records > rule.records) or (rule.bytes and row.bytes > rule.bytes)
        if self._lone.get(room) == row.last or not (too_much or self._oldest.get(room, 0) < before):
            return None
        try:
            found = self._connection.execute(_OLDEST, (room,)).fetchone()
        except sqlite3.Error as error:
            if not schema.is_unreadable(error):
                raise
            return None
        if found is None:
            return None
        base, self._oldest[room] = found
        return int(base) if too_much or found[1] < before else None

    # --- removing ---------------------------------------------------------------------------

    def _remove(self, todo: dict[int, int], rule: Keep, before: int) -> Iterator[None]:
        """The batches of these rooms that the rule does not keep; a room goes from `todo` when the rest stays."""
        position = min(todo.values(), default=0)
        skipped = 0
        while todo:
            chunk, position = self._chunk(position)
            for row in chunk:
                if row[1] not in todo:
                    skipped += 1
                    continue
                skipped = 0
                self._look_at(row, todo, rule, before)
                if self._is_over():
                    self._commit()
                    yield
            if not chunk:
                break
            if skipped > max(SKIPPED_ROWS_MAX, 4 * len(todo)):
                self._commit()
                todo = yield from self._to_go(todo, rule, before)
                position = max(position, min(todo.values(), default=0))
                skipped = 0
            if self._is_over():
                self._commit()
                yield
        self._commit()

    def _look_at(self, place: Place, todo: dict[int, int], rule: Keep, before: int) -> None:
        """Remove that batch, or find that its room has not too much any more."""
        base, room, records, micros, size = place
        row = self._changed.get(room) or self._rooms.row(room)
        self._oldest[room] = micros
        last = base + records - 1
        if last <= row.trimmed:  # it could not be removed before
            self._doomed.append((base,))
            return
        too_many = rule.records and row.records - records >= rule.records
        too_large = rule.bytes and row.bytes > rule.bytes
        if last >= row.last:
            self._lone[room] = row.last  # a room's newest batch stays
        if last >= row.last or not (too_many or too_large or micros < before):
            del todo[room]
            return
        kept = (row.records - records, row.bytes - size)
        until = max(row.trimmed_time, min(micros, row.time))  # a changed bit makes it too late rather than too early
        self._changed[room] = RoomRow(room, row.name, row.last, row.time, *kept, last, until)
        self._doomed.append((base,))
        self._doomed_bytes += size
        self.written_bytes += min(size, schema.PAGE_BYTES)
        if len(self._doomed) >= DELETED_ROWS or self._doomed_bytes >= DELETED_BYTES:
            self._delete()

    def _chunk(self, position: int) -> tuple[list[Place], int]:
        """The next batches, and where to go on. None of them reaches beyond where the next one begins."""
        while position < OFFSET_MAX:
            for rows in (self._chunk_rows, 2, 1):  # few, to come close to what cannot be read
                found = self._rows(position, rows)
                if found is not None:
                    self._chunk_rows = _rows_of_next(found)
                    is_last = len(found) < rows
                    following = [row[0] for row in found[1:]]
                    if is_last or rows == 1:
                        following.append(OFFSET_MAX)
                    places = [
                        (base, room, min(records, next_base - base), micros, size)
                        for (base, room, records, micros, size), next_base in zip(found, following, strict=False)
                        if type(records) is type(micros) is type(size) is int
                    ]
                    return places, OFFSET_MAX if is_last else found[-1][0] + (rows == 1)
            position = Walker(self._connection).behind(position, OFFSET_MAX - 1)
        return [], position

    def _rows(self, position: int, limit: int) -> list[Place] | None:
        """None: one of them cannot be read."""
        try:
            return self._connection.execute(_FROM, (position, limit)).fetchall()
        except sqlite3.Error as error:
            if not schema.is_unreadable(error):
                raise
            return None

    def _delete(self) -> None:
        if not self._doomed:
            return
        self._begin()
        self._deleted += self._doomed
        try:
            self._connection.executemany(_DELETE, self._doomed)
        except sqlite3.Error as error:
            if not schema.is_unreadable(error):
                raise
            self._delete_one_by_one()
        self.removed += len(self._doomed)
        self._doomed, self._doomed_bytes = [], 0

    def _delete_one_by_one(self) -> None:
        """Something cannot be removed for damage beside it: it stays, unread, and all the rest of the step goes."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        for base in self._deleted:
            try:
                self._connection.execute(_DELETE, base)
            except sqlite3.Error as error:
                if not schema.is_unreadable(error):
                    raise
        self._deleted = []

    def _begin(self) -> None:
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN IMMEDIATE")

    def _commit(self) -> None:
        self._delete()
        if self._changed:
            self._begin()
            self._connection.executemany(schema.UPSERT_ROOM, map(schema.sealed_room, self._changed.values()))
            self._connection.execute("COMMIT")
            self._rooms.commit(self._changed.values())
            pages = 2 + schema.pages_of_rooms(len(self._changed), len(self._rooms))
            self.written_bytes += pages * schema.PAGE_BYTES
        self._changed, self._deleted = {}, []

    def _undo(self) -> None:
        self._changed, self._deleted, self._doomed, self._doomed_bytes = {}, [], [], 0
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _is_over(self) -> bool:
        return time.monotonic() + len(self._changed) * ROOM_SECONDS > self._ends

    # --- users ------------------------------------------------------------------------------

    def _forget_users(self) -> Iterator[None]:
        """All but those who were seen last."""
        execute, most = self._connection.execute, USERS_SEEN_KEPT + FORGOTTEN_USERS
        try:
            while (surplus := int(execute(_USERS, (most,)).fetchone()[0]) - USERS_SEEN_KEPT) > 0:
                execute(_FORGET, (surplus,))
                self.written_bytes += surplus * schema.PAGE_BYTES
                if self._is_over():
                    yield
        except sqlite3.Error as error:
            if not schema.is_unreadable(error):
                raise

    # --- file space -------------------------------------------------------------------------

    def _give_back(self) -> Iterator[None]:
        """Cut free pages off the file. A page that lies behind one that is in use changes places with it."""
        while True:
            free, total = self._pragma("freelist_count"), self._pragma("page_count")
            surplus = free - max(FREE_PAGES_KEPT, (total - free) // FREE_SHARE_KEPT)
            if surplus <= 0:
                return
            pages = min(VACUUM_PAGES, surplus)
            # By `execute` it would free one page only: it takes a step for each.
            self._connection.executescript(f"PRAGMA incremental_vacuum({pages})")
            self.written_bytes += pages * VACUUM_WRITES * schema.PAGE_BYTES
            if self._is_over():
                yield

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])


def _rows_of_next(chunk: list[Place]) -> int:
    """How many rows lie in about `CHUNK_BYTES` of pages, when they are like these."""
    sizes = [min(row[4], schema.PAGE_BYTES) for row in chunk if type(row[4]) is int]
    return max(CHUNK_ROWS_MIN, min(CHUNK_ROWS, CHUNK_BYTES * len(sizes) // (sum(sizes) or 1)))
