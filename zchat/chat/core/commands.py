"""What a typed line means: something said, or a command that begins with a slash.

    hello        said                     //hello     "/hello", said
    /me waves    an action                /dance      an error, for who typed it

Rules of this file: it decides what was meant; whether a name may be is decided by zchat/names.py.
Docs: docs/chat.md, whose table is compared with `COMMANDS`. Tests: tests/chat/core/test_commands.py.
"""

from __future__ import annotations

from typing import NamedTuple

from zchat.errors import UsageError
from zchat.names import room_name, user_name


class ChatCommandRow(NamedTuple):
    """How a command is called and what it does, as `/help` shows it."""

    usage: str
    sentence: str


COMMANDS: dict[str, ChatCommandRow] = {
    "join": ChatCommandRow("/join ROOM", "go to a room; it stays in your list until you part"),
    "part": ChatCommandRow("/part [ROOM]", "leave a room, or close a conversation"),
    "msg": ChatCommandRow("/msg USER [TEXT]", "tell one user alone; without a text, go to that conversation"),
    "who": ChatCommandRow("/who [ROOM]", "who is in a room, and since when"),
    "me": ChatCommandRow("/me TEXT", "say what you do"),
    "topic": ChatCommandRow("/topic [TEXT]", "show the topic of the room, or set it"),
    "search": ChatCommandRow("/search WORDS", "find messages that have these words, in your rooms"),
    "file": ChatCommandRow("/file PATH", "send a file"),
    "save": ChatCommandRow("/save [N]", "save the last file that was sent here, or the Nth last"),
    "retry": ChatCommandRow("/retry", "send again what failed"),
    "help": ChatCommandRow("/help", "show the keys and commands"),
    "quit": ChatCommandRow("/quit", "leave the chat; your rooms are there when you come back"),
}
ALIASES = {"j": "join", "leave": "part", "close": "part", "query": "msg", "names": "who", "exit": "quit", "q": "quit"}
NEEDS_TEXT = ("join", "msg", "me", "search", "file")
FILES_BACK_MAX = 1_000


class ChatCommand(NamedTuple):
    """A command, and what goes with it as its usage says."""

    word: str  # of COMMANDS; `say` is something said
    name: str = ""  # of a room, or an inbox; empty: none was given
    text: str = ""
    number: int = 1


def understood(line: str) -> ChatCommand | None:
    """What was typed; None: nothing. Raises UsageError, BadName."""
    if not line.strip():
        return None
    if not line.startswith("/") or line.startswith("//"):
        return ChatCommand("say", text=line[1:] if line.startswith("//") else line)
    word, _, rest = line[1:].partition(" ")
    if "\n" in word:
        word, _, rest = line[1:].partition("\n")
    command, rest = word.lower(), rest.strip()
    command = ALIASES.get(command, command)
    if command not in COMMANDS:
        raise UsageError(f"no command /{word}; /help lists them, and // begins a line that is said with a slash")
    if not rest and command in NEEDS_TEXT:
        raise UsageError(f"it is {COMMANDS[command].usage}")
    if command in ("join", "part", "who"):
        return ChatCommand(command, place(rest) if rest else "")
    if command == "msg":
        name, _, text = rest.partition(" ")
        return ChatCommand(command, place(f"@{user_name(name.removeprefix('@'))}"), text.strip())
    if command == "save":
        return ChatCommand(command, number=_number(rest))
    return ChatCommand(command, text=rest)


def place(text: str) -> str:
    """The conversation that a name stands for: `general`, `#general`, `@bob`. Raises BadName."""
    return room_name(text.removeprefix("#"))


def help_lines() -> list[str]:
    """What `/help` shows."""
    width = max(len(row.usage) for row in COMMANDS.values())
    return [f"{row.usage:<{width}}  {row.sentence}" for row in COMMANDS.values()]


def _number(text: str) -> int:
    if not text:
        return 1
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 0 < int(text) <= FILES_BACK_MAX):
        raise UsageError(f"it is {COMMANDS['save'].usage}, with a number from 1 to {FILES_BACK_MAX:,}")
    return int(text)
