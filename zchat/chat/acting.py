"""What a typed line does: it is said, or it is a command. The same for every face.

Rules of this file
1. What was typed is never lost: it is shown as pending at once, and where it fails it can be sent again.
2. A direct message goes to the inbox of its user; once it is stored, a copy goes to the own inbox, with a header `to`.
   So both have the whole conversation, on every machine of theirs.

Docs: docs/chat.md. Tests: tests/chat/test_acting.py.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from zchat.chat.core.commands import ChatCommand, understood
from zchat.chat.core.conversation import Conversation
from zchat.chat.core.emoji import with_emoji
from zchat.chat.core.grouping import clock_of, day_of
from zchat.chat.core.outbox import Unsent
from zchat.chat.core.shown import TO_HEADER, Shown, peer_of, shown
from zchat.chat.saving import save
from zchat.chat.session import ChatSession
from zchat.errors import ZchatError
from zchat.names import inbox
from zchat.printable import printable

FOUND_MAX = 50


class Actor:
    """Does what is typed."""

    def __init__(self, session: ChatSession, downloads: Path) -> None:
        self._session = session
        self._downloads = downloads
        self._sending: set[asyncio.Task[None]] = set()

    def act(self, line: str, conversation: Conversation) -> bool:
        """What was typed in a conversation. False where it is not understood; that is told."""
        face = self._session.face
        try:
            command = understood(line)
        except ZchatError as error:
            face.tell(str(error), is_error=True)
            return False
        if command is None:
            return True
        if command.word == "say":
            self._say(conversation, with_emoji(command.text))
        elif command.word == "me":
            self._say(conversation, with_emoji(command.text), "action")
        elif command.word == "topic" and command.text:
            self._say(conversation, command.text, "topic")
        elif command.word == "msg" and command.text:
            self._say(self._session.open(command.name), with_emoji(command.text))
            face.show(command.name)
        elif command.word == "retry":
            self.retry(conversation)
        elif command.word == "quit":
            face.quit()
        elif command.word == "help":
            face.help()
        else:
            self._session.go(self._do(command, conversation))
        return True

    def retry(self, conversation: Conversation) -> None:
        """Send again what failed there."""
        for unsent in conversation.typed.again():
            self._say(conversation, unsent.text, unsent.event)

    # --- saying -----------------------------------------------------------------------------

    def _say(self, conversation: Conversation, text: str, event: str = "message") -> None:
        unsent = conversation.typed.add(text, event)
        self._session.face.changed(conversation)
        task = self._session.go(self._send(conversation, unsent))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def settled(self) -> None:
        """Until the outcome of all that was said is known."""
        while self._sending:
            await asyncio.wait(self._sending)

    async def _send(self, conversation: Conversation, unsent: Unsent) -> None:
        client, own = self._session.client, self._session.own
        is_to_other = conversation.is_direct and conversation.name != own
        try:
            offset = await client.publish(conversation.name, unsent.text, event=unsent.event)
            if is_to_other:
                copy = {TO_HEADER: conversation.name}
                offset = await client.publish(own, unsent.text, event=unsent.event, headers=copy)
            conversation.typed.stored(unsent, offset)
        except ZchatError as error:
            conversation.typed.failed(unsent, str(error))
        self._session.face.changed(conversation)

    # --- commands ---------------------------------------------------------------------------

    async def _do(self, command: ChatCommand, conversation: Conversation) -> None:
        name = command.name or conversation.name
        if command.word in ("join", "msg"):
            self._session.open(name)
            self._session.face.show(name)
        elif command.word == "part":
            await self._part(name, conversation)
        elif command.word == "who":
            await self._who(name)
        elif command.word == "topic":
            await self._session.look_for_topic(conversation)
            self._session.face.tell(conversation.topic or "no topic; /topic TEXT sets one")
        elif command.word == "search":
            await self._search(command.text)
        elif command.word == "file":
            await self._file(conversation, command.text)
        elif command.word == "save":
            path = await save(self._session, conversation, command.number, self._downloads)
            self._session.face.tell(f"saved as {path}")

    async def _part(self, name: str, conversation: Conversation) -> None:
        session = self._session
        if name not in session.conversations.all:
            session.face.tell(f"you are not in {name}", is_error=True)
            return
        if name == conversation.name:
            other = session.conversations.beside(name, 1)
            if other == name:
                session.face.tell("it is the only one you are in; /quit leaves the chat", is_error=True)
                return
            session.face.show(other)
        await session.part(name)

    async def _who(self, name: str) -> None:
        is_direct = name.startswith("@")
        found = await self._session.client.who(None if is_direct else name)
        lines = [
            f"{printable(member.user)}  {member.state}  since {day_of(member.since)}, {clock_of(member.since)}"
            for member in sorted(found, key=lambda member: member.user.casefold())
            if not is_direct or inbox(member.user) == name
        ]
        self._session.face.tell("\n".join(lines) or "nobody is there")

    async def _search(self, words: str) -> None:
        session = self._session
        rooms = [name for name in session.conversations.all if not name.startswith("@")]
        found = await session.client.search(words, *rooms, session.own, last=FOUND_MAX)
        hits: list[tuple[str, Shown]] = []
        for message in found:
            name = peer_of(message, session.client.user) if message.room == session.own else message.room
            if (record := shown(message)) is not None:
                hits.append((name, record))
        session.face.found(words, hits)

    async def _file(self, conversation: Conversation, text: str) -> None:
        path = Path(os.path.expanduser(text))
        session, is_to_other = self._session, conversation.is_direct and conversation.name != self._session.own
        await session.client.send_file(conversation.name, path)
        if is_to_other:
            await session.client.send_file(session.own, path, headers={TO_HEADER: conversation.name})
        session.face.tell(f"sent {path.name}")
