"""What an append writes: rows that are new, and never in the place of a record."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.log.contract import Scribe, append, read
from tests.log.sqlite.test_log import OpenLog
from zchat.core.log import Append
from zchat.errors import StartError
from zchat.log.sqlite import schema, stored, writing


def change(folder: Path, *statements: str) -> None:
    connection = sqlite3.connect(folder / schema.FILE, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def test_a_row_that_damage_has_put_in_the_way_is_removed(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    first = Scribe(log).write("a", b"1", b"2")
    Scribe(log).write("b", b"3")
    log.close()
    change(tmp_path / "log", "UPDATE batches SET base = 5 WHERE base = 3")
    log = open_log()
    scribe = Scribe(log)
    batches = [scribe.batch("a", b"4"), scribe.batch("a", b"5"), scribe.batch("a", b"6")]
    scribe.keep(*batches)
    page = read(log, ["a"])
    assert [frame for _, frame in page.batches] == [batch.frame for batch in (first, *batches)]
    assert log.head() == 6


def test_a_record_that_is_in_the_way_is_never_replaced(open_log: OpenLog, tmp_path: Path) -> None:
    """As another program would have written it: nothing of ours can."""
    log = open_log()
    scribe = Scribe(log)
    theirs = scribe.batch("a", b"theirs")
    crc = stored.checksum(theirs.base, 1, theirs.kind, 1, theirs.time, theirs.frame)
    connection = sqlite3.connect(tmp_path / "log" / schema.FILE, isolation_level=None)
    connection.execute(writing.INSERT_BATCH, (theirs.base, 1, theirs.kind, 1, theirs.time, crc, theirs.frame))
    ours = Scribe(log).batch("a", b"ours")
    error = append(log, Append([ours], [], [], {}))
    assert error is not None and error.code == "log-damaged" and "another record" in str(error)
    assert connection.execute("SELECT frame FROM batches").fetchall() == [(theirs.frame,)]
    connection.close()
    assert log.head() == 0


@pytest.mark.parametrize("damaged", [False, True])
def test_a_record_above_the_head_is_seen_when_the_log_is_opened(
    open_log: OpenLog, tmp_path: Path, damaged: bool
) -> None:
    log = open_log()
    for _ in range(3):
        Scribe(log).write("a", b"x")
    log.close()
    change(tmp_path / "log", "DELETE FROM rooms", "DELETE FROM starts WHERE head > 0")
    if damaged:  # the newest is no record, and those below it are
        change(tmp_path / "log", "UPDATE batches SET crc = 0 WHERE base = 3")
    with pytest.raises(StartError, match="its newest batch is"):
        open_log()
