"""The cursors that the broker keeps for its users: how far a reader has got, under a name of its own.

Rules of this file
1. What is here is what the log has: a change is seen once it is committed.
2. A cursor belongs to a user, not to a session: it is found again from any machine.
3. There are so many of a user, and so many in all. Those that are on their way to the log count too, one that takes
   the place of another twice: so a limit may be met early, and is never passed.

Spec: docs/protocol.md, "Cursors". Tests: tests/core/test_cursors.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from zchat import wire
from zchat.core import Instant
from zchat.core.allowances import Allowances
from zchat.core.log import Append, CursorRow
from zchat.core.session import Session
from zchat.errors import WireError, over_limit
from zchat.names import cursor_name, user_key
from zchat.settings import Settings


class BrokerCursors:
    """All cursors of a broker, by user."""

    def __init__(self, rows: Iterable[CursorRow], log_id: str, settings: Settings, allowances: Allowances) -> None:
        self._log_id = log_id
        self._settings = settings
        self._allowances = allowances
        self._users: dict[str, dict[str, CursorRow]] = {}
        self._count = 0
        self._coming: dict[str, set[str]] = {}  # user -> names that gather, or that the commit under way sets
        self._coming_count = 0
        for row in rows:
            self._put(row)

    def of(self, user: str) -> list[wire.Cursor]:
        """A user's cursors, by name."""
        rows = self._users.get(user_key(user), {})
        return [wire.Cursor(row.name, row.offset, row.time) for _, row in sorted(rows.items())]

    def checked(self, session: Session, message: wire.SetCursor, head: int, now: Instant) -> CursorRow:
        """The row of a cursor that is to be stored. Raises BadName, and WireError with the code of its refusal."""
        name = cursor_name(message.name)
        if message.log_id != self._log_id:
            raise WireError("other-log", f"the cursor is of log {message.log_id}, this one is {self._log_id}")
        if message.offset > head:
            raise WireError("bad-request", f"offset {message.offset} is above the head, {head}")
        key = user_key(session.user)
        known, coming = self._users.get(key, {}), self._coming.get(key, set())
        if name not in known and name not in coming:
            self._may_add(session, known.keys(), coming, now)
        if name not in coming:
            self._coming.setdefault(key, set()).add(name)
            self._coming_count += 1
        return CursorRow(key, name, message.offset, now.micros)

    def has(self, user: str, name: str) -> bool:
        """Whether there is one, or may be when the log has kept what is on its way."""
        key, name = user_key(user), cursor_name(name)
        return name in self._users.get(key, {}) or name in self._coming.get(key, set())

    def committed(self, append: Append, gathered: dict[tuple[str, str], CursorRow | None]) -> None:
        """The log has them now; others gather for the next commit (None: is dropped)."""
        for row in append.cursors:
            self._put(row)
            self._came(row.user, row.name, gathered)
        for user, name in append.dropped:
            names = self._users.get(user, {})
            self._count -= names.pop(name, None) is not None
            if not names:
                self._users.pop(user, None)
            self._came(user, name, gathered)

    def not_kept(self) -> None:
        """The log refused what was on its way, and what gathered meanwhile is undone with it."""
        self._coming, self._coming_count = {}, 0

    def _may_add(self, session: Session, known: Set[str], coming: set[str], now: Instant) -> None:
        of_user, in_all = self._settings.user_cursors_max, self._settings.cursors_max
        if len(known) + len(coming) >= of_user and len(known | coming) >= of_user:
            raise over_limit("user_cursors_max", "too-many-cursors", f"limit {of_user} cursors for a user")
        if self._count + self._coming_count >= in_all:
            raise over_limit("cursors_max", "over-limit", f"the broker keeps {self._count} cursors, limit {in_all}")
        self._allowances.make(session.address, 1, now)

    def _came(self, user: str, name: str, gathered: dict[tuple[str, str], CursorRow | None]) -> None:
        coming = self._coming.get(user, set())
        if name in coming and gathered.get((user, name)) is None:
            coming.remove(name)
            self._coming_count -= 1
            if not coming:
                del self._coming[user]

    def _put(self, row: CursorRow) -> None:
        names = self._users.setdefault(row.user, {})
        self._count += row.name not in names
        names[row.name] = row
