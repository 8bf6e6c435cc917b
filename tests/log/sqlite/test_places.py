"""Where batches lie: in order, none beyond the next one, and past what cannot be read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.log.damage import change, overwrite, pages_of, written
from zchat import wire
from zchat.core.log import StoredBatch
from zchat.log.sqlite import schema
from zchat.log.sqlite.places import CHUNK_ROWS_MIN, IndexEntry, Oldest, Places, StoredPlace
from zchat.wire import OFFSET_MAX


@pytest.fixture
def batches(tmp_path: Path) -> list[StoredBatch]:
    return written(tmp_path / "log", rooms=3, batches=600)


@pytest.fixture
def places(batches: list[StoredBatch], tmp_path: Path) -> Iterator[Places]:
    with closing(schema.writer(tmp_path / "log" / schema.FILE, "normal")) as connection:
        yield Places(connection)


def all_of(places: Places) -> list[StoredPlace]:
    found: list[StoredPlace] = []
    position = 0
    while position < OFFSET_MAX:
        chunk, position = places.chunk(position)
        found += chunk
    return found


def test_all_are_found_in_order_in_chunks_that_grow(batches: list[StoredBatch], places: Places) -> None:
    first, position = places.chunk(0)
    assert len(first) == CHUNK_ROWS_MIN - 1 and position == batches[CHUNK_ROWS_MIN - 1].base
    found = all_of(places)
    assert [(place.base, place.records, place.time, place.size) for place in found] == [
        (batch.base, batch.records, batch.time, len(batch.frame)) for batch in batches
    ]
    assert [place.last for place in found[:-1]] == [place.base - 1 for place in found[1:]]


def test_a_room_tells_its_oldest_and_what_follows(batches: list[StoredBatch], places: Places) -> None:
    of_room = [batch for batch in batches if batch.room == batches[0].room]
    first, second, third = of_room[:3]
    assert places.oldest(1) == Oldest(first.base, first.time) and places.oldest(9) is None
    found = places.of_room(1, first.base, 2)
    assert found == [IndexEntry(each.base, each.kind, each.records) for each in (second, third)]
    place = StoredPlace(second.base, 1, second.kind, second.records, second.time, len(second.frame))
    assert places.of_entry(1, found[0]) == place and place.is_sound
    assert places.of_entry(1, IndexEntry(OFFSET_MAX, wire.MESSAGES, 1)) is None
    assert places.has_between(1, first.base, third.base) and not places.has_between(1, first.base, second.base)


def test_damage_is_passed_over(batches: list[StoredBatch], places: Places, tmp_path: Path) -> None:
    change(tmp_path / "log", "UPDATE batches SET records = 1000 WHERE base = ?", [batches[30].base])
    change(tmp_path / "log", "UPDATE batches SET time = 'then' WHERE base = ?", [batches[31].base])
    found = {place.base: place for place in all_of(places)}
    assert found[batches[30].base].records == batches[30].records, "it does not reach beyond the next one"
    assert batches[31].base not in found and len(found) == len(batches) - 1
    assert places.of_entry(2, IndexEntry(batches[31].base, wire.MESSAGES, 1)) is None


def test_behind_a_page_that_cannot_be_read_it_goes_on(batches: list[StoredBatch], tmp_path: Path) -> None:
    overwrite(tmp_path / "log", pages_of(tmp_path / "log", "batches")[3], bytes(schema.PAGE_BYTES))
    with closing(schema.writer(tmp_path / "log" / schema.FILE, "normal")) as connection:
        found = {place.base for place in all_of(Places(connection))}
    missing = [batch.base for batch in batches if batch.base not in found]
    assert 0 < len(missing) < 200 and found <= {batch.base for batch in batches}
    assert missing == [batch.base for batch in batches if missing[0] <= batch.base <= missing[-1]]


def test_an_error_that_is_no_damage_is_raised(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    places._connection.close()
    with pytest.raises(sqlite3.ProgrammingError):
        places.oldest(1)
