"""The log in memory: it ends with the broker. Also the executable specification of `Log`.

Rules of this file: one lock around everything; each room has its batches in a list, offsets rising.
Tests: tests/log/test_memory.py, which runs the contract.
"""

from __future__ import annotations

import secrets
import threading
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from heapq import merge

from zchat import wire
from zchat.errors import LogError
from zchat.log import USERS_SEEN_KEPT, Append, CursorRow, Keep, LogPage, SessionRow, StoredBatch
from zchat.names import matcher

TAIL_BATCHES = 4096  # searched for a repeated publish
USERS_FORGOTTEN = 1_000  # at once: to find who was seen last takes a sort


class RoomBatches:
    """One room's batches, and what was removed of them."""

    def __init__(self) -> None:
        self.batches: list[StoredBatch] = []
        self.records = 0
        self.bytes = 0
        self.last = 0  # offset of the last record, also when that is gone
        self.trimmed = 0  # last offset of what was removed,
        self.trimmed_time = 0  # and its time

    def add(self, batch: StoredBatch) -> None:
        """The newest batch."""
        self.batches.append(batch)
        self.records += batch.records
        self.bytes += len(batch.frame)
        self.last = _last(batch)

    def above(self, after: int) -> list[StoredBatch]:
        """The batches that have a record above that offset."""
        return self.batches[bisect_right(self.batches, after, key=_last) :]

    def before(self, time: int) -> int:
        """The last offset of what is older; 0: nothing is."""
        at = bisect_left(self.batches, time, key=_time)
        if at:
            return _last(self.batches[at - 1])
        return self.trimmed if self.trimmed_time < time else 0

    def gap(self, after: int, until: int) -> tuple[int, int] | None:
        """What was removed of `after < offset <= until`."""
        last = min(self.trimmed, until)
        return (after + 1, last) if last > after else None

    def trim(self, keep: Keep, now: int) -> None:
        """Remove the oldest batches that the rule does not keep; the newest stays."""
        removed = 0
        oldest = now - int(keep.age_seconds * 1_000_000) if keep.age_seconds else 0
        for batch in self.batches[:-1]:
            too_many = keep.records and self.records - batch.records >= keep.records
            too_large = keep.bytes and self.bytes > keep.bytes
            if not (too_many or too_large or batch.time < oldest):
                break
            self.records -= batch.records
            self.bytes -= len(batch.frame)
            self.trimmed, self.trimmed_time = _last(batch), batch.time
            removed += 1
        del self.batches[:removed]


class MemoryLog:
    """See `zchat.log.Log`."""

    def __init__(self) -> None:
        self.log_id = secrets.token_hex(8)
        self.secret = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._rooms: dict[str, RoomBatches] = {}
        self._tail: deque[StoredBatch] = deque(maxlen=TAIL_BATCHES)
        self._head = 0
        self._time = 0
        self._sessions: dict[str, SessionRow] = {}
        self._seen: dict[str, int] = {}
        self._cursors: dict[tuple[str, str], CursorRow] = {}

    def append(self, append: Append, done: Callable[[LogError | None], None]) -> None:
        """Kept at once."""
        with self._lock:
            for batch in append.batches:
                self._rooms.setdefault(batch.room, RoomBatches()).add(batch)
                self._tail.append(batch)
                self._head, self._time = _last(batch), batch.time
            self._sessions.update({row.session: row for row in append.sessions})
            for session in append.ended:
                self._sessions.pop(session, None)
            self._see(append.seen)
            self._cursors.update({(row.user, row.name): row for row in append.cursors})
            for dropped in append.dropped:
                self._cursors.pop(dropped, None)
        done(None)

    def read(self, patterns: list[str], after: int, until: int, limit: int, bytes_max: int) -> LogPage:
        """Batches of all rooms that match, merged by offset."""
        with self._lock:
            end = min(until, self._head) if until else self._head
            page: list[tuple[str, bytes]] = []
            records = size = upto = 0
            for batch in merge(*(room.above(after) for _, room in self._matching(patterns)), key=_base):
                if batch.base > end:
                    break
                if page and (size >= bytes_max or (limit and records >= limit)):
                    return LogPage(page, upto, True, self._gaps(patterns, after, upto))
                page.append((batch.room, batch.frame))
                records += batch.records
                size += len(batch.frame)
                upto = _last(batch)
            return LogPage(page, end, False, self._gaps(patterns, after, end))

    def seek(self, patterns: list[str], last: int, since: int, presence: bool) -> int:
        """Back over the newest batches, or to the last that is older, of any room."""
        with self._lock:
            if not last:
                return max((room.before(since) for room in self._rooms.values()), default=0)
            rooms = [room.batches for _, room in self._matching(patterns)]
            for batch in merge(*map(reversed, rooms), key=_base, reverse=True):
                if batch.kind == wire.PRESENCE and not presence:
                    continue
                if last <= batch.records:
                    return batch.base + batch.records - last - 1
                last -= batch.records
            return 0

    def find(self, session: str, seq: int) -> int:
        """Back over the newest batches of the log."""
        with self._lock:
            tail = [batch for batch in self._tail if batch.base > self._rooms[batch.room].trimmed]
        for batch in reversed(tail):
            offset = batch.base
            for entry in wire.decode_raw_batch(batch.frame).entries:
                if (entry.session, entry.seq) == (session, seq):
                    return offset
                offset += len(wire.decode_records(entry.records))
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

    def sessions(self) -> list[SessionRow]:
        """In no order."""
        with self._lock:
            return list(self._sessions.values())

    def users_seen(self, limit: int) -> list[tuple[str, int]]:
        """Latest first."""
        with self._lock:
            return sorted(self._seen.items(), key=_seen, reverse=True)[:limit]

    def cursors(self) -> list[CursorRow]:
        """In no order."""
        with self._lock:
            return list(self._cursors.values())

    def trim(self, keep: list[Keep], now: int) -> None:
        """At once: a list drops its beginning in no time."""
        with self._lock:
            for rule in keep:
                for _, room in self._matching([rule.pattern]):
                    room.trim(rule, now)

    def close(self) -> None:
        """Nothing is kept."""

    # --- parts ------------------------------------------------------------------------------

    def _see(self, seen: dict[str, int]) -> None:
        self._seen.update(seen)
        if len(self._seen) > USERS_SEEN_KEPT + USERS_FORGOTTEN:
            self._seen = dict(sorted(self._seen.items(), key=_seen)[-USERS_SEEN_KEPT:])

    def _matching(self, patterns: list[str]) -> Iterator[tuple[str, RoomBatches]]:
        wanted = matcher(patterns)
        return ((name, room) for name, room in self._rooms.items() if wanted(name))

    def _gaps(self, patterns: list[str], after: int, until: int) -> list[tuple[str, int, int, str]]:
        found = [(name, room.gap(after, until)) for name, room in self._matching(patterns)]
        return [(name, *gap, "trimmed") for name, gap in found if gap]


def _base(batch: StoredBatch) -> int:
    return batch.base


def _last(batch: StoredBatch) -> int:
    return batch.base + batch.records - 1


def _time(batch: StoredBatch) -> int:
    return batch.time


def _seen(row: tuple[str, int]) -> int:
    return row[1]
