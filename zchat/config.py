"""The broker's file: who may do what in which rooms, and limits.

    default = "closed"                  # "open", unless it is said: rooms that no rule names

    [groups]
    ops = ["alice", "bob"]

    [rooms."ops.**"]
    read = ["group:ops", "ci.*"]        # users, `*` being any text; groups; "*" is everybody
    write = ["group:ops"]

    [limits]
    rooms_max = 10_000

Rules of this file
1. What is not understood is an error that names it: a word that is misspelt would open a room, in silence.
2. An option of the command line goes before the file; what has an option does not stand here.
3. The file is looked at while the broker runs. A broken one changes nothing, and that is told once.
4. No room is opened by a file that is half written, or was cut off: it is read once it has rested from one look to the
   next, and rules end only where it says so.

Docs: docs/operating.md, "Who may do what"; docs/settings.md. Tests: tests/test_config.py.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from zchat.core.rights import EVERYBODY, VERBS, RoomRule, Rules, RuleSource
from zchat.errors import UsageError
from zchat.names import group_name, is_pattern, pattern_name, user_key, user_name
from zchat.settings import Settings

GROUP = "group:"  # before the name of one, where users are named
NO_NAMES = (
    "without keys anybody takes any name, and rules keep out nobody: add --keys DIR, or --insecure if that is meant"
)
NO_RULES = 'it says nothing of rooms any more; write default = "open" if all are to be open'
BYTES_MAX = 8 << 20  # of a file: a larger one is none of ours

_BY_OPTION = {"grace_seconds": "--grace", "restart_grace_seconds": "--restart-grace", "retention": "--retain"}


class Config(NamedTuple):
    """What the file says."""

    rules: Rules = Rules()
    limits: Mapping[str, float] = {}  # by the names that they have in Settings
    names_default: bool = False


class ConfigFile:
    """A file that may change while the broker runs."""

    def __init__(self, path: Path, *, has_names: bool) -> None:
        """`has_names`: a user is who he says he is, or nobody minds. Else rules would be a lock without a door."""
        self.path = path
        self._has_names = has_names
        self._seen: tuple[int, ...] = ()
        self._looked: tuple[int, ...] = ()  # the last time

    def read(self) -> Config:
        """What it says now. Raises UsageError."""
        try:
            self._seen = self._looks()
            if not self.path.is_file():
                raise UsageError(f"{self.path} is no file")  # to read a pipe would take for ever
            with self.path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                content = file.read(BYTES_MAX + 1)
        except OSError as error:
            raise UsageError(f"{self.path}: {error.strerror}") from None
        try:
            if len(content) > BYTES_MAX:
                raise UsageError(f"it is larger than {BYTES_MAX >> 20} MiB")
            config = parse(content.decode("utf-8-sig"))  # some editors begin a file with a mark of bytes
            if config.rules != Rules() and not self._has_names:
                raise UsageError(NO_NAMES)
            if config.rules != Rules() and mode & stat.S_IWOTH:
                raise UsageError(f"everybody on this machine can write it, and open rooms: chmod o-w {self.path}")
            return config
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{self.path}: {error}") from None

    def source(self, config: Config, tell: Callable[[str], object]) -> RuleSource:
        """The rules that it had when that was read, and those that it gets; `tell` is given a line for the operator."""

        def changed() -> Rules | None:
            nonlocal config
            found = self.changed(tell)
            if found is None:
                return None
            if found.rules == Rules() != config.rules and not found.names_default:
                tell(f"{self.path}: {NO_RULES}: what it said before still holds")
                return None
            if found.limits != config.limits:
                tell(f"{self.path}: other limits hold when the broker is started again")
            is_same, config = found.rules == config.rules, found
            if is_same:
                return None
            tell(f"{self.path}: the new rules hold")
            return found.rules

        return RuleSource(config.rules, changed)

    def changed(self, tell: Callable[[str], object]) -> Config | None:
        """What it says, if it was written since; `tell` is given a line where it cannot be read."""
        try:
            found, before = self._looks(), self._looked
            self._looked = found
            if found == self._seen or found != before:
                return None
            return self.read()
        except OSError as error:
            if not self._seen:
                return None  # that was told
            self._seen = ()
            why = f"{self.path}: {error.strerror}"
        except UsageError as error:
            why = str(error)
        tell(f"{why}: what it said before still holds")
        return None

    def _looks(self) -> tuple[int, ...]:
        """What differs once it was written. Raises OSError."""
        found = self.path.stat()
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def parse(text: str) -> Config:
    """What the text of a file says. Raises UsageError, or ValueError where it is no TOML."""
    found = tomllib.loads(text)
    _known(found, ("default", "groups", "rooms", "limits"), "the file")
    default = found.get("default", "open")
    if default not in ("open", "closed"):
        raise UsageError(f'default is "open" or "closed", not {default!r}')
    groups = {_group(name): _users(who, f"groups.{name}") for name, who in _table(found, "groups").items()}
    rules: dict[str, RoomRule] = {}
    for pattern, said in _table(found, "rooms").items():
        rule = _rule(pattern, said, groups)
        if rule.pattern in rules:
            raise UsageError(f'rooms."{pattern}" is there twice')
        rules[rule.pattern] = rule
    return Config(Rules(default == "open", tuple(rules.values())), _limits(_table(found, "limits")), "default" in found)


# --- parts --------------------------------------------------------------------------------------


def _rule(pattern: str, said: object, groups: Mapping[str, tuple[str, ...]]) -> RoomRule:
    where = f'rooms."{pattern}"'
    if pattern.startswith("@"):
        raise UsageError(f"{where}: an inbox is its user's alone, and everybody writes to it")
    canonical = pattern_name(pattern)
    if not isinstance(said, dict):
        raise UsageError(f"{where} is a table of {', '.join(VERBS)}")
    _known(said, VERBS, where)
    who = {verb: _who(said[verb], f"{where}.{verb}", groups) for verb in VERBS if verb in said}
    return RoomRule(canonical, who)


def _who(said: object, where: str, groups: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    found: list[str] = []
    for each in _texts(said, where):
        if not each.startswith(GROUP):
            found += _users([each], where)
        elif (group := each.removeprefix(GROUP)) not in groups:
            raise UsageError(f"{where}: there is no group {group!r}")
        else:
            found += groups[group]
    return tuple(dict.fromkeys(found))


def _users(said: object, where: str) -> tuple[str, ...]:
    """By their keys; `*` stays as it is."""
    users = []
    for each in _texts(said, where):
        if each != EVERYBODY:
            user_name(each.replace("*", "x") if is_pattern(each) else each)
        users.append(user_key(each))
    return tuple(users)


def _group(name: str) -> str:
    if group_name(name) != name:
        raise UsageError(f"groups.{name}: it is to be written as {group_name(name)}")
    return name


def _limits(said: Mapping[str, object]) -> dict[str, float]:
    defaults = {field.name: field.default for field in fields(Settings)}
    limits: dict[str, float] = {}
    for name, value in said.items():
        if name in _BY_OPTION:
            raise UsageError(f"limits.{name} is set by the option {_BY_OPTION[name]}")
        default = defaults.get(name)
        if not isinstance(default, int | float):
            raise UsageError(f"limits.{name} is no limit of a broker: docs/settings.md has all of them")
        is_number = isinstance(value, int | float if isinstance(default, float) else int)
        if not is_number or isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise UsageError(f"limits.{name} is a number above 0, as its default is: {default:,}")
        limits[name] = type(default)(value)
    return limits


def _known(found: Mapping[str, Any], words: tuple[str, ...], where: str) -> None:
    if unknown := found.keys() - set(words):
        raise UsageError(f"{where}: {min(unknown)!r} is none of {', '.join(words)}")


def _table(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = found.get(name, {})
    if not isinstance(table, dict):
        raise UsageError(f"{name} is a table")
    return table


def _texts(said: object, where: str) -> list[str]:
    if not isinstance(said, list) or not all(isinstance(each, str) for each in said):
        raise UsageError(f"{where} is a list of names")
    return said
