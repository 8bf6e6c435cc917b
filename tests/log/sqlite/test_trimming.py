"""Trimming in short steps, and file space given back. What is kept is in the contract."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import eventually
from tests.log.contract import Scribe, bases, read, trim
from tests.log.damage import change, overwrite, pages_of, silent, written
from zchat import wire
from zchat.core.log import RetentionRule
from zchat.log import retention
from zchat.log.sqlite import opening, places, schema, trimming
from zchat.log.sqlite.log import SqliteLog
from zchat.log.sqlite.opening import Opened
from zchat.log.sqlite.trimming import Trimming

OpenLog = Callable[..., SqliteLog]


@pytest.fixture
def opened(open_log: OpenLog, tmp_path: Path) -> Iterator[Opened]:
    """A log of 3,000 batches in 3 rooms, opened without its threads."""
    log = open_log(sync="normal")
    scribe = Scribe(log)
    scribe.keep(*[scribe.batch(f"r{number % 3}", bytes(500)) for number in range(3_000)])
    log.close()
    opened = opening.open_database(tmp_path / "log" / schema.FILE, "normal")
    yield opened
    opened.connection.close()


def count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM batches").fetchone()[0])


def test_each_step_is_short_and_whole(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trimming, "STEP_SECONDS", -1.0)  # the time is always up
    work = Trimming(opened.connection, opened.rooms, "normal")
    work.begin([RetentionRule("**", records=10)], 0)
    steps = 0
    left = count(opened.connection)
    while work.is_at_work:
        work.step()
        steps += 1
        assert not opened.connection.in_transaction
        rows = opened.connection.execute("SELECT sum(records) FROM rooms").fetchone()[0]
        now = count(opened.connection)
        assert now == rows == sum(opened.rooms.row(room).records for room in (1, 2, 3)), "counts go with the rows"
        assert left - now <= trimming.DELETED_ROWS
        left = now
    assert left == 30 and steps > 1_000


@pytest.fixture
def visited(open_log: OpenLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """A log of a room with 5 messages, and 400 joins and leaves between and behind them."""
    monkeypatch.setattr(retention, "PRESENCE_RECORDS_MIN", 0)
    log = open_log(sync="normal")
    scribe = Scribe(log)
    for _ in range(5):
        scribe.write("a", b"x")
        scribe.keep(*[scribe.batch("a", b"join", kind=wire.PRESENCE) for _ in range(80)])
    log.close()
    opened = opening.open_database(tmp_path / "log" / schema.FILE, "normal")
    yield opened
    opened.connection.close()


def test_joins_and_leaves_are_thinned_in_short_steps(visited: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trimming, "STEP_SECONDS", -1.0)  # the time is always up
    work = Trimming(visited.connection, visited.rooms, "normal")
    work.begin([RetentionRule("a", records=30)], 0)
    steps = 0
    while work.is_at_work:
        work.step()
        steps += 1
        assert not visited.connection.in_transaction
        assert count(visited.connection) == visited.rooms.row(1).records, "counts go with the rows"
    assert steps > 370
    row = visited.rooms.row(1)
    assert (row.records, row.presence, row.presence_trimmed) == (35, 30, 405 - 30)
    assert count(visited.connection) == 35
    changes = visited.connection.total_changes
    statements: list[str] = []
    visited.connection.set_trace_callback(statements.append)
    for _ in range(3):
        work.begin([RetentionRule("a", records=30, age_seconds=1e6)], row.time)
        while work.is_at_work:
            work.step()
    assert visited.connection.total_changes == changes and len(statements) < 40, "nothing is to be done"


def test_a_step_changes_few_rooms_and_looks_at_few_that_stay(
    open_log: OpenLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(sync="normal")
    scribe = Scribe(log)
    rooms = 200
    scribe.keep(*[scribe.batch(f"r.{number % rooms}", b"x") for number in range(2 * rooms)])
    scribe.keep(scribe.batch("far", b"x"), *[scribe.batch("other", b"x") for _ in range(1_500)])
    scribe.keep(scribe.batch("far", b"x"), scribe.batch("far", b"x"))
    log.close()
    opened = opening.open_database(tmp_path / "log" / schema.FILE, "normal")
    monkeypatch.setattr(trimming, "STEP_SECONDS", 1e6)
    monkeypatch.setattr(trimming, "ROOM_SECONDS", 1e6 / 50)
    work = Trimming(opened.connection, opened.rooms, "normal")
    work.begin([RetentionRule("r.*", records=1)], 0)
    steps = 0
    while work.is_at_work:
        before = [opened.rooms.row(room + 1) for room in range(rooms)]
        work.step()
        steps += 1
        changed = sum(opened.rooms.row(row.id) != row for row in before)
        assert changed <= 50
    assert steps > 4 and {opened.rooms.row(room + 1).records for room in range(rooms)} == {1}
    monkeypatch.setattr(trimming, "STEP_SECONDS", -1.0)  # now each look at the clock ends a step
    work.begin([RetentionRule("far", records=1)], 0)
    steps = 0
    while work.is_at_work:
        work.step()
        steps += 1
    assert steps > trimming.SKIPPED_ROWS_MAX / places.CHUNK_ROWS
    opened.connection.close()


def test_what_was_begun_is_finished_before_what_was_asked_for_later(opened: Opened) -> None:
    work = Trimming(opened.connection, opened.rooms, "normal")
    work.begin([RetentionRule("r0", records=5)], 0)
    work.begin([RetentionRule("r1", records=6)], 0)
    work.begin([RetentionRule("r2", records=7)], 0)
    while work.is_at_work:
        work.step()
    assert [opened.rooms.row(room).records for room in (1, 2, 3)] == [5, 1_000, 7]


def test_when_there_is_nothing_to_do_the_database_is_not_touched(opened: Opened) -> None:
    work = Trimming(opened.connection, opened.rooms, "normal")
    for _ in range(3):
        work.begin([RetentionRule("**", records=1_000, bytes=1 << 30, age_seconds=1e6)], opened.rooms.time)
        changes = opened.connection.total_changes
        while work.is_at_work:
            work.step()
        assert opened.connection.total_changes == changes and not work.written_bytes


def test_a_room_that_lies_far_behind_others_is_found(opened: Opened) -> None:
    """What stays is not gone through again and again: the index says where to go on."""
    work = Trimming(opened.connection, opened.rooms, "normal")
    work.begin([RetentionRule("r2", records=1)], 0)
    while work.is_at_work:
        work.step()
    statements: list[str] = []
    opened.connection.set_trace_callback(statements.append)
    work.begin([RetentionRule("**", records=999)], 0)
    while work.is_at_work:
        work.step()
    assert [opened.rooms.row(room).records for room in (1, 2, 3)] == [999, 999, 1]
    assert len(statements) < 40


def test_the_file_gets_smaller(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log(sync="normal")
    scribe = Scribe(log)
    for _ in range(10):
        scribe.keep(*[scribe.batch("a", bytes(20_000)) for _ in range(100)])
    file = tmp_path / "log" / schema.FILE
    # What is in the WAL is moved when the writer has a moment.
    eventually(lambda: file.stat().st_size > 19_000_000, "the file has grown", within=30)
    trim(log, [RetentionRule("a", records=20)])
    assert len(read(log, bytes_max=1 << 30).batches) == 20
    eventually(lambda: file.stat().st_size < 3_000_000, "the file is smaller", within=30)
    scribe.write("a", b"goes on")


def test_between_its_steps_appends_are_kept(open_log: OpenLog) -> None:
    log = open_log(sync="normal")
    scribe = Scribe(log)
    for _ in range(5):
        scribe.keep(*[scribe.batch(f"r{number % 7}", bytes(2_000)) for number in range(1_000)])
    log.trim([RetentionRule("**", records=5)], 0)
    during = 0
    while log.is_trimming:
        scribe.write("during", b"x")
        during += 1
    assert during > 5
    assert len(read(log, ["r0", "r1"]).batches) == 10
    assert len(read(log, ["during"], bytes_max=1 << 30).batches) >= 5


@pytest.mark.parametrize(("told", "known"), [(0, 5), (1 << 40, 10), (1 << 62, 10)])
def test_a_changed_time_never_makes_what_was_removed_older(
    open_log: OpenLog, tmp_path: Path, told: int, known: int
) -> None:
    log = open_log()
    scribe = Scribe(log)
    batches = [scribe.write("a", b"x") for _ in range(10)]
    log.close()
    change(tmp_path / "log", "UPDATE batches SET time = ? WHERE base = 6", [told])
    log = open_log()
    trim(log, [RetentionRule("a", records=4)])
    log.close()
    opened = opening.open_database(tmp_path / "log" / schema.FILE, "normal")
    opened.connection.close()
    row = opened.rooms.row(1)
    assert (row.trimmed, row.trimmed_time) == (6, batches[known - 1].time)


def test_where_more_is_written_than_removed_removing_gets_more_time(
    open_log: OpenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimming, "STEP_SECONDS", -1.0)  # each look at the clock ends a step
    log = open_log(sync="normal")
    scribe = Scribe(log)
    rules = [RetentionRule("a", records=1)]
    scribe.keep(*[scribe.batch("a", bytes(100)) for _ in range(2_000)])
    shares = []
    for _ in range(5):
        log.trim(rules, 0)
        scribe.keep(*[scribe.batch("a", bytes(100)) for _ in range(500)])
        assert log.is_trimming
        shares.append(log._share)
    assert shares == [4, 2, 1, 0.5, 0.5]
    monkeypatch.setattr(trimming, "STEP_SECONDS", 1.0)
    trim(log, rules)
    trim(log, rules)
    assert log._share == 4 and len(read(log).batches) == 1


def test_what_cannot_be_read_is_passed_over(open_log: OpenLog, tmp_path: Path) -> None:
    kept = written(tmp_path / "log", rooms=3, batches=600)
    overwrite(tmp_path / "log", pages_of(tmp_path / "log", "batches")[3], bytes(schema.PAGE_BYTES))
    change(tmp_path / "log", "UPDATE batches SET records = 1000 WHERE base = ?", [kept[30].base])
    log = open_log()
    trim(log, [RetentionRule("**", records=50)])
    assert 30 <= len(read(log).batches) < 100
    assert not silent(log, kept, ["r0"])
    assert bases(read(log, ["r1"]))[-1] == next(batch.base for batch in reversed(kept) if batch.room == "r1")
