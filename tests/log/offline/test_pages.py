"""Batches from the pages of the file: all that lies on pages that are whole, whatever became of the others."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.log.contract import Scribe, read_all, trim
from tests.log.damage import change, copied, flip, overwrite, pages_of, written
from zchat import wire
from zchat.core.log import RetentionRule, StoredBatch
from zchat.log.offline import pages
from zchat.log.offline.exporting import export
from zchat.log.offline.repairing import check, repair
from zchat.log.sqlite import schema, stored
from zchat.log.sqlite.log import SqliteLog

OpenLog = Callable[..., SqliteLog]
PAGE = schema.PAGE_BYTES


def rows_of(connection: sqlite3.Connection) -> list[stored.BatchRow]:
    return connection.execute(f"SELECT {stored.ROW} FROM batches ORDER BY base").fetchall()


def rows(folder: Path) -> list[stored.BatchRow]:
    """As SQLite reads them."""
    connection = sqlite3.connect(folder / schema.FILE)
    found = rows_of(connection)
    connection.close()
    return found


def root_of(folder: Path, name: str = "batches") -> int:
    """Where its root page lies."""
    connection = sqlite3.connect(folder / schema.FILE)
    (root,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", [name]).fetchone()
    connection.close()
    return (int(root) - 1) * PAGE


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log whose table has a root, pages between, and leaves; batches of all sizes, many over several pages."""
    folder = tmp_path_factory.mktemp("deep")
    log = SqliteLog(folder, sync="normal")
    scribe = Scribe(log)
    chance = random.Random(3)
    sizes = [*range(3_000, 40_000, 1_001), *range(PAGE - 130, PAGE - 30), *[6_000] * 2_000]
    scribe.keep(*[scribe.batch(f"r{number % 3}", chance.randbytes(size)) for number, size in enumerate(sizes)])
    log.close()
    assert len(pages_of(folder, "batches", "internal")) > 1
    return folder


def test_what_sqlite_reads_is_read(tmp_path: Path, deep: Path) -> None:
    written(tmp_path)
    for folder in (tmp_path, deep):
        assert list(pages.batches(folder / schema.FILE)) == rows(folder)


@given(st.lists(st.integers(0, 60_000), min_size=1, max_size=6), st.integers(1, 1 << 62), st.integers(0, 1 << 62))
@settings(max_examples=60, deadline=None)
def test_rows_of_any_size_and_number_are_read(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], base: int, time: int
) -> None:
    path = tmp_path_factory.mktemp("any") / schema.FILE
    schema.create(path)
    connection = schema.writer(path, "off")
    for number, size in enumerate(sizes):
        place = (base + number, 1 + number * 77, number % 2, size, time, bytes([number]) * size)
        row = (*place[:5], stored.checksum(*place), place[5])
        connection.execute("INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    expected = rows_of(connection)
    assert list(pages.batches(path)) == expected, "from the WAL"
    connection.close()
    assert list(pages.batches(path)) == expected
    shutil.rmtree(path.parent)


def test_the_wal_counts_up_to_its_last_commit(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log(sync="normal")
    scribe = Scribe(log)
    scribe.keep(*[scribe.batch("a", bytes(5_000)) for _ in range(20)])
    log._checkpoint()
    database = (tmp_path / "log" / schema.FILE).read_bytes()
    for _ in range(4):
        scribe.keep(*[scribe.batch("a", bytes(5_000)) for _ in range(5)])
    wal = (tmp_path / "log" / f"{schema.FILE}-wal").read_bytes()
    seen = []
    for cut in (len(wal), len(wal) - 1, len(wal) // 2, len(wal) // 3, 40, 31, 0):
        (tmp_path / schema.FILE).write_bytes(database)
        (tmp_path / f"{schema.FILE}-wal").write_bytes(wal[:cut])
        found = list(pages.batches(tmp_path / schema.FILE))
        assert found == rows(tmp_path)  # which moves it
        seen.append(len(found))
    assert seen[0] == 40 and seen[-1] == 20 and len(set(seen)) > 3
    (tmp_path / schema.FILE).write_bytes(database)
    (tmp_path / f"{schema.FILE}-wal").write_bytes(b"x" * 32 + wal[32:])
    assert len(list(pages.batches(tmp_path / schema.FILE))) == 20


def test_each_comes_once_and_in_order_though_pages_are_there_twice(tmp_path: Path) -> None:
    written(tmp_path, batches=400)
    before = rows(tmp_path)
    file = (tmp_path / schema.FILE).read_bytes()
    leaves = b"".join(file[page : page + PAGE] for page in reversed(pages_of(tmp_path, "batches")))
    (tmp_path / schema.FILE).write_bytes(file + leaves)
    assert list(pages.batches(tmp_path / schema.FILE)) == before


def test_a_chain_that_ends_nowhere_or_in_itself_is_no_batch(tmp_path: Path, deep: Path) -> None:
    copied(deep, tmp_path)
    before = rows(tmp_path)
    for at, page in enumerate(pages_of(tmp_path, "batches", "overflow")[:40]):
        following = (page // PAGE + 1, 0, 1 << 31, 1)[at % 4]
        overwrite(tmp_path, page, following.to_bytes(4))
    after = list(pages.batches(tmp_path / schema.FILE))
    assert set(after) < set(before) and len(after) > len(before) - 45


@pytest.mark.parametrize("content", [b"", b"\x0d", b"\x0d" * PAGE * 3, bytes(PAGE) + b"\x0d\0\0\xff\xff" + bytes(PAGE)])
def test_what_is_no_database_has_no_batch(tmp_path: Path, content: bytes) -> None:
    (tmp_path / schema.FILE).write_bytes(content)
    assert list(pages.batches(tmp_path / schema.FILE)) == []


# --- through check, repair and export -----------------------------------------------------------


def assert_saved(folder: Path, before: list[stored.BatchRow], lost: set[int]) -> None:
    """Everything but those is saved, told or not, and the log that was made of it is whole."""
    exported = [line for line in export(folder) if b'"gap"' not in line]
    repaired = repair(folder)
    after = rows(folder)
    assert set(after) <= set(before)
    assert {row[0] for row in before} - {row[0] for row in after} <= lost
    assert len(exported) == sum(row[3] for row in after)
    assert check(folder, print).findings == 0
    if repaired is not None and after != before:
        assert repaired.gaps


@pytest.mark.parametrize("bit", [0, 2, 3, 5, 9, 30, 44, 70, 100])
def test_a_bit_of_a_root_hides_nothing(tmp_path: Path, bit: int) -> None:
    written(tmp_path, batches=3_000)
    before, root = rows(tmp_path), root_of(tmp_path)
    assert len(pages_of(tmp_path, "batches", "internal")) == 1
    flip(tmp_path, root + bit // 8, bit % 8)
    assert_saved(tmp_path, before, set())


@pytest.mark.slow
def test_any_bit_of_the_pages_above_the_leaves_hides_nothing(tmp_path: Path) -> None:
    written(tmp_path / "whole", batches=600)
    before, chance = rows(tmp_path / "whole"), random.Random(11)
    (page,) = pages_of(tmp_path / "whole", "batches", "internal")
    used = [*range(12 * 8), *range((PAGE - 200) * 8, PAGE * 8)]
    for bit in chance.sample(used, 40):
        folder = copied(tmp_path / "whole", tmp_path / str(bit))
        flip(folder, page + bit // 8, bit % 8)
        assert_saved(folder, before, set())


@pytest.mark.parametrize("name", ["batches", "batches_of_room", "rooms", "meta", "sessions"])
def test_an_overwritten_root_loses_no_batch(tmp_path: Path, name: str) -> None:
    kept = written(tmp_path, batches=3_000)
    before, root = rows(tmp_path), root_of(tmp_path, name)
    overwrite(tmp_path, root, random.Random(1).randbytes(PAGE))
    assert_saved(tmp_path, before, set())
    assert len(rows(tmp_path)) == len(kept)


def test_pages_between_that_are_overwritten_lose_no_batch(tmp_path: Path, deep: Path) -> None:
    copied(deep, tmp_path)
    before = rows(tmp_path)
    for page in pages_of(tmp_path, "batches", "internal"):
        overwrite(tmp_path, page, bytes(PAGE))
    assert_saved(tmp_path, before, set())


@pytest.mark.slow
def test_random_blocks_lose_what_lies_in_them(tmp_path: Path) -> None:
    written(tmp_path / "whole", batches=2_000)
    before, chance = rows(tmp_path / "whole"), random.Random(2)
    length = (tmp_path / "whole" / schema.FILE).stat().st_size
    leaves = pages_of(tmp_path / "whole", "batches")
    with pages.DatabasePages(tmp_path / "whole" / schema.FILE) as file:
        bases = {page: {base for base, _ in pages._cells(file.page(page // PAGE + 1))} for page in leaves}
    for number in range(12):
        folder = copied(tmp_path / "whole", tmp_path / str(number))
        lost: set[int] = set()
        for _ in range(5):
            at = chance.randrange(PAGE, length - 4_096)
            overwrite(folder, at, chance.randbytes(4_096))
            for page in (at // PAGE * PAGE, (at + 4_095) // PAGE * PAGE):
                lost |= bases.get(page, set())
        assert_saved(folder, before, lost)


def test_what_was_trimmed_and_lies_on_free_pages_does_not_come_back(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log(sync="normal")
    scribe = Scribe(log)
    kept: list[StoredBatch] = [scribe.batch("a", bytes(900)) for _ in range(600)]
    scribe.keep(*kept)
    trim(log, [RetentionRule("a", records=300)])
    log.close()
    folder = tmp_path / "log"
    assert len(list(pages.batches(folder / schema.FILE))) > 300, "they lie there"
    overwrite(folder, root_of(folder), bytes(PAGE))
    repaired = repair(folder)
    assert repaired is not None and (repaired.batches, repaired.gaps) == (300, [])
    page = read_all(open_log(folder))
    assert [wire.decode_raw_batch(frame).base for _, frame in page.batches] == [batch.base for batch in kept[300:]]
    assert page.gaps == [("a", 1, 300, "trimmed")]


def test_a_row_that_was_changed_is_not_taken(tmp_path: Path) -> None:
    written(tmp_path, batches=300)
    before = rows(tmp_path)
    change(tmp_path, "UPDATE batches SET time = time + 1 WHERE base = 1")
    overwrite(tmp_path, root_of(tmp_path), bytes(PAGE))
    assert list(pages.batches(tmp_path / schema.FILE)) == before[1:]
