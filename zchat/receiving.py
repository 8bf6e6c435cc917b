"""Files that come as messages, written into a folder.

Rules of this file
1. Pieces gather in a hidden file of the folder. It gets its name only when all are there and the checksum is right.
2. That name is never one that is there: it gets a number then.
3. What senders can make a receiver keep is bounded: so many files that are not whole yet, each as long as it said.

Spec: docs/protocol.md, "Files". Tests: tests/test_files.py.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import OrderedDict
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from zchat.errors import BadFile
from zchat.files import is_piece, number_in, safe_name, size_of
from zchat.message import Message
from zchat.wire.records import FILE_AT, FILE_ID, FILE_NAME, FILE_SHA256

OPEN_MAX = 64  # files that are not whole yet, of one receiver; above that those that waited longest are given up
HASHED_BYTES = 1 << 20

_PART = re.compile(r"\.[0-9a-f]{32}\.part", re.A)
_ID = re.compile(r"[0-9a-f]{8,64}", re.A)


class SavedFile(NamedTuple):
    """A file that came, whole."""

    path: Path  # where it is now
    name: str  # as its sender called it
    size: int
    sha256: str
    message: Message  # the last one of it


class FileReceiver:
    """Writes the files that come in messages into a folder. A context manager; `close` gives up what is not whole.

    `take` has each message, in the order in which a subscription hands it over, and returns a SavedFile when one made
    a file whole. With `keep` what is not whole stays in the folder at the end, for a receiver that goes on there.
    """

    def __init__(self, folder: str | os.PathLike[str], *, keep: bool = False) -> None:
        """Make the folder, if it is not there. Raises OSError."""
        self.folder = Path(folder)
        self.folder.mkdir(exist_ok=True)
        left = [path for path in self.folder.glob(".*.part") if _PART.fullmatch(path.name)]
        for path in sorted(left, key=_changed)[:-OPEN_MAX]:  # of receivers before, whose senders did not go on
            path.unlink(missing_ok=True)
        self._keep = keep
        self._open: OrderedDict[str, _PartFile] = OrderedDict()  # by what their hidden files are called
        self._given_up: OrderedDict[str, None] = OrderedDict()

    def __enter__(self) -> FileReceiver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def take(self, message: Message) -> SavedFile | None:
        """A message, whatever it is. Raises BadFile, once for each file that cannot be had, and OSError."""
        if FILE_NAME not in message.headers:
            return None
        if not is_piece(message):
            return self._whole(message) if message.event not in ("join", "leave") else None
        key = _key(message)
        if key in self._given_up:
            return None
        try:
            return self._piece(message, key)
        except (BadFile, OSError):
            self._give_up(key)
            raise

    def close(self) -> None:
        """Nothing more comes."""
        for incoming in self._open.values():
            incoming.close(keep=self._keep)
        self._open.clear()

    # --- parts ------------------------------------------------------------------------------

    def _whole(self, message: Message) -> SavedFile:
        incoming = _PartFile(self.folder / f".{os.urandom(16).hex()}.part", len(message.body))
        try:
            incoming.add(message.body, 0)
            return incoming.saved(self.folder, message, message.headers.get(FILE_SHA256, ""))
        except BaseException:
            incoming.close(keep=False)
            raise

    def _piece(self, message: Message, key: str) -> SavedFile | None:
        at, size, incoming = number_in(message, FILE_AT), size_of(message), self._open.get(key)
        if incoming is None:
            path = self.folder / key
            if at and not path.exists():
                raise BadFile(message.headers[FILE_NAME], "its beginning did not come")
            self._open[key] = incoming = _PartFile(path, size)
            if len(self._open) > OPEN_MAX:
                self._give_up(next(iter(self._open)))
        self._open.move_to_end(key)
        if size != incoming.size or at + len(message.body) > size:
            raise BadFile(message.headers[FILE_NAME], "its pieces do not fit together")
        if at > incoming.written:
            raise BadFile(message.headers[FILE_NAME], f"bytes {incoming.written} to {at - 1} did not come")
        incoming.add(message.body, at)
        if at + len(message.body) < size:
            return None
        saved = incoming.saved(self.folder, message, message.headers.get(FILE_SHA256, "missing"))
        del self._open[key]
        return saved

    def _give_up(self, key: str) -> None:
        self._given_up[key] = None
        if len(self._given_up) > OPEN_MAX:
            self._given_up.popitem(last=False)
        if incoming := self._open.pop(key, None):
            incoming.close(keep=False)


class _PartFile:
    """One file that comes, under a name that nobody sees."""

    def __init__(self, path: Path, size: int) -> None:
        self._path, self.size = path, size
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        self.written = min(os.fstat(self._descriptor).st_size, size)  # by a receiver before
        self._checksum, self._hashed = hashlib.sha256(), 0

    def add(self, body: bytes, at: int) -> None:
        """A piece that begins no later than what is there ends."""
        os.lseek(self._descriptor, at, os.SEEK_SET)
        left = memoryview(body)
        while left:
            left = left[os.write(self._descriptor, left) :]
        if at == self._hashed:
            self._checksum.update(body)
            self._hashed += len(body)
        self.written = max(self.written, at + len(body))

    def saved(self, folder: Path, message: Message, sha256: str) -> SavedFile:
        """All is there: it gets its name, if the checksum is right. Raises BadFile, OSError."""
        name, found = message.headers[FILE_NAME], self._sha256()
        if sha256 and sha256 != found:
            raise BadFile(name, "its checksum is wrong")
        os.ftruncate(self._descriptor, self.size)
        os.fsync(self._descriptor)
        path = _linked(self._path, folder, safe_name(name))
        self.close(keep=False)
        return SavedFile(path, name, self.size, found, message)

    def close(self, *, keep: bool) -> None:
        """Nothing more is written."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            if not keep:
                self._path.unlink(missing_ok=True)

    def _sha256(self) -> str:
        """Of all; what was written by a receiver before is read."""
        if self._hashed != self.size:
            self._checksum = hashlib.sha256()
            for at in range(0, self.size, HASHED_BYTES):
                self._checksum.update(os.pread(self._descriptor, min(HASHED_BYTES, self.size - at), at))
        return self._checksum.hexdigest()


def _linked(path: Path, folder: Path, name: str) -> Path:
    """Give the file its name, or the first that is free: `a.pdf`, `a-2.pdf`, … A file that is there stays."""
    stem, dot, suffix = name.rpartition(".")
    if not stem:
        stem, dot, suffix = name, "", ""
    number = 1
    while True:
        target = folder / (name if number == 1 else f"{stem}-{number}{dot}{suffix}")
        try:
            try:
                os.link(path, target, follow_symlinks=False)
            except PermissionError:  # a file system without links, as FAT
                os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
                path.replace(target)
            return target
        except FileExistsError:
            number += 1


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another receiver has it
        return 0.0


def _key(message: Message) -> str:
    """What the hidden file is called of which a message is a piece: no other session can add to it."""
    file_id = message.headers[FILE_ID]
    if not _ID.fullmatch(file_id):
        raise BadFile(message.headers[FILE_NAME], f"{FILE_ID} is no number in hexadecimal")
    of = "\0".join([message.room, message.session, file_id])
    return f".{hashlib.sha256(of.encode()).hexdigest()[:32]}.part"
