"""The folder of a log: whether it can hold one, and whose it is.

Rules of this file
1. What makes a folder unusable is a StartError of one line that says which folder and what to do.
2. The lock is the kernel's, so that it ends with its process; the lock file stays. The number in it is for
   people only.

Tests: tests/log/test_folder.py.
"""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path

from zchat.errors import StartError

LOCK = "log.lock"
# Where another host may write, too, or mmap is not shared: SQLite's WAL damages the database there.
NETWORK = ("nfs", "cifs", "smb", "ncp", "afs", "fuse.sshfs", "fuse.s3", "fuse.rclone", "fuse.gcs", "fuse.davfs")
_OCTAL = re.compile(r"\\([0-7]{3})")


class Folder:
    """A folder that this process has locked, until `close`."""

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        """Make it where it is not there, and lock it. Raises StartError.

        Without `writes` it must be there, and one in which nothing can be written is locked as well as may be.
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
        refuse_network(path, file_system(path))
        self._lock = _lock(path, writes)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._lock)


def file_system(path: Path, mounts: str | None = None) -> str:
    """The type of the file system that the folder is on, as Linux names it; empty where that is not known.

    `mounts` is in the form of /proc/self/mounts, which is read where it is None.
    """
    try:
        text = Path("/proc/self/mounts").read_text(errors="surrogateescape") if mounts is None else mounts
    except OSError:
        return ""
    real = str(path.resolve()).rstrip("/") + "/"
    found = kind = ""
    for mount in text.splitlines():
        _, point, here, *_ = mount.split(" ")
        point = _OCTAL.sub(lambda code: chr(int(code[1], 8)), point).rstrip("/") + "/"
        if real.startswith(point) and len(point) >= len(found):  # the last one of a place is the one to be seen
            found, kind = point, here
    return kind


def refuse_network(path: Path, kind: str) -> None:
    """Raises StartError when that type of file system is another host's."""
    if kind.startswith(NETWORK):
        raise StartError(f"the folder {path} is on a network file system ({kind}): a log needs a local disk")


def _lock(path: Path, writes: bool) -> int:
    try:
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if writes:
            raise StartError(f"cannot write in the folder {path}: {error.strerror}") from error
        lock = _open_to_read(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = _owner(lock)
        os.close(lock)
        by = owner and f" by process {owner}"
        raise StartError(f"the folder {path} is in use{by}: choose another one", is_in_use=True) from None
    except OSError as error:
        os.close(lock)
        raise StartError(f"cannot lock the folder {path}: {error.strerror}") from error
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    except OSError:  # a full disk, or one that is only read: the lock holds without the number
        pass
    return lock


def _open_to_read(path: Path) -> int:
    """What to lock where nothing can be written: the file that a broker locks, or else the folder."""
    try:
        return os.open(path / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        pass
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise StartError(f"cannot read the folder {path}: {error.strerror}") from error


def _owner(lock: int) -> str:
    try:
        return os.pread(lock, 32, 0).decode(errors="replace").strip()
    except OSError:  # it is the folder
        return ""
