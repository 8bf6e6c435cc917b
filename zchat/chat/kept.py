"""How far the user has read, at the broker: what was read here is kept there, what was read elsewhere is read here.

Rules of this file
1. A place never goes back: who has read more on another machine has read it.
2. It is kept soon after it was read, not with each message.

Tests: tests/chat/test_session.py.
"""

from __future__ import annotations

from zchat.aio import Client
from zchat.chat.core.conversation import Conversation
from zchat.chat.core.places import cursor_of, places_of

INBOX = "chat-inbox"  # up to here direct messages have been sorted into conversations


class KeptPlaces:
    """The cursors of the user's conversations."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._cursors: dict[str, int] = {}  # as the broker has them
        self._unkept: dict[str, int] = {}  # cursor -> further on

    async def look(self) -> None:
        """Ask the broker."""
        self._cursors = {cursor.name: cursor.offset for cursor in await self._client.cursors()}

    async def conversations(self) -> list[str]:
        """Those that the user is in."""
        rooms = [room.name for room in await self._client.rooms()]
        return places_of(self._cursors, rooms)

    def of(self, name: str) -> int | None:
        """How far a conversation was read; None: it never was."""
        return self._cursors.get(cursor_of(name))

    @property
    def sorted_upto(self) -> int:
        """Of the inbox."""
        return max(self._cursors.get(INBOX, 0), self._unkept.get(INBOX, 0))

    def sorted(self, upto: int) -> None:
        """The inbox was, up to there."""
        if upto > self.sorted_upto:
            self._unkept[INBOX] = upto

    def read(self, conversation: Conversation) -> None:
        """It was read further, or is a new one."""
        self._unkept[cursor_of(conversation.name)] = conversation.read_upto or 0

    async def keep(self) -> None:
        """Tell the broker what it does not know yet. Raises ZchatError."""
        for cursor, upto in list(self._unkept.items()):
            if upto > self._cursors.get(cursor, -1):
                await self._client.set_cursor(cursor, upto)
            if self._unkept.get(cursor) == upto:  # else it was read further meanwhile, or left
                del self._unkept[cursor]
                self._cursors[cursor] = max(upto, self._cursors.get(cursor, 0))

    async def drop(self, name: str) -> None:
        """The user has left it."""
        cursor = cursor_of(name)
        self._unkept.pop(cursor, None)
        self._cursors.pop(cursor, None)
        await self._client.drop_cursor(cursor)
