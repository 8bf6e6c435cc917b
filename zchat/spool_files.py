"""What lies in the folder of a spool: the lines of its queue, and the state of who sends.

Rules of this file: what is written is on disk when a call returns, whole or not at all.
Tests: tests/test_spool.py.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import msgspec

CUT_BYTES = 65_536


class SpooledMessage(msgspec.Struct, omit_defaults=True):
    """A line of the queue."""

    room: str
    event: str = "message"
    body: str | None = None
    body_base64: bytes | None = None
    headers: dict[str, str] = {}
    why: str = ""  # it was put aside


class SpoolState(msgspec.Struct):
    """Who sends, and how far that is."""

    session: str = ""
    token: str = ""  # base64
    log_id: str = ""
    start: str = ""  # the broker's last one then: a log that has it not is another one, or went back
    at: float = 0.0  # seconds since 1970: the line after those that are dealt with was not sent before
    done: int = 0  # lines of the queue that are dealt with
    seq: int = 0  # of the last publish that has an outcome
    is_sent: bool = True  # the line after those, for all that is known


def cut(file: BinaryIO) -> int:
    """Where its last whole line ends: what a kill left of one is cut off."""
    size = end = file.seek(0, os.SEEK_END)
    while end:
        begin = max(0, end - CUT_BYTES)
        file.seek(begin)
        found = file.read(end - begin).rfind(b"\n")
        if found >= 0:
            end = begin + found + 1
            break
        end = begin
    if end < size:
        os.ftruncate(file.fileno(), end)
    return end


def line_of(room: str, event: str, body: bytes, headers: dict[str, str]) -> SpooledMessage:
    """A message as it is kept."""
    try:
        return SpooledMessage(room, event, body.decode(), None, headers)
    except UnicodeDecodeError:
        return SpooledMessage(room, event, None, body, headers)


def replace(path: Path, content: bytes) -> None:
    """Whole, or not at all."""
    new = path.with_name(f".{path.name}-{os.getpid()}")
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
