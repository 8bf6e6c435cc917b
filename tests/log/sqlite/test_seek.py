"""Seeking in logs that are large, sparse or damaged; what it means is in the contract."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.log.contract import Scribe, bases, read
from tests.log.damage import change, overwrite, pages_of, written
from zchat import wire
from zchat.core.log import whole
from zchat.log.sqlite import schema, seek
from zchat.log.sqlite.log import SqliteLog

OpenLog = Callable[..., SqliteLog]


@pytest.mark.parametrize("rooms", [1, 5, 40])
@pytest.mark.parametrize("last", [1, 10, 700])
def test_the_last_of_some_rooms_behind_many_of_another(open_log: OpenLog, rooms: int, last: int) -> None:
    log = open_log(sync="normal")
    scribe = Scribe(log)
    kept = [scribe.batch(f"some.{number % rooms}", b"x") for number in range(1_000)]
    scribe.keep(*kept, *[scribe.batch("other", b"x") for _ in range(2 * seek.SKIPPED_ROWS_MAX)])
    assert whole(log.seek(["some.*"], last, 0, False)) == kept[-last].base - 1


@pytest.mark.parametrize("rooms", [1, 40])
def test_a_few_messages_among_many_joins_and_leaves_are_found(open_log: OpenLog, rooms: int) -> None:
    log = open_log(sync="normal")
    scribe = Scribe(log)
    kept = [scribe.batch(f"r.{number % rooms}", b"x") for number in range(100)]
    joins = [scribe.batch(f"r.{number % rooms}", b"", kind=wire.PRESENCE) for number in range(10_000)]
    scribe.keep(*kept, *joins)
    assert whole(log.seek(["r.*"], 10, 0, False)) == kept[-10].base - 1
    assert whole(log.seek(["r.*"], 10, 0, True)) == joins[-10].base - 1


def test_a_damaged_batch_does_not_count(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    scribe = Scribe(log)
    for _ in range(5):
        scribe.write("a", b"x", b"y")
    log.close()
    change(tmp_path / "log", "UPDATE batches SET records = 1000 WHERE base = 7")
    assert whole(open_log().seek(["a"], 4, 0, False)) == 4


@pytest.mark.parametrize("name", ["batches", "batches_of_room"])
@pytest.mark.parametrize("rooms", [1, 3, 30])
def test_the_table_stands_in_for_the_index_and_the_other_way_round(
    open_log: OpenLog, tmp_path: Path, name: str, rooms: int
) -> None:
    kept = written(tmp_path / "log", rooms=rooms)
    pages = pages_of(tmp_path / "log", name)
    overwrite(tmp_path / "log", pages[len(pages) // 2], bytes(schema.PAGE_BYTES))
    log = open_log()
    for last in (1, 20, 150):
        after = whole(log.seek(["**"], last, 0, False))
        assert kept[-1].base + kept[-1].records - 1 - after >= last
        assert kept[-1].base - after < 2 * last + 60, "the damage costs no more than a page"


def test_a_time_is_found_beside_damage(open_log: OpenLog, tmp_path: Path) -> None:
    kept = written(tmp_path / "log", rooms=1)
    for batch in kept[1::3]:
        change(tmp_path / "log", "UPDATE batches SET time = ? WHERE base = ?", [random.randrange(1 << 40), batch.base])
    log = open_log()
    for number in (0, 50, 100, 199):
        after = whole(log.seek(["**"], 0, kept[number].time, False))
        young = [batch.base for at, batch in enumerate(kept) if batch.time >= kept[number].time and at % 3 != 1]
        assert [base for base in bases(read(log, after=after)) if base >= kept[number].base] == young
