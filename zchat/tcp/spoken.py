"""What a line means: something said, or a command that begins with a slash.

    hello        said in the room          //hello     "/hello", said in the room
    /nick ann    a command                 /dance      an error, for the visitor alone

Rules of this file: it decides what was meant; whether a name may be is decided by zchat/names.py.
Docs: docs/doors.md, whose table is compared with `COMMANDS`. Tests: tests/tcp/test_spoken.py.
"""

from __future__ import annotations

from typing import NamedTuple

from zchat.errors import UsageError
from zchat.names import room_name, user_name

LAST_DEFAULT, LAST_MAX = 10, 1_000
COMMAND_LINES = 10


class VisitorCommand(NamedTuple):
    """How a command is called and what it does, as `/help` shows it."""

    usage: str
    sentence: str


COMMANDS: dict[str, VisitorCommand] = {
    "login": VisitorCommand("/login TOKEN", "come in, where a token is needed"),
    "nick": VisitorCommand("/nick NAME", "be called so"),
    "join": VisitorCommand("/join ROOM", "go to a room, too; what you type is said there"),
    "part": VisitorCommand("/part [ROOM]", "leave a room"),
    "who": VisitorCommand("/who [ROOM]", "who is in a room"),
    "msg": VisitorCommand("/msg USER TEXT", "tell one user alone"),
    "last": VisitorCommand("/last [N]", f"the last messages of the room, {LAST_DEFAULT} if no number is given"),
    "help": VisitorCommand("/help", "what you read now"),
    "quit": VisitorCommand("/quit", "leave"),
}


class Said(NamedTuple):
    """Something for the room."""

    body: bytes


class SlashCommand(NamedTuple):
    """A command, and what goes with it as its usage says."""

    word: str
    name: str = ""  # of a user or room; empty: none was given
    text: str = ""
    number: int = 0

    @property
    def lines(self) -> int:
        """As how many lines it counts, beside its own: it costs more than to say something."""
        return COMMAND_LINES + self.number


def understood(line: bytes) -> Said | SlashCommand | None:
    """What the line means; None: nothing. Raises UsageError, BadName."""
    if not line.startswith(b"/"):
        return Said(line) if line.strip() else None
    if line.startswith(b"//"):
        return Said(line[1:])
    word, _, rest = line[1:].decode(errors="replace").strip().partition(" ")
    command, rest = word.lower(), rest.strip()
    if command not in COMMANDS:
        raise UsageError(f"no command /{word}; /help lists them, and // begins a line that is said with a slash")
    if command in ("help", "quit"):
        return SlashCommand(command)
    if command == "login":
        return SlashCommand(command, text=rest)
    if command == "last":
        return SlashCommand(command, number=_number(rest))
    if command == "msg":
        name, _, text = rest.partition(" ")
        if not text.strip():
            raise UsageError(f"it is {COMMANDS[command].usage}")
        return SlashCommand(command, user_name(name.removeprefix("@")), text.strip())
    if (not rest and command in ("nick", "join")) or " " in rest:
        raise UsageError(f"it is {COMMANDS[command].usage}")
    if command == "nick":
        return SlashCommand(command, user_name(rest))
    return SlashCommand(command, _room(rest) if rest else "")


def _room(text: str) -> str:
    if text.startswith("@"):
        raise UsageError(
            f"{text} is an inbox: /msg {text[1:]} TEXT sends to it, and what is sent to you comes by itself"
        )
    return room_name(text)


def _number(text: str) -> int:
    if not text:
        return LAST_DEFAULT
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 0 < int(text) <= LAST_MAX):
        raise UsageError(f"it is {COMMANDS['last'].usage}, with a number from 1 to {LAST_MAX:,}")
    return int(text)
