"""Which users are there, and when those who have gone were seen last.

Rules of this file
1. A user is there as long as a session of it is live or lost; two spellings of a name are one user.
2. Of those who have gone only so many are remembered, in all and of one origin: see `core/allowances.py`.

Tests: tests/core/test_users.py.
"""

from __future__ import annotations

from zchat.core.allowances import Remembered, origin
from zchat.core.session import Session
from zchat.errors import over_limit
from zchat.names import user_key
from zchat.settings import Settings


class Users:
    """Of all sessions of a broker."""

    def __init__(self, settings: Settings) -> None:
        self._sessions_max = settings.user_sessions_max
        self._present: dict[str, int] = {}  # by key: sessions that are live or lost
        # User, last seen; of users who have gone
        self._seen = Remembered[tuple[str, int]](settings.users_seen_max, settings.address_users_seen_max)

    def may_come(self, user: str) -> None:
        """Raises WireError where it has as many sessions as one may."""
        if self._present.get(user_key(user), 0) >= self._sessions_max:
            raise over_limit("user_sessions_max", "busy", "there are too many sessions of this user: later")

    def came(self, user: str) -> None:
        """One more session of it is there."""
        key = user_key(user)
        self._present[key] = self._present.get(key, 0) + 1

    def went(self, session: Session) -> None:
        """It is not there any more."""
        key = user_key(session.user)
        left = self._present.get(key, 0) - 1
        if left > 0:
            self._present[key] = left
        else:
            self._present.pop(key, None)
        if session.is_known:
            self._seen.put(key, (session.user, session.seen), origin(session.address))

    def seen(self, user: str, micros: int) -> None:
        """A log knows that it was there, and when it was seen last."""
        self._seen.put(user_key(user), (user, micros), None)

    def gone(self) -> list[tuple[str, int]]:
        """Those who have gone, with when."""
        return [seen for key, seen in self._seen.items() if key not in self._present]
