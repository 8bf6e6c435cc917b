"""Who may do what in which room: the one place that decides it.

    rules (of the broker's file)  ──►  Rights  ──may(user, verb, room)──►  yes or no

Rules of this file
1. Of several patterns that stand for a room, the most exact one that names the verb has the word: segment by segment
   from the left a name goes before `*`, and `*` before `**`. The order in the file means nothing.
2. What no rule names: everybody may read and write where the default is open, nobody where it is closed. `history` and
   `presence` are as `read` then, and `admin` has who may both read and write. `history` is nothing without `read`:
   whoever may not listen reads nothing of what was said before either.
3. An inbox is its user's alone, whatever the rules say; everybody writes to it.
4. A rule stands for the dead letters of its rooms, too, as if its pattern ended with `.dead`. So `**` opens nothing of
   a room that has a rule of its own.
5. Asking costs a lookup for the user and one for the room. Users who are in the same lists have the same role, and what
   is made for one of them is right for all.

Spec: docs/operating.md, "Who may do what". Tests: tests/core/test_rights.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from zchat.errors import WireError
from zchat.names import DEAD, ROOM_BYTES_MAX, fitting, inbox, is_pattern, user_key

VERBS = READ, WRITE, PRESENCE, HISTORY, ADMIN = "read", "write", "presence", "history", "admin"
EVERYBODY = "*"
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
    changed: Callable[[], Rules | None]  # others, if there are: asked twice a second


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


class MayOf:
    """Whether users with a role may do something in a room: to be asked by any thread, of rules that do not change.

    Of inboxes it says yes: who asks for one by its name was checked, and no pattern stands for any.
    """

    __slots__ = ("_role", "_table", "_verb")

    def __init__(self, table: RuleTable, role: int, verb: str) -> None:
        self._table = table
        self._role = role
        self._verb = verb

    def __call__(self, room: str) -> bool:
        """Of that room."""
        return room.startswith("@") or self._table.may(self._role, self._verb, room)


class RuleTable:
    """Rules, made ready to be asked. They do not change; what is found out is remembered."""

    def __init__(self, rules: Rules) -> None:
        self.has_rules = bool(rules.rooms) or not rules.is_open
        self._lists: list[tuple[int, UserList]] = []
        self._verbs: list[dict[str, int]] = []
        self._default = _ALL if rules.is_open else _NOBODY
        self._rooms: dict[str, RoomRights] = {}
        self._roles: dict[str, int] = {}
        self._may_of: dict[tuple[int, str], MayOf] = {}
        exact = sorted(rules.rooms, key=_exactness)  # the most exact ones first
        self._exactness = list(map(_exactness, exact))
        self._fitting: Callable[[str], int] = fitting([rule.pattern for rule in exact])
        lists: dict[tuple[str, ...], int] = {(): _NOBODY}
        for rule in exact:
            self._verbs.append({verb: self._bit(who, lists) for verb, who in rule.who.items()})

    def role(self, user: str) -> int:
        """The lists in which a user stands."""
        role = self._roles.get(user)
        if role is None:
            key = user_key(user)
            role = _ALL + sum(bit for bit, who in self._lists if key in who)
            if len(self._roles) >= CACHED_MAX:
                self._roles.clear()
            self._roles[user] = role
        return role

    def may(self, role: int, verb: str, room: str) -> bool:
        """Whether a user with that role may."""
        if not self.has_rules:
            return True
        of_room = self._rooms.get(room) or self._find(room)
        if verb == READ:
            return bool(of_room.read & role)
        if verb == HISTORY:
            return bool(of_room.read & role and of_room.history & role)
        if verb == ADMIN and of_room.admin is None:
            return bool(of_room.read & role and of_room.write & role)
        return bool(getattr(of_room, verb) & role)

    def may_of(self, role: int, verb: str) -> MayOf:
        """The same, to be asked of many rooms; one for all users with that role."""
        found = self._may_of.get((role, verb))
        if found is None:
            if len(self._may_of) >= CACHED_MAX:
                self._may_of.clear()
            found = self._may_of[role, verb] = MayOf(self, role, verb)
        return found

    # --- parts ------------------------------------------------------------------------------

    def _bit(self, who: tuple[str, ...], lists: dict[tuple[str, ...], int]) -> int:
        if EVERYBODY in who:
            return _ALL
        key = tuple(sorted(who))
        if key not in lists:
            lists[key] = 2 << len(self._lists)
            self._lists.append((lists[key], UserList(key)))
        return lists[key]

    def _find(self, room: str) -> RoomRights:
        standing: list[tuple[list[int], int, int]] = []  # how exact, of which name, and number of the rule
        name, deaths = room, 0
        while True:
            for number in _numbers(self._fitting(name)):
                standing.append((self._exactness[number] + [0] * deaths, deaths, number))
            if not name.endswith(DEAD):
                break
            name, deaths = name.removesuffix(DEAD), deaths + 1
        found = self._of([number for _, _, number in sorted(standing)])
        if len(room) <= ROOM_BYTES_MAX:  # else it is no room's name
            if len(self._rooms) >= CACHED_MAX:
                self._rooms.clear()
            self._rooms[room] = found
        return found

    def _of(self, numbers: Iterable[int]) -> RoomRights:
        """Where those rules stand for a room, the most exact one first."""
        named: dict[str, int] = {}
        for number in numbers:
            for verb, of in self._verbs[number].items():
                named.setdefault(verb, of)
        read = named.get(READ, self._default)
        write = named.get(WRITE, self._default)
        return RoomRights(read, write, named.get(PRESENCE, read), named.get(HISTORY, read), named.get(ADMIN))


class Rights:
    """Of one broker."""

    def __init__(self, rules: Rules | None = None) -> None:
        """Without `rules` everybody may do everything, and there never are any."""
        self.may_change = rules is not None
        self.version = 0  # counts the changes
        self.table = RuleTable(rules or Rules())

    @property
    def has_rules(self) -> bool:
        """Whether anybody may not do something, but for inboxes."""
        return self.table.has_rules

    def change(self, rules: Rules) -> None:
        """These hold from now on."""
        self.table = RuleTable(rules)
        self.version += 1

    def may(self, user: str, verb: str, room: str) -> bool:
        """Whether the user may do that in the room."""
        if room.startswith("@"):
            return verb == WRITE or room == inbox(user)
        return not self.table.has_rules or self.table.may(self.table.role(user), verb, room)

    def check(self, user: str, verb: str, room: str) -> None:
        """Raises WireError where the user may not."""
        if not self.may(user, verb, room):
            raise WireError("denied", f"{user} may not {_SAID[verb]} {room}")

    def is_public(self, verb: str, room: str) -> bool:
        """Whether everybody may."""
        if room.startswith("@"):
            return verb == WRITE
        return self.table.may(_ALL, verb, room)

    def may_of(self, user: str, verb: str) -> MayOf:
        """Whether the user may do that, to be asked of many rooms. Users who may do the same have the same one."""
        return self.table.may_of(self.table.role(user), verb)


def _exactness(rule: RoomRule) -> list[int]:
    return [2 if segment == "**" else 1 if segment == "*" else 0 for segment in rule.pattern.split(".")]


def _numbers(bits: int) -> Iterator[int]:
    """Which bits are set, from the lowest one."""
    while bits:
        first = bits & -bits
        bits ^= first
        yield first.bit_length() - 1
