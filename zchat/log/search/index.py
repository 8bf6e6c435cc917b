"""The index as a broker asks it, by any thread.

Rules of this file
1. A search opens the file anew: it may have been made again since, and it is closed whatever ends the search.
2. Nothing is held between two slices, and a table a slice is searched.

Tests: tests/log/search/test_index.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from zchat.core.log import LogStart, Sliced
from zchat.core.words import Phrase
from zchat.errors import LogError
from zchat.log.search import tables


class SearchIndex:
    """See `zchat.core.log.WordIndex`."""

    def __init__(self, folder: Path, log_id: str, starts: Sequence[LogStart] | None = None) -> None:
        """Without `starts` it is not seen whether the log went back."""
        self._path = folder / tables.FILE
        self._log_id = log_id
        self._starts = starts

    def upto(self) -> int:
        """See `WordIndex`. What is no index of this log knows nothing."""
        try:
            with closing(tables.connect(self._path, "ro")) as connection:
                said = tables.meta(connection)
        except sqlite3.Error:
            return 0
        starts = [LogStart(str(said.get("start")), 0)] if self._starts is None else self._starts
        return tables.known_upto(said, self._log_id, starts)

    def find(
        self, phrases: Sequence[Phrase], patterns: list[str], user: str, after: int, below: int, count: int
    ) -> Sliced[list[int]]:
        """See `WordIndex`."""
        asked = tables.expression(phrases, patterns, user)
        found: list[int] = []
        try:
            with closing(tables.connect(self._path, "ro")) as connection:
                for number in tables.numbers(connection):
                    if tables.number_of(after + 1) <= number <= tables.number_of(below - 1):
                        found += tables.find(connection, number, asked, after, below, count - len(found))
                        if len(found) >= count:
                            break
                        yield
        except sqlite3.Error as error:
            raise LogError("log-failed", f"the index of words failed: {error}") from error
        return found
