"""The keys of the screen: one table, for the bindings, the footer, the help and the docs."""

from __future__ import annotations

from typing import NamedTuple

from textual.binding import Binding, BindingType


class ChatKey(NamedTuple):
    """A key; `label` is what the footer shows, and empty for what it does not."""

    keys: str
    action: str
    label: str
    shown: str  # how the key is called
    sentence: str


KEYS = (
    ChatKey("f1", "help", "Help", "F1", "the keys and commands"),
    ChatKey("ctrl+p", "command_palette", "Palette", "Ctrl+P", "all commands, rooms and themes"),
    ChatKey("alt+a", "next_unread", "Unread", "Alt+A", "where somebody speaks to you, or else what is unread"),
    ChatKey("ctrl+o", "join", "", "Ctrl+O", "go to a room, or to a new one"),
    ChatKey("ctrl+f", "search", "Search", "Ctrl+F", "search in your rooms"),
    ChatKey("f2", "toggle_rooms", "Rooms", "F2", "show or hide the rooms"),
    ChatKey("f3", "toggle_members", "Members", "F3", "show or hide who is there"),
    ChatKey("ctrl+q", "quit", "Quit", "Ctrl+Q", "leave the chat"),
    ChatKey("alt+up", "beside(-1)", "", "Alt+↑", "the room above"),
    ChatKey("alt+down", "beside(1)", "", "Alt+↓", "the room below"),
    ChatKey("pageup", "scroll_pages(-1)", "", "PgUp", "back; older messages come as you go"),
    ChatKey("pagedown", "scroll_pages(1)", "", "PgDn", "forward"),
    ChatKey("ctrl+end,alt+end", "go_to_end", "", "Esc, Ctrl+End", "to the end"),
    ChatKey("ctrl+l", "repaint", "", "Ctrl+L", "draw the screen anew"),
    ChatKey("ctrl+r", "retry", "", "Ctrl+R", "send again what failed"),
)
IN_FIELD = (
    ("Enter", "say it"),
    ("Alt+Enter", "a new line; Ctrl+J too"),
    ("Tab", "complete a /command, @name, #room or :emoji:"),
    ("↑ ↓", "what you typed before"),
    ("Alt+1 … 9", "the first, … ninth room of the list"),
)


def bindings() -> list[BindingType]:
    """For the application: they go before those of the field."""
    found: list[BindingType] = [
        Binding(
            key.keys, key.action, key.label or key.sentence, show=bool(key.label), priority=True, key_display=key.shown
        )
        for key in KEYS
        if key.action != "command_palette"
    ]
    found += [Binding(f"alt+{number}", f"room({number})", show=False, priority=True) for number in range(1, 10)]
    return found


def help_of_keys() -> list[str]:
    """Lines."""
    rows = [*((key.shown, key.sentence) for key in KEYS), *IN_FIELD]
    width = max(len(shown) for shown, _ in rows)
    return [f"{shown:<{width}}  {sentence}" for shown, sentence in rows]
