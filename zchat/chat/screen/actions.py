"""What keys, the mouse and the palette do on the screen: look elsewhere, go elsewhere, begin a command.

Docs: docs/chat.md, whose table of keys is that of keys.py. Tests: tests/chat/screen.
"""

from __future__ import annotations

from abc import abstractmethod

from textual import events
from textual.app import App
from textual.widgets import OptionList

from zchat.chat.acting import Actor
from zchat.chat.core.commands import help_lines
from zchat.chat.core.conversation import Conversation
from zchat.chat.screen.dialogs import TextDialog
from zchat.chat.screen.keys import help_of_keys
from zchat.chat.screen.lists import MemberList, RoomList
from zchat.chat.screen.messages import MessagePane
from zchat.chat.screen.typing import ChatInput
from zchat.chat.session import ChatSession

ROOMS_FROM, MEMBERS_FROM = 72, 100  # columns: from here on they stand beside the messages by themselves

REPAINT_SECONDS = 0.5  # after a terminal was made larger or smaller


class ScreenActions(App[int]):
    """An application that has what keys act on."""

    session: ChatSession
    _actor: Actor
    _pane: MessagePane
    _room_list: RoomList
    _member_list: MemberList
    _field: ChatInput
    _current: Conversation | None
    _wants: dict[str, bool]  # whether rooms and members are wanted, where that was said
    _is_loading: bool
    _is_focused: bool  # whether the terminal is looked at

    @abstractmethod
    def show(self, name: str) -> None:
        """Go to a conversation."""

    @abstractmethod
    def _soon(self) -> None:
        """Have it drawn."""

    # --- looking ----------------------------------------------------------------------------

    def on_message_pane_wanted(self, event: MessagePane.Wanted) -> None:
        """More at one end."""
        conversation = self._current
        if conversation is not None and not self._is_loading:
            self._is_loading = True
            self.session.go(self._load(conversation, is_older=event.is_older))

    def on_message_pane_moved(self, event: MessagePane.Moved) -> None:
        """What is read has changed."""
        self._soon()

    async def _load(self, conversation: Conversation, *, is_older: bool) -> None:
        reader = self.session.reader
        try:
            await (reader.load_older(conversation) if is_older else reader.load_newer(conversation))
        finally:
            self._is_loading = False
        if conversation is self._current:
            self._pane.update()
            self._soon()

    async def _go_to(self, name: str, offset: int) -> None:
        conversation = self.session.open(name)
        self.show(name)
        await self.session.reader.go_to(conversation, offset)
        self._pane.show(conversation, offset)
        self._soon()

    # --- keys -------------------------------------------------------------------------------

    def action_go_to_end(self) -> None:
        """To the end."""
        conversation = self._current
        if conversation is not None and not conversation.window.is_at_end:
            self.session.go(self._go_to_end(conversation))
        self._pane.go_to_end()
        self._soon()

    async def _go_to_end(self, conversation: Conversation) -> None:
        await self.session.reader.go_to_end(conversation)
        self._pane.go_to_end()
        self._soon()

    def action_scroll_pages(self, pages: int) -> None:
        """Back or forward."""
        self._pane.scroll_pages(pages)

    def action_beside(self, step: int) -> None:
        """The room above or below."""
        if self._current is not None:
            self.show(self.session.conversations.beside(self._current.name, step))

    def action_room(self, number: int) -> None:
        """One of the list."""
        names = list(self.session.conversations.all)
        if number <= len(names):
            self.show(names[number - 1])

    def action_next_unread(self) -> None:
        """Where something is unread."""
        if self._current is not None:
            self.show(self.session.conversations.next_unread(self._current.name))

    def action_join(self) -> None:
        """Have the room typed."""
        self.begin_command("join")

    def action_search(self) -> None:
        """Have the words typed."""
        self.begin_command("search")

    def action_retry(self) -> None:
        """Send again what failed."""
        if self._current is not None:
            self._actor.retry(self._current)

    def action_help(self) -> None:
        """All commands and keys."""
        self.push_screen(TextDialog("Help", "\n".join([*help_lines(), "", *help_of_keys()])))

    def action_toggle_rooms(self) -> None:
        """Show or hide them."""
        self._toggle("rooms")

    def action_toggle_members(self) -> None:
        """Show or hide them."""
        self._toggle("members")

    def _toggle(self, pane: str) -> None:
        self._wants[pane] = not (self._room_list if pane == "rooms" else self._member_list).display
        self._fit(self.size.width)

    def _fit(self, width: int) -> None:
        """Show beside the messages what there is room for, and what was asked for."""
        self.screen.set_class(width < ROOMS_FROM, "narrow")
        self.screen.set_class(ROOMS_FROM <= width < MEMBERS_FROM, "small")
        self._room_list.display = self._wants.get("rooms", width >= ROOMS_FROM)
        self._member_list.display = self._wants.get("members", width >= MEMBERS_FROM)

    def on_resize(self, event: events.Resize) -> None:
        """Another size. What was on its way to a terminal of the old one may have moved its lines: drawn once more."""
        self._fit(event.size.width)
        self._soon()
        self.set_timer(REPAINT_SECONDS, self.action_repaint)

    def action_repaint(self) -> None:
        """Draw all of it anew."""
        if self.screen_stack:  # an app that ends has no screen any more
            self.screen.refresh(layout=True)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """A click on a room goes there, one on a user names him."""
        name = event.option_id or ""
        if name.startswith("room-"):
            self.show(name.removeprefix("room-"))
            if self.size.width < ROOMS_FROM:
                self._toggle("rooms")
        elif name.startswith("user-"):
            self._field.insert(f"@{name.removeprefix('user-')} ")
        self._field.focus()

    def on_app_focus(self, event: events.AppFocus) -> None:
        """The user is here."""
        self._is_focused = True
        self._field.focus()
        self.session.go(self.session.look_elsewhere())
        self._soon()

    def on_app_blur(self, event: events.AppBlur) -> None:
        """The user is elsewhere: what comes now is new when he is back."""
        self._is_focused = False

    def titles(self) -> list[tuple[str, str]]:
        """Conversations by name, and how they are called."""
        return [(name, conversation.title) for name, conversation in self.session.conversations.all.items()]

    def use_theme(self, name: str) -> None:
        """Other colours."""
        self.theme = name

    def begin_command(self, word: str) -> None:
        """Have it typed, for its words to follow."""
        self._field.set(f"/{word} ")
        self._field.focus()
