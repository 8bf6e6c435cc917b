"""The folder of a log: whether it can hold one, whose it is, and the room on its disk.

Rules of this file
1. What makes a folder unusable is a StartError of one line that says which folder and what to do.
2. The lock is the kernel's, so that it ends with its process; the lock file stays.
3. On a full disk even a DELETE needs space: a ballast file is let go of then, and made again later.

Tests: tests/log/test_folder.py.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from zchat.errors import LogError, StartError

LOCK = "log.lock"
BALLAST = "log.ballast"
BALLAST_BYTES = 4 << 20  # what trimming and a checkpoint need on a full disk
FREE_BYTES_MIN = 16 << 20  # refused below: what is in the WAL must still go into the database
LOOK_SECONDS = 0.25  # the free space is looked at this often,
LOOK_BYTES = 4 << 20  # and after so many bytes
NETWORK = ("nfs", "cifs", "smb", "ncp", "afs", "9p", "fuse.sshfs", "fuse.s3", "fuse.rclone", "fuse.gcs", "davfs")


class Folder:
    """A folder that this process has locked, until `close`."""

    def __init__(self, path: Path) -> None:
        """Make it where it is not there, and lock it. Raises StartError."""
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError:
            raise StartError(f"{path} is no folder; choose another one with --data") from None
        except OSError as error:
            raise StartError(f"cannot make the folder {path}: {error.strerror}") from error
        refuse_network(path)
        self._lock = _lock(path)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._lock)


def _lock(path: Path) -> int:
    try:
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"cannot write in the folder {path}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    except BlockingIOError:
        owner = os.pread(lock, 32, 0).decode(errors="replace").strip()
        os.close(lock)
        raise StartError(f"the folder {path} is in use by another broker{owner and f' (process {owner})'}") from None
    except OSError as error:
        os.close(lock)
        raise StartError(f"cannot lock the folder {path}: {error.strerror}") from error
    return lock


def refuse_network(path: Path) -> None:
    """Raises StartError for a file system of another host, where SQLite's WAL damages the database."""
    kind = file_system(path)
    if kind.startswith(NETWORK):
        raise StartError(f"the folder {path} is on a network file system ({kind}); a log needs a local disk")


def file_system(path: Path) -> str:
    """The type of the file system that the folder is on, as Linux names it; empty where that is not known."""
    try:
        mounts = Path("/proc/self/mounts").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    found = kind = ""
    real = str(path.resolve())
    for mount in mounts:
        _, point, fstype, *_ = mount.split(" ")
        point = point.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
        if len(point) >= len(found) and (real == point or real.startswith(point.rstrip("/") + "/")):
            found, kind = point, fstype
    return kind


class Space:
    """The room on the disk of a folder: refuses in time, and keeps a ballast to let go of."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ballast = folder / BALLAST
        self._unseen = 0  # bytes since the last look
        self._next_look = 0.0
        self._free = 0
        self.is_full = False

    def refusal(self, size: int) -> LogError | None:
        """Why so many bytes cannot be kept now."""
        self._unseen += size
        now = time.monotonic()
        if self.is_full or now >= self._next_look or self._unseen > LOOK_BYTES:
            self._look(now)
        needed = FREE_BYTES_MIN + 2 * (size + self._unseen) + (BALLAST_BYTES if self.is_full else 0)
        if self._free < needed:
            self.ran_out()
        else:
            self.is_full = False
        return LogError("log-full", f"the disk of {self._folder} is full") if self.is_full else None

    def ran_out(self) -> None:
        """The disk is full: let go of the ballast."""
        self.is_full = True
        self._ballast.unlink(missing_ok=True)

    def _look(self, now: float) -> None:
        self._next_look = now + LOOK_SECONDS
        self._unseen = 0
        disk = os.statvfs(self._folder)
        self._free = disk.f_bavail * disk.f_frsize
