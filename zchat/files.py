"""Files as messages: how a file is cut into pieces that a room can carry, and what the pieces say.

Rules of this file
1. A file that fits into one message is that message, with its name as the header `file-name`. A larger one is pieces:
   messages of the event `file` whose headers say of which file each is, where it begins, and, of the last one, the
   SHA-256 of all.
2. A name comes from whoever sent it: it names a file in a folder and nothing else.

What makes files of pieces again: receiving.py.

Spec: docs/protocol.md, "Files". Tests: tests/test_files.py.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from zchat.errors import BadFile, UsageError
from zchat.wire.records import FILE_AT, FILE_EVENT, FILE_ID, FILE_NAME, FILE_SHA256, FILE_SIZE

if TYPE_CHECKING:
    from zchat.message import Message

PIECE_BYTES = 64 << 10  # what waits for a slow listener is counted in batches of this size
PIECES_OUT_MAX = 64  # without an outcome
HEADERS_BYTES = 2_048  # of a message whose body is a file: left for headers
NAME_BYTES_MAX = 200  # of a file that is saved: file systems take 255, and a number may come behind it
SIZE_MAX = (1 << 53) - 1

_NUMBER = re.compile(r"\d{1,16}", re.A)
_SEPARATORS = re.compile(r"[/\\]")
_RESERVED = re.compile(r'[<>:"|?*]')


class Piece(NamedTuple):
    """What is published of a file."""

    end: int  # of so many bytes it is the last
    body: bytes
    event: str
    headers: dict[str, str]


class OutgoingFile:
    """A file that is sent. A context manager; iterate over its pieces. Raises OSError, UsageError where it changes."""

    def __init__(self, path: str | os.PathLike[str], message_bytes_max: int, headers: Mapping[str, str] | None) -> None:
        """`message_bytes_max`: of a message, body and headers together."""
        self.path, self.size = Path(path), 0
        self._headers = dict(headers or {})
        if reserved := {FILE_SIZE, FILE_ID, FILE_AT, FILE_SHA256} & self._headers.keys():
            raise UsageError(f"header {min(reserved)}: it is what sends a file")
        self._body_bytes_max = max(1, message_bytes_max - HEADERS_BYTES)
        self._file: BinaryIO

    def __enter__(self) -> OutgoingFile:
        self._file = self.path.open("rb")
        status = os.fstat(self._file.fileno())
        self.size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            self._file.close()
            raise UsageError(f"{self.path} is no regular file")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Piece]:
        """In order: receivers take them in no other."""
        named = {FILE_NAME: self.path.name} | self._headers
        if self.size <= self._body_bytes_max:
            yield Piece(self.size, self._read(self.size), "message", named)
            return
        of_all = named | {FILE_SIZE: str(self.size), FILE_ID: os.urandom(16).hex()}
        at, checksum = 0, hashlib.sha256()
        while at < self.size:
            body = self._read(min(PIECE_BYTES, self._body_bytes_max, self.size - at))
            checksum.update(body)
            headers = of_all | {FILE_AT: str(at)}
            at += len(body)
            if at == self.size:
                headers[FILE_SHA256] = checksum.hexdigest()
            yield Piece(at, body, FILE_EVENT, headers)

    def _read(self, size: int) -> bytes:
        body = self._file.read(size)
        if len(body) != size:
            raise UsageError(f"{self.path} became shorter while it was sent")
        return body


# --- what comes -----------------------------------------------------------------------------------


def is_piece(message: Message) -> bool:
    """Whether it is a part of a larger file, and says little by itself."""
    return message.event == FILE_EVENT and FILE_ID in message.headers


def is_last(message: Message) -> bool:
    """Whether a piece is the last of its file."""
    return FILE_SHA256 in message.headers


def size_of(message: Message) -> int:
    """Of the whole file, as its sender says."""
    return number_in(message, FILE_SIZE)


def safe_name(name: str) -> str:
    """What a file is called that somebody else named: one part of a path, visible, and of any system's characters."""
    name = _RESERVED.sub("_", _SEPARATORS.split(name)[-1])
    name = "".join(character if character.isprintable() else "_" for character in name).strip(" .")
    stem, dot, suffix = name.rpartition(".")
    if not stem:
        stem, dot, suffix = name, "", ""
    suffix = _cut(suffix, NAME_BYTES_MAX // 4)
    return _cut(stem, NAME_BYTES_MAX - len(suffix.encode()) - 1) + dot + suffix or "file"


def number_in(message: Message, header: str) -> int:
    """A number of bytes in a header. Raises BadFile."""
    text = message.headers.get(header, "")
    if not _NUMBER.fullmatch(text) or int(text) > SIZE_MAX:
        raise BadFile(message.headers.get(FILE_NAME, ""), f"{header} is no number of bytes")
    return int(text)


def _cut(text: str, size: int) -> str:
    """At most so many bytes of UTF-8."""
    return text.encode(errors="replace")[:size].decode(errors="ignore")
