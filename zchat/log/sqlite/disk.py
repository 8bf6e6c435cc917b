"""The disk under a log: refuses in time, and has something to let go of when it is full.

Rules of this file
1. An append is refused while all is well with the database: SQLite never meets a full disk when this file
   has its way.
2. On a full disk even a DELETE and a checkpoint need space. A ballast file is let go of for them, and made
   again when there is room.
3. Every refusal ends by itself when its reason does.

Tests: tests/log/sqlite/test_disk.py.
"""

from __future__ import annotations

import errno
import os
import time
from math import inf
from pathlib import Path

from zchat.errors import LogError
from zchat.log.sqlite.folder import Files

BALLAST = "log.ballast"
PROBE = "log.probe"
BALLAST_BYTES = 4 << 20  # what trimming and a checkpoint need
FREE_BYTES_MIN = 16 << 20  # below, appends are refused: what is in the WAL must still fit into the database
LOOK_SECONDS = 0.25  # the disk is looked at this often,
LOOK_BYTES = 4 << 20  # and whenever so much was written


def make_room(folder: Path) -> None:
    """Let go of the ballast where there is no room to open a database."""
    try:
        disk = os.statvfs(folder)
        if disk.f_bavail * disk.f_frsize < BALLAST_BYTES:
            (folder / BALLAST).unlink(missing_ok=True)
    except OSError:  # opening tells what is wrong
        pass


class Disk:
    """The disk that a log's database is on, and how much of it the log may take."""

    def __init__(self, database: Path, bytes_max: float = inf) -> None:
        self._database = database
        self._bytes_max = bytes_max
        self._used = 0  # by the log, when it was looked at
        self._folder = database.parent
        self._ballast = self._folder / BALLAST
        self._wal = [database.with_name(f"{database.name}{suffix}") for suffix in ("-wal", "-shm")]
        self._files = Files(self._folder, [database.name, *(path.name for path in self._wal)])
        self.is_touched = False  # something of the log is not there any more,
        self.wal_is_gone = False  # what it holds has to be moved while this process still has it
        self._written = 0  # bytes since it was looked at
        self._look_at = 0.0
        self._free = 0
        self._refusal: LogError | None = None
        self._is_full = False
        self.look()
        if self._free >= FREE_BYTES_MIN + BALLAST_BYTES:
            self._make_ballast()

    def is_due(self) -> bool:
        """Whether it is time to look at it."""
        return time.monotonic() >= self._look_at

    def refusal(self, size: int) -> LogError | None:
        """Why so many bytes cannot be kept now; None: they can."""
        self._written += 2 * size  # into the WAL, then into the database
        if self._refusal or self._is_full or self._written > LOOK_BYTES or self.is_due():
            self.look()
            self._written = 2 * size
        if self._refusal:
            return self._refusal
        if self._free - self._written < FREE_BYTES_MIN + (BALLAST_BYTES if self._is_full else 0):
            self.ran_out()
            return LogError("log-full", f"the disk of {self._folder} is full ({self._free >> 20} MB left)")
        if self._is_full:
            self._is_full = False
            self._make_ballast()
        return self._is_too_much(size) if self._used + self._written > self._bytes_max else None

    def _is_too_much(self, size: int) -> LogError | None:
        """Why the log may not grow by so much, as what was written may have taken the place of something."""
        self.look()
        self._written = 2 * size
        if self._used + self._written <= self._bytes_max:
            return None
        self._written = 0
        text = f"the log has {self._used:,} bytes, limit {self._bytes_max:,.0f}"
        return LogError("log-full", text, limit="log_bytes_max")

    def ran_out(self) -> None:
        """It is full: let go of the ballast, so that something can be removed."""
        self._is_full = True
        try:
            self._ballast.unlink(missing_ok=True)
        except OSError:  # read-only by now: the next look tells
            pass

    def why_not(self) -> LogError | None:
        """Why nothing can be written, found by writing; None: it can."""
        probe = self._folder / PROBE
        try:
            with probe.open("wb") as file:
                file.write(bytes(4096))
                file.flush()
                os.fsync(file.fileno())
            probe.unlink()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                self.ran_out()
                return LogError("log-full", f"the disk of {self._folder} is full: {error.strerror}")
            if error.errno == errno.EROFS:
                return LogError("log-read-only", f"the disk of {self._folder} is read-only")
            return LogError("log-failed", f"cannot write in the folder {self._folder}: {error.strerror}")
        return None

    def look(self) -> None:
        """See what there is now."""
        self._look_at = time.monotonic() + LOOK_SECONDS
        self._refusal = None
        try:
            disk = os.statvfs(self._folder)
            self._free = disk.f_bavail * disk.f_frsize
            self._used = sum(path.stat().st_size for path in (self._database, self._wal[0]) if path.exists())
            if disk.f_flag & os.ST_RDONLY:
                self._refusal = LogError("log-read-only", f"the disk of {self._folder} is read-only")
        except OSError as error:
            self._refusal = LogError("log-failed", f"cannot find {self._folder}: {error.strerror}")
        touched = self._files.touched()  # it would not be there at the next start
        self.is_touched = touched is not None
        self.wal_is_gone = touched is not None and touched[0] in self._wal
        if touched is not None:
            cure = ": what it held was moved into the database, and the broker has to be started again"
            self._refusal = LogError("log-failed", f"{touched[1]}{cure if self.wal_is_gone else ''}")

    def _make_ballast(self) -> None:
        try:
            descriptor = os.open(self._ballast, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, BALLAST_BYTES)
            finally:
                os.close(descriptor)
        except OSError:  # a file system without it, or no room after all: trimming may fail then, nothing else
            pass
