"""Files that others may not read, or not change: keys. Read only where that is so, and written whole or not at all.

Rules of this file
1. A secret has mode 0600. One that others may read is not used: the error says what to run. Nor is a file of another
   user, root aside.
2. A file takes the place of another in one step, and is on disk when the call returns.

Docs: docs/operating.md, "Keys". Tests: tests/test_key_files.py, tests/test_ring.py.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zchat.errors import BadKey

SECRET_MODE, PUBLIC_MODE, FOLDER_MODE = 0o600, 0o644, 0o700
OTHERS_READ, OTHERS_WRITE = 0o077, 0o022


def read_text(path: Path, *, refused: int) -> str:
    """A file of ours, unless its mode has one of the `refused` bits. Raises BadKey, OSError."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise BadKey(f"{path} is no file")  # to read a pipe would take for ever
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise BadKey(f"{path} is no file")  # it was put in the place of one meanwhile
        if os.geteuid() not in (0, about.st_uid) and about.st_uid != 0:
            raise BadKey(f"{path} belongs to another user, who can change it, so it is not used: chown it")
        mode = about.st_mode & 0o777
        if mode & refused:
            what = "read" if refused & 0o044 else "write"
            cure = "chmod 600" if refused & 0o044 else "chmod go-w"
            raise BadKey(f"{path}: others can {what} it (mode {mode:04o}), so it is not used: {cure} {path}")
        try:
            return file.read().decode()
        except UnicodeDecodeError:
            raise BadKey(f"{path} is no text") from None


def make_text(path: Path, text: str) -> None:
    """A new secret. Raises FileExistsError, OSError; then there is none."""
    make_folder(path.parent)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, SECRET_MODE)
    with _removed_on_failure(path, path):
        _fill(descriptor, path.parent, text, SECRET_MODE)


def replace_text(path: Path, text: str, mode: int) -> None:
    """The file has that text from now on. Raises OSError; then it is as it was."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with _removed_on_failure(draft, path):
        draft.unlink(missing_ok=True)  # of one that was killed; or what somebody has put there, to have it written to
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        _fill(descriptor, path.parent, text, mode)
        os.replace(draft, path)


def make_folder(folder: Path) -> None:
    """A folder for keys; those above it as usual. Raises OSError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=FOLDER_MODE)
    except FileExistsError:
        return
    if os.geteuid() == 0:
        about = os.stat(folder.parent)
        os.chown(folder, about.st_uid, about.st_gid)


@contextmanager
def _removed_on_failure(written: Path, meant: Path) -> Iterator[None]:
    """Remove what was not written whole; an error that names no file names the one that was meant."""
    try:
        yield
    except BaseException as error:
        written.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(meant)
        raise


def _fill(descriptor: int, folder: Path, text: str, mode: int) -> None:
    """Write it, have it on disk, and close the file."""
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, mode)
        _give(descriptor, folder)
        file.write(text)
        file.flush()
        os.fsync(descriptor)


def _give(descriptor: int, folder: Path) -> None:
    """What root writes belongs to whom the folder belongs to: the broker runs as that user."""
    if os.geteuid() == 0:
        about = os.stat(folder)
        os.fchown(descriptor, about.st_uid, about.st_gid)
