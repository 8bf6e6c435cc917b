"""What `zchat send` sends: a file or stdin as one message, stdin a message a line, or a JSON object a line.

Rules of this file
1. Stdin is read as it comes: what is there now is not held back, and nothing is read before it is asked for.
2. No more is kept in memory than a message can have; what is longer is counted, and told.

Tests: tests/cli/test_send.py, tests/cli/test_bodies.py.
"""

from __future__ import annotations

import os
import select
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from zchat.cli import inboxes, options, streams
from zchat.cli.interrupts import interrupts
from zchat.errors import UsageError, ZchatError

if TYPE_CHECKING:
    from zchat import Client, Publication

BLOCK_BYTES = 262_144  # one read: as many lines as are there, a bounded number of publications
BODY_BYTES_MAX = 1 << 20  # a longer one is no message of any broker
JSON_BYTES_MAX = 8 * BODY_BYTES_MAX  # an object: a character of a body may be six there


class LeftOut(ZchatError):
    """A line that is not sent; without a reason, as nobody wants it sent."""


class Source:
    """Where the messages come from: words, a file, or stdin. Raises UsageError for what cannot go together."""

    def __init__(
        self,
        text: list[str] | None,
        file: Path | None,
        *,
        whole: bool,
        from_json: bool,
        repeat: int | None,
        delay: float | None,
        room: str = "",
    ) -> None:
        self._text = None if text == ["-"] else text or None
        flags = {"--whole": whole or None, "--from-json": from_json or None}
        options.only_one({"TEXT": self._text, "--file": file, **flags})
        self.is_lines = self._text is None and file is None and not whole
        self.longest = JSON_BYTES_MAX if from_json else BODY_BYTES_MAX  # of a line
        if repeat is not None and self.is_lines:
            raise UsageError("--repeat sends one message again: a TEXT, --file or --whole")
        if delay is not None and repeat is None:
            raise UsageError("--delay goes with --repeat")
        self.large: Path | None = None  # a file that takes more than one message
        self.headers: dict[str, str] = {}
        self._of_file: bytes | None = None
        if file is not None:  # before anybody waits for a broker
            self._look_at(file, room)
            if self.large is not None and repeat is not None:
                raise UsageError(f"{file} is larger than a message: it is not sent with --repeat")

    def body(self) -> bytes:
        """The one message."""
        if self._of_file is not None:
            return self._of_file
        return os.fsencode(" ".join(self._text)) if self._text else _of_stdin()

    def _look_at(self, path: Path, room: str) -> None:
        from zchat.files import HEADERS_BYTES
        from zchat.sealing import sealing
        from zchat.wire.records import FILE_NAME

        seals = sealing(bool(room))
        most = BODY_BYTES_MAX if seals is None else seals.body_bytes_max(room, BODY_BYTES_MAX)

        with path.open("rb") as file:
            if not path.is_file():  # a pipe, perhaps: `--file <(command)`
                self._of_file = _bounded(file.read(BODY_BYTES_MAX + 1), str(path))
                return
            body = file.read(BODY_BYTES_MAX + 1)
        if len(body) + HEADERS_BYTES > most:
            self.large = path
        else:
            self._of_file, self.headers = body, {FILE_NAME: path.name}


def _of_stdin() -> bytes:
    blocks, size = [], 0
    while size <= BODY_BYTES_MAX and (block := streams.read(BLOCK_BYTES)):
        blocks.append(block)
        size += len(block)
    return _bounded(b"".join(blocks), "standard input")


def _bounded(body: bytes, what: str) -> bytes:
    if len(body) > BODY_BYTES_MAX:
        raise UsageError(f"{what} is longer than {BODY_BYTES_MAX} bytes, which no message may be")
    return body


# --- lines ------------------------------------------------------------------------------------------


def read_lines(before_read: Callable[[], None], takes: Callable[[int], None], longest: int) -> Iterator[list[bytes]]:
    """The lines of stdin without their ends, a list for each read: what is there now is not held back.

    Of a line that is longer than `longest` that many bytes and one more are kept. `takes` is told how many there are,
    and no first signal comes between what is read and that.
    """
    rest = b""
    is_over = False
    while not is_over:
        with interrupts.held():
            with interrupts.passing():
                before_read()
                select.select([streams.STDIN], [], [])
            block = streams.read(BLOCK_BYTES)
            is_over = not block
            complete, newline, rest = (rest + block).rpartition(b"\n")
            if b"\r" in complete:
                complete = complete.replace(b"\r\n", b"\n").removesuffix(b"\r")
            lines = complete.split(b"\n") if newline else []
            if is_over and rest:
                lines = [rest.removesuffix(b"\r")]
            takes(len(lines))
        if lines:
            yield lines
        rest = rest[: longest + 1]


class PrintedMessage(msgspec.Struct):
    """What `listen --json` prints of a message, as far as it can be sent."""

    room: str = ""
    offset: int | None = 0  # null: it was volatile
    event: str = "message"
    body: str | None = None
    body_base64: bytes | None = None
    headers: dict[str, str] = {}


_decode = msgspec.json.Decoder(PrintedMessage).decode


def publish_json(client: Client, to: str, given: dict[str, Any], line: bytes) -> Publication:
    """Publish what a line of --json is of: to a room, or to its own; what is `given` goes before. Raises LeftOut."""
    if len(line) > JSON_BYTES_MAX:
        raise LeftOut(f"longer than {JSON_BYTES_MAX} bytes")
    try:
        found = _decode(line.removeprefix(BOM_UTF8))  # some editors and shells begin a file with it
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise LeftOut(f"no message of --json: {error}") from None
    body = found.body if found.body is not None else found.body_base64
    if found.event in ("join", "leave") or (found.event == "gap" and body is None):
        raise LeftOut  # what listen prints beside messages
    if body is None:
        raise LeftOut("no message of --json: it has no body")
    more: dict[str, Any] = {"event": found.event, "headers": found.headers, "volatile": found.offset is None} | given
    try:
        return client.publish(to or inboxes.of(client.user, found.room), body, **more)
    except UsageError as error:
        raise LeftOut(str(error)) from None
