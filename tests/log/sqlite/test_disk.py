"""A disk that gets full is told before it is, and what was let go of comes back."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.log.contract import Scribe, append, read, trim
from zchat.core.log import Append, RetentionRule, whole
from zchat.errors import LogError
from zchat.log.sqlite import disk, schema
from zchat.log.sqlite.disk import BALLAST, BALLAST_BYTES, FREE_BYTES_MIN, Disk
from zchat.log.sqlite.log import SqliteLog

OpenLog = Callable[..., SqliteLog]
MEGABYTE = 1 << 20


def free(folder: Path) -> int:
    import os

    seen = os.statvfs(folder)
    return seen.f_bavail * seen.f_frsize


def occupy(folder: Path, leave: int) -> Path:
    """Somebody else fills the disk."""
    path = folder / "somebody-else"
    with path.open("ab") as file:
        while (size := free(folder) - leave) > 0:
            file.write(bytes(min(size, MEGABYTE)))
            file.flush()
    return path


def code(error: LogError | None) -> str:
    return error.code if error else ""


@pytest.fixture
def database(small_disk: Path) -> Path:
    (small_disk / schema.FILE).write_bytes(b"x")
    return small_disk / schema.FILE


def test_a_ballast_is_kept_from_the_start(database: Path) -> None:
    Disk(database)
    assert (database.parent / BALLAST).stat().st_size == BALLAST_BYTES
    assert (database.parent / BALLAST).stat().st_blocks * 512 >= BALLAST_BYTES, "it takes real space"


def test_on_a_disk_without_room_for_it_there_is_none(database: Path) -> None:
    occupy(database.parent, FREE_BYTES_MIN)
    Disk(database)
    assert not (database.parent / BALLAST).exists()


def test_it_refuses_while_there_is_still_room_and_lets_go_of_the_ballast(database: Path) -> None:
    seen = Disk(database)
    assert seen.refusal(1_000) is None
    occupy(database.parent, FREE_BYTES_MIN - MEGABYTE)
    assert code(seen.refusal(5 * MEGABYTE)) == "log-full"
    assert not (database.parent / BALLAST).exists()
    assert free(database.parent) >= BALLAST_BYTES


def test_it_ends_when_there_is_room_again_and_the_ballast_is_made_again(database: Path) -> None:
    seen = Disk(database)
    other = occupy(database.parent, FREE_BYTES_MIN - MEGABYTE)
    assert code(seen.refusal(5 * MEGABYTE)) == "log-full"
    assert code(seen.refusal(1)) == "log-full", "what was let go of is no room"
    other.unlink()
    assert seen.refusal(1) is None
    assert (database.parent / BALLAST).exists()


def test_what_does_not_fit_is_refused_alone(database: Path) -> None:
    seen = Disk(database)
    assert code(seen.refusal(20 * MEGABYTE)) == "log-full"
    assert seen.refusal(1_000) is None


def test_what_was_written_counts_before_the_disk_is_looked_at_again(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "LOOK_SECONDS", 1e9)
    monkeypatch.setattr(disk, "LOOK_BYTES", 1 << 40)
    seen = Disk(database)
    refusals = [code(seen.refusal(MEGABYTE)) for _ in range(20)]
    assert refusals[0] == "" and "log-full" in refusals


def test_a_disk_that_became_read_only_is_told_and_ends(mounted: Path) -> None:
    (mounted / schema.FILE).write_bytes(b"x")
    seen = Disk(mounted / schema.FILE)
    subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
    seen.look()
    assert code(seen.refusal(1)) == "log-read-only"
    assert code(seen.why_not()) == "log-read-only"
    subprocess.run(["mount", "-o", "remount,rw", mounted], check=True)
    assert seen.refusal(1) is None and seen.why_not() is None


def test_a_database_that_was_taken_away_is_told(tmp_path: Path) -> None:
    database = tmp_path / schema.FILE
    database.write_bytes(b"x")
    seen = Disk(database)
    database.rename(tmp_path / "elsewhere")
    seen.look()
    assert code(seen.refusal(1)) == "log-failed"
    database.write_bytes(b"another")
    assert code(seen.refusal(1)) == "log-failed"
    database.unlink()
    (tmp_path / "elsewhere").rename(database)
    assert seen.refusal(1) is None


def test_why_nothing_can_be_written_is_found_by_writing(small_disk: Path) -> None:
    (small_disk / schema.FILE).write_bytes(b"x")
    seen = Disk(small_disk / schema.FILE)
    assert seen.why_not() is None
    occupy(small_disk, 0)
    assert code(seen.why_not()) == "log-full"
    assert seen.why_not() is None, "there is what was let go of"


# --- the log on such a disk ---------------------------------------------------------------------


@pytest.mark.slow
def test_a_log_on_a_full_disk_refuses_reads_trims_and_recovers(open_log: OpenLog, small_disk: Path) -> None:
    log = open_log(small_disk)
    scribe = Scribe(log)
    error = None
    while error is None:
        before = (scribe.next, dict(scribe.lasts), scribe.time)
        error = append(log, Append([scribe.batch("a", bytes(200_000))], [], [], {}))
    assert error.code == "log-full"
    scribe.next, scribe.lasts, scribe.time = before
    kept = len(whole(log.read(["a"], 0, 0, 0, 1 << 40)).batches)
    assert kept == log.head() > 20
    trim(log, [RetentionRule("a", records=3)])
    assert read(log).gaps == [("a", 1, kept - 3, "trimmed")]
    scribe.write("a", b"goes on")
    assert log.head() == kept + 1 and (small_disk / BALLAST).exists()


@pytest.mark.slow
def test_a_disk_that_somebody_else_fills_at_once_loses_nothing(
    open_log: OpenLog, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite itself meets the full disk: all of the append is rolled back, and it goes on when there is room."""
    monkeypatch.setattr(disk, "LOOK_SECONDS", 1e9)
    log = open_log(small_disk)
    scribe = Scribe(log)
    first = scribe.write("a", b"x")
    other = occupy(small_disk, 0)
    before = (scribe.next, dict(scribe.lasts), scribe.time)
    refused = Append([scribe.batch("a", bytes(300_000)), scribe.batch("b", b"y")], [], [], {"bob": 1})
    assert code(append(log, refused)) == "log-full"
    assert (log.head(), log.rooms(), log.users_seen(5)) == (1, {"a": 1}, [])
    assert read(log).batches == [("a", first.frame)]
    other.unlink()
    scribe.next, scribe.lasts, scribe.time = before
    second = scribe.write("a", b"z")
    log.close()
    assert read(open_log(small_disk)).batches == [("a", first.frame), ("a", second.frame)]


def test_a_log_opens_and_is_read_on_a_disk_without_a_byte_left(open_log: OpenLog, small_disk: Path) -> None:
    log = open_log(small_disk)
    first = Scribe(log).write("a", b"x")
    log.close()
    other = occupy(small_disk, 0)
    assert free(small_disk) == 0
    log = open_log(small_disk)
    assert read(log).batches == [("a", first.frame)]
    assert code(append(log, Append([Scribe(log).batch("a", b"y")], [], [], {}))) == "log-full"
    other.unlink()
    Scribe(log).write("a", b"z")


def test_a_log_takes_so_much_of_the_disk_and_no_more(database: Path) -> None:
    database.write_bytes(bytes(2 * MEGABYTE))
    seen = Disk(database, 4 * MEGABYTE)
    assert seen.refusal(MEGABYTE // 2) is None
    assert code(seen.refusal(2 * MEGABYTE)) == "log-full", "it goes into the WAL, and then into the database"
    assert seen.refusal(1_000) is None, "what was refused was not written"
    database.write_bytes(bytes(5 * MEGABYTE))
    seen.look()
    assert code(seen.refusal(0)) == "log-full"
    database.write_bytes(bytes(MEGABYTE))
    seen.look()
    assert seen.refusal(1_000) is None
