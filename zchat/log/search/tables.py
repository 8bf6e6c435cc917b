"""The file of the index: SQLite's FTS5, a table for each range of offsets.

Rules of this file
1. A message is a row whose number is its offset; its text is not kept, the log has it.
2. A table has the messages of RANGE offsets: the newest are searched first, and most searches end there. What the log
   has trimmed whole is dropped with its table.
3. Words are written in letters and digits of ASCII, so that nothing depends on which Unicode SQLite knows.

    words_3     rowid 786432 … 1048575     text: deploy of u636166c3a9     room: e6f7073 p6f7073     user: u616c696365

Spec: https://sqlite.org/fts5.html. Tests: tests/log/search/test_tables.py.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from zchat.core.log import LogStart
from zchat.core.words import Phrase
from zchat.names import is_pattern

FILE = "search.db"
VERSION = 1  # of the tables: another one is made again
RANGE_BITS = 18
RANGE = 1 << RANGE_BITS  # offsets of a table
INBOX = "inbox"

_MAKE = """CREATE VIRTUAL TABLE {name} USING
    fts5(text, room, user, content='', columnsize=0, detail=full, tokenize='ascii')"""
_FIND = "SELECT rowid FROM {name} WHERE {name} MATCH ? AND rowid > ? AND rowid < ? ORDER BY rowid DESC LIMIT ?"


def number_of(offset: int) -> int:
    """Of the table that has an offset."""
    return offset >> RANGE_BITS


def name_of(number: int) -> str:
    """Of a table."""
    return f"words_{number}"


# --- what is written ----------------------------------------------------------------------------


def text_of(words: Iterable[str]) -> str:
    """The words of a message, as they are written."""
    return " ".join(map(_written, words))


def room_words(room: str) -> str:
    """By which a room is found: its name, and all that a pattern of it may begin with."""
    if room.startswith("@"):
        return f"{_whole(room)} {INBOX}"
    parts = room.split(".")
    return " ".join([_whole(room), *(_beginning(".".join(parts[:count])) for count in range(1, len(parts)))])


def user_word(user: str) -> str:
    """By which a user is found, by the user's key."""
    return _hex("u", user)


# --- what is asked for --------------------------------------------------------------------------


def expression(phrases: Sequence[Phrase], patterns: Iterable[str], user: str) -> str:
    """What FTS5 is asked. It may find more rooms than are meant."""
    wanted = [" ".join(map(_written, words)) for words, _ in phrases]
    stars = ["*" if is_beginning else "" for _, is_beginning in phrases]
    parts = [
        "text : (" + " AND ".join(f'"{words}" {star}' for words, star in zip(wanted, stars, strict=True)) + ")",
        *([f'user : "{user_word(user)}"'] if user else []),
    ]
    asked = " AND ".join(f"({part})" for part in parts)
    rooms: dict[str, None] = {}
    everywhere = False
    for pattern in patterns:
        beginning = pattern.split("*")[0].rstrip(".")
        if not is_pattern(pattern):
            rooms[_whole(pattern)] = None
        elif beginning:
            rooms[_beginning(beginning)] = None
        else:
            everywhere = True
    within = " OR ".join(f'"{room}"' for room in rooms)
    if not everywhere:
        return f"{asked} AND (room : ({within}))"
    others = f'{asked} NOT (room : "{INBOX}")'
    return f"({others}) OR ({asked} AND (room : ({within})))" if rooms else others


def find(connection: sqlite3.Connection, number: int, asked: str, after: int, below: int, count: int) -> list[int]:
    """Offsets in that table, newest first. Raises sqlite3.Error."""
    rows = connection.execute(_FIND.format(name=name_of(number)), (asked, after, below, count)).fetchall()
    return [offset for (offset,) in rows]


# --- the file -----------------------------------------------------------------------------------


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Open it, `ro` or `rwc`. Raises sqlite3.Error."""
    uri = f"file:{quote(os.fsencode(path))}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=5.0, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA mmap_size=0")  # as the log: a bad sector is an error
    return connection


def make_file(path: Path) -> sqlite3.Connection:
    """A new one for writing. Raises sqlite3.Error, OSError."""
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))  # what is said is nobody else's to read
    return open_to_write(path)


def open_to_write(path: Path) -> sqlite3.Connection:
    """One that is there. Raises sqlite3.Error."""
    connection = connect(path, "rw")
    connection.execute("PRAGMA journal_mode=WAL")  # who searches is never held up
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID")
    return connection


def meta(connection: sqlite3.Connection) -> dict[str, object]:
    """What the index says of itself: `version`, `log_id`, `start`, `upto`. Raises sqlite3.Error."""
    return dict(connection.execute("SELECT key, value FROM meta").fetchall())


def known_upto(said: Mapping[str, object], log_id: str, starts: Sequence[LogStart]) -> int:
    """Up to which offset an index that says so is right for that log; 0: not at all, it is of another one.

    One that goes further than the log went at the start after its own is of what the log was before it went back.
    """
    upto, names = said.get("upto"), [start.start for start in starts]
    if (said.get("version"), said.get("log_id")) != (VERSION, log_id) or said.get("start") not in names:
        return 0
    later = starts[names.index(str(said["start"])) + 1 :]
    return upto if isinstance(upto, int) and all(upto <= start.head for start in later[:1]) else 0


def set_meta(connection: sqlite3.Connection, **values: object) -> None:
    """Change some of that. Raises sqlite3.Error."""
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(values.items()))


def numbers(connection: sqlite3.Connection) -> list[int]:
    """The tables that are there, newest first. Raises sqlite3.Error."""
    rows = connection.execute("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL%'").fetchall()
    return sorted((int(name.removeprefix("words_")) for (name,) in rows), reverse=True)


def add(connection: sqlite3.Connection, number: int, rows: Iterable[tuple[int, str, str, str]]) -> None:
    """Rows of (offset, text, room, user). Raises sqlite3.Error."""
    connection.executemany(f"INSERT INTO {name_of(number)}(rowid, text, room, user) VALUES (?, ?, ?, ?)", rows)


def make(connection: sqlite3.Connection, number: int) -> None:
    """A table for a range. Raises sqlite3.Error."""
    connection.execute(_MAKE.format(name=name_of(number)))


def finish(connection: sqlite3.Connection, number: int) -> None:
    """Nothing more comes into that table: make it quick to search. Raises sqlite3.Error."""
    connection.execute(f"INSERT INTO {name_of(number)}({name_of(number)}) VALUES ('optimize')")


def drop(connection: sqlite3.Connection, number: int) -> None:
    """The log has nothing of that range any more. Raises sqlite3.Error."""
    connection.execute(f"DROP TABLE {name_of(number)}")


# --- parts --------------------------------------------------------------------------------------


def _written(word: str) -> str:
    return word if word.isascii() else _hex("u", word)


def _whole(room: str) -> str:
    return _hex("e", room)


def _beginning(part: str) -> str:
    return _hex("p", part)


def _hex(mark: str, text: str) -> str:
    return mark + text.encode().hex()
