"""A folder is one process's, and what is wrong with it is one line."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from zchat.errors import StartError
from zchat.log.sqlite.folder import LOCK, Files, Folder


def refused(path: Path) -> str:
    with pytest.raises(StartError) as raised:
        Folder(path)
    text = str(raised.value)
    assert str(path) in text and "\n" not in text
    return text


def test_it_is_made_for_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    Folder(path).close()
    assert path.stat().st_mode & 0o777 == 0o700
    assert (path / LOCK).stat().st_mode & 0o777 == 0o600


def test_a_folder_that_is_locked_is_refused_with_the_number_of_the_process(tmp_path: Path) -> None:
    first = Folder(tmp_path)
    what_to_do = "a broker or zchat log: end it, or name another folder with --data"
    assert refused(tmp_path) == f"the folder {tmp_path} is in use by process {os.getpid()}, {what_to_do}"
    first.close()
    Folder(tmp_path).close()


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = "import os, pathlib, sys, zchat.log.sqlite.folder as f; f.Folder(pathlib.Path(sys.argv[1])); os.abort()"
    assert subprocess.run([sys.executable, "-c", code, tmp_path], cwd=Path(__file__).parents[3]).returncode < 0
    Folder(tmp_path).close()


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "not a folder" in refused(tmp_path / "file")
    assert "cannot make" in refused(tmp_path / "file" / "under")


def test_a_folder_that_is_only_looked_at_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StartError):
        Folder(tmp_path / "none", writes=False)
    assert not (tmp_path / "none").exists()


def test_a_folder_on_a_disk_that_is_read_only_is_refused(mounted: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
    assert "Read-only file system" in refused(mounted)


def test_a_folder_that_cannot_be_written_is_locked_to_be_read(mounted: Path) -> None:
    for name in ("without", "with"):
        (mounted / name).mkdir()
    Folder(mounted / "with").close()
    subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
    for name in ("without", "with"):
        first = Folder(mounted / name, writes=False)
        with pytest.raises(StartError, match="is in use"):
            Folder(mounted / name, writes=False)
        first.close()
        Folder(mounted / name, writes=False).close()


@pytest.mark.skipif(not os.geteuid(), reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "Permission denied" in refused(tmp_path)


# --- what is done to it while it is in use ------------------------------------------------------


def test_who_removes_the_lock_file_lets_nobody_in_and_it_is_made_again(tmp_path: Path) -> None:
    first = Folder(tmp_path)
    (tmp_path / LOCK).unlink()
    assert "in use" in refused(tmp_path)
    for writes in (True, False):
        with pytest.raises(StartError, match="in use"):
            Folder(tmp_path, writes=writes)
    first.look()
    assert f"in use by process {os.getpid()}" in refused(tmp_path)
    first.close()
    Folder(tmp_path).close()


def test_a_lock_file_that_is_another_one_is_locked_too(tmp_path: Path) -> None:
    first = Folder(tmp_path)
    (tmp_path / LOCK).rename(tmp_path / "away")
    (tmp_path / LOCK).write_text("")
    first.look()
    assert f"in use by process {os.getpid()}" in refused(tmp_path)
    first.close()


def test_without_a_descriptor_to_spare_it_stays_locked(tmp_path: Path) -> None:
    first = Folder(tmp_path)
    (tmp_path / LOCK).unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = os.open("/dev/null", os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 1, hard))
    try:
        first.look()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(taken)
    assert "in use" in refused(tmp_path)
    first.look()
    assert (tmp_path / LOCK).exists()
    first.close()


def test_how_far_a_log_goes_is_remembered_for_that_log_whoever_looks(tmp_path: Path) -> None:
    first = Folder(tmp_path)
    assert first.head_noted("log") == 0
    first.note("log", 150)
    first.note("log", 201)
    first.close()
    Folder(tmp_path, writes=False).close()
    (second := Folder(tmp_path)).close()
    assert (second.head_noted("log"), second.head_noted("another")) == (201, 0)


@pytest.mark.parametrize(
    "text", ["", "1\n", "1\nlog\n", "1\nlog -3\n", "1\nlog x\n", "1\nlog " + 30 * "9", "\n\n\n", "\0" * 40]
)
def test_a_lock_file_that_says_nothing_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / LOCK).write_text(text)
    folder = Folder(tmp_path)
    assert folder.head_noted("log") == 0
    folder.close()


def test_files_are_known_from_when_they_were_first_seen(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    files = Files(tmp_path, ["a", "b"])
    assert files.touched() is None
    (tmp_path / "b").write_text("")
    assert files.touched() is None
    (tmp_path / "b").rename(tmp_path / "c")
    assert files.touched() == (tmp_path / "b", f"cannot find {tmp_path / 'b'}: No such file or directory")
    (tmp_path / "b").write_text("")
    assert files.touched() == (tmp_path / "b", f"{tmp_path / 'b'} is another file than it was")
    (tmp_path / "c").rename(tmp_path / "b")
    assert files.touched() is None


def test_another_folder_in_its_place_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    files = Files(folder, [])
    folder.rename(tmp_path / "old")
    folder.mkdir()
    assert files.touched() == (folder, f"{folder} is another folder than it was")
