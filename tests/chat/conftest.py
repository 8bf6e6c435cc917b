"""A face that only takes notes, and sessions in one event loop."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

import zchat.aio
from zchat.chat.acting import Actor
from zchat.chat.core.commands import help_lines
from zchat.chat.core.conversation import Conversation
from zchat.chat.core.shown import Shown
from zchat.chat.session import ChatSession
from zchat.core.gaps import Notice

T = TypeVar("T")

SECONDS_MAX = 90.0  # of a test that hangs


def run(work: Coroutine[Any, Any, T]) -> T:
    """In an event loop of its own."""
    return asyncio.run(asyncio.wait_for(work, SECONDS_MAX))


async def until(condition: Callable[[], Any], what: str) -> None:
    """Let the loop do what it has to until something is so."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SECONDS_MAX / 2
    while not condition():
        assert loop.time() < deadline, f"not in time: {what}"
        await asyncio.wait([loop.create_task(_around())])


async def _around() -> None:
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.005, future.set_result, None)
    await future


@dataclass
class Notes:
    """A face that takes notes."""

    came_of: list[tuple[str, str, bool]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    hits: list[tuple[str, str]] | None = None
    name: str = ""
    has_quit: bool = False

    def came(self, conversation: Conversation, record: Shown, *, speaks: bool) -> None:
        self.came_of.append((conversation.name, record.text, speaks))

    def changed(self, conversation: Conversation | None) -> None:
        pass

    def tell(self, text: str, *, is_error: bool = False) -> None:
        self.told.append(text)

    def show(self, name: str) -> None:
        self.name = name

    def found(self, words: str, hits: list[tuple[str, Shown]]) -> None:
        self.hits = [(name, record.text) for name, record in hits]

    def help(self) -> None:
        self.told.append("\n".join(help_lines()))

    def quit(self) -> None:
        self.has_quit = True


class Chatting:
    """A session, its face, and what is typed."""

    def __init__(self, client: zchat.aio.Client, folder: Path) -> None:
        self.client = client
        self.face = Notes()
        self.session = ChatSession(client, self.face)
        self._actor = Actor(self.session, folder)

    def type(self, line: str, where: str = "") -> bool:
        """Type it in a conversation."""
        return self._actor.act(line, self.of(where or self.face.name))

    def of(self, name: str) -> Conversation:
        """The conversation."""
        return self.session.conversations.all[name]

    def texts(self, name: str) -> list[str]:
        """What was said in it."""
        return [record.text for record in self.of(name).window.records if record.kind not in ("join", "leave")]


@asynccontextmanager
async def chatting(address: str, user: str, *rooms: str, folder: Path = Path()) -> AsyncIterator[Chatting]:
    """Chat in rooms, and be in the first."""
    found: list[Chatting] = []

    def noticed(notice: Notice) -> None:
        for each in found:
            each.session.on_notice(notice)

    async with zchat.aio.connect(address, user, on_notice=noticed) as client:
        chat = Chatting(client, folder)
        found.append(chat)
        chat.face.name = await chat.session.start(rooms)
        try:
            yield chat
        finally:
            await chat.session.close()


@pytest.fixture
def room() -> str:
    """A room that no other test uses."""
    return f"room-{secrets.token_hex(4)}"


@pytest.fixture
def user() -> str:
    """A user that no other test uses."""
    return f"user{secrets.token_hex(4)}"
