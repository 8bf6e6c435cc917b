"""`@me`: the inbox of whoever calls, in every place where a room is named.

Tests: tests/cli/test_inboxes.py.
"""

from __future__ import annotations

from zchat.names import inbox, pattern_name

ME = "@me"


def asked(patterns: list[str], *, with_own: bool) -> list[str]:
    """Canonical patterns, and the own inbox where that is wanted, too. Raises BadName."""
    names = list(map(pattern_name, patterns))
    return [*names, ME] if with_own and ME not in names else names


def of(user: str, room: str) -> str:
    """The room that a canonical name stands for when this user writes it."""
    return inbox(user) if room == ME else room
