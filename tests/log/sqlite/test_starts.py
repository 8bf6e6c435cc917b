"""The list of a log's starts: one more each time it is opened for a broker, and none that could mislead."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.log.contract import Scribe, append
from tests.log.sqlite.test_log import OpenLog
from zchat.core.log import Append, LogStart
from zchat.log.offline import repairing
from zchat.log.sqlite import schema, starts
from zchat.log.sqlite.disk import FREE_BYTES_MIN
from zchat.wire import STARTS_MAX


def change(folder: Path, statement: str) -> None:
    connection = sqlite3.connect(folder / schema.FILE, isolation_level=None)
    connection.execute(statement)
    connection.close()


def test_each_start_is_kept_with_the_head_of_the_log(open_log: OpenLog) -> None:
    log = open_log()
    Scribe(log).write("a", b"1", b"2")
    first = log.starts()
    log.close()
    log = open_log()
    assert [start.head for start in log.starts()] == [0, 2] and log.starts()[:1] == first
    log.close()
    names = [start.start for start in open_log().starts()]
    assert len(set(names)) == len(names) == 3


def test_the_newest_are_kept(open_log: OpenLog) -> None:
    for number in range(STARTS_MAX + 3):
        log = open_log()
        if number < 4:
            Scribe(log).write("a", b"x")
        found = log.starts()
        log.close()
    assert len(found) == STARTS_MAX and {start.head for start in found} == {3, 4}


@pytest.mark.parametrize("change_of", ["head = 9", "crc = 0", "start = ''"])
def test_what_is_before_a_changed_row_is_left_out(open_log: OpenLog, tmp_path: Path, change_of: str) -> None:
    for _ in range(4):
        log = open_log()
        found = log.starts()
        log.close()
    change(tmp_path / "log", f"UPDATE starts SET {change_of} WHERE number = 2")
    assert open_log().starts()[:-1] == found[2:]


def test_a_start_that_could_not_be_written_is_kept_with_the_first_append(
    open_log: OpenLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_log().close()
    monkeypatch.setattr("zchat.log.sqlite.disk.FREE_BYTES_MIN", 1 << 60)
    log = open_log()
    told = log.starts()
    assert len(told) == 2 and kept(tmp_path / "log") == told[:1]
    refused = append(log, Append([], [], [], {"alice": 1}))
    assert refused is not None and refused.code == "log-full" and kept(tmp_path / "log") == told[:1]
    monkeypatch.setattr("zchat.log.sqlite.disk.FREE_BYTES_MIN", FREE_BYTES_MIN)
    Scribe(log).write("a", b"x")
    assert kept(tmp_path / "log") == told


def kept(folder: Path) -> list[LogStart]:
    connection = schema.reader(folder / schema.FILE)
    try:
        return starts.load(connection)
    finally:
        connection.close()


def test_offsets_that_a_start_knows_of_are_never_given_again(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    Scribe(log).write("a", b"1", b"2")
    log.close()
    open_log().close()
    change(tmp_path / "log", "DELETE FROM rooms")
    change(tmp_path / "log", "DELETE FROM batches")
    log = open_log()
    assert log.head() == 2
    assert Scribe(log).write("b", b"3").base == 3


def test_a_repair_keeps_them(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    Scribe(log).write("a", b"1")
    log.close()
    change(tmp_path / "log", "UPDATE batches SET time = time + 1")
    found = kept(tmp_path / "log")
    assert repairing.repair(tmp_path / "log") is not None
    assert kept(tmp_path / "log") == found


def test_a_changed_row_is_a_finding(open_log: OpenLog, tmp_path: Path) -> None:
    open_log().close()
    change(tmp_path / "log", "UPDATE starts SET head = 9")
    findings: list[repairing.Finding] = []
    repairing.check(tmp_path / "log", findings.append)
    assert [finding.kind for finding in findings] == ["start"]
