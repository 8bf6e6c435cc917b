"""How a visitor comes in where a token is needed: what it said, how often it tried, and whether it may still be here.

Docs: docs/doors.md, "Tokens". Tests: tests/tcp/test_login.py.
"""

from __future__ import annotations

import time

from zchat.errors import UsageError
from zchat.tokens import TokenFile, TokenPass

LOGIN_SECONDS = 60.0  # until a token was said
TRIES_MAX = 3


class VisitorLogin:
    """Of one visitor."""

    def __init__(self, tokens: TokenFile) -> None:
        self._tokens = tokens
        self._pass: TokenPass | None = None
        self._came = time.monotonic()
        self._tries = 0

    def user(self, token: str) -> str:
        """Who has come in by that token. Raises UsageError."""
        if self._pass is not None:
            raise UsageError(f"you are {self._pass.user} already")
        self._pass = self._tokens.open(token)
        if self._pass is None:
            self._tries += 1
            raise UsageError("this token is unknown, was taken back, or is over")
        return self._pass.user

    def check_name(self) -> None:
        """A token says who one is. Raises UsageError."""
        if self._pass is not None:
            raise UsageError(f"your token says who you are: {self._pass.user}")

    def why_outside(self) -> str:
        """Why the visitor has to go; empty: it may be here."""
        if self._pass is not None:
            return "" if self._tokens.is_valid(self._pass) else "your token was taken back, or is over"
        if self._tries >= TRIES_MAX:
            return "that was no token, again"
        return "you have not logged in" if time.monotonic() - self._came > LOGIN_SECONDS else ""
