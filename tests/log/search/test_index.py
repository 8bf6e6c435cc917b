"""The index as a broker asks it: of this log, or of none."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from zchat.core.log import whole
from zchat.core.words import asked_for
from zchat.errors import LogError
from zchat.log.search import tables
from zchat.log.search.index import SearchIndex

ROWS = 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with closing(tables.make_file(tmp_path / tables.FILE)) as index:
        for number in range(3):
            tables.make(index, number)
            rows = [(number * tables.RANGE + place, "word", tables.room_words("ops"), "") for place in range(1, ROWS)]
            tables.add(index, number, rows)
        tables.set_meta(index, version=tables.VERSION, log_id="log", start="s", upto=3 * tables.RANGE)
    return tmp_path


def test_it_knows_its_own_log_only(folder: Path, tmp_path: Path) -> None:
    assert SearchIndex(folder, "log").upto() == 3 * tables.RANGE
    assert SearchIndex(folder, "other").upto() == 0
    assert SearchIndex(tmp_path / "nowhere", "log").upto() == 0
    with closing(tables.open_to_write(folder / tables.FILE)) as index:
        tables.set_meta(index, version=tables.VERSION + 1)
    assert SearchIndex(folder, "log").upto() == 0


def test_it_is_asked_table_by_table_up_to_a_count(folder: Path) -> None:
    index, word = SearchIndex(folder, "log"), asked_for("word")
    found = whole(index.find(word, ["**"], "", 0, 3 * tables.RANGE, ROWS + 5))
    newest = [2 * tables.RANGE + place for place in range(ROWS - 1, 0, -1)]
    assert found == [*newest, *(tables.RANGE + place for place in range(ROWS - 1, ROWS - 7, -1))]
    between = whole(index.find(word, ["**"], "", tables.RANGE + 3, 2 * tables.RANGE + 3, 1000))
    assert between == [2 * tables.RANGE + place for place in (2, 1)] + [
        tables.RANGE + place for place in range(ROWS - 1, 3, -1)
    ]
    assert sum(1 for _ in index.find(asked_for("absent"), ["**"], "", 0, 3 * tables.RANGE, 10)) == 3


def test_one_that_is_damaged_is_an_error_and_knows_nothing(folder: Path) -> None:
    path = folder / tables.FILE
    path.write_bytes(b"x" * path.stat().st_size)
    index = SearchIndex(folder, "log")
    assert index.upto() == 0
    with pytest.raises(LogError):
        whole(index.find(asked_for("word"), ["**"], "", 0, 9, 9))
