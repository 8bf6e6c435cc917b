"""Files that may be completed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zchat.chat.offering import paths


def test_files_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("notes.txt", "new one.txt", ".hidden", "bad\x1b.txt"):
        (tmp_path / name).touch()
    (tmp_path / "news").mkdir()
    (tmp_path / "news" / "today.txt").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths("n") == ["new one.txt", "news/", "notes.txt"]
    assert paths("") == paths("n") and paths(".h") == [".hidden"]
    assert paths("~/no") == ["~/notes.txt"] and paths("news/") == ["news/today.txt"]
    assert paths(f"{tmp_path}/news/t") == [f"{tmp_path}/news/today.txt"]
    assert paths("nowhere/x") == [] and os.path.exists("bad\x1b.txt")
