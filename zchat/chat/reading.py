"""Moving the window of a conversation: pages are read from the broker, before an offset or behind one.

Rules of this file: whoever has gone elsewhere meanwhile is not moved back.
Tests: tests/chat/test_reading.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from zchat.aio import Client
from zchat.chat.core.back import Backwards
from zchat.chat.core.conversation import Conversation
from zchat.chat.core.shown import Shown, peer_of, shown
from zchat.message import Message
from zchat.names import inbox

Belongs: TypeAlias = "Callable[[Message], bool] | None"

PAGE = 100  # records that are read at once
TOPIC_RECORDS = 5_000  # the last ones, among which a topic is looked for


class ChatPage(NamedTuple):
    """Records in order."""

    records: list[Shown]
    is_whole: bool  # there is nothing beyond them


class Reader:
    """Reads what is not in memory."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def load_older(self, conversation: Conversation) -> bool:
        """What is before the window. False where nothing came."""
        window = conversation.window
        if window.is_at_beginning or not window.first_offset:
            return False
        drops, first = window.drops, window.first_offset
        page = await self.before(conversation, first)
        if (window.drops, window.first_offset) != (drops, first):
            return False
        window.add_older(page.records, is_at_beginning=page.is_whole)
        return bool(page.records)

    async def load_newer(self, conversation: Conversation) -> bool:
        """What is behind the window. False where nothing came."""
        window = conversation.window
        if window.is_at_end:
            return False
        drops, last = window.drops, window.last_offset
        page = await self.after(conversation, last)
        if (window.drops, window.last_offset) != (drops, last):
            return False
        window.add_newer(page.records, is_at_end=page.is_whole)
        return bool(page.records)

    async def go_to(self, conversation: Conversation, offset: int) -> None:
        """Have the window around an offset."""
        older = await self.before(conversation, offset, PAGE // 2)
        newer = await self.after(conversation, offset - 1, PAGE // 2)
        conversation.window.begin_at(
            [*older.records, *newer.records], is_at_end=newer.is_whole, is_at_beginning=older.is_whole
        )

    async def go_to_end(self, conversation: Conversation) -> None:
        """Have the window at the end."""
        window = conversation.window
        if window.is_at_end:
            return
        page = await self.before(conversation, await self._end(conversation))
        window.begin_at(page.records, is_at_end=False, is_at_beginning=page.is_whole)
        await self.load_newer(conversation)  # what came meanwhile

    async def before(self, conversation: Conversation, offset: int, wanted: int = PAGE) -> ChatPage:
        """The last ones before an offset."""
        room, belongs = self._room_of(conversation)
        back = Backwards[Shown](offset, wanted)
        while (after := back.after) is not None:
            found: list[Shown] = []
            came, is_whole = 0, True
            async for message in self._client.history(room, after=after, presence=True):
                if message.offset > back.upto:
                    break
                came += 1
                if came > back.most:
                    is_whole = False
                    break
                record = shown(message) if belongs is None or belongs(message) else None
                if record is not None:
                    found.append(record)
            back.take(found, is_whole=is_whole)
        return ChatPage(back.found, back.is_at_beginning)

    async def after(self, conversation: Conversation, offset: int, wanted: int = PAGE) -> ChatPage:
        """The first ones behind an offset."""
        room, belongs = self._room_of(conversation)
        found: list[Shown] = []
        async for message in self._client.history(room, after=offset, presence=True):
            if len(found) >= wanted:
                return ChatPage(found, False)
            record = shown(message) if belongs is None or belongs(message) else None
            if record is not None:
                found.append(record)
        return ChatPage(found, True)

    async def last(self, conversation: Conversation) -> ChatPage:
        """The last ones."""
        return await self.before(conversation, await self._end(conversation))

    async def topic(self, conversation: Conversation) -> str:
        """The last topic among the last records of a room; empty: there is none."""
        found = ""
        async for message in self._client.history(conversation.name, last=TOPIC_RECORDS):
            if message.event == "topic" and (record := shown(message)) is not None:
                found = record.text.partition("\n")[0]
        return found

    async def _end(self, conversation: Conversation) -> int:
        """Behind the last record."""
        end = 1
        async for message in self._client.history(self._room_of(conversation)[0], last=1, presence=True):
            end = max(end, message.offset + 1)
        return end

    def _room_of(self, conversation: Conversation) -> tuple[str, Belongs]:
        """Where its records are, and which they are there."""
        if not conversation.is_direct:
            return conversation.name, None
        me = self._client.user
        return inbox(me), lambda message: peer_of(message, me) == conversation.name
