"""Trimming a log, and giving file space back, in steps that are short enough to come between commits.

Rules of this file
1. A step takes about `STEP_SECONDS`, as a commit may wait for it, and is a transaction or several; they are not
   synced, for a power cut that brings back what was removed does no harm.
2. Rooms' rows and their oldest batches say whether something is to be removed: nothing is counted.
3. What is to be removed is found in the order in which it lies, over all rooms at once, so that a page is
   changed once and not once for each room that has a batch in it. Joins and leaves that go from between messages
   that stay are few, and looked for room by room.
4. What cannot be read is passed over.
5. Users who have gone are forgotten in the same way, the ones that were seen last excepted.

It has more than 300 lines because all of it shares a clock and a transaction.
Tests: tests/log/sqlite/test_trimming.py.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator, Iterable, Iterator

from zchat import wire
from zchat.core.log import USERS_SEEN_KEPT, RetentionRule
from zchat.log.retention import Rule, is_last_of_messages
from zchat.log.sqlite import schema, stored
from zchat.log.sqlite.places import IndexEntry, Places, StoredPlace
from zchat.log.sqlite.state import RoomRow, RoomStates

STEP_SECONDS = 0.003  # and in it, at the end,
ROOM_SECONDS = 0.000015  # for each room that has changed: its row, and its page of the index
DELETED_ROWS = 8  # at once, between two looks at the clock,
DELETED_BYTES = 64 * 1024  # or fewer that have so many bytes
PLACES_ROWS = 256  # of the index, to find joins and leaves: about 0.1 ms
SKIPPED_ROWS_MAX = 1_000  # of batches that stay: then the index is asked where to go on
FORGOTTEN_USERS = 64  # at once
VACUUM_PAGES = 16  # at once: about 0.2 ms
VACUUM_WRITES = 2  # pages that are written for one that is moved
FREE_PAGES_KEPT = 128  # 1 MB that the next batches take
FREE_SHARE_KEPT = 10  # and one tenth of the file, or it would be cut and grow again all the time

_DELETE = "DELETE FROM batches WHERE base = ?"
_USERS = "SELECT count(*) FROM (SELECT 1 FROM seen LIMIT ?)"
_FORGET = "DELETE FROM seen WHERE user IN (SELECT user FROM seen ORDER BY seen LIMIT ?)"


class Trimming:
    """What is left to be done of `Log.trim`."""

    def __init__(self, connection: sqlite3.Connection, rooms: RoomStates, sync: str) -> None:
        self._connection = connection
        self._rooms = rooms
        self._places = Places(connection)
        self._sync = sync
        self.written_bytes = 0  # about, into the WAL
        self.removed = 0  # batches
        self._work: Iterator[None] | None = None
        self._next: tuple[list[RetentionRule], int] | None = None  # what to begin after it
        self._changed: dict[int, RoomRow] = {}  # in this step
        self._doomed: list[tuple[int]] = []  # bases of batches to be deleted next,
        self._deleted: list[tuple[int]] = []  # and of those that were in this step
        self._doomed_bytes = 0
        self._oldest: dict[int, int] = {}  # room -> time of its oldest batch, where that was looked at
        self._lone: dict[int, int] = {}  # room -> its last offset when its oldest batch was one that stays
        self._passed: dict[int, int] = {}  # room -> an offset up to which no joins and leaves are left to go
        self._oldest_presence: dict[int, int] = {}  # room -> time of the first behind it
        self._still: dict[int, int] = {}  # room -> its last offset when that was the only one behind it

    @property
    def is_at_work(self) -> bool:
        """Whether a step is to be made."""
        return self._work is not None

    def begin(self, rules: list[RetentionRule], now: int) -> None:
        """Remove what these rules do not keep, once what was begun earlier is done: else that would never end."""
        if self._work is None:
            self._work = self._steps(rules, now)
        elif rules or self._next is None:
            self._next = (_merged(self._next[0] if self._next else [], rules), now)

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

    def _steps(self, rules: list[RetentionRule], now: int) -> Iterator[None]:
        """Each `next` is a step."""
        for rule in [Rule(each, now) for each in rules]:
            while not self._rooms.match_some([rule.pattern]):
                if self._is_over():
                    yield
            matching = self._rooms.matching([rule.pattern]).ids
            todo = yield from self._to_go(matching, rule)
            yield from self._remove(todo, rule)
            yield from self._thin(matching, rule)
        yield from self._forget_users()
        yield from self._give_back()

    def _to_go(self, rooms: Iterable[int], rule: Rule) -> Generator[None, None, dict[int, int]]:
        """Returns room -> offset of its oldest batch, which goes."""
        todo = {}
        for room in list(rooms):
            if (base := self._oldest_to_go(room, rule)) is not None:
                todo[room] = base
            if self._is_over():
                yield
        return todo

    def _oldest_to_go(self, room: int, rule: Rule) -> int | None:
        """Where the room's oldest batch begins, when there may be too much of the room."""
        row = self._rooms.row(room)
        if rule.upto:
            oldest = self._places.oldest(room) if row.records and row.trimmed < rule.upto else None
            return oldest.base if oldest is not None and oldest.base <= rule.upto else None
        too_much = rule.has_too_much(row)
        if self._lone.get(room) == row.last or not (too_much or self._oldest.get(room, 0) < rule.before):
            return None
        oldest = self._places.oldest(room)
        if oldest is None:
            return None
        self._oldest[room] = oldest.time
        return oldest.base if too_much or oldest.time < rule.before else None

    # --- removing ---------------------------------------------------------------------------

    def _remove(self, todo: dict[int, int], rule: Rule) -> Iterator[None]:
        """The batches of these rooms that the rule does not keep; a room goes from `todo` when the rest stays."""
        position = min(todo.values(), default=0)
        skipped = 0
        while todo:
            chunk, position = self._places.chunk(position)
            for place in chunk:
                if place.room not in todo:
                    skipped += 1
                    continue
                skipped = 0
                self._look_at(place, todo, rule)
                if self._is_over():
                    self._commit()
                    yield
            if not chunk:
                break
            if skipped > max(SKIPPED_ROWS_MAX, 4 * len(todo)):
                self._commit()
                todo = yield from self._to_go(todo, rule)
                position = max(position, min(todo.values(), default=0))
                skipped = 0
            if self._is_over():
                self._commit()
                yield
        self._commit()

    def _look_at(self, place: StoredPlace, todo: dict[int, int], rule: Rule) -> None:
        """Remove that batch, or find that its room has not too much any more."""
        room, kind = place.room, place.kind
        row = self._row(room)
        self._oldest[room] = place.time
        gone = max(row.trimmed, row.presence_trimmed if kind == wire.PRESENCE else 0)
        if place.last <= gone:  # it could not be removed before
            self._doomed.append((place.base,))
            return
        if rule.upto:
            if place.last <= rule.upto:
                self._doom(place, behind=False, is_purged=True)
            else:
                del todo[room]
            return
        stays = place.last >= row.last or is_last_of_messages(row, kind, place.records)
        if stays:
            self._lone[room] = row.last
        if stays or not rule.drops(row, kind, place.records, place.time):
            del todo[room]
            return
        self._doom(place, behind=False)

    def _doom(self, place: StoredPlace, *, behind: bool, is_purged: bool = False) -> None:
        """Remove that batch: with all before it, or from behind what stays."""
        room, size, last = place.room, place.size, place.last
        row = self._row(room).without(place.records, size, presence=place.kind == wire.PRESENCE)
        micros = min(place.time, row.time)
        # A changed bit makes a time too late rather than too early.
        if behind:
            row = row._replace(presence_trimmed=last, presence_time=max(row.presence_time, micros))
        else:
            row = row._replace(trimmed=last, trimmed_time=max(row.trimmed_time, micros))
        if is_purged:
            row = row._replace(purged=last)
        self._changed[room] = row
        self._doomed.append((place.base,))
        self._doomed_bytes += size
        self.written_bytes += min(size, schema.PAGE_BYTES)
        if len(self._doomed) >= DELETED_ROWS or self._doomed_bytes >= DELETED_BYTES:
            self._delete()

    # --- joins and leaves -------------------------------------------------------------------

    def _thin(self, rooms: Iterable[int], rule: Rule) -> Iterator[None]:
        """Remove joins and leaves of these rooms from between messages that stay."""
        for room in list(rooms):
            while self._has_presence_to_go(room, rule):
                is_done = self._thin_some(room, rule)
                if self._is_over():
                    self._commit()
                    yield
                if is_done:
                    break
            if self._is_over():
                self._commit()
                yield
        self._commit()

    def _has_presence_to_go(self, room: int, rule: Rule) -> bool:
        row = self._row(room)
        if not row.presence or self._still.get(room) == row.last:
            return False
        return rule.has_too_much_presence(row) or self._oldest_presence.get(room, 0) < rule.before

    def _thin_some(self, room: int, rule: Rule) -> bool:
        """Returns whether the rest of the room stays."""
        row = self._row(room)
        position = max(row.trimmed, row.presence_trimmed, self._passed.get(room, 0))
        entries = self._places.of_room(room, position, PLACES_ROWS)
        if entries is None:
            return True
        ends = [*(entry.base for entry in entries[1:]), row.last + 1]
        for entry, end in zip(entries, ends, strict=False):
            cut = entry._replace(records=min(entry.records, end - entry.base))
            if entry.kind == wire.PRESENCE and not self._thin_one(room, cut, rule):
                return True
            self._passed[room] = entry.base
            if self._is_over():
                return False
        return len(entries) < PLACES_ROWS

    def _thin_one(self, room: int, entry: IndexEntry, rule: Rule) -> bool:
        """Remove that batch, or pass it over where it cannot be read. Returns False when it stays."""
        row, place = self._row(room), self._places.of_entry(room, entry)
        if place is None:
            return True
        if place.last >= row.last:
            self._still[room] = row.last
            return False
        if not rule.drops_presence(row, place.records, place.time):
            self._oldest_presence[room] = place.time
            return False
        self._doom(place, behind=self._places.has_between(room, row.trimmed, place.base))
        return True

    # --- rows -------------------------------------------------------------------------------

    def _row(self, room: int) -> RoomRow:
        return self._changed.get(room) or self._rooms.row(room)

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
            self._connection.executemany(schema.UPSERT_ROOM, map(stored.sealed_room, self._changed.values()))
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


def _merged(waiting: list[RetentionRule], rules: list[RetentionRule]) -> list[RetentionRule]:
    """Both. Rules are asked for again and again, and the new ones hold; that a room is purged is asked for once."""
    purged: dict[str, RetentionRule] = {}
    for rule in (*waiting, *rules):
        if rule.upto:
            purged[rule.pattern] = rule._replace(upto=max(rule.upto, purged.get(rule.pattern, rule).upto))
    kept = [rule for rule in rules if not rule.upto] or [rule for rule in waiting if not rule.upto]
    return [*purged.values(), *kept]
