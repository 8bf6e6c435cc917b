"""The keys of sealed rooms that a user has: a file for each room, in the folder `rooms` beside the profile.

Rules of this file
1. A key counts for the room of that name, whatever the broker: under another address a message must not go out open.
2. A file that others can read is no secret, and is refused.
3. What other processes do to the folder is seen within a second.

    # Keys of a sealed room. Whoever has them reads what was sealed with them. The youngest one seals.
    key 1764230400.q6q2…
    given bob

Tests: tests/test_ring.py. Docs: docs/sealed.md.
"""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import NamedTuple

from zchat.core.sealed import KEY_BYTES, KEYS_MAX, RoomKey, invite_line, invited, key_in, key_text, merged
from zchat.errors import UsageError
from zchat.names import room_name
from zchat.private_files import OTHERS_READ, SECRET_MODE, make_folder, read_text, replace_text

SUFFIX = ".key"
LOOK_SECONDS = 1.0
HEAD = "# Keys of a sealed room. Whoever has them reads what was sealed with them. The youngest one seals."


class RoomKeys(NamedTuple):
    """What is known of one sealed room."""

    room: str
    keys: tuple[RoomKey, ...]  # the youngest last
    given: tuple[str, ...]  # users to whom the youngest was given, as far as they were named


class KeyRing:
    """The keys in one folder, which need not be there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rooms: frozenset[str] = frozenset()
        self._known: dict[str, RoomKeys] = {}  # what was read since that look
        self._looked = -LOOK_SECONDS

    def rooms(self) -> frozenset[str]:
        """The rooms for which there is a key, as a look at the folder said less than a second ago. Raises UsageError:
        a ring that cannot be looked at is not taken for an empty one, or what is to be sealed would go out open."""
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            try:
                found = os.listdir(self.folder)
            except (FileNotFoundError, NotADirectoryError):
                found = []
            except OSError as error:
                raise UsageError(f"{self.folder}: {error.strerror}") from None
            self._rooms = frozenset(room for name in found if (room := _room_of(name)))
            self._known.clear()
            self._looked = now
        return self._rooms

    def of(self, room: str) -> RoomKeys | None:
        """What there is for a room; None: it is not sealed. Raises UsageError where it cannot be used."""
        if room not in self.rooms():
            return None
        known = self._known.get(room)
        if known is None:
            try:
                known = self._known[room] = self.read(room)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise UsageError(f"{self.path(room)}: {error.strerror}") from None
        return known

    def read(self, room: str) -> RoomKeys:
        """The file of a room as it is now. Raises FileNotFoundError, OSError, UsageError."""
        path = self.path(room)
        keys: list[RoomKey] = []
        given: list[str] = []
        try:
            for line in read_text(path, refused=OTHERS_READ).splitlines():
                kind, _, text = line.partition(" ")
                if kind == "key":
                    keys.append(key_in(text.strip()))
                elif kind == "given":
                    given.append(text.strip())
                elif kind and not kind.startswith("#"):
                    raise ValueError
            if not keys:
                raise ValueError
        except ValueError as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError(f"{path} is no file of keys of a sealed room") from None
        return RoomKeys(room, tuple(merged(keys, [])), tuple(given))

    def path(self, room: str) -> Path:
        """The file of a room."""
        return self.folder / f"{room}{SUFFIX}"

    # --- changes ----------------------------------------------------------------------------

    def new(self, room: str) -> RoomKeys:
        """Make the first key of a room. Raises UsageError where there is one, OSError."""
        if self._read(room) is not None:
            raise UsageError(f"there is a key for {room} already; zchat seal rotate {room} makes a younger one")
        return self._keep(RoomKeys(room, (_made(),), ()))

    def rotate(self, room: str) -> RoomKeys:
        """Make a younger key, which seals from now on; the others still open what they sealed."""
        found = self.read_or_refuse(room)
        made = _made()
        youngest = made._replace(made=max(made.made, found.keys[-1].made + 1))
        return self._keep(RoomKeys(room, (*found.keys, youngest)[-KEYS_MAX:], ()))

    def accept(self, room: str, keys: list[RoomKey]) -> RoomKeys:
        """Take the keys of an invite to those that are there."""
        found = self._read(room)
        if found is None:
            return self._keep(RoomKeys(room, tuple(merged(keys, [])), ()))
        all_keys = tuple(merged(list(found.keys), keys))
        given = found.given if all_keys[-1] == found.keys[-1] else ()
        return self._keep(RoomKeys(room, all_keys, given))

    def invite(self, room: str, user: str | None, *, old: bool) -> str:
        """A line that gives the youngest key of a room to whoever has it, or all keys; the user, if named, is noted.

        Raises UsageError where there is none, OSError.
        """
        found = self.read_or_refuse(room)
        if user is not None and user not in found.given:
            self._keep(found._replace(given=(*found.given, user)))
        return invite_line(room, list(found.keys if old else found.keys[-1:]))

    def accept_line(self, line: str) -> RoomKeys:
        """Take the keys of such a line. Raises UsageError, OSError."""
        return self.accept(*invited(line))

    def forget(self, room: str) -> None:
        """Remove what there is for a room. Raises UsageError where there is nothing."""
        if not self.path(room).exists():  # what cannot be read can be forgotten, too
            self.read_or_refuse(room)
        self.path(room).unlink(missing_ok=True)
        self._looked = -LOOK_SECONDS

    def read_or_refuse(self, room: str) -> RoomKeys:
        """As `read`. Raises UsageError where there is nothing."""
        found = self._read(room)
        if found is None:
            raise UsageError(f"there is no key for {room}; zchat seal new {room} makes one")
        return found

    # --- parts ------------------------------------------------------------------------------

    def _read(self, room: str) -> RoomKeys | None:
        try:
            return self.read(room)
        except FileNotFoundError:
            return None

    def _keep(self, keys: RoomKeys) -> RoomKeys:
        lines = [HEAD, *(f"key {key_text(key)}" for key in keys.keys), *(f"given {user}" for user in keys.given)]
        path = self.path(keys.room)
        make_folder(path.parent)
        replace_text(path, "".join(f"{line}\n" for line in lines), SECRET_MODE)
        self._looked = -LOOK_SECONDS
        return keys


def _room_of(name: str) -> str:
    """The room that a file has the keys of, whichever form of Unicode its file system has; empty: of none."""
    if not name.endswith(SUFFIX) or name.startswith("."):
        return ""
    try:
        return room_name(name.removesuffix(SUFFIX))
    except UsageError:
        return ""


def _made() -> RoomKey:
    return RoomKey(int(time.time()), secrets.token_bytes(KEY_BYTES))
