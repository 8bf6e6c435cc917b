"""The application without a terminal: pressed, clicked, and read as text."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

import zchat.aio
from tests.chat.conftest import SECONDS_MAX
from zchat.chat.screen.app import ChatApp
from zchat.core.gaps import Notice
from zchat.profile import ChatProfile

PLAIN = ChatProfile()


class OnScreen:
    """The application, and who is at its keyboard."""

    def __init__(self, app: ChatApp, pilot: Pilot[int]) -> None:
        self.app = app
        self.pilot = pilot

    def rows(self) -> list[str]:
        """The screen as text."""
        return [strip.text.rstrip() for strip in self.app.screen._compositor.render_strips()]

    def text(self) -> str:
        """The same, as one."""
        return "\n".join(self.rows())

    async def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Let the application go on until something is so."""
        clock = self.app._loop.time if self.app._loop is not None else None
        assert clock is not None
        deadline = clock() + SECONDS_MAX / 2
        while not (found := condition()):
            assert clock() < deadline, f"not in time: {what}\n{self.text()}"
            await self.pilot.pause(0.01)
        return found

    async def shows(self, *texts: str) -> None:
        """Wait until these are on the screen."""
        await self.until(lambda: all(text in self.text() for text in texts), f"it shows {texts}")

    async def type(self, line: str, *keys: str) -> None:
        """Type a line, then keys; Enter where none are given."""
        self.app._field.insert(line)
        await self.pilot.press(*(keys or ("enter",)))

    def row(self, text: str) -> int:
        """The first row that has it."""
        return next(number for number, row in enumerate(self.rows()) if text in row)


@asynccontextmanager
async def on_screen(
    address: str,
    user: str,
    *rooms: str,
    size: tuple[int, int] = (80, 24),
    asked: ChatProfile = PLAIN,
    folder: Path = Path(),
) -> AsyncIterator[OnScreen]:
    """The application in some rooms."""
    apps: list[ChatApp] = []

    def noticed(notice: Notice) -> None:
        for app in apps:
            app.on_notice(notice)

    async with zchat.aio.connect(address, user, on_notice=noticed) as client:
        app = ChatApp(client, list(rooms), asked, folder)
        apps.append(app)
        async with app.run_test(size=size, notifications=True) as pilot:
            yield OnScreen(app, pilot)
