"""An outbox on disk: what is put into it is sent in order, once, whenever the broker is there.

Rules of this file
1. What `add` has returned for is on disk. It is sent one message after the other, and how far that is, is on disk
   before the next one is sent: of one at most nobody knows whether it arrived.
2. That one is sent again by the same session, with the same `seq`, so the broker knows it by them: also after a kill of
   the process. The session is not ended before all is stored.
3. Where the broker knows the session no more, what was certainly not stored is sent anew, and what may be is put aside
   and told, never sent twice.
4. Who adds and who sends have a lock each: many may add while one sends.

    queue   a message a line, as `listen --json` prints it      state   the session, how many are sent, their `seq`
    aside   what the broker refused for good, or may have       about   whose it is

Spec: docs/protocol.md, "Publish once". Tests: tests/test_spool.py.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from zchat.arguments import info, lasting, record_of, whom
from zchat.client import Client
from zchat.errors import Refused, UsageError
from zchat.expiry import Life
from zchat.names import room_name
from zchat.sealing import sealing
from zchat.sockets.client import Connection
from zchat.sockets.clock import tried
from zchat.spool_files import SpooledMessage, SpoolState, cut, line_of, replace
from zchat.wire import RECORD_BYTES_MAX, SESSION_KEPT_SECONDS

SPOOL_BYTES_MAX = 1 << 30  # of one queue: what nobody can send for so long is somebody's trouble
KEPT_SHARE = 0.9  # of the time for which a session is kept: two clocks never agree


class SpoolFlushed(NamedTuple):
    """What became of what waited."""

    sent: int
    aside: int  # put aside


class Spool:
    """The outbox of one user for one broker, in a folder that others may use, too."""

    def __init__(self, folder: Path, address: str | None = None, user: str | None = None) -> None:
        """Made where it is not there. Raises BadAddress, BadName, OSError."""
        where, self.user, _ = whom(address, user)
        self.address = str(where)
        name = hashlib.sha256(f"{self.address}\0{self.user}".encode()).hexdigest()[:16]
        self._folder = folder / name
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = self._folder / "about"
        if not about.exists():
            replace(about, msgspec.json.encode([self.address, self.user]))

    # --- adding -----------------------------------------------------------------------------

    def add(
        self,
        room: str,
        bodies: Iterable[bytes],
        *,
        event: str = "message",
        headers: Mapping[str, str] | None = None,
        expire: Life | None = None,
    ) -> int:
        """Keep messages for a room. Returns how many. Raises BadName, UsageError, OSError: then none is kept."""
        name, lines, headers = room_name(room), list[bytes](), lasting(headers, expire)
        for body in bodies:
            _, size = record_of(body, event, headers)
            if size > RECORD_BYTES_MAX:
                raise UsageError(f"a message of {size} bytes, limit {RECORD_BYTES_MAX}")
            lines.append(msgspec.json.encode(line_of(name, event, body, dict(headers or {}))))
        block = b"".join([line + b"\n" for line in lines])
        with self._locked("add"), self._path("queue").open("a+b") as file:
            whole = cut(file)
            if whole + len(block) > SPOOL_BYTES_MAX:
                raise UsageError(f"the spool is full: {SPOOL_BYTES_MAX} bytes wait for {self.address}")
            try:
                file.write(block)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), whole)
                raise
        return len(lines)

    @property
    def waiting(self) -> int:
        """How many messages are not sent."""
        try:
            with self._path("queue").open("rb") as file:
                return max(0, sum(1 for line in file if line.endswith(b"\n")) - self._state().done)
        except FileNotFoundError:
            return 0

    @property
    def aside(self) -> Path | None:
        """The file with what was put aside, if anything was."""
        return path if (path := self._path("aside")).exists() else None

    # --- sending ----------------------------------------------------------------------------

    def flush(self, wait: float, tell: Callable[[str], object]) -> SpoolFlushed | None:
        """Send all that waits, and what is added meanwhile. None: another process is about it.

        `tell` is told what is put aside. Raises Unreachable, Refused: what is not sent stays.
        """
        with self._locked("send", wait=False) as is_ours:
            if not is_ours:
                return None
            flushed = SpoolFlushed(0, 0)
            if not self.waiting:
                self._clear()
                return flushed
            state = self._state()
            where, _, credentials = whom(self.address, self.user)
            connection = Connection(where, self.user, info(), None, sealing(True), credentials)
            if state.session:
                connection.go_on(state.session, base64.b64decode(state.token), state.seq)
            connection.start(tried(wait))
            client = Client(connection)
            try:
                flushed = _Flush(self, client, state, wait, tell).run()
                client.close()
            finally:
                client.close(0)  # without a word: the session goes on with the next one
            return flushed

    # --- parts ------------------------------------------------------------------------------

    def _path(self, name: str) -> Path:
        return self._folder / name

    def _state(self) -> SpoolState:
        try:
            return msgspec.json.decode(self._path("state").read_bytes(), type=SpoolState)
        except (OSError, msgspec.MsgspecError):
            return SpoolState()

    def _save(self, state: SpoolState) -> None:
        replace(self._path("state"), msgspec.json.encode(state))

    def _clear(self) -> bool:
        """All is dealt with, unless something was added meanwhile."""
        with self._locked("add"):
            if self.waiting:
                return False
            self._path("queue").unlink(missing_ok=True)
            self._path("state").unlink(missing_ok=True)
            return True

    def _put_aside(self, line: SpooledMessage) -> None:
        with self._path("aside").open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def _locked(self, what: str, *, wait: bool = True) -> Iterator[bool]:
        with self._path(f"lock-{what}").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True


class _Flush:
    """One going through the queue."""

    def __init__(
        self, spool: Spool, client: Client, state: SpoolState, wait: float, tell: Callable[[str], object]
    ) -> None:
        self._spool, self._client, self._wait, self._tell = spool, client, wait, tell
        self._state = state
        self._sent = self._aside = 0
        self._may_be_stored = self._begin()  # the first line; nobody can tell

    def run(self) -> SpoolFlushed:
        """All of it, and what is added meanwhile."""
        while True:
            with self._spool._path("queue").open("rb") as file:
                for number, line in enumerate(file):
                    if number >= self._state.done and line.endswith(b"\n"):
                        self._send(line)
            if self._spool._clear():
                return SpoolFlushed(self._sent, self._aside)

    def _begin(self) -> bool:
        """Know who sends; whether what was sent last by a session before may be stored, and nobody can tell."""
        state, welcome = self._state, self._client._connection.welcome
        former = state.session
        if not former:
            state.at = time.time()
        is_same_log = state.log_id == welcome.log_id and state.start in [start for start, _ in welcome.starts]
        kept = welcome.limits.get("session_kept_seconds", SESSION_KEPT_SECONDS)
        # A session that was forgotten comes back under its name: its name says nothing.
        is_known = is_same_log and (welcome.resumed or time.time() - state.at < KEPT_SHARE * kept)
        is_in_doubt = bool(former) and state.is_sent and not is_known
        state.is_sent = True
        self._save()
        return is_in_doubt

    def _save(self) -> None:
        """How far it is, and by whom: the broker may have begun another session meanwhile."""
        state, welcome = self._state, self._client._connection.welcome
        state.session, state.token = welcome.session, base64.b64encode(welcome.token).decode()
        state.log_id, state.start = welcome.log_id, welcome.starts[-1][0] if welcome.starts else ""
        self._spool._save(state)

    def _send(self, line: bytes) -> None:
        state, client = self._state, self._client
        try:
            found = msgspec.json.decode(line, type=SpooledMessage)
        except msgspec.MsgspecError:  # somebody wrote into it
            self._leave(SpooledMessage("", body_base64=line), "it is no message")
            return
        if self._may_be_stored:
            self._may_be_stored = False
            self._leave(found, "it may or may not be stored: the broker knows the session no more, or has another log")
            return
        body = found.body.encode() if found.body is not None else found.body_base64 or b""
        try:
            client.publish(found.room, body, event=found.event, headers=found.headers).result(self._wait)
        except Refused as error:
            state.seq += 1
            if error.code == "busy" or error.code.startswith("log-"):
                state.is_sent = False  # it is certainly not stored
                self._save()
                raise
            self._leave(found, str(error))
            return
        state.seq += 1
        self._sent += 1
        self._is_dealt_with()

    def _leave(self, found: SpooledMessage, why: str) -> None:
        found.why = why
        self._spool._put_aside(found)
        self._tell(f"a message to {found.room} was put aside: {why}")
        self._aside += 1
        self._is_dealt_with()

    def _is_dealt_with(self) -> None:
        """The next line was not sent before now."""
        self._state.done += 1
        self._state.at = time.time()
        self._save()


def spools(folder: Path) -> list[Spool]:
    """All of a folder. Raises OSError."""
    found = []
    for about in sorted(folder.glob("*/about")):
        address, user = msgspec.json.decode(about.read_bytes(), type=tuple[str, str])
        found.append(Spool(folder, address, user))
    return found
