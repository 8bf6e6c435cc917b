"""The log in memory: it ends with the broker. Also the executable specification of `Log`.

Rules of this file: one lock around everything; each room has its batches in a list, offsets rising.

It has more than 300 lines because what a log is to do is read in one piece.
Tests: tests/log/test_memory.py, which runs the contract.
"""

from __future__ import annotations

import secrets
import threading
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from heapq import merge
from operator import attrgetter, itemgetter
from typing import NamedTuple

from zchat import wire
from zchat.core.log import (
    USERS_SEEN_KEPT,
    Append,
    CursorRow,
    Gap,
    GroupRow,
    LogPage,
    LogStart,
    May,
    RetentionRule,
    ScheduledRow,
    SeenRow,
    SessionRow,
    Sliced,
    StoredBatch,
    whole,
)
from zchat.errors import LogError
from zchat.log.retention import Rule, is_last_of_messages, removed_of
from zchat.log.slices import Slice, add_gaps, paced
from zchat.names import matcher

RECENT_BATCHES = 4096  # searched for a repeated publish
ROOMS_A_STEP = 500  # are matched: about 1 ms
USERS_FORGOTTEN = 1_000  # at once: to find who was seen last takes a sort


class _Thinned(NamedTuple):
    """Offsets that were removed, both ends in it."""

    first: int
    last: int


class RoomBatches:
    """One room's batches, and what was removed of them."""

    def __init__(self) -> None:
        self.batches: list[StoredBatch] = []
        self.records = 0
        self.bytes = 0
        self.presence = 0  # of the records
        self.presence_bytes = 0
        self.last = 0  # offset of the last record, also when that is gone
        self.trimmed = self.purged = 0  # last offset of what was removed, and of what somebody had asked to be,
        self.trimmed_time = 0  # and its time, of the first
        self.presence_trimmed = 0  # last offset of joins and leaves that were removed behind what stays,
        self.presence_time = 0  # and its time
        self.holes: list[_Thinned] = []  # where those were

    def add(self, batch: StoredBatch) -> None:
        """The newest batch."""
        self.batches.append(batch)
        self._count(batch, 1)
        self.last = _last(batch)

    def above(self, after: int) -> Iterator[StoredBatch]:
        """The batches that have a record above that offset."""
        at = bisect_right(self.batches, after, key=_last)
        return (self.batches[number] for number in range(at, len(self.batches)))

    def below(self, offset: int) -> Iterator[StoredBatch]:
        """The batches that begin below that offset, the newest first."""
        at = bisect_left(self.batches, offset, key=_base)
        return (self.batches[number] for number in range(at - 1, -1, -1))

    def latest(self, after: int, end: int, count: int) -> list[tuple[StoredBatch, int]]:
        """The batches with its last `count` messages above `after`, up to `end`; and how many records each gives."""
        found: list[tuple[StoredBatch, int]] = []
        for batch in self.below(end + 1):
            last = _last(batch)
            if last <= after or not count:
                break
            if batch.kind != wire.PRESENCE:
                taken = min(count, min(last, end) - max(batch.base - 1, after))
                found.append((batch, taken + max(0, last - end)))
                count -= taken
        return found

    def before(self, time: int) -> int:
        """The last offset of what is older and kept; 0: nothing is."""
        at = bisect_left(self.batches, time, key=_time)
        return _last(self.batches[at - 1]) if at else 0

    def removed_before(self, time: int) -> int:
        """The last offset of what was removed and is known to be older."""
        older = self.trimmed if self.trimmed_time < time else 0
        return max(older, self.presence_trimmed if self.presence_time < time else 0)

    def gaps(self, name: str, after: int, until: int) -> list[Gap]:
        """What was removed of `after < offset <= until`."""
        within = [(max(first, after + 1), min(last, until)) for first, last in [_Thinned(1, self.trimmed), *self.holes]]
        return [gap for each in within for gap in removed_of(name, *each, self.purged)]

    def is_gone(self, batch: StoredBatch) -> bool:
        """Whether that batch of the room was removed."""
        is_thinned = batch.kind == wire.PRESENCE and batch.base <= self.presence_trimmed
        return is_thinned or batch.base <= self.trimmed

    def trim(self, rule: Rule) -> None:
        """Remove what the rule does not keep: the oldest, then joins and leaves from behind what stays."""
        if rule.upto:
            while self.batches and _last(self.batches[0]) <= rule.upto:
                self._trim(self.batches.pop(0))
                self.purged = self.trimmed
            self.holes = [hole for hole in self.holes if hole.last > self.trimmed]
            return
        removed = 0
        for batch in self.batches[:-1]:
            if is_last_of_messages(self, batch.kind, batch.records):
                break
            if not rule.drops(self, batch.kind, batch.records, batch.time):
                break
            self._trim(batch)
            removed += 1
        del self.batches[:removed]
        # Where the oldest is not too old, no join or leave behind it is.
        if self.presence and (rule.has_too_much_presence(self) or self.batches[0].time < rule.before):
            self._thin(rule)
        self.holes = [hole for hole in self.holes if hole.last > self.trimmed]

    def _thin(self, rule: Rule) -> None:
        kept: list[StoredBatch] = []
        for at, batch in enumerate(self.batches[:-1]):
            if batch.kind != wire.PRESENCE:
                kept.append(batch)
            elif not rule.drops_presence(self, batch.records, batch.time):
                self.batches[:at] = kept
                return
            elif not kept:
                self._trim(batch)
            else:
                self._count(batch, -1)
                self.presence_trimmed, self.presence_time = _last(batch), batch.time
                first = _last(kept[-1]) + 1
                if self.holes and self.holes[-1].first == first:
                    self.holes.pop()
                self.holes.append(_Thinned(first, _last(batch)))
        self.batches[:-1] = kept

    def _trim(self, oldest: StoredBatch) -> None:
        self._count(oldest, -1)
        self.trimmed, self.trimmed_time = _last(oldest), oldest.time

    def _count(self, batch: StoredBatch, sign: int) -> None:
        records, size = sign * batch.records, sign * len(batch.frame)
        self.records += records
        self.bytes += size
        if batch.kind == wire.PRESENCE:
            self.presence += records
            self.presence_bytes += size


class MemoryLog:
    """See `zchat.core.log.Log`."""

    def __init__(self) -> None:
        self.log_id = secrets.token_hex(8)
        self.secret = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._rooms: dict[str, RoomBatches] = {}
        self._recent: deque[StoredBatch] = deque(maxlen=RECENT_BATCHES)
        self._head = 0
        self._time = 0
        self._sessions: dict[str, SessionRow] = {}
        self._seen: dict[str, int] = {}
        self._cursors: dict[tuple[str, str], CursorRow] = {}
        self._groups: dict[tuple[str, str], GroupRow] = {}
        self._scheduled: dict[tuple[str, str], ScheduledRow] = {}
        self._starts = [LogStart(secrets.token_hex(6), 0)]

    def append(self, append: Append, done: Callable[[LogError | None], None]) -> None:
        """Kept at once."""
        with self._lock:
            for batch in append.batches:
                self._rooms.setdefault(batch.room, RoomBatches()).add(batch)
                self._recent.append(batch)
                self._head, self._time = _last(batch), batch.time
            self._sessions.update({row.session: row for row in append.sessions})
            for session in append.ended:
                self._sessions.pop(session, None)
            self._see(append.seen)
            self._cursors.update({(row.user, row.name): row for row in append.cursors})
            for dropped in append.dropped:
                self._cursors.pop(dropped, None)
            self._groups.update({(row.room, row.name): row for row in append.groups})
            for removed in append.removed:
                self._groups.pop(removed, None)
            self._scheduled.update({(row.owner, row.id): row for row in append.scheduled})
            for forgotten in append.forgotten:
                self._scheduled.pop(forgotten, None)
        done(None)

    def append_now(self, append: Append) -> bool:
        """Always."""
        self.append(append, lambda error: None)
        return True

    def read(
        self, patterns: list[str], after: int, until: int, limit: int, bytes_max: int, may: May | None = None
    ) -> Sliced[LogPage]:
        """Batches of all rooms that match, merged by offset; each slice accounts for all up to where it ends."""
        page, gaps = list[tuple[str, bytes]](), list[Gap]()
        records = size = 0
        end = min(until, self._head) if until else self._head
        rooms = yield from paced(self._match(patterns, may))
        while True:
            with self._lock:
                begun, last, upto, more, is_done = Slice(), after, end, False, True
                for batch in merge(*(room.above(after) for _, room in rooms if room.last > after), key=_base):
                    if batch.base > end:
                        break
                    if page and (size >= bytes_max or (limit and records >= limit)):
                        upto, more = last, True
                        break
                    page.append((batch.room, batch.frame))
                    records += batch.records
                    size += len(batch.frame)
                    last = _last(batch)
                    if begun.is_over:
                        upto, is_done = last, False
                        break
                found = [gap for name, room in rooms for gap in room.gaps(name, after, upto)]
            add_gaps(gaps, found, after)
            if is_done:
                return LogPage(page, upto, more, gaps)
            after = upto
            yield

    def latest(
        self, patterns: list[str], after: int, until: int, count: int, bytes_max: int, may: May | None = None
    ) -> Sliced[LogPage]:
        """Back over each room that goes on; then the ends of these, merged."""
        end = upto = min(until, self._head) if until else self._head
        rooms = yield from paced(self._match(patterns, may))
        found: list[tuple[StoredBatch, int]] = []
        begun = Slice()
        for _, room in rooms:
            with self._lock:
                found += room.latest(after, end, count)
            if begun.is_over:
                yield
                begun = Slice()
        page, size = list[tuple[str, bytes]](), 0
        for batch, wanted in sorted(found, key=lambda end: end[0].base):
            if size >= bytes_max:
                return LogPage(page, upto, True, [])
            page.append((batch.room, wire.end_of(batch.frame, batch.records, wanted)))
            size, upto = size + len(page[-1][1]), min(_last(batch), end)
        return LogPage(page, end, False, [])

    def seek(self, patterns: list[str], last: int, since: int, presence: bool, may: May | None = None) -> Sliced[int]:
        """Back over the newest batches, or to the last that is older, of any room."""
        below = self._head + 1
        rooms = yield from paced(self._match(patterns, may))
        with self._lock:
            if not last:
                kept = max((room.before(since) for room in self._rooms.values()), default=0)
                return max([kept, *(room.removed_before(since) for _, room in rooms)])
            if last > sum(room.records if presence else room.records - room.presence for _, room in rooms):
                return 0
        while True:
            with self._lock:
                begun = Slice()
                for batch in merge(*(room.below(below) for _, room in rooms), key=_base, reverse=True):
                    if batch.kind != wire.PRESENCE or presence:
                        if last <= batch.records:
                            return batch.base + batch.records - last - 1
                        last -= batch.records
                    below = batch.base
                    if begun.is_over:
                        break
                else:
                    return 0
            yield

    def find(self, session: str, seq: int) -> Sliced[int]:
        """Back over the newest batches of the log."""
        with self._lock:
            recent = [batch for batch in self._recent if not self._rooms[batch.room].is_gone(batch)]
        begun = Slice()
        for batch in reversed(recent):
            offset = batch.base
            for entry in wire.decode_raw_batch(batch.frame).entries:
                if (entry.session, entry.seq) == (session, seq):
                    return offset
                offset += len(wire.decode_records(entry.records))
            if begun.is_over:
                yield
                begun = Slice()
        return 0

    def head(self) -> int:
        """The last offset that was given."""
        return self._head

    def last_time(self) -> int:
        """Of the newest batch."""
        return self._time

    def rooms(self) -> dict[str, int]:
        """Also of those whose records are gone."""
        with self._lock:
            return {name: room.last for name, room in self._rooms.items()}

    def empty_rooms(self) -> list[str]:
        """All of them was removed."""
        with self._lock:
            return [name for name, room in self._rooms.items() if not room.batches]

    def sessions(self) -> list[SessionRow]:
        """In no order."""
        with self._lock:
            return list(self._sessions.values())

    def users_seen(self, limit: int) -> list[SeenRow]:
        """Latest first."""
        with self._lock:
            latest = sorted(self._seen.items(), key=_seen, reverse=True)[:limit]
        return [SeenRow._make(row) for row in latest]

    def cursors(self) -> list[CursorRow]:
        """In no order."""
        with self._lock:
            return list(self._cursors.values())

    def groups(self) -> list[GroupRow]:
        """In no order."""
        with self._lock:
            return list(self._groups.values())

    def scheduled(self) -> list[ScheduledRow]:
        """In no order."""
        with self._lock:
            return list(self._scheduled.values())

    def starts(self) -> list[LogStart]:
        """One: it ends with its broker."""
        return list(self._starts)

    def trim(self, rules: list[RetentionRule], now: int) -> None:
        """At once: a list drops its beginning in no time."""
        for rule in [Rule(each, now) for each in rules]:
            rooms = whole(self._match([rule.pattern]))
            with self._lock:
                for _, room in rooms:
                    room.trim(rule)

    def close(self) -> None:
        """Nothing is kept."""

    # --- parts ------------------------------------------------------------------------------

    def _see(self, seen: dict[str, int]) -> None:
        self._seen.update(seen)
        if len(self._seen) > USERS_SEEN_KEPT + USERS_FORGOTTEN:
            self._seen = dict(sorted(self._seen.items(), key=_seen)[-USERS_SEEN_KEPT:])

    def _match(self, patterns: list[str], may: May | None = None) -> Sliced[list[tuple[str, RoomBatches]]]:
        """The rooms that match, in small steps. None goes."""
        wanted = matcher(patterns)
        with self._lock:
            rooms = list(self._rooms.items())
        found: list[tuple[str, RoomBatches]] = []
        for at in range(0, len(rooms), ROOMS_A_STEP):
            found += [
                (name, room)
                for name, room in rooms[at : at + ROOMS_A_STEP]
                if wanted(name) and (may is None or may(name))
            ]
            yield
        return found


_base, _time, _seen = attrgetter("base"), attrgetter("time"), itemgetter(1)


def _last(batch: StoredBatch) -> int:
    return batch.base + batch.records - 1
