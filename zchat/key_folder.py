"""The folder of a broker's keys: its own, those that it lets in, and invites.

    server.key         the broker's own, secret
    next.key           the one that it is about to have
    authorized_keys    who is let in, a line each, for people to edit, too
    invites            who may come once and bring a key, secret as the lines are

Rules of this file
1. Whoever changes a file holds the folder's lock, so the broker and a command change nothing of each other's.
2. What others may write lets in whom they want, and is not used.

Docs: docs/operating.md, "Keys". Tests: tests/test_key_folder.py.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from zchat.core.identity import Enrolment
from zchat.errors import BadKey
from zchat.key_files import read_pair, write_pair
from zchat.keys import Grant, KeyList, KeyPair, parse_grants, short, with_line
from zchat.private_files import (
    FOLDER_MODE,
    OTHERS_READ,
    OTHERS_WRITE,
    PUBLIC_MODE,
    SECRET_MODE,
    make_folder,
    read_text,
    replace_text,
)

SERVER, NEXT, AUTHORIZED, INVITES = "server.key", "next.key", "authorized_keys", "invites"
ADDRESS = "address"  # where the broker listened last, for who writes an invite
HEAD = "# Who is let in: KEY user [gateway=PATTERN] [expires=TIME] [revoked]\n"


class KeyFolder:
    """One broker's. A `zchat.core.identity.KeyStore`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: object = None  # as it was read,
        self._found: object = None  # and as it was found last

    def read(self) -> KeyList:
        """All of them. Raises BadKey, OSError."""
        self._seen = self._look()  # first: what changes meanwhile is seen by the next look
        return self._parsed()

    def has_changed(self) -> bool:
        """Whether a file is another than the one that was read, and has been since this was asked last.

        An editor may empty it first, and write then: who is in it would be kept out in between.
        """
        found, self._found = self._found, self._look()
        if self._found in (self._seen, None) or self._found != found:
            return False
        self._seen = self._found
        return True

    def enrol(self, enrolment: Enrolment) -> KeyList:
        """Write a new key, and what becomes of the one that it came with. Raises BadKey, OSError.

        The broker has decided it by what it knew. Whoever was revoked since brings no key.
        """
        with self.locked():
            found = self._parsed()  # and not `read`: the broker has not seen this yet
            known = found.users.get(enrolment.key)
            holders = found.invites if enrolment.is_invite else found.users
            if holders.get(enrolment.by) != enrolment.held or (known is not None and known.is_revoked):
                raise BadKey(f"what {short(enrolment.by)}… may is not what it was")
            self.set_user(enrolment.key, enrolment.grant)
            if enrolment.is_invite:
                self.set_invite(enrolment.by, None)
            else:
                self.set_user(enrolment.by, enrolment.by_grant)
            return self.read()

    # --- by whoever holds the lock ----------------------------------------------------------

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else changes anything meanwhile. Raises OSError."""
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def set_user(self, key: str, grant: Grant | None) -> None:
        """The line of a key in authorized_keys; None: it has none. Raises BadKey, OSError."""
        text = self.text(AUTHORIZED) or HEAD
        replace_text(self.folder / AUTHORIZED, with_line(text, key, grant), PUBLIC_MODE)

    def set_invite(self, key: str, grant: Grant | None, now: float = 0.0) -> None:
        """The line of an invite; those whose time is over go. Raises BadKey, OSError."""
        text = with_line(self.text(INVITES), key, grant)
        for over, each in parse_grants(text, INVITES).items():
            if now and each.is_over(now):
                text = with_line(text, over, None)
        replace_text(self.folder / INVITES, text, SECRET_MODE)

    # --- its own keys -----------------------------------------------------------------------

    def make(self) -> None:
        """The folder, where there is none. Raises BadKey, OSError."""
        make_folder(self.folder)
        if (mode := self.folder.stat().st_mode & 0o777) & OTHERS_WRITE:
            cure = f"chmod {FOLDER_MODE:o} {self.folder}"
            raise BadKey(f"{self.folder}: others can write there (mode {mode:04o}), and let in whom they want: {cure}")

    def pair(self, name: str) -> KeyPair | None:
        """SERVER or NEXT; None where there is none. Raises BadKey, OSError."""
        try:
            return read_pair(self.folder / name)
        except FileNotFoundError:
            return None

    def own(self, made: Callable[[], KeyPair]) -> KeyPair:
        """The broker's own, `made` where there is none yet. Raises BadKey, OSError."""
        own = self.pair(SERVER)
        if own is None:
            own = made()
            self.add_pair(SERVER, own)
        return own

    def add_pair(self, name: str, pair: KeyPair) -> None:
        """The same, made. Raises FileExistsError, OSError."""
        what = "secret key of this broker" if name == SERVER else "secret key that this broker will have"
        write_pair(self.folder / name, pair, f"The {what}: who has it can be taken for it")

    def switch(self) -> None:
        """The next key is the broker's own: one that runs takes it. Raises OSError."""
        os.replace(self.folder / NEXT, self.folder / SERVER)

    def note_address(self, address: str) -> None:
        """Where the broker listens: an invite says it. What cannot be written is asked for then."""
        try:
            replace_text(self.folder / ADDRESS, f"{address}\n", PUBLIC_MODE)
        except OSError:
            pass

    # --- parts ------------------------------------------------------------------------------

    def text(self, name: str) -> str:
        """A file's; empty where there is none. Raises BadKey, OSError."""
        try:
            return read_text(self.folder / name, refused=OTHERS_READ if name == INVITES else OTHERS_WRITE)
        except FileNotFoundError:
            return ""

    def _parsed(self) -> KeyList:
        users = parse_grants(self.text(AUTHORIZED), str(self.folder / AUTHORIZED))
        invites = parse_grants(self.text(INVITES), str(self.folder / INVITES))
        next_pair, own = self.pair(NEXT), self.pair(SERVER)
        return KeyList(users, invites, next_pair.public if next_pair else "", own.public if own else "")

    def _look(self) -> object:
        found = []
        for name in (AUTHORIZED, INVITES, SERVER, NEXT):
            try:
                about = os.stat(self.folder / name)
                found.append((about.st_mtime_ns, about.st_ctime_ns, about.st_ino, about.st_size))
            except OSError:
                found.append((0, 0, 0, 0))
        return found
