"""What check, repair and export read: as far as it can be read, and nothing of it is changed."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.log.damage import change, flip, overwrite, pages_of, written
from zchat.errors import StartError
from zchat.log.offline import salvage
from zchat.log.offline.repairing import repair
from zchat.log.offline.salvage import Hole, HoleDetector
from zchat.log.sqlite import schema


def test_a_whole_log_is_read_whole(tmp_path: Path) -> None:
    kept = written(tmp_path)
    with salvage.reading(tmp_path) as contents:
        assert contents.identity is not None and not contents.unsound
        assert {room.name for room in contents.rooms.values()} == {"r0", "r1", "r2"}
        assert (len(contents.sessions), len(contents.cursors), contents.seen) == (1, 1, [("bob", 1)])
        assert not contents.sessions_lost and not contents.cursors_lost
        assert contents.head == kept[-1].base + kept[-1].records - 1
        assert [row[0] for row in salvage.sound_rows(contents, None)] == [batch.base for batch in kept]
    assert {path.name for path in tmp_path.iterdir()} <= {schema.FILE, "log.lock", "log.ballast"}


def test_a_chain_tells_what_is_missing_between_and_after(tmp_path: Path) -> None:
    kept = written(tmp_path, rooms=1)
    for batch in (kept[0], kept[50], kept[-1]):
        change(tmp_path, "DELETE FROM batches WHERE base = ?", [batch.base])
    with salvage.reading(tmp_path) as contents:
        detector = HoleDetector(contents)
        holes = [hole for row in salvage.sound_rows(contents, None) if (hole := detector.before(row))]
        holes += detector.after_all()
    assert holes == [Hole(1, batch.base, batch.base + batch.records - 1) for batch in (kept[0], kept[50], kept[-1])]


def test_names_of_rooms_are_in_their_index_too(tmp_path: Path) -> None:
    kept = written(tmp_path)
    (page,) = pages_of(tmp_path, "rooms")
    overwrite(tmp_path, page, bytes(schema.PAGE_BYTES))
    with salvage.reading(tmp_path) as contents:
        pass
    assert {room.name for room in contents.rooms.values()} == set(contents.unsound) == {"r0", "r1", "r2"}
    assert contents.head == kept[-1].base + kept[-1].records - 1


def test_rows_are_taken_up_to_the_first_that_cannot_be_read(tmp_path: Path) -> None:
    written(tmp_path, rooms=900, batches=900)
    overwrite(tmp_path, pages_of(tmp_path, "rooms")[1], bytes(schema.PAGE_BYTES))
    with salvage.reading(tmp_path) as contents:
        rows, is_all = contents.rows("SELECT id FROM rooms NOT INDEXED")
    assert rows and not is_all


def test_the_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / schema.FILE)
    connection.execute("CREATE TABLE batches (base)")
    for number in range(20):
        connection.execute(f"CREATE TABLE t{number} (name TEXT UNIQUE)")
        connection.execute(f"INSERT INTO t{number} VALUES ('x')")
    connection.commit()
    connection.close()
    before = (tmp_path / schema.FILE).read_bytes()
    with pytest.raises(StartError, match="another program"), salvage.reading(tmp_path):
        pass
    with pytest.raises(StartError):
        repair(tmp_path)
    assert (tmp_path / schema.FILE).read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {schema.FILE, "log.lock"}


@pytest.mark.parametrize("bit", range(0, 800, 37))
def test_a_bit_of_the_header_loses_nothing(tmp_path: Path, bit: int) -> None:
    kept = written(tmp_path, batches=30)
    flip(tmp_path, bit // 8, bit % 8)
    repaired = repair(tmp_path)
    assert repaired is None or (repaired.batches == len(kept) and not repaired.gaps)
    with salvage.reading(tmp_path) as contents:
        assert len(list(salvage.sound_rows(contents, None))) == len(kept)
