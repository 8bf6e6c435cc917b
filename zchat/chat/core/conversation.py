"""One room, or the direct messages with one user: what is in memory of it, what is unread, and what was typed there.

Rules of this file
1. Unread is what others said above the place that was read; joins, leaves and topics are not. A direct message, and
   one that names the user, is a mention too.
2. The line of what is new stays where it was while the conversation is looked at, and goes when one comes back to it
   with nothing new.

Tests: tests/chat/core/test_conversation.py.
"""

from __future__ import annotations

from itertools import takewhile

from zchat.chat.core.members import Members
from zchat.chat.core.mentions import mentions
from zchat.chat.core.outbox import TypedTexts
from zchat.chat.core.shown import Shown
from zchat.chat.core.window import LoadedPart
from zchat.names import user_key

COUNTED_KINDS = ("said", "action", "file", "event")


class Conversation:
    """A conversation; `name` is the room's, or `@bob`."""

    def __init__(self, name: str, me: str, read_upto: int | None = None) -> None:
        self.name = name
        self.is_direct = name.startswith("@")
        self.window = LoadedPart()
        self.typed = TypedTexts()
        self.members = Members()
        self.topic = ""
        self.is_topic_known = False  # it was looked for
        self.unread = self.mentions = 0
        self.is_more = False  # more may be unread than was counted
        self.is_live = False  # its history has come
        self.is_followed = True  # whoever looks at it looks at its end
        # None: it was never read, and nothing is unread when it is live; of what is said to one alone, all is
        self.read_upto = 0 if read_upto is None and self.is_direct else read_upto
        self.new_after: int | None = None  # the line of what is new is behind this offset
        self.draft = ""  # typed, and not sent
        self.refused = ""  # why it cannot be read
        self._me = user_key(me)

    @property
    def title(self) -> str:
        """`#general`, `@bob`."""
        return self.name if self.is_direct else f"#{self.name}"

    def take(self, record: Shown) -> bool:
        """A record came. True where it speaks to the user, and is new."""
        self.window.add(record, is_followed=self.is_followed)
        if record.kind == "join":
            self.members.joined(record.user, record.session)
        elif record.kind == "leave":
            self.members.left(record.session)
        elif record.kind == "topic":
            self.topic = record.text.partition("\n")[0]
        if not self._counts(record):
            return False
        self.unread += 1
        speaks = self.is_direct or mentions(record.text, self._me)
        self.mentions += speaks
        return speaks

    def live(self, offset: int) -> None:
        """Its history has come, up to there."""
        self.is_live = True
        if self.read_upto is None:
            self.read_upto = offset
            self.unread = self.mentions = 0

    def read(self, upto: int) -> bool:
        """All up to that offset was read, here or elsewhere. True where that is news."""
        if self.read_upto is not None and upto <= self.read_upto:
            return False
        self.read_upto = upto
        self.is_more = False
        self.count()
        return True

    def count(self) -> None:
        """What is unread of what is in memory."""
        upto = self.read_upto or 0
        above = takewhile(lambda record: not record.offset or record.offset > upto, reversed(self.window.records))
        left = [record for record in above if self._counts(record)]
        self.unread = len(left) + self.window.newer
        self.mentions = sum(self.is_direct or mentions(record.text, self._me) for record in left)

    def entered(self) -> None:
        """Somebody looks at it now."""
        self.new_after = self.read_upto if self.unread else None

    def _counts(self, record: Shown) -> bool:
        is_read = self.read_upto is not None and record.offset <= self.read_upto
        return record.kind in COUNTED_KINDS and not is_read and user_key(record.user) != self._me
