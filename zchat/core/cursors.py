"""The cursors that the broker keeps for its users: how far a reader has got, under a name of its own.

Rules of this file
1. What is here is what the log has: a change is seen once it is committed.
2. A cursor belongs to a user, not to a session: it is found again from any machine.

Spec: docs/protocol.md, "Cursors". Tests: tests/core/test_cursors.py.
"""

from __future__ import annotations

from collections.abc import Iterable

from zchat import wire
from zchat.errors import WireError
from zchat.log import Append, CursorRow
from zchat.names import cursor_name, user_key


class Cursors:
    """All cursors of a broker, by user."""

    def __init__(self, rows: Iterable[CursorRow], log_id: str, user_cursors_max: int) -> None:
        self._log_id = log_id
        self._user_cursors_max = user_cursors_max
        self._users: dict[str, dict[str, CursorRow]] = {}
        for row in rows:
            self._put(row)

    def of(self, user: str) -> list[wire.Cursor]:
        """A user's cursors, by name."""
        rows = self._users.get(user_key(user), {})
        return [wire.Cursor(row.name, row.offset, row.time) for _, row in sorted(rows.items())]

    def checked(
        self, user: str, message: wire.SetCursor, head: int, micros: int, gathered: Iterable[tuple[str, str]] = ()
    ) -> CursorRow:
        """The row of a cursor that is to be kept, beside those (user, name) that gather for the commit.

        Raises BadName, and WireError with the code of its refusal.
        """
        name = cursor_name(message.name)
        if message.log_id != self._log_id:
            raise WireError("other-log", f"the cursor is of log {message.log_id}, this one is {self._log_id}")
        if message.offset > head:
            raise WireError("bad-request", f"offset {message.offset} is above the head, {head}")
        key = user_key(user)
        names = self._users.get(key, {}).keys() | {name for owner, name in gathered if owner == key}
        if name not in names and len(names) >= self._user_cursors_max:
            raise WireError("too-many-cursors", f"limit {self._user_cursors_max} cursors for a user")
        return CursorRow(key, name, message.offset, micros)

    def committed(self, append: Append) -> None:
        """The log has them now."""
        for row in append.cursors:
            self._put(row)
        for user, name in append.dropped:
            names = self._users.get(user, {})
            names.pop(name, None)
            if not names:
                self._users.pop(user, None)

    def _put(self, row: CursorRow) -> None:
        self._users.setdefault(row.user, {})[row.name] = row
