"""What is asked of a log on disk while it is written; what each answer means is in the contract."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.log.contract import Scribe, read_all
from zchat.core.log import CursorRow, GroupRow
from zchat.log.sqlite import schema
from zchat.log.sqlite.log import SqliteLog


def test_any_thread_asks_at_any_time(open_log: Callable[..., SqliteLog]) -> None:
    log = open_log(sync="normal")
    scribe = Scribe(log)

    def ask(_: int) -> tuple[bool, int]:
        head, offsets = log.head(), [row.offset for row in log.cursors()]
        batches = read_all(log, ["a"]).batches
        return len(batches) >= head and offsets in ([], [1]), log.rooms().get("a", 0) - head

    with ThreadPoolExecutor(4) as pool:
        asked = pool.map(ask, range(40))
        for number in range(100):
            scribe.keep(scribe.batch("a", b"x"), cursors=[CursorRow("ann", "c", 1, number)])
        assert all(is_right and ahead >= 0 for is_right, ahead in asked)


def test_a_log_without_groups_and_schedule_gets_the_tables(open_log: Callable[..., SqliteLog], tmp_path: Path) -> None:
    open_log().close()
    connection = sqlite3.connect(tmp_path / "log" / schema.FILE)
    connection.executescript("DROP TABLE groups; DROP TABLE scheduled; PRAGMA user_version=4")
    connection.close()
    log = open_log()
    Scribe(log).keep(groups=[GroupRow("a", "x", 1, 0, 1, [])])
    assert ([row.name for row in log.groups()], log.scheduled()) == (["x"], [])
