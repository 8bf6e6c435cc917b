"""What keeps a log from being opened is one line that says what to do; the rest opens, however long it is."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.log.contract import SECOND, Scribe, bases, read, read_all, trim
from tests.log.damage import as_version_1, as_version_2, change, overwrite, pages_of, written
from zchat import wire
from zchat.core.log import RetentionRule, whole
from zchat.errors import StartError
from zchat.log.offline.exporting import export
from zchat.log.offline.repairing import Finding, check, repair
from zchat.log.sqlite import opening, schema
from zchat.log.sqlite.log import SqliteLog

OpenLog = Callable[..., SqliteLog]
REPAIR = "`zchat log repair`"


def refused(path: Path) -> str:
    with pytest.raises(StartError) as raised:
        opening.open_database(path, "full")
    text = str(raised.value)
    assert str(path) in text and "\n" not in text
    return text


def test_a_new_log_is_made(tmp_path: Path) -> None:
    opened = opening.open_database(tmp_path / "log.db", "full")
    opened.connection.close()
    again = opening.open_database(tmp_path / "log.db", "full")
    again.connection.close()
    assert opened.identity == again.identity


def test_nothing_is_written_behind_what_a_broker_that_was_killed_has_left_in_the_wal(
    open_log: OpenLog, tmp_path: Path
) -> None:
    """A part of it may be in memory only, after an error of fsync: what is behind that would be lost with it."""
    killed = open_log()
    Scribe(killed).write("a", b"acked")
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("log.db", "log.db-wal"):
        shutil.copy(tmp_path / "log" / name, copy / name)
    assert (copy / "log.db-wal").stat().st_size > 0
    opened = opening.open_database(copy / "log.db", "full")
    assert opened.rooms.head == 1
    assert (copy / "log.db-wal").stat().st_size == 0
    opened.connection.close()


@pytest.mark.parametrize("content", [b"", None])
def test_a_log_whose_making_was_cut_short_is_made_again(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "log.db"
    if content is not None:
        path.write_bytes(content)
    else:  # the file is there, and no table
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
        assert path.stat().st_size
    opened = opening.open_database(path, "full")
    assert opened.identity.log_id
    opened.connection.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_text("something else that is long enough")
    assert "is no log of zchat" in refused(tmp_path / "log.db")


def test_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.db").mkdir()
    assert "not a file" in refused(tmp_path / "log.db")


def test_the_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "log.db")
    connection.execute("CREATE TABLE bookmarks (x)")
    connection.close()
    before = (tmp_path / "log.db").read_bytes()
    assert "another program" in refused(tmp_path / "log.db")
    assert (tmp_path / "log.db").read_bytes() == before


def test_a_log_of_a_newer_zchat_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    change(tmp_path, "PRAGMA user_version=8")
    assert f"newer zchat (format 8, this one knows {schema.VERSION})" in refused(tmp_path / "log.db")


@pytest.fixture
def old_log(open_log: OpenLog, tmp_path: Path) -> Path:
    """A log of version 1 with 10 batches in a room, of which 4 were removed."""
    log = open_log(tmp_path / "old")
    scribe = Scribe(log)
    for _ in range(10):
        scribe.write("a", b"x")
    trim(log, [RetentionRule("a", records=6)])
    log.close()
    as_version_1(tmp_path / "old")
    return tmp_path / "old"


def test_a_log_of_an_older_zchat_goes_on(open_log: OpenLog, old_log: Path) -> None:
    log = open_log(old_log)
    assert bases(read(log)) == [5, 6, 7, 8, 9, 10]
    young = Scribe(log).write("a", b"y", seconds=3600)
    trim(log, [RetentionRule("a", records=1)])
    log.close()
    log = open_log(old_log)
    page = read(log, after=whole(log.seek(["a"], 0, young.time, False)))
    assert (bases(page), page.gaps) == ([11], [])


def test_joins_and_leaves_of_an_older_log_are_counted_apart(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log(tmp_path)
    scribe = Scribe(log)
    for number in range(5):
        scribe.write("a", b"x")
        scribe.write(f"r{number % 2}", b"join", b"join", kind=wire.PRESENCE)
    scribe.keep(*[scribe.batch("a", b"leave", kind=wire.PRESENCE) for _ in range(20)])
    before = [log._rooms.row(room) for room in (1, 2, 3)]
    log.close()
    as_version_2(tmp_path)
    found: list[Finding] = []
    check(tmp_path, found.append)
    log = open_log(tmp_path)
    assert not found and [log._rooms.row(room) for room in (1, 2, 3)] == before
    trim(log, [RetentionRule("a", records=3)])
    assert bases(read(log, ["a"]))[:3] == [7, 10, 13]
    log.close()
    check(tmp_path, found.append)
    assert not found


def test_of_what_an_older_zchat_has_trimmed_nothing_is_passed_over(open_log: OpenLog, old_log: Path) -> None:
    log = open_log(old_log)
    for seconds in range(2, 7):  # the removed ones had 2 … 5, which is not known
        page = read(log, after=whole(log.seek(["a"], 0, seconds * SECOND, False)))
        assert (page.gaps[0][2:], bases(page)[0]) == ((4, "trimmed"), 5)


def test_a_log_of_an_older_zchat_is_checked_exported_and_repaired(open_log: OpenLog, old_log: Path) -> None:
    found: list[Finding] = []
    check(old_log, found.append)
    lines = list(export(old_log))
    assert not found and lines[0] == b'{"gap":"trimmed","room":"a","first":1,"last":4}'
    overwrite(old_log, 0, bytes(schema.PAGE_BYTES))
    repaired = repair(old_log)
    assert repaired is not None and not repaired.gaps
    assert list(export(old_log)) == lines
    assert [gap[2:] for gap in read_all(open_log(old_log)).gaps] == [(4, "trimmed")]


def test_a_log_that_another_program_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path)
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.05)
    other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    assert "in use by another program" in refused(tmp_path / "log.db")
    other.close()


@pytest.mark.parametrize("at", [16, 18, 100])
def test_a_damaged_beginning_is_refused(tmp_path: Path, at: int) -> None:
    written(tmp_path)
    overwrite(tmp_path, at, b"\xff" * 40)
    assert REPAIR in refused(tmp_path / "log.db")


def test_a_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    with (tmp_path / "log.db").open("r+b") as file:
        file.truncate(5 * schema.PAGE_BYTES)
    assert REPAIR in refused(tmp_path / "log.db")


@pytest.mark.parametrize("table", ["rooms", "sessions", "cursors", "groups", "scheduled", "meta", "seen"])
def test_a_damaged_page_of_what_is_read_at_start_is_refused(tmp_path: Path, table: str) -> None:
    written(tmp_path)
    connection = sqlite3.connect(tmp_path / "log.db")
    name = "seen_latest" if table == "seen" else table
    (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", [name]).fetchone()
    connection.close()
    overwrite(tmp_path, (root - 1) * schema.PAGE_BYTES, bytes(schema.PAGE_BYTES))
    assert REPAIR in refused(tmp_path / "log.db")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rooms SET last = last - 1",
        "UPDATE rooms SET name = 'r9' WHERE name = 'r0'",
        "UPDATE rooms SET trimmed_time = 1",
        "UPDATE rooms SET trimmed_time = x''",
        "UPDATE sessions SET last_seq = 99",
        "UPDATE cursors SET offset = 99",
        "UPDATE groups SET upto = 99",
        "UPDATE scheduled SET due = 99",
        "UPDATE meta SET value = x'00' WHERE key = 'log_id'",
    ],
)
def test_a_changed_row_of_what_is_read_at_start_is_refused(tmp_path: Path, statement: str) -> None:
    written(tmp_path)
    change(tmp_path, statement)
    assert REPAIR in refused(tmp_path / "log.db")


def test_rooms_that_are_older_than_their_batches_are_refused(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log(tmp_path)
    scribe = Scribe(log)
    scribe.write("a", b"x")
    log.close()
    old = sqlite3.connect(tmp_path / "log.db").execute("SELECT * FROM rooms").fetchone()
    log = open_log(tmp_path)
    Scribe(log).write("a", b"y")
    log.close()
    change(tmp_path, "DELETE FROM rooms")
    change(tmp_path, schema.INSERT_ROOM, old)
    assert REPAIR in refused(tmp_path / "log.db")


def test_a_damaged_newest_batch_is_a_gap_and_no_reason_to_refuse(open_log: OpenLog, tmp_path: Path) -> None:
    kept = written(tmp_path)
    change(tmp_path, "UPDATE batches SET crc = 0 WHERE base = ?", [kept[-1].base])
    log = open_log(tmp_path)
    last = kept[-1].base + kept[-1].records - 1
    assert log.head() == last and read(log).gaps[-1][2:] == (last, "damaged")
    batch = Scribe(log).write("r0", b"goes on")
    assert batch.base == last + 1 and read(log).batches[-1] == ("r0", batch.frame)


def test_a_page_behind_which_nothing_can_be_written_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    overwrite(tmp_path, pages_of(tmp_path, "batches")[-1], bytes(schema.PAGE_BYTES))
    assert REPAIR in refused(tmp_path / "log.db")
