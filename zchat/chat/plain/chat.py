"""The face of the chat that any terminal can show.

Rules of this file
1. All is printed in the order in which it came, and nothing twice; what is printed is read.
2. A line that is typed is not printed when Enter is pressed: it comes as the message that it is, once it is stored.

Docs: docs/chat.md, "Plain". Tests: tests/chat/plain/test_chat.py.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from zchat.aio import Client
from zchat.chat.acting import Actor
from zchat.chat.core.commands import help_lines
from zchat.chat.core.conversation import Conversation
from zchat.chat.core.rooms import count_text
from zchat.chat.core.shown import PRESENCE, Shown
from zchat.chat.offering import offered
from zchat.chat.plain import terminal
from zchat.chat.plain.editing import Drawn, LineEditor, drawn_anew
from zchat.chat.plain.lines import ASIDE, aside, line_of
from zchat.chat.session import ChatSession
from zchat.core.gaps import Notice
from zchat.names import inbox

BEGINS_WITH = 10  # records of a room that one comes to, or those that are new,
NEW_MAX = 30  # but no more than so many
OFFERED_SHOWN = 8
FOUND_SHOWN = 20
SETTLE_SECONDS = 10.0  # what was said last is waited for so long, at the end of the input


class PlainChat:
    """A chat of lines. `run_to_end` is all of it."""

    def __init__(self, client: Client, rooms: list[str], downloads: Path) -> None:
        self._session = ChatSession(client, self)
        self._actor = Actor(self._session, downloads)
        self._named = rooms
        self._is_terminal = terminal.is_terminal()
        self._editor = LineEditor()
        self._drawn = Drawn("", 0)
        self._current: Conversation | None = None
        self._begun: set[str] = set()  # conversations whose history was printed, if it was asked for
        self._unseen: set[str] = set()  # conversations of which more is new than was printed
        self._failed: set[int] = set()  # what was told of
        self._was_connected = True
        self._lines: list[str] = []  # that are still to be printed
        self._is_over = asyncio.Event()
        self._status = 0
        self._failure: BaseException | None = None  # of standard input or output

    async def run_to_end(self) -> int:
        """Until it is left. Gives the exit status; raises what reading or writing raised."""
        first = await self._session.start(self._named, also_known=not self._named)
        self.show(first)
        if self._is_terminal:
            listening = terminal.keys(self._pressed, self.quit)
        else:
            listening = terminal.lines(self._line, self._no_more, self._fail)
        with listening:
            self._draw()
            await self._is_over.wait()
            if self._lines:
                self._print_lines()
        await self._session.close()
        if self._failure is not None:
            raise self._failure
        return self._status

    def on_notice(self, notice: Notice) -> None:
        """The connection was lost, or is back."""
        self._session.on_notice(notice)

    # --- as a face --------------------------------------------------------------------------

    def came(self, conversation: Conversation, record: Shown, *, speaks: bool) -> None:
        """It is printed where its conversation was begun."""
        if conversation.is_direct and speaks:
            self._begun.add(conversation.name)
        if conversation.name in self._begun and (conversation.is_direct or conversation.is_live):
            if record.kind not in PRESENCE or conversation is self._current:
                self._print(line_of(record, self._where(conversation, record)))
            if conversation.name not in self._unseen:
                self._session.read(conversation)

    def changed(self, conversation: Conversation | None) -> None:
        """The line that is typed says where one is; what failed is told."""
        if conversation is None:
            is_connected = self._session.client.is_connected
            if is_connected != self._was_connected:
                self._was_connected = is_connected
                lost = f"the connection is lost ({self._session.reason}): what you type is sent when it is back"
                self.tell("connected again" if is_connected else lost)
            self._draw()
            return
        for unsent in conversation.typed.unsent:
            if unsent.state == "failed" and id(unsent) not in self._failed:
                self._failed.add(id(unsent))
                self.tell(f"not sent: {unsent.reason}; /retry sends it again", is_error=True)
        if conversation.is_live and conversation.name not in self._begun:
            self._begin(conversation)

    def tell(self, text: str, *, is_error: bool = False) -> None:
        """A line of the chat's own."""
        self._print(aside(text))

    def show(self, name: str) -> None:
        """What is typed goes there now."""
        conversation = self._session.open(name)
        if conversation is self._current:
            return
        if self._current is not None:
            self._current.draft = self._editor.text
            self._print(aside(f"now in {conversation.title}"))
            self._editor.set(conversation.draft)
        self._current = conversation
        self._begun.discard(name)
        self._unseen.discard(name)
        self.changed(conversation)
        self._session.go(self._session.look_for_topic(conversation))
        self._draw()

    def found(self, words: str, hits: list[tuple[str, Shown]]) -> None:
        """The newest last, as on the way they came."""
        for name, record in reversed(hits[:FOUND_SHOWN]):
            where = name if name.startswith("@") else f"#{name}"
            self._print(f"{ASIDE}{where} {line_of(record)}")
        self.tell(f"{len(hits)} found" if hits else f"nothing has {words}")

    def help(self) -> None:
        """All commands."""
        self.tell("\n".join(help_lines()))

    def quit(self) -> None:
        """End."""
        self._is_over.set()

    # --- what is typed ----------------------------------------------------------------------

    def _pressed(self, name: str, text: str) -> None:
        editor = self._editor
        if name == "text":
            editor.insert(text)
        elif name == "enter":
            self._line(editor.taken())
        elif name in ("tab", "shift+tab"):
            self._complete(1 if name == "tab" else -1)
        elif name == "ctrl+c" and not editor.text:
            self._status = 130
            self.quit()
        elif name == "ctrl+c":
            editor.set("")
        elif name == "ctrl+d" and not editor.text:
            self.quit()
        elif name == "ctrl+l":
            self._drawn = Drawn("", -1)
        else:
            editor.press("delete" if name == "ctrl+d" else name)
        self._draw()

    def _line(self, line: str) -> None:
        if self._current is not None and not self._actor.act(line, self._current) and self._is_terminal:
            self._editor.set(line)

    def _no_more(self) -> None:
        """The input has ended: what was said is waited for."""
        self._session.go(self._settle())

    async def _settle(self) -> None:
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                await self._actor.settled()
        except TimeoutError:
            self._status = 124
        self._status = self._status or (1 if self._failed else 0)
        self.quit()

    def _complete(self, step: int) -> None:
        editor, current = self._editor, self._current
        if current is None:
            return
        found = offered(editor.text[: editor.at], self._session, current)
        editor.complete(found, step)
        if len(found) > 1:
            self._print(aside("  ".join(offer.shown for offer in found[:OFFERED_SHOWN])))

    # --- what is shown ----------------------------------------------------------------------

    def _begin(self, conversation: Conversation) -> None:
        self._begun.add(conversation.name)
        if conversation is not self._current:
            if conversation.unread and self._is_terminal:
                self._unseen.add(conversation.name)
                self.tell(
                    f"{conversation.title}: {count_text(conversation)} unread; /join {conversation.name} shows them"
                )
            return
        if self._is_terminal:
            if conversation.topic:
                self._print(aside(f"topic: {conversation.topic}"))
            records = [record for record in conversation.window.records if record.kind not in PRESENCE]
            upto = conversation.read_upto or 0
            fresh = sum(record.offset > upto for record in records)
            for record in records[-min(max(fresh, BEGINS_WITH), NEW_MAX) :]:
                if fresh and record.offset > upto:
                    self._print(aside("new:"))
                    fresh = 0
                self._print(line_of(record, self._where(conversation, record)))
        self._session.read(conversation)

    def _where(self, conversation: Conversation, record: Shown) -> str:
        if conversation.is_direct:
            is_own = inbox(record.user) == self._session.own and record.user
            return f"(to {conversation.name}) " if is_own else "(private) "
        return "" if conversation is self._current else f"#{conversation.name} "

    def _print(self, text: str) -> None:
        """A line, soon: what comes at once is written at once, and the line that is typed once below it."""
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._print_lines)
        self._lines.append(text)

    def _print_lines(self) -> None:
        text, self._lines = "\n".join(self._lines), []
        if not self._is_terminal:
            self._write(f"{text}\n")
            return
        ending = text.replace("\n", "\r\n")
        self._write(f"\r\x1b[K{ending}\r\n" if self._drawn.text else f"{ending}\r\n")
        self._drawn = Drawn("", 0)
        self._draw()

    def _draw(self) -> None:
        """The line that is typed: what has changed of it."""
        if not self._is_terminal or self._current is None:
            return
        before, drawn = self._drawn, self._editor.drawn(f"{self._current.title}> ", terminal.width())
        if drawn == before:
            return
        self._drawn = drawn
        self._write(drawn_anew(before, drawn))

    def _write(self, text: str) -> None:
        """Write on standard output. Where that fails the chat ends: an event loop would lose what is raised in it."""
        try:
            terminal.write(text)
        except BaseException as error:  # a full disk, or a reader that has gone
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """End, and raise this at the end."""
        self._failure = self._failure or error
        self.quit()
