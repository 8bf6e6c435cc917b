"""Who may do what in which room: the one place that decides it.

    rules (of the broker's file)  ──►  Rights  ──may(user, verb, room)──►  yes or no

Rules of this file
1. Of several patterns that stand for a room, the most exact one that names the verb has the word: segment by segment
   from the left a name goes before `*`, and `*` before `**`. The order in the file means nothing.
2. What no rule names: everybody may read and write where the default is open, nobody where it is closed. `history` and
   `presence` are as `read` then, and `admin` has who may both read and write.
3. An inbox is its user's alone, whatever the rules say; everybody writes to it.
4. The dead letters of a room are as the room, where no rule stands for theirs.
5. Asking costs a lookup for the user and one for the room. Users who are in the same lists have the same role, and what
   is made for one of them is right for all.

Spec: docs/operating.md, "Who may do what". Tests: tests/core/test_rights.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from zchat.errors import WireError
from zchat.names import fitting, inbox, is_pattern, user_key

VERBS = READ, WRITE, PRESENCE, HISTORY, ADMIN = "read", "write", "presence", "history", "admin"
EVERYBODY = "*"
DEAD = ".dead"  # behind the name of a room: where its dead letters go
CACHED_MAX = 100_000  # rooms, and users, of which it is known

_SAID = {
    READ: "read",
    WRITE: "write to",
    PRESENCE: "see who is in",
    HISTORY: "read what was said before in",
    ADMIN: "administer",
}
_ALL, _NOBODY = 1, 0  # lists are bits; the first one has everybody


class RoomRule(NamedTuple):
    """What is said of the rooms that match."""

    pattern: str
    who: Mapping[str, tuple[str, ...]]  # verb -> users, by their key; `*` in one is any text


class Rules(NamedTuple):
    """All of a broker."""

    is_open: bool = True
    rooms: tuple[RoomRule, ...] = ()


class RuleSource(NamedTuple):
    """Where a broker's rules come from."""

    rules: Rules  # at first
    changed: Callable[[], Rules | None]  # others, if there are: asked once a second


class RoomRights(NamedTuple):
    """Of one room: the list of each verb, as a bit."""

    read: int
    write: int
    presence: int
    history: int
    admin: int | None  # None: who may both read and write


class UserList:
    """Who stands in one list."""

    def __init__(self, who: Iterable[str]) -> None:
        self._names = {each for each in who if not is_pattern(each)}
        patterns = ["(?:" + re.escape(each).replace(r"\*", ".*") + ")" for each in who if is_pattern(each)]
        self._fits = re.compile("|".join(patterns), re.DOTALL).fullmatch if patterns else None

    def __contains__(self, key: object) -> bool:
        """Whether that user does."""
        return isinstance(key, str) and (key in self._names or (self._fits is not None and self._fits(key) is not None))


class Rights:
    """Of one broker. Any thread may ask; one of them changes the rules."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.version = 0  # counts the changes
        self.change(rules or Rules())

    def change(self, rules: Rules) -> None:
        """These hold from now on."""
        lists: dict[tuple[str, ...], int] = {}
        exact = sorted(rules.rooms, key=_exactness)  # the most exact ones first
        self._lists: list[tuple[int, UserList]] = []
        self._verbs: list[dict[str, int]] = []
        for rule in exact:
            of_verbs: dict[str, int] = {}
            for verb, who in rule.who.items():
                if EVERYBODY in who:
                    of_verbs[verb] = _ALL
                    continue
                key = tuple(sorted(who))
                if key and key not in lists:
                    lists[key] = 2 << len(self._lists)
                    self._lists.append((lists[key], UserList(key)))
                of_verbs[verb] = lists.get(key, _NOBODY)
            self._verbs.append(of_verbs)
        self._fitting: Callable[[str], int] = fitting([rule.pattern for rule in exact])
        self._default = _ALL if rules.is_open else _NOBODY
        self._rooms: dict[str, RoomRights] = {}
        self._roles: dict[str, int] = {}
        self.has_rules = bool(rules.rooms) or not rules.is_open
        self.version += 1

    # --- questions --------------------------------------------------------------------------

    def may(self, user: str, verb: str, room: str) -> bool:
        """Whether the user may do that in the room."""
        if room.startswith("@"):
            return verb == WRITE or room == inbox(user)
        return not self.has_rules or self.role_may(self.role(user), verb, room)

    def check(self, user: str, verb: str, room: str) -> None:
        """Raises WireError where the user may not."""
        if not self.may(user, verb, room):
            whose = f"{room} is another user's" if room.startswith("@") else f"{user} may not {_SAID[verb]} {room}"
            raise WireError("denied", whose)

    def is_public(self, verb: str, room: str) -> bool:
        """Whether everybody may."""
        if room.startswith("@"):
            return verb == WRITE
        return not self.has_rules or self.role_may(_ALL, verb, room)

    def role(self, user: str) -> int:
        """What users are told apart by: those with the same one may do the same, but for their inboxes."""
        role = self._roles.get(user)
        if role is None:
            key = user_key(user)
            role = _ALL + sum(bit for bit, who in self._lists if key in who)
            if len(self._roles) >= CACHED_MAX:
                self._roles.clear()
            self._roles[user] = role
        return role

    def role_may(self, role: int, verb: str, room: str) -> bool:
        """The same of a user with that role; of an inbox nobody knows."""
        of_room = self._rooms.get(room) or self._find(room)
        if verb == READ:
            return bool(of_room.read & role)
        if verb == ADMIN and of_room.admin is None:
            return bool(of_room.read & role and of_room.write & role)
        return bool(getattr(of_room, verb) & role)

    # --- parts ------------------------------------------------------------------------------

    def _find(self, room: str) -> RoomRights:
        bits = self._fitting(room)
        if not bits and room.endswith(DEAD) and room != DEAD:
            found = self._find(room.removesuffix(DEAD))
        else:
            found = self._of(bits)
        if len(self._rooms) >= CACHED_MAX:
            self._rooms.clear()
        self._rooms[room] = found
        return found

    def _of(self, bits: int) -> RoomRights:
        """Where those rules stand for a room."""
        named: dict[str, int] = {}
        while bits:
            first = bits & -bits
            bits ^= first
            for verb, of in self._verbs[first.bit_length() - 1].items():
                named.setdefault(verb, of)
        read = named.get(READ, self._default)
        write = named.get(WRITE, self._default)
        return RoomRights(read, write, named.get(PRESENCE, read), named.get(HISTORY, read), named.get(ADMIN))


def _exactness(rule: RoomRule) -> list[int]:
    return [2 if segment == "**" else 1 if segment == "*" else 0 for segment in rule.pattern.split(".")]
