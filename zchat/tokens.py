"""Tokens with which users come in by the gateways: kept as hashes in a file, with an end, and taken back at any time.

Rules of this file
1. A token is 32 random bytes, so its SHA-256 is no help to whoever reads the file; only who was given it has it.
2. What the file says counts within a second, also for who is inside: one that was taken back or is over opens nothing.
3. A gateway does not begin with a file that makes no sense. One that makes none later changes nothing, and is told.

    # Tokens of zchat's gateways, as hashes.
    token 3f1c…(64 digits) alice 1795766400

Docs: docs/doors.md. Tests: tests/test_tokens.py.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from zchat.errors import UsageError
from zchat.names import user_key, user_name
from zchat.private_files import OTHERS_READ, SECRET_MODE, make_folder, read_text, replace_text

BEGINNING = "zt_"  # of each token, so that one is known where it turns up
TOKEN_BYTES = 32
TOKEN_CHARACTERS_MAX = 128  # of what is looked at at all
LOOK_SECONDS = 1.0
HEAD = "# Tokens of zchat's gateways, as hashes."

_LINE = re.compile(r"token ([0-9a-f]{64}) (\S+) (\d{1,11})", re.A)


class TokenPass(NamedTuple):
    """What a token is good for."""

    digest: str
    user: str
    until: int  # seconds since 1970

    @property
    def name(self) -> str:
        """What `zchat tokens` calls it."""
        return self.digest[:12]


class TokenFile:
    """The tokens in one file."""

    def __init__(self, path: Path, tell: Callable[[str], object] = lambda text: None) -> None:
        """`tell` is told what is wrong with a file that was right before."""
        self.path = path
        self._tell = tell
        self._passes: dict[str, TokenPass] = {}  # digest -> what it is good for
        self._state: tuple[int, ...] | None = None
        self._looked = 0.0

    def load(self) -> TokenFile:
        """Read it. Raises UsageError, OSError."""
        self._state = self._state_now()
        self._passes = self._read()
        self._looked = time.monotonic()
        return self

    def open(self, token: str) -> TokenPass | None:
        """What a token is good for now; None: nothing."""
        if not token.startswith(BEGINNING) or len(token) > TOKEN_CHARACTERS_MAX:
            return None
        self._look()
        found = self._passes.get(digest_of(token))
        return found if found is not None and self.is_valid(found) else None

    def is_valid(self, one: TokenPass) -> bool:
        """Whether it is still good."""
        self._look()
        return self._passes.get(one.digest) == one and time.time() < one.until

    # --- changes ----------------------------------------------------------------------------

    def all(self) -> list[TokenPass]:
        """Those that there are, the last made last; none where there is no file. Raises UsageError, OSError."""
        try:
            return list(self._read().values())
        except FileNotFoundError:
            return []

    def new(self, user: str, seconds: float) -> str:
        """Make a token for a user that is good for so long. Raises BadName, UsageError, OSError."""
        name, token = user_name(user), BEGINNING + secrets.token_urlsafe(TOKEN_BYTES)
        with self._changing() as passes:
            passes.append(TokenPass(digest_of(token), name, int(time.time() + seconds)))
        return token

    def revoke(self, what: str) -> list[TokenPass]:
        """Take back a token by its name, or all of a user. Returns which. Raises UsageError, OSError."""
        with self._changing() as passes:
            gone = [one for one in passes if what == one.name] or [
                one for one in passes if user_key(one.user) == user_key(what)
            ]
            passes[:] = [one for one in passes if one not in gone]
        return gone

    # --- parts ------------------------------------------------------------------------------

    @contextmanager
    def _changing(self) -> Iterator[list[TokenPass]]:
        """The tokens, and then the file as they are; two who change it do so one after the other."""
        make_folder(self.path.parent)
        lock = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            passes = self.all()
            yield passes
            lines = [HEAD, *(f"token {one.digest} {one.user} {one.until}" for one in passes)]
            replace_text(self.path, "".join(f"{line}\n" for line in lines), SECRET_MODE)
        finally:
            os.close(lock)

    def _read(self) -> dict[str, TokenPass]:
        found: dict[str, TokenPass] = {}
        for number, line in enumerate(read_text(self.path, refused=OTHERS_READ).splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            parts = _LINE.fullmatch(line.strip())
            try:
                if parts is None:
                    raise ValueError
                found[parts[1]] = TokenPass(parts[1], user_name(parts[2]), int(parts[3]))
            except ValueError:
                raise UsageError(f"{self.path}: line {number} is no token") from None
        return found

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        state = self._state_now()
        if state == self._state:
            return
        self._state = state
        try:
            self._passes = self._read()
        except FileNotFoundError:
            self._passes = {}
            self._tell(f"{self.path} is not there any more: nobody comes in")
        except (OSError, UsageError) as error:
            self._tell(f"{error}; what it said before counts on")

    def _state_now(self) -> tuple[int, ...] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode, found.st_uid


def digest_of(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
