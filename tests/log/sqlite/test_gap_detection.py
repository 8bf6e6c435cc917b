"""Gap detection: what is missing shows by the batch after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.log.contract import Scribe
from tests.log.damage import change
from zchat import wire
from zchat.log.sqlite import schema, stored
from zchat.log.sqlite.gap_detection import GapDetector, Lasts, PageRooms, prev_of
from zchat.log.sqlite.log import SqliteLog
from zchat.log.sqlite.scans import IndexDamaged, Scanner

OpenLog = Callable[..., SqliteLog]


@pytest.fixture
def scanner(open_log: OpenLog, tmp_path: Path) -> Iterator[Scanner]:
    """Over a log with the batches 1-2 of a, 3-4 of b, 5-6 of a, 7-8 of b, 9-10 of a."""
    log = open_log()
    scribe = Scribe(log)
    for room in "ababa":
        scribe.write(room, b"x", b"y")
    connection = schema.reader(tmp_path / "log" / schema.FILE)
    yield Scanner(connection)
    connection.close()


def links(
    scanner: Scanner, after: int = 0, trimmed: dict[int, int] | None = None, *, by_index: bool = True
) -> GapDetector:
    lasts = [(last, room) for last, room in [(8, 2), (10, 1)] if last > after]
    return GapDetector(scanner, PageRooms({1: "a", 2: "b"}, Lasts(lasts), trimmed or {}), after, by_index=by_index)


def add(found: GapDetector, scanner: Scanner, *bases: int) -> None:
    for base in bases:
        row = scanner.at(base)
        assert row is not None
        found.add(row)


def drop(tmp_path: Path, base: int) -> None:
    change(tmp_path / "log", "DELETE FROM batches WHERE base = ?", [base])


def test_a_whole_page_has_no_gap(scanner: Scanner) -> None:
    found = links(scanner)
    add(found, scanner, 1, 3, 5, 7, 9)
    assert found.close(10) == []


def test_a_page_that_begins_in_the_middle_has_no_gap(scanner: Scanner) -> None:
    found = links(scanner, after=4)
    add(found, scanner, 5, 7, 9)
    assert found.close(10) == []


def test_what_is_sound_and_was_passed_over_means_a_bad_walk(scanner: Scanner) -> None:
    found = links(scanner)
    add(found, scanner, 1, 3)
    with pytest.raises(IndexDamaged):
        add(found, scanner, 9)


def test_a_batch_of_which_the_index_knows_is_told_exactly(scanner: Scanner, tmp_path: Path) -> None:
    change(tmp_path / "log", "UPDATE batches SET crc = 0 WHERE base = 5")
    found = links(scanner)
    add(found, scanner, 1, 3, 7, 9)
    assert found.close(10) == [("a", 5, 6, "damaged")]


def test_a_batch_that_left_no_trace_is_told_as_far_as_the_links_do(scanner: Scanner, tmp_path: Path) -> None:
    drop(tmp_path, 5)
    found = links(scanner)
    add(found, scanner, 1, 3, 7)
    with pytest.raises(IndexDamaged):
        add(found, scanner, 9)
    found = links(scanner, by_index=False)
    add(found, scanner, 1, 3, 7, 9)
    assert found.close(10) == [("a", 3, 6, "damaged")]


def test_before_the_end_of_a_page_the_next_batch_tells(scanner: Scanner, tmp_path: Path) -> None:
    drop(tmp_path, 5)
    found = links(scanner, by_index=False)
    add(found, scanner, 1, 3)
    assert found.close(4) == [("a", 3, 4, "damaged")]  # where in it the batch was cannot be told
    found = links(scanner, by_index=False)
    add(found, scanner, 1, 3, 7)
    assert found.close(8) == [("a", 3, 6, "damaged")]


def test_at_the_end_of_the_log_the_rooms_row_tells(scanner: Scanner, tmp_path: Path) -> None:
    drop(tmp_path, 7)
    found = links(scanner, by_index=False)
    add(found, scanner, 1, 3, 5, 9)
    assert found.close(10) == [("b", 5, 8, "damaged")]


def test_what_was_trimmed_is_no_damage(scanner: Scanner, tmp_path: Path) -> None:
    drop(tmp_path, 1)
    drop(tmp_path, 5)
    found = links(scanner, trimmed={1: 6})
    add(found, scanner, 3, 7, 9)
    assert found.close(10) == [("a", 1, 6, "trimmed")]


@pytest.mark.parametrize("offset", [0, 5, 200, 60_000, 1 << 20, 1 << 40])
@pytest.mark.parametrize("depth", [1, 20_000])
def test_a_batch_whose_records_are_nested_too_deep_names_the_one_before_it(offset: int, depth: int) -> None:
    records = wire.raw(b"\x91" * depth + b"\xc0")
    frame = wire.encode(
        wire.RawBatch(wire.MESSAGES, offset + 1, offset, 1 << 50, [wire.RawEntry("a", "s", 1, records)])
    )
    assert prev_of(stored.BatchRow.sealed(offset + 1, 1, wire.MESSAGES, 1, 1 << 50, frame)) == offset


def test_the_last_offsets_of_rooms_are_found_by_their_place() -> None:
    lasts = Lasts([(4, 9), (7, 3), (8, 5)])
    assert lasts.of == {9: 4, 3: 7, 5: 8}
    assert (lasts.up_to(4, 7), lasts.above(4), lasts.count_above(7)) == ([(7, 3)], [3, 5], 1)
    assert (lasts.up_to(0, 99), lasts.above(8), lasts.count_above(0)) == ([(4, 9), (7, 3), (8, 5)], [], 3)
