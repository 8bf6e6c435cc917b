"""Pages of a log: the batches of many rooms in offset order, and an account of what is missing.

Rules of this file
1. A page is read within one snapshot; the highest offset in it is taken before the snapshot begins.
2. The index is asked first. When it turns out to be damaged, the page is read again from the table alone.

Tests: tests/log/test_reading.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator

from zchat.log import LogPage, walks
from zchat.log.links import Links, PageRooms
from zchat.log.schema import Row, is_unreadable
from zchat.log.state import Matched, RoomStates
from zchat.wire import PRESENCE

_TRIMMED = "SELECT id, trimmed FROM rooms WHERE trimmed > ? AND trimmed > 0"
_THINNED = "SELECT id, presence_trimmed FROM rooms WHERE presence_trimmed > ? AND presence_trimmed > 0"
FEW_ROOMS = 64  # their walks are merged; of more, the table is walked


def page(
    connection: sqlite3.Connection,
    rooms: RoomStates,
    patterns: list[str],
    after: int,
    until: int,
    limit: int,
    bytes_max: int,
) -> LogPage:
    """See `Log.read`."""
    end = min(until, rooms.head) if until else rooms.head
    matched = rooms.matching(patterns)
    request = _Request(connection, rooms, matched, after, end)
    try:
        return request.page(limit, bytes_max, by_index=True)
    except walks.IndexDamaged:
        return request.page(limit, bytes_max, by_index=False)


class _Request:
    """One page to be read."""

    def __init__(
        self, connection: sqlite3.Connection, rooms: RoomStates, matched: Matched, after: int, end: int
    ) -> None:
        self.connection = connection
        self.matched = matched
        self.after = after
        self.end = end
        lasts = {room: last for room in matched.ids if (last := rooms.row(room).last) > after}
        rows = [rooms.row(room) for room in matched.ids]
        trimmed = self._marks(_TRIMMED, lambda: [(row.id, row.trimmed) for row in rows])
        thinned = self._marks(_THINNED, lambda: [(row.id, row.presence_trimmed) for row in rows])
        self.rooms = PageRooms(matched.names, lasts, trimmed, thinned)

    def _marks(self, statement: str, known: Callable[[], list[tuple[int, int]]]) -> dict[int, int]:
        """From the snapshot: what is trimmed meanwhile is still in it."""
        try:
            marks = self.connection.execute(statement, (self.after,)).fetchall()
        except sqlite3.Error as error:
            if not is_unreadable(error):
                raise
            marks = known()
        return {room: last for room, last in marks if last > self.after and room in self.matched}

    def page(self, limit: int, bytes_max: int, *, by_index: bool) -> LogPage:
        walker = walks.Walker(self.connection)
        links = Links(walker, self.rooms, self.after, by_index=by_index)
        names = self.rooms.names
        batches: list[tuple[str, bytes]] = []
        records = size = 0
        upto, more = self.end, False
        try:
            for row in self._rows(walker, by_index):
                if batches and (size >= bytes_max or (limit and records >= limit)):
                    more = True
                    break
                base, room, kind, count, _, _, frame = row
                marks = self.rooms.thinned if kind == PRESENCE else self.rooms.trimmed
                if base + count - 1 <= max(marks.get(room, 0), self.rooms.trimmed.get(room, 0)):
                    continue  # it could not be removed, for damage beside it
                links.add(row)
                batches.append((names[room], frame))
                records += count
                size += len(frame)
                upto = base + count - 1
        except walks.Sparse as sparse:  # only without an index: the rest is for the next page
            more, upto = True, sparse.position - 1
        if not more:
            upto = self.end
        return LogPage(batches, upto, more, links.close(upto))

    def _rows(self, walker: walks.Walker, by_index: bool) -> Iterator[Row]:
        first = self.after + 1
        across = walker.across(self.after)
        if across is not None:
            first = across[0] + across[3]
            if across[1] in self.matched and across[0] <= self.end:
                yield across
        if not by_index:
            yield from walker.by_table(first, self.end, self.matched, skipped_max=walks.PASSED_ROWS_MAX)
            return
        if len(self.rooms.lasts) > FEW_ROOMS:
            try:
                yield from walker.by_table(first, self.end, self.matched)
                return
            except walks.Sparse as sparse:
                first = sparse.position
        yield from walker.by_rooms([room for room, last in self.rooms.lasts.items() if last >= first], first, self.end)
