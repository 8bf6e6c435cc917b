"""What the tests of the log on disk ask for: a small disk of its own, and a log that is closed at the end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from zchat.log.sqlite.log import SqliteLog


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 48 MB."""
    yield from _mounted(tmp_path / "disk", "size=48m")


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of its own, to be mounted again otherwise."""
    yield from _mounted(tmp_path / "mounted", "size=48m")


def _mounted(folder: Path, options: str) -> Iterator[Path]:
    if os.geteuid():
        pytest.skip("only root mounts a disk")
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def open_log(tmp_path: Path) -> Iterator[Callable[..., SqliteLog]]:
    """Opens logs on disk, in a folder of the test or a given one; those that are open at the end are closed."""
    logs: list[SqliteLog] = []

    def open_one(folder: Path | None = None, **options: object) -> SqliteLog:
        log = SqliteLog(folder or tmp_path / "log", **options)  # type: ignore[arg-type]
        logs.append(log)
        return log

    yield open_one
    for log in logs:
        log.close()
