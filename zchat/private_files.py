"""Files that only their owner may read: keys. Made with mode 0600, and refused where others can read or change them.

Tests: tests/test_ring.py.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from zchat.errors import UsageError

OTHERS = 0o077  # what group and others may do


def read_private(path: Path) -> bytes:
    """The content. Raises FileNotFoundError, UsageError where the file is no secret."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if status.st_mode & OTHERS:
            raise UsageError(f"{path} can be read or changed by others: chmod 600 '{path}', if nobody has done so yet")
        if status.st_uid != os.geteuid():
            raise UsageError(f"{path} belongs to another user")
        return file.read()


def write_private(path: Path, content: bytes) -> None:
    """Have the file contain that, whole or not at all. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = path.with_name(f".{secrets.token_hex(8)}.new")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        made.replace(path)
    except BaseException:
        made.unlink(missing_ok=True)
        raise
