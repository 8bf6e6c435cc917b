"""Who is in a room, as its joins and leaves tell it after it was asked once.

Tests: tests/chat/core/test_members.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from zchat.printable import printable


class PresentUser(NamedTuple):
    """A user of a room, for the list."""

    user: str
    is_lost: bool  # none of his sessions is there; he may come back


class Members:
    """The sessions in a room."""

    def __init__(self) -> None:
        self._sessions: dict[str, tuple[str, bool]] = {}  # session -> user, whether it is lost

    def are(self, sessions: Iterable[tuple[str, str, str]]) -> None:
        """What the broker says: user, session and state of each."""
        self._sessions = {
            session: (printable(user), state != "live") for user, session, state in sessions if state != "gone"
        }

    def joined(self, user: str, session: str) -> None:
        """It came."""
        self._sessions[session] = (user, False)

    def left(self, session: str) -> None:
        """It went."""
        self._sessions.pop(session, None)

    def __len__(self) -> int:
        """Users."""
        return len({user for user, _ in self._sessions.values()})

    def users(self) -> list[PresentUser]:
        """Each user once, by name; those who are lost last."""
        lost: dict[str, bool] = {}
        for user, is_lost in self._sessions.values():
            lost[user] = is_lost and lost.get(user, True)
        found = [PresentUser(user, is_lost) for user, is_lost in lost.items()]
        return sorted(found, key=lambda each: (each.is_lost, each.user.casefold(), each.user))
