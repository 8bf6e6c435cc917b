"""The lists beside the messages: conversations with what is unread, and who is there."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from rich.style import Style
from rich.text import Text
from textual.theme import Theme
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from zchat.chat.core.colours import colour_of
from zchat.chat.core.conversation import Conversation
from zchat.chat.core.rooms import Conversations, count_text
from zchat.chat.screen.themes import users_colours

MEMBERS_SHOWN = 500


class RoomList(OptionList, can_focus=False):
    """Conversations, and what is unread."""

    def __init__(self) -> None:
        super().__init__(id="rooms", compact=True)
        self._shown: list[tuple[str, str, int, bool]] = []

    def update_rooms(self, conversations: Conversations, current: str, theme: Theme) -> None:
        """Be the list as it is now."""
        width = max(8, (self.size.width or 18) - 2)
        found = [
            (each.title, count_text(each), each.mentions, each.name == current) for each in conversations.all.values()
        ]
        if found == self._shown:
            return
        self._shown = found
        options: list[Option | None] = []
        was_direct = False
        for each, (_, _, _, is_current) in zip(conversations.all.values(), found, strict=True):
            if each.is_direct and not was_direct and options:
                options.append(None)
            was_direct = each.is_direct
            options.append(Option(_room_text(each, width, theme, is_current=is_current), id=f"room-{each.name}"))
        self.clear_options()
        self.add_options(options)
        self.highlighted = next((number for number, row in enumerate(found) if row[3]), None)


class MemberList(OptionList, can_focus=False):
    """Who is in the room."""

    def __init__(self) -> None:
        super().__init__(id="members", compact=True)
        self._shown: object = None

    def update_members(self, conversation: Conversation, theme: Theme) -> None:
        """Be the list as it is now."""
        users = conversation.members.users()
        if self._shown == (users, theme.name):
            return
        self._shown = (users, theme.name)
        colours = users_colours(theme)
        dim = Style(color=theme.variables.get("dim"))
        options = []
        for user, is_lost in users[:MEMBERS_SHOWN]:
            style = dim if is_lost else Style(color=colours[colour_of(user)])
            text = Text.assemble(
                ("○ " if is_lost else "● ", dim if is_lost else Style(color=theme.success)), (user, style)
            )
            options.append(Option(text, id=f"user-{user}"))
        self.clear_options()
        self.add_options(options)
        if len(users) > MEMBERS_SHOWN:
            self.add_option(Option(Text(f"and {len(users) - MEMBERS_SHOWN:,} more", dim), disabled=True))
        self.highlighted = None


def _room_text(conversation: Conversation, width: int, theme: Theme, *, is_current: bool) -> Text:
    count = count_text(conversation)
    room = width - cell_len(count) - (1 if count else 0)
    title = conversation.title
    if cell_len(title) > room:
        title = set_cell_size(title, room - 1) + "…"
    is_bold = bool(count) or is_current
    name = Style(bold=is_bold, color=None if is_bold else theme.variables.get("dim"))
    if conversation.refused:
        name = Style(color=theme.error, strike=True)
    number = Style(bold=True, color=theme.accent if conversation.mentions else theme.primary)
    return Text.assemble((title + " " * (room - cell_len(title)), name), (f" {count}" if count else "", number))
