"""What a log on disk knows of its rooms without asking the disk: the row of each room, as last committed.

Rules of this file
1. The writer thread changes it, after a commit and before anyone hears of that commit; any thread reads it.
2. Rows are immutable and rooms never go: what a reader took stays true of the past.

Tests: tests/log/test_state.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import NamedTuple

from zchat.names import matcher

MATCHES_KEPT = 64  # pattern lists whose rooms are remembered, so that a page does not match every name again


class RoomRow(NamedTuple):
    """A row of `rooms`."""

    id: int
    name: str
    last: int
    time: int
    records: int
    bytes: int
    trimmed: int


class Matched:
    """The rooms that match some patterns. More may come while it is used; none goes."""

    def __init__(self, wanted: Callable[[str], bool]) -> None:
        self.wanted = wanted
        self.names: dict[int, str] = {}  # to look up; iterate `ids`
        self.ids: list[int] = []
        self.compared = 0  # so many rooms

    def __contains__(self, room_id: object) -> bool:
        return room_id in self.names


class RoomStates:
    """The rooms of one log."""

    def __init__(self, rows: Iterable[RoomRow]) -> None:
        self._lock = threading.Lock()
        self._rows = {row.name: row for row in rows}
        self._by_id = {row.id: row for row in self._rows.values()}
        self._names = list(self._rows)  # in the order in which they came
        self._matches: dict[tuple[str, ...], Matched] = {}
        self.next_id = max(self._by_id, default=0) + 1
        self.head = max((row.last for row in self._rows.values()), default=0)
        self.time = max((row.time for row in self._rows.values()), default=0)

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

    def lasts(self) -> dict[str, int]:
        """Room -> offset of its last record."""
        with self._lock:
            return {name: row.last for name, row in self._rows.items()}

    def matching(self, patterns: Iterable[str]) -> Matched:
        """The rooms that match one of the patterns."""
        key = tuple(patterns)
        with self._lock:
            found = self._matches.get(key)
            if found is None:
                if len(self._matches) >= MATCHES_KEPT:
                    del self._matches[next(iter(self._matches))]
                found = self._matches[key] = Matched(matcher(key))
            for name in self._names[found.compared :]:
                if found.wanted(name):
                    room_id = self._rows[name].id
                    found.names[room_id] = name
                    found.ids.append(room_id)
            found.compared = len(self._names)
            return found
