"""The starts of a log: each broker that opens it writes a random id and how far the log was then.

Rules of this file
1. Two copies of a log share what they held at the last start that both know, up to the head of the start that
   follows it in either. That is how a client sees that the log went back, when a folder was restored (see
   `core/timeline.py`).
2. A row that is not what was written is left out, and so are those before it: with a hole in the list, a copy
   could pass for what it is not.

    number  start         head
         1  7d52e6843f1c     0    the log was made
         2  9a0bb2c4d811   150    and opened again when its head was 150

Tests: tests/log/sqlite/test_starts.py.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterable
from typing import Any

from zchat.core.log import LogStart
from zchat.log.sqlite import stored

ROWS = "SELECT number, start, head, crc FROM starts ORDER BY number"
INSERT = "INSERT INTO starts VALUES (?, ?, ?, ?)"


def new_start(head: int) -> LogStart:
    """One that begins now, when the log's head is that."""
    return LogStart(secrets.token_hex(6), head)


def sound(rows: Iterable[tuple[Any, ...]]) -> list[LogStart]:
    """Those behind the last row that is not what was written."""
    found: list[LogStart] = []
    for row in map(stored.StoredStart._make, rows):
        if stored.is_sealed(row):
            found.append(LogStart(row.start, row.head))
        else:
            found.clear()
    return found


def load(connection: sqlite3.Connection) -> list[LogStart]:
    """The starts of an open log. Raises sqlite3.Error."""
    return sound(connection.execute(ROWS))


def save(connection: sqlite3.Connection, starts: Iterable[LogStart]) -> None:
    """Replace the list, in the transaction that is open. Raises sqlite3.Error."""
    connection.execute("DELETE FROM starts")
    connection.executemany(INSERT, [stored.sealed(number, *start) for number, start in enumerate(starts, 1)])
