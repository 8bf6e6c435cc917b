"""Records, made short."""

from __future__ import annotations

from zchat.chat.core.shown import Shown

SECOND = 1_000_000
NOON = 1_790_000_000 * SECOND


def said(user: str, text: str, offset: int = 0, *, at: int = 0, kind: str = "said") -> Shown:
    """Somebody said something, so many seconds after NOON."""
    return Shown(kind, user, NOON + at * SECOND, text, offset, f"session-{user}")
