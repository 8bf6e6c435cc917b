"""The chat on the whole screen: what stands where, and what keys do.

    ┌ rooms ──┬ #general · topic ──────── connected ┬ members ┐
    │         │ messages                            │         │
    │         ├─────────────────────────────────────┤         │
    │         │ what is typed                       │         │
    └─────────┴─────────────────────────────────────┴─────────┘
      keys

Rules of this file
1. What comes is noted, and drawn at most some times a second: however much comes, keys are read in between.
2. The field has the focus, always: all else is for the mouse, or has a key.

Docs: docs/chat.md. Tests: tests/chat/screen.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.theme import Theme
from textual.widgets import Footer, Static

from zchat.aio import Client
from zchat.chat.acting import Actor
from zchat.chat.core.completion import Offer
from zchat.chat.core.conversation import Conversation
from zchat.chat.core.shown import Shown
from zchat.chat.offering import offered
from zchat.chat.screen.actions import ScreenActions
from zchat.chat.screen.dialogs import DIALOG_CSS, FoundDialog, TextDialog
from zchat.chat.screen.keys import bindings
from zchat.chat.screen.lists import MemberList, RoomList
from zchat.chat.screen.messages import MessagePane
from zchat.chat.screen.notifying import notification
from zchat.chat.screen.painting import Painter
from zchat.chat.screen.palette import ChatCommands
from zchat.chat.screen.themes import THEMES
from zchat.chat.screen.typing import ChatInput
from zchat.chat.session import ChatSession
from zchat.core.gaps import Notice
from zchat.profile import ChatProfile

DRAWN_SECONDS = 0.03  # between two times that what came is drawn, at least; and thrice as long as that took
OFFERS_SHOWN = 12


class ChatApp(ScreenActions):
    """The application; a face of the conversations."""

    CSS_PATH = "chat.tcss"
    CSS = DIALOG_CSS
    BINDINGS = bindings()
    COMMANDS = {ChatCommands}
    ENABLE_COMMAND_PALETTE = True
    TITLE = "zchat"

    def __init__(self, client: Client, rooms: list[str], asked: ChatProfile, downloads: Path) -> None:
        super().__init__()
        for theme in THEMES.values():
            self.register_theme(theme)
        self.theme = asked.theme
        self.session = ChatSession(client, self)
        self._actor = Actor(self.session, downloads)
        self._rooms = rooms
        self._notify_by = asked.notify
        self._pane = MessagePane(self._painter())
        self._field = ChatInput(self._offers)
        self._room_list, self._member_list = RoomList(), MemberList()
        self._head, self._box = Static(id="head", markup=False), Vertical(id="field")
        self._is_dirty = False
        self._is_focused = True
        self._is_loading = self._is_offering = False
        self._current: Conversation | None = None
        self._drew_seconds = 0.0
        self._wants = {}
        self._looked_at: set[str] = set()  # conversations that were live when they were looked at

    # --- life -------------------------------------------------------------------------------

    async def run_to_end(self) -> int:
        """All of it. Gives the exit status."""
        status = await self.run_async() or 0
        if self._exception is not None:
            raise self._exception
        return status

    def _print_error_renderables(self) -> None:
        """Textual would print a traceback; what is raised is told as by every command (cli/exit_status.py)."""
        self._exit_renderables.clear()

    def compose(self) -> ComposeResult:
        """What stands where."""
        with Horizontal(id="all"):
            yield self._room_list
            with Vertical(id="middle"):
                yield self._head
                yield self._pane
                with self._box:
                    yield self._field
            yield self._member_list
        yield Footer(show_command_palette=True, compact=True)

    async def on_mount(self) -> None:
        """Begin."""
        self._field.focus()
        self.theme_changed_signal.subscribe(self, self._recolour)
        first = await self.session.start(self._rooms)
        self.show(first)

    async def on_unmount(self) -> None:
        """End."""
        await self.session.close()

    def on_notice(self, notice: Notice) -> None:
        """The connection was lost, or is back. Told by a task that is none of the application's."""
        self.call_later(self.session.on_notice, notice)

    # --- as a face --------------------------------------------------------------------------

    def came(self, conversation: Conversation, record: Shown, *, speaks: bool) -> None:
        """It is drawn soon."""
        if speaks and not (self._is_focused and conversation is self._current):
            self._notify(conversation, record)
        self._soon()

    def changed(self, conversation: Conversation | None) -> None:
        """The same."""
        self._soon()

    def tell(self, text: str, *, is_error: bool = False) -> None:
        """A line for a while; several until they are closed."""
        if "\n" in text:
            self.push_screen(TextDialog("", text))
        else:
            self.notify(text, severity="error" if is_error else "information", markup=False, timeout=6)

    def show(self, name: str) -> None:
        """Go to a conversation."""
        conversation = self.session.open(name)
        before = self._current
        if conversation is before:
            return
        if before is not None:
            self._read(before)
            before.draft = self._field.text
        self._current = conversation
        if conversation.is_live:
            conversation.entered()
            self._looked_at.add(name)
        self._pane.show(conversation)
        self._field.set(conversation.draft)
        self.session.go(self.session.look_for_topic(conversation))
        self.session.go(self.session.look_at_members(conversation))
        self._soon()

    def found(self, words: str, hits: list[tuple[str, Shown]]) -> None:
        """A list to go on from."""
        if not hits:
            self.tell(f"nothing has {words}")
            return

        def chosen(hit: tuple[str, int] | None) -> None:
            if hit is not None:
                self.session.go(self._go_to(*hit))

        self.push_screen(FoundDialog(words, hits, self._colours()), chosen)

    def help(self) -> None:
        """All commands and keys."""
        self.action_help()

    def quit(self) -> None:
        """End."""
        self.exit(0)

    # --- drawing ----------------------------------------------------------------------------

    def _soon(self) -> None:
        if not self._is_dirty and self.is_running:
            self._is_dirty = True
            self.set_timer(max(DRAWN_SECONDS, 3 * self._drew_seconds), self._draw)

    def _draw(self) -> None:
        self._is_dirty = False
        conversation = self._current
        if conversation is None or not self._pane.is_attached:
            return
        began = time.monotonic()
        if conversation.name not in self.session.conversations.all:
            self.show(next(iter(self.session.conversations.all)))
            return
        if conversation.is_live and conversation.name not in self._looked_at:
            self._looked_at.add(conversation.name)
            conversation.entered()
        if not self._read(conversation) and conversation.new_after is None and conversation.unread:
            conversation.entered()
        self._pane.update()
        self._room_list.update_rooms(self.session.conversations, conversation.name, self._colours())
        self._member_list.update_members(conversation, self._colours())
        self._draw_head(conversation)
        self._drew_seconds = time.monotonic() - began

    def _read(self, conversation: Conversation) -> bool:
        """It is read where its end is looked at."""
        is_read = self._is_focused and conversation.is_followed and conversation.window.is_at_end
        if is_read:
            self.session.read(conversation)
        return is_read

    def _draw_head(self, conversation: Conversation) -> None:
        colours = self._colours()
        dim, is_connected = colours.variables.get("dim", ""), self.session.client.is_connected
        head = Text.assemble((f" {conversation.title}", f"bold {colours.primary}"), no_wrap=True, overflow="ellipsis")
        if not conversation.is_direct and len(conversation.members):
            head.append(f"  {len(conversation.members)} here", dim)
        if not is_connected:
            head.append(
                f"  ○ not connected{f': {self.session.reason}' if self.session.reason else ''}", f"bold {colours.error}"
            )
        if conversation.refused:
            head.append(f"  {conversation.refused}", colours.error or "")
        if conversation.topic:
            head.append(f"  {conversation.topic}", colours.foreground or "")
        self._head.update(head)
        self._box.set_class(not is_connected, "lost")
        if not self._is_offering:
            self._box.border_title = self._aside(conversation)

    def _aside(self, conversation: Conversation) -> str:
        """What stands above the field: what is further down, and what is elsewhere."""
        said = []
        if not conversation.is_followed:
            newer = conversation.window.newer or conversation.unread
            said.append(f"↓ {newer:,} new below, Esc goes there" if newer else "↓ Esc goes to the end")
        elsewhere = self.session.conversations.spoken_to() - conversation.mentions
        if elsewhere > 0:
            said.append(f"{elsewhere} for you elsewhere, Alt+A")
        return " · ".join(said)

    # --- what is typed ----------------------------------------------------------------------

    def on_chat_input_said(self, event: ChatInput.Said) -> None:
        """Enter."""
        conversation = self._current
        if conversation is None:
            return
        if not event.text.startswith("/") or event.text.startswith("//"):
            self.action_go_to_end()
        if not self._actor.act(event.text, conversation):
            self._field.set(event.text)

    def on_chat_input_offered(self, event: ChatInput.Offered) -> None:
        """What Tab may put there is above the field."""
        at = event.at - event.at % OFFERS_SHOWN
        text = Text("  ").join(
            Text(offer.shown, "reverse" if at + number == event.at else "")
            for number, offer in enumerate(event.offers[at : at + OFFERS_SHOWN])
        )
        self._is_offering = bool(event.offers)
        self._box.border_title = text.markup
        self._soon()

    def on_chat_input_left(self, event: ChatInput.Left) -> None:
        """Esc."""
        self.action_go_to_end()

    def _offers(self, before: str) -> Sequence[Offer]:
        conversation = self._current
        return () if conversation is None else offered(before, self.session, conversation)

    # --- the mouse, and the terminal --------------------------------------------------------

    def _notify(self, conversation: Conversation, record: Shown) -> None:
        text = notification(self._notify_by, f"{record.user} in {conversation.title}", record.text)
        driver = self._driver
        if text and driver is not None:
            driver.write(text)
            driver.flush()

    def _colours(self) -> Theme:
        return THEMES.get(self.theme) or self.current_theme

    def _painter(self) -> Painter:
        return Painter(self._colours(), self.session.client.user)

    def _recolour(self, theme: Theme) -> None:
        self._pane.paint_with(self._painter())
        self._soon()
