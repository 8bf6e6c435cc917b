"""What is recorded in a file: a message a line, as `listen --json` prints it, each once.

Rules of this file
1. A line is on disk before the cursor moves behind its message. What a kill left between the two comes again, and is
   not written again: the file tells which messages it has.
2. A line that was half written when a recorder was killed is cut off; its message comes again.

Docs: docs/cli.md, "zchat record". Tests: tests/cli/test_record.py.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from zchat.cli import exit_status, output
from zchat.cli.printer import Printer

if TYPE_CHECKING:
    from zchat import Client, Message
    from zchat.cli.choosing import Choice

BLOCK_BYTES = 1 << 20


class RecordedLine(msgspec.Struct):
    """What says which message a line is of."""

    room: str = ""
    offset: int | None = None
    place: str | None = None


class Recorder(Printer):
    """Writes messages to the end of a file."""

    def __init__(self, patterns: list[str], path: Path, *, verbose: bool) -> None:
        """Open the file, or make it. Raises OSError."""
        super().__init__(patterns, json=True, template=None, raw=False, verbose=verbose)
        self._format = output.json_lines(self.log)  # whatever standard output is
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        self._lasts: dict[str, int] = {}  # room -> offset of the last message that the file has of the broker's log

    def begin(self, client: Client, choice: Choice | None = None) -> None:
        """The broker is there: what the file has of its log is known from here on."""
        super().begin(client, choice)
        self._read(client.log_id)

    def print(self, message: Message) -> None:
        """One message, unless the file has it."""
        if message.offset and message.offset <= self._lasts.get(message.room, 0):
            return
        super().print(message)

    def close(self) -> None:
        """Nothing more comes."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    # --- parts ------------------------------------------------------------------------------

    def _read(self, log_id: str) -> None:
        """Which messages the file has; what is no whole line at its end is cut off."""
        decode, whole = msgspec.json.Decoder(RecordedLine).decode, 0
        of_log = f"@{log_id}"
        with open(self._descriptor, "rb", BLOCK_BYTES, closefd=False) as file:
            file.seek(0)
            for line in file:
                if not line.endswith(b"\n"):
                    exit_status.tell(f"{self._path} ended in the middle of a line, which is cut off")
                    os.ftruncate(self._descriptor, whole)
                    break
                whole += len(line)
                try:
                    found = decode(line)
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    continue  # not ours
                if found.offset and (found.place or "").endswith(of_log):
                    self._lasts[found.room] = max(found.offset, self._lasts.get(found.room, 0))

    def _write(self) -> None:
        if not self._lines:
            return
        left = memoryview(b"".join([b"%s\n" % line for line in self._lines]))
        self._lines.clear()
        self._size = 0
        while left:
            left = left[os.write(self._descriptor, left) :]
        os.fdatasync(self._descriptor)
