"""What a session may have of the log, by the rules that hold when it is read.

    FETCH               rooms that it may read; of those whose history is not for it, what came since it began
    LATEST, SEEK, SEARCH   rooms whose history it may read

Rules of this file
1. The log is asked for no other rooms: what nobody may see costs no time, and counts for nothing.
2. What is left out of a room that one may read is told as a gap, `denied`: nothing is missing in silence.
3. Joins and leaves are left out for who may not see who is in a room. No gap: who does not hear them misses none.
4. A view is of one table of rules. What was read by another one than holds when it is done, is read again.

Spec: docs/protocol.md, "Rights". Tests: tests/core/test_views.py.
"""

from __future__ import annotations

from zchat import wire
from zchat.core.log import Gap, Log, LogPage, Sliced
from zchat.core.rights import HISTORY, PRESENCE, READ, MayOf, Rights
from zchat.errors import WireError


class View:
    """Of one session. Any thread may use it."""

    __slots__ = ("_history", "_presence", "_read", "_since", "table", "user")

    def __init__(self, rights: Rights, user: str, since: int) -> None:
        """`since`: when the session began, in microseconds."""
        self.table = rights.table
        self.user = user
        self._since = since
        self._read: MayOf | None = None  # None: everything
        if rights.has_rules:
            self._read = rights.may_of(user, READ)
            self._history = rights.may_of(user, HISTORY)
            self._presence = rights.may_of(user, PRESENCE)

    def fetched(self, log: Log, fetch: wire.Fetch, bytes_max: int) -> Sliced[LogPage]:
        """The page that answers FETCH."""
        page = yield from log.read(fetch.patterns, fetch.after, fetch.until, fetch.limit, bytes_max, self._read)
        return page if self._read is None else self._shown(page)

    def history(self, log: Log) -> Log | HistoryLog:
        """The log, with the rooms whose history is for it."""
        return log if self._read is None else HistoryLog(log, self._history)

    # --- parts ------------------------------------------------------------------------------

    def _shown(self, page: LogPage) -> LogPage:
        batches: list[tuple[str, bytes]] = []
        hidden: dict[str, int] = {}  # room -> where what is left out of it begins
        gaps = list(page.gaps)
        for room, frame in page.batches:
            if frame[1] == wire.PRESENCE and not self._presence(room):
                continue
            if not self._history(room):
                head = _head(frame)
                if head is None or head.time < self._since:
                    hidden.setdefault(room, 0 if head is None else head.base)
                    continue
                if first := hidden.pop(room, 0):
                    gaps.append(Gap(room, first, head.base - 1, "denied"))
            batches.append((room, frame))
        gaps += [Gap(room, first, page.upto, "denied") for room, first in hidden.items() if 0 < first <= page.upto]
        return page._replace(batches=batches, gaps=gaps)


class HistoryLog:
    """A log that has some of the rooms of another one."""

    __slots__ = ("_log", "_may")

    def __init__(self, log: Log, may: MayOf) -> None:
        self._log = log
        self._may = may

    def read(self, patterns: list[str], after: int, until: int, limit: int, bytes_max: int) -> Sliced[LogPage]:
        """See `Log.read`."""
        return self._log.read(patterns, after, until, limit, bytes_max, self._may)

    def latest(self, patterns: list[str], after: int, until: int, count: int, bytes_max: int) -> Sliced[LogPage]:
        """See `Log.latest`."""
        return self._log.latest(patterns, after, until, count, bytes_max, self._may)

    def seek(self, patterns: list[str], last: int, since: int, presence: bool) -> Sliced[int]:
        """See `Log.seek`."""
        return self._log.seek(patterns, last, since, presence, self._may)


def _head(frame: bytes) -> wire.BatchHead | None:
    try:
        return wire.decode_head(frame)
    except WireError:
        return None
