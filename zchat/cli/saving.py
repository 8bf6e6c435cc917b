"""`listen --save`: files that come are written into a folder; all else is printed.

Rules of this file
1. A file counts, for a cursor, once all its pieces are written: what is not whole stays hidden in the folder then, and
   goes on where it was.
2. A file that cannot be had is told, and is no reason to end; what the folder does not take is.

Docs: docs/cli.md, "Files". Tests: tests/cli/test_saving.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zchat.cli import exit_status, output
from zchat.cli.printer import Printer
from zchat.errors import BadFile
from zchat.files import is_piece
from zchat.receiving import FileReceiver, SavedFile
from zchat.wire.records import FILE_NAME

if TYPE_CHECKING:
    from zchat import Message


class Saver(Printer):
    """Writes files, and prints where they are."""

    def __init__(self, patterns: list[str], folder: Path, *, json: bool, verbose: bool, cursor: str | None) -> None:
        super().__init__(patterns, json=json, template=None, raw=False, verbose=verbose)
        self._receiver = FileReceiver(folder, keep=cursor is not None)
        self._failed = 0

    def print(self, message: Message) -> None:
        """A message, or a piece of a file."""
        if FILE_NAME not in message.headers:
            super().print(message)
            return
        if self._choice is not None and not self._is_chosen(self._choice, message):
            return
        try:
            saved = self._receiver.take(message)
        except BadFile as error:
            self._failed += 1
            self.flush()
            exit_status.tell(f"{error} (from {message.user} in {message.room})")
            return
        if saved is not None:
            self._print_saved(saved)
        elif is_piece(message):
            self._pass_over()

    @property
    def status(self) -> int:
        """1 where a file could not be had."""
        return 1 if self._failed else 0

    def close(self) -> None:
        """Nothing more comes."""
        self._receiver.close()

    def _print_saved(self, saved: SavedFile) -> None:
        message = saved.message
        self.printed += 1
        if not self._json:
            line = self._format(output.file_message(message, saved.size, str(saved.path)))
            self._lines.append(line)
        else:
            self.print_object(
                {
                    "room": message.room,
                    "offset": message.offset or None,
                    "place": output.place(message.offset, self.log.id),
                    "user": message.user,
                    "time": output.rfc3339(message.time),
                    "event": "file",
                    "file": saved.name,
                    "size": saved.size,
                    "sha256": saved.sha256,
                    "path": str(saved.path),
                }
            )
        self.flush()
