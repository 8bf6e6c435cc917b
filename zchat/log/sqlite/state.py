"""What a log on disk knows of its rooms without asking the disk: the row of each room, as last committed.

Rules of this file
1. The writer thread changes it, after a commit and before anyone hears of that commit; any thread reads it.
2. Rows are immutable and rooms never go: what a reader took stays true of the past.

Tests: tests/log/sqlite/test_state.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeAlias

from zchat.core.log import May, Sliced, whole
from zchat.names import is_pattern, matcher

MATCHES_KEPT = 32  # pattern lists whose rooms are remembered, so that a page does not match every name again,
IDS_KEPT = 200_000  # as long as those have together no more rooms than this: about 20 MB
NAMES_COMPARED = 256  # at once: about 0.5 ms, for which a commit may have to wait


Wanted: TypeAlias = tuple[list[str], May | None]  # rooms: those that match a pattern, and may be read


class RoomRow(NamedTuple):
    """A row of `rooms`, without its CRC."""

    id: int
    name: str
    last: int
    time: int
    records: int
    bytes: int
    trimmed: int
    trimmed_time: int = 0  # of the newest of what was removed, 0: not known
    presence: int = 0  # joins and leaves among the records,
    presence_bytes: int = 0  # and among the bytes
    presence_trimmed: int = 0  # last offset of those that were removed behind what stays,
    presence_time: int = 0  # and its time
    purged: int = 0  # last offset of what was removed because somebody asked for it; up to there, that is told

    def with_batch(self, last: int, time: int, records: int, size: int, *, presence: bool) -> RoomRow:
        """When a batch comes that ends there."""
        return RoomRow(
            self.id,
            self.name,
            max(self.last, last),
            max(self.time, time),
            self.records + records,
            self.bytes + size,
            self.trimmed,
            self.trimmed_time,
            self.presence + records if presence else self.presence,
            self.presence_bytes + size if presence else self.presence_bytes,
            self.presence_trimmed,
            self.presence_time,
            self.purged,
        )

    def without(self, records: int, size: int, *, presence: bool) -> RoomRow:
        """When a batch goes."""
        row = self._replace(records=self.records - records, bytes=self.bytes - size)
        if presence:
            row = row._replace(presence=self.presence - records, presence_bytes=self.presence_bytes - size)
        return row


class Matched:
    """The rooms that match some patterns. More may come while it is used; none goes."""

    def __init__(self, wanted: Callable[[str], bool]) -> None:
        self.wanted = wanted
        self.names: dict[int, str] = {}  # to look up; to go over them take `ids`
        self.ids: list[int] = []
        self.compared = 0  # so many rooms

    def __contains__(self, room_id: object) -> bool:
        """Whether that room matches."""
        return room_id in self.names

    def add(self, row: RoomRow) -> None:
        """One more."""
        self.names[row.id] = row.name
        self.ids.append(row.id)


class RoomStates:
    """The rooms of one log."""

    def __init__(self, rows: Iterable[RoomRow], head: int = 0) -> None:
        """`head`: offsets up to there were given, also where their rooms are gone."""
        self._lock = threading.Lock()
        self._rows = {row.name: row for row in rows}
        self._by_id = {row.id: row for row in self._rows.values()}
        self._names = list(self._rows)  # in the order in which they came
        self._matches: dict[tuple[tuple[str, ...], May | None], Matched] = {}
        self.next_id = max(self._by_id, default=0) + 1
        self.head = max((row.last for row in self._rows.values()), default=0)
        self.head = max(self.head, head)
        self.time = max((row.time for row in self._rows.values()), default=0)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._rows)

    def get(self, name: str) -> RoomRow | None:
        """The row of that room."""
        return self._rows.get(name)

    def row(self, room_id: int) -> RoomRow:
        """The row of that room."""
        return self._by_id[room_id]

    def commit(self, changed: Iterable[RoomRow]) -> None:
        """These rows are committed."""
        with self._lock:
            for row in changed:
                if row.name not in self._rows:
                    self._names.append(row.name)
                    self.next_id = max(self.next_id, row.id + 1)
                self._rows[row.name] = self._by_id[row.id] = row
                if row.last > self.head:
                    self.head, self.time = row.last, row.time

    def trimmed_before(self, time: int, among: Iterable[int]) -> int:
        """The highest offset that was removed from these rooms and is known to be older than that time."""
        older = 0
        for row in map(self._by_id.__getitem__, among):
            if 0 < row.trimmed_time < time:
                older = max(older, row.trimmed)
            if 0 < row.presence_time < time:
                older = max(older, row.presence_trimmed)
        return older

    def lasts(self) -> dict[str, int]:
        """Room -> offset of its last record."""
        with self._lock:
            return {name: row.last for name, row in self._rows.items()}

    def empty(self) -> list[str]:
        """The rooms that have no record any more."""
        with self._lock:
            return [name for name, row in self._rows.items() if not row.records]

    def matching(self, patterns: Sequence[str]) -> Matched:
        """The rooms that match one of the patterns."""
        return whole(self.match(patterns))

    def match(self, patterns: Sequence[str], may: May | None = None) -> Sliced[Matched]:
        """The same of those that `may` be read, in small steps."""
        if any(map(is_pattern, patterns)):
            found = self._compare(tuple(patterns), None, may)
            while found.compared < len(self._names):
                yield
                found = self._compare(tuple(patterns), found, may)
            return found
        named = Matched(patterns.__contains__)
        with self._lock:
            for name in dict.fromkeys(patterns):
                if name in self._rows and (may is None or may(name)):
                    named.add(self._rows[name])
        return named

    def match_some(self, patterns: Sequence[str]) -> bool:
        """Do a part of what `matching` has to do. Returns whether nothing is left of it."""
        if not any(map(is_pattern, patterns)):
            return True
        return self._compare(tuple(patterns), None).compared >= len(self._names)

    def _compare(self, patterns: tuple[str, ...], so_far: Matched | None, may: May | None = None) -> Matched:
        """Go on with the next few names, from what is remembered or `so_far`, whichever is further."""
        with self._lock:
            key = patterns, may
            found = self._matches.pop(key, None) or so_far or Matched(_both(matcher(patterns), may))
            if so_far is not None and so_far.compared > found.compared:
                found = so_far  # forgotten, and begun anew by another: they would never come to an end
            self._matches[key] = found  # at the end: it was asked for last
            for name in self._names[found.compared : found.compared + NAMES_COMPARED]:
                if found.wanted(name):
                    found.add(self._rows[name])
                found.compared += 1
            self._forget()
            return found

    def _forget(self) -> None:
        """The pattern list that was asked for longest ago."""
        kept = sum(len(each.ids) for each in self._matches.values())
        while len(self._matches) > MATCHES_KEPT or (kept > IDS_KEPT and len(self._matches) > 1):
            kept -= len(self._matches.pop(next(iter(self._matches))).ids)


def _both(wanted: Callable[[str], bool], may: May | None) -> Callable[[str], bool]:
    return wanted if may is None else lambda room: wanted(room) and may(room)
