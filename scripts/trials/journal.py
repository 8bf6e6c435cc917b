"""What a process writes down as it goes. Whatever kills it, what it has written stays.

    S session log                     it has a session
    P number room volatile digest     it is about to publish
    A number offset                   acked (0: volatile)
    F number definite code            refused
    B after not_above                 it listens: it is owed what is above `after`
    M room offset writer number digest          it got a message
    J room offset session time - user           it got a join
    L room offset session time reason user      it got a leave
    G room first last reason          it was told of a gap
    N kind offset records             it was told something else
    T received sent                   when it got the next one, and when the broker had taken it (microseconds)
    I time room …                     since then it is in these rooms, as soon as the log can be written
    H offset deliveries time          it was handed a job
    D offset time                     it has done it
    Q number timeout                  it is about to ask
    R number seconds right error      what came of it (-: a reply)
    C number                          the broker will send that message later
    U number                          or perhaps not: it is about to be taken back
    O                                 it has left them by its own word
    K offset clean                    it closed; where its cursor was kept (-1: nowhere), whether nothing was in the way
    E                                 it has got all that it was told to wait for
    X text                            something is wrong, it says

Rule of this file: a line that was cut short by a kill is not there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from zlib import crc32

import zchat


class Journal:
    """Lines of one process. `flush` gives them to the kernel in one call."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._lines: list[str] = []

    def note(self, *fields: object) -> None:
        """One line, with the next flush."""
        self._lines.append(" ".join(map(str, fields)))

    def write(self, *fields: object) -> None:
        """One line, now."""
        self.note(*fields)
        self.flush()

    def line(self, text: str) -> None:
        """One line as it is, with the next flush."""
        self._lines.append(text)

    def flush(self) -> None:
        """Safe from any kill when this returns."""
        if self._lines:
            data = memoryview(("\n".join(self._lines) + "\n").encode())
            self._lines.clear()
            while data:
                data = data[os.write(self._file, data) :]


def lines(path: Path) -> Iterator[list[str]]:
    """The fields of each line."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.endswith("\n"):
                yield line.split()


def digest(user: str, event: str, headers: Mapping[str, str], body: bytes) -> int:
    """Of everything that a message carries from its sender."""
    return crc32(body, _seed(user, event, tuple(sorted(headers.items()))))


def record(message: zchat.Message) -> str:
    """The line of something that a listener got."""
    if message.event in ("join", "leave"):
        where = f"{message.room} {message.offset}"
        return (
            f"{message.event[0].upper()} {where} {message.session} {message.time} {message.text or '-'} {message.user}"
        )
    writer, number, *_ = [*message.body[:64].split(b" ", 2), b"", b""]
    who, what = writer.decode(errors="replace") or "?", number.decode(errors="replace") or "0"
    proof = digest(message.user, message.event, message.headers, message.body)
    return f"M {message.room} {message.offset} {who} {what} {proof}"


@lru_cache(4096)
def _seed(user: str, event: str, headers: tuple[tuple[str, str], ...]) -> int:
    return crc32(repr((user, event, headers)).encode())
