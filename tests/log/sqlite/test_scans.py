"""Scans: in order, whole, each row once; the index is believed only as far as the rows bear it out."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.log.contract import Scribe
from tests.log.damage import change, overwrite, pages_of, written
from zchat.core.log import StoredBatch
from zchat.log.sqlite import scans, schema
from zchat.log.sqlite.log import SqliteLog
from zchat.log.sqlite.scans import IndexDamaged, Scanner, Sparse
from zchat.wire import OFFSET_MAX

OpenLog = Callable[..., SqliteLog]
ROOM_IDS = {"a": 1, "b": 2}


@pytest.fixture
def scanner(open_log: OpenLog, tmp_path: Path) -> Iterator[Callable[[], Scanner]]:
    connections = []

    def make(folder: Path | None = None) -> Scanner:
        connections.append(schema.reader((folder or tmp_path / "log") / schema.FILE))
        return Scanner(connections[-1])

    yield make
    for connection in connections:
        connection.close()


def fill(log: SqliteLog, *rooms: str) -> list[StoredBatch]:
    scribe = Scribe(log)
    batches = [scribe.batch(room, b"x", b"y") for room in rooms]
    scribe.keep(*batches)
    return batches


def test_the_table_is_walked_from_an_offset_to_an_end(open_log: OpenLog, scanner: Callable[[], Scanner]) -> None:
    fill(open_log(), *"abab")
    assert [row[0] for row in scanner().by_table(2, 6, {1, 2})] == [3, 5]
    assert [row[0] for row in scanner().by_table(1, OFFSET_MAX, {2})] == [3, 7]


def test_both_ways_give_the_same_whatever_the_chunks(open_log: OpenLog, scanner: Callable[[], Scanner]) -> None:
    chance = random.Random(3)
    fill(open_log(), *(chance.choice("ab") for _ in range(1_500)))
    by_table = list(scanner().by_table(1, OFFSET_MAX, {1, 2}))
    assert by_table == list(scanner().by_rooms([2, 1], 1, OFFSET_MAX)) and len(by_table) == 1_500


def test_a_table_of_other_rooms_is_given_up(open_log: OpenLog, scanner: Callable[[], Scanner]) -> None:
    batches = fill(open_log(), "a", *"b" * (scans.SKIPPED_ROWS_MAX * 2), "a")
    with pytest.raises(Sparse) as raised:
        list(scanner().by_table(1, OFFSET_MAX, {1}))
    assert batches[scans.SKIPPED_ROWS_MAX].base < raised.value.position <= batches[-1].base


def test_the_batch_across_an_offset_is_found(open_log: OpenLog, scanner: Callable[[], Scanner]) -> None:
    fill(open_log(), *"ab")
    across = [row and row[0] for row in map(scanner().across, range(6))]
    assert across == [None, 1, None, 3, None, None]


def test_the_index_says_where_batches_are(open_log: OpenLog, scanner: Callable[[], Scanner]) -> None:
    fill(open_log(), *"abaab")
    assert scanner().places(1, 1, 6) == [(1, 2), (5, 6)]
    assert scanner().places(1, 2, OFFSET_MAX - 1) == [(5, 6), (7, 8)]
    assert scanner().places(9, 1, OFFSET_MAX - 1) == []


def test_the_next_batch_of_a_room(open_log: OpenLog, scanner: Callable[[], Scanner]) -> None:
    fill(open_log(), *"abab")
    following = scanner().next_of(1, 2)
    assert following is not None and following[:2] == (5, 1)
    with pytest.raises(IndexDamaged):
        scanner().next_of(1, 6)
    assert sorted(row[:2] for row in scanner().first_of_each([1, 2], 2)) == [(3, 2), (5, 1)]


def test_an_index_that_has_no_row_for_its_entry_is_damaged(tmp_path: Path, scanner: Callable[[], Scanner]) -> None:
    written(tmp_path / "log", rooms=1)
    page = pages_of(tmp_path / "log", "batches_of_room")[0]
    overwrite(tmp_path / "log", page + schema.PAGE_BYTES - 1_500, random.Random(2).randbytes(400))
    with pytest.raises(IndexDamaged):
        list(scanner().by_rooms([1], 1, OFFSET_MAX))


def test_a_row_that_is_not_sound_is_passed_over(tmp_path: Path, scanner: Callable[[], Scanner]) -> None:
    kept = written(tmp_path / "log", rooms=1)
    change(tmp_path / "log", "UPDATE batches SET time = time + 1 WHERE base = ?", [kept[9].base])
    sound = [batch.base for batch in kept if batch is not kept[9]]
    assert [row[0] for row in scanner().by_table(1, OFFSET_MAX, {1})] == sound
    by_room = scanner()
    assert [row[0] for row in by_room.by_rooms([1], 1, OFFSET_MAX)] == sound
    assert by_room.met_damage and by_room.at(kept[9].base) is None


def test_behind_a_page_that_cannot_be_read_the_walk_goes_on(tmp_path: Path, scanner: Callable[[], Scanner]) -> None:
    kept = written(tmp_path / "log", rooms=1)
    pages = pages_of(tmp_path / "log", "batches")
    whole = [row[0] for row in scanner().by_table(1, OFFSET_MAX, {1})]
    overwrite(tmp_path / "log", pages[3], bytes(schema.PAGE_BYTES))
    found = [row[0] for row in scanner().by_table(1, OFFSET_MAX, {1})]
    missing = sorted(set(whole) - set(found))
    at = whole.index(missing[0])
    assert whole[at : at + len(missing)] == missing, "the batches of one page"
    assert len(missing) < len(kept) // 5
    assert missing[-1] < scanner().behind(missing[0], OFFSET_MAX - 1) <= whole[at + len(missing)]


@pytest.mark.parametrize("rooms", [1, 8])
def test_large_batches_behind_small_ones_are_not_all_in_memory_at_once(
    open_log: OpenLog, scanner: Callable[[], Scanner], rooms: int
) -> None:
    log, small, large = open_log(sync="normal"), bytes(10), bytes(1 << 20)
    scribe = Scribe(log)
    scribe.keep(*[scribe.batch(f"r{number % rooms}", small) for number in range(1_200)])
    for _ in range(6):
        scribe.keep(*[scribe.batch(f"r{number % rooms}", large) for number in range(8)])
    ids = list(range(1, rooms + 1))
    for rows in (scanner().by_table(1, OFFSET_MAX, ids), scanner().by_rooms(ids, 1, OFFSET_MAX)):
        tracemalloc.start()
        count = sum(1 for _ in rows)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert count == 1_248 and peak < 24 << 20
