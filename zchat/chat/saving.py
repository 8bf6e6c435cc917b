"""`/save`: a file that was sent in a conversation, read again from the broker and written into a folder.

Tests: tests/chat/test_acting.py.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from zchat.chat.core.conversation import Conversation
from zchat.chat.core.shown import Shown
from zchat.chat.session import ChatSession
from zchat.errors import UsageError
from zchat.receiving import FileReceiver
from zchat.wire.records import FILE_AT, FILE_ID

LOOKED_BACK = 256  # records, at first: then more and more


async def save(session: ChatSession, conversation: Conversation, number: int, folder: Path) -> Path:
    """Write the last file of a conversation, or the `number`th last. Raises UsageError, ZchatError, OSError."""
    files = [record for record in conversation.window.records if record.kind == "file"]
    if len(files) < number:
        raise UsageError(
            f"there are {len(files)} files here; scroll up to where one is" if files else "no file is here"
        )
    record = files[-number]
    room = session.own if conversation.is_direct else conversation.name
    after = record.offset - 1
    if record.file_id:
        after = await _before_first(session, room, record)
    with FileReceiver(folder) as receiver:
        async for message in session.client.history(room, after=after):
            if record.file_id and message.headers.get(FILE_ID) != record.file_id:
                continue
            saved = await asyncio.to_thread(receiver.take, message)
            if saved is not None:
                return saved.path
            if message.offset >= record.offset:
                break
    raise UsageError("the file cannot be had any more")


async def _before_first(session: ChatSession, room: str, record: Shown) -> int:
    """An offset before the first piece of a file."""
    span = LOOKED_BACK
    while True:
        after = max(0, record.offset - span)
        async for message in session.client.history(room, after=after):
            if message.headers.get(FILE_ID) == record.file_id:
                if message.headers.get(FILE_AT) == "0":
                    return message.offset - 1
                break
            if message.offset >= record.offset:
                break
        if not after:
            raise UsageError("the beginning of the file cannot be had any more")
        span *= 8
