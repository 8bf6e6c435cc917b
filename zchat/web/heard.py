"""One record as all who hear it get it: written once for each kind of door, whoever it goes to.

Rules of this file: what is made is kept until the record has gone to all.
Tests: tests/web/test_feeds.py.
"""

from __future__ import annotations

from typing import Any

from zchat import Message
from zchat.names import user_key
from zchat.web.core import lines, resuming


class HeardRecord:
    """A record, on its way to those who hear its room."""

    __slots__ = ("_line", "is_presence", "made", "message", "tag", "user_key")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.tag = message.headers.get(resuming.TAG, "")  # of the client that wrote it
        self.is_presence = message.event in lines.PRESENCE
        self.user_key = user_key(message.user)
        self.made: dict[str, Any] = {}  # by a door: how it writes it -> written
        self._line: bytes | None = None

    @property
    def line(self) -> bytes:
        """As a line of JSON, with its end."""
        if self._line is None:
            self._line = lines.line_of(self.message)
        return self._line
