"""What Tab offers for the word before the cursor: `/commands`, `@names`, `#rooms`, `:emoji:`, and names alone.

    @al  ->  @alice        /jo  ->  /join         #ge  ->  #general      :ta  ->  🎉       /join ge  ->  general

Pressed again it offers the next, round and round.
Rules of this file: it knows the names that it is given, and asks nobody.
Tests: tests/chat/core/test_completion.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from zchat.chat.core import emoji
from zchat.chat.core.commands import COMMANDS
from zchat.names import inbox, user_key

OFFERED_MAX = 50
_WORD = re.compile(r"\S*$")
_ROOM_COMMANDS = re.compile(r"/(join|part|who|j|leave)\s+#?(\S*)$")
_USER_COMMANDS = re.compile(r"/(msg|query)\s+@?(\S*)$")
_PATH_COMMAND = re.compile(r"/file\s+(.*)$")


class KnownNames(NamedTuple):
    """What may be completed."""

    users: Sequence[str] = ()  # those who spoke last first
    rooms: Sequence[str] = ()


class Offer(NamedTuple):
    """One completion: what to put in the place of the text from `begin` to the cursor, and how it is shown."""

    begin: int
    text: str
    shown: str


def offers(before: str, names: KnownNames) -> list[Offer]:
    """For the text before the cursor, the best first."""
    return _offers(before, names)[:OFFERED_MAX]


def path_before(before: str) -> str | None:
    """The path that is typed, where one is wanted."""
    found = _PATH_COMMAND.match(before)
    return found[1] if found else None


def _offers(before: str, names: KnownNames) -> list[Offer]:
    if found := _ROOM_COMMANDS.match(before):
        return [Offer(found.start(2), f"{room} ", f"#{room}") for room in _beginning(names.rooms, found[2])]
    if found := _USER_COMMANDS.match(before):
        return [Offer(found.start(2), f"{user} ", f"@{user}") for user in _beginning(names.users, found[2])]
    word = _WORD.search(before)
    assert word is not None, "it may be empty"
    begin, text = word.start(), word[0]
    if text.startswith("/") and begin == 0:
        return [Offer(0, f"/{name} ", COMMANDS[name].usage) for name in COMMANDS if name.startswith(text[1:].lower())]
    if text.startswith("@"):
        return [Offer(begin, f"@{user} ", f"@{user}") for user in _beginning(names.users, text[1:])]
    if text.startswith("#"):
        return [Offer(begin, f"#{room} ", f"#{room}") for room in _beginning(names.rooms, text[1:])]
    if len(text) > 1 and (at := text.rfind(":")) >= 0 and text[at + 1 :]:
        found_names = emoji.beginning(text[at + 1 :])
        return [Offer(begin + at, emoji.SHORT[name], f"{emoji.SHORT[name]} :{name}:") for name in found_names]
    if text:
        behind = ": " if begin == 0 else " "
        return [Offer(begin, f"{user}{behind}", user) for user in _beginning(names.users, text)]
    return []


def _beginning(names: Sequence[str], prefix: str) -> list[str]:
    wanted = user_key(prefix)
    return [name for name in dict.fromkeys(names) if user_key(name).startswith(wanted)]


def users_first(spoke: Sequence[str], others: Sequence[str], me: str) -> list[str]:
    """Users for `KnownNames`: who spoke last first, each once, the user himself last of all."""
    users = list(dict.fromkeys([*reversed(spoke), *sorted(others, key=str.casefold)]))
    own = [user for user in users if inbox(user) == inbox(me)]
    return [user for user in users if user not in own] + own
