"""The folder of a log: whether it can hold one, and whose it is.

Rules of this file
1. What makes a folder unusable is a StartError of one line that says which folder and what to do.
2. The lock is the kernel's, so that it ends with its process. It is on the folder, and on a file in it that older
   versions look at; who removes the file lets nobody in. The file stays, and is made again.
3. The file has two lines: the number of the process, for people, and the log's id and head. What is done to the
   database, or to its WAL, does not take the head back, so it shows that something is missing.

Tests: tests/log/sqlite/test_folder.py.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

from zchat.errors import StartError
from zchat.log.sqlite import mounts

LOCK = "log.lock"


class Folder:
    """A folder that this process has locked, until `close`."""

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        """Make it where it is not there, and lock it. Raises StartError.

        Without `writes` it must be there, and nothing is made in it.
        """
        self.path = path
        try:
            if writes:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)  # what is said is nobody else's to read
            elif not path.is_dir():
                raise StartError(f"{path} is no folder of a log")
        except FileExistsError:
            raise StartError(f"{path} is not a folder") from None
        except OSError as error:
            raise StartError(f"cannot make the folder {path}: {error.strerror}") from error
        mounts.refuse(path)
        self._folder = _lock_folder(path)
        self._file = -1
        try:
            self._file = _open_lock(path, writes)
            if self._file >= 0:
                _flock(self._file, path)
        except BaseException:
            self.close()
            raise
        self._head = _noted(_read(self._file))
        self._say()

    def close(self) -> None:
        """Let go of it."""
        for descriptor in (self._file, self._folder):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._folder = -1

    def head_noted(self, log_id: str) -> int:
        """How far that log went when it was noted last; 0: not known."""
        return self._head[1] if self._head[0] == log_id else 0

    def note(self, log_id: str, head: int) -> None:
        """Remember how far the log goes, beside it: what is done to the database does not take that back."""
        if self._head != (log_id, head):
            self._head = (log_id, head)
            self._say()

    def look(self) -> None:
        """Make the lock file again where somebody has removed it. The folder stays locked either way."""
        try:
            if os.path.samestat(os.stat(self.path / LOCK), os.fstat(self._file)):
                return
        except OSError:
            pass
        try:
            again = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:  # the folder is gone, or no descriptor is left: the next look tries again
            return
        try:
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(again)
            return
        os.close(self._file)
        self._file = again
        self._say()

    def _say(self) -> None:
        """Write who has it, and the head."""
        log_id, head = self._head
        text = b"%d\n" % os.getpid() + (f"{log_id} {head}\n".encode() if log_id else b"")
        try:
            os.pwrite(self._file, text, 0)
            os.ftruncate(self._file, len(text))
        except OSError:  # a full disk, or one that is only read: the lock holds without it
            pass


class Files:
    """What an open log consists of, each known by its inode since it was first seen."""

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self._paths = [folder, *(folder / name for name in names)]
        self._known: dict[Path, os.stat_result] = {}
        self.touched()

    def touched(self) -> tuple[Path, str] | None:
        """What is gone, or another one than it was, and how that shows; None: all is as it was."""
        for path in self._paths:
            known = self._known.get(path)
            try:
                found = os.stat(path)
            except OSError as error:
                if known is not None:
                    return path, f"cannot find {path}: {error.strerror}"
                continue
            if known is None:
                self._known[path] = found
            elif not os.path.samestat(known, found):
                return path, f"{path} is another {'folder' if path == self._paths[0] else 'file'} than it was"
        return None


def is_in_use(path: Path) -> bool:
    """Whether another process has that folder."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(folder)


def _lock_folder(path: Path) -> int:
    """The folder itself, which nobody can remove while something is in it."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StartError(f"cannot read the folder {path}: {error.strerror}") from error
    try:
        _flock(folder, path)
    except BaseException:
        os.close(folder)
        raise
    return folder


def _open_lock(path: Path, writes: bool) -> int:
    """The lock file; -1 where there is none, and none is needed."""
    try:
        return os.open(path / LOCK, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if writes else 0), 0o600)
    except OSError as error:
        if writes:
            raise StartError(f"cannot write in the folder {path}: {error.strerror}") from error
    try:
        return os.open(path / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def _flock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = _owner(path)
        by = f" by process {owner}" if owner else ""
        what_to_do = "end it, or name another folder with --data"
        raise StartError(f"the folder {path} is in use{by}, a broker or zchat log: {what_to_do}") from None
    except OSError as error:
        raise StartError(f"cannot lock the folder {path}: {error.strerror}") from error


def _owner(path: Path) -> str:
    try:
        return (path / LOCK).read_text(errors="replace").partition("\n")[0].strip()[:32]
    except OSError:
        return ""


def _read(file: int) -> str:
    try:
        return os.pread(file, 256, 0).decode(errors="replace")
    except OSError:
        return ""


def _noted(text: str) -> tuple[str, int]:
    """Log id and head of the second line."""
    log_id, _, head = text.partition("\n")[2].strip().partition(" ")
    return (log_id, int(head)) if head.isascii() and head.isdecimal() and len(head) < 20 else ("", 0)
