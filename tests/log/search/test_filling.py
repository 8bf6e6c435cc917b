"""The index is filled from a real log, goes on where it was, and is made again where it is not that log's."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.log.contract import Scribe, trim
from zchat import wire
from zchat.core.log import RetentionRule, whole
from zchat.core.words import asked_for
from zchat.log.search import filling, tables
from zchat.log.search.index import SearchIndex
from zchat.log.sqlite.log import SqliteLog

OpenLog = Callable[..., SqliteLog]


def found(folder: Path, log: SqliteLog, asked: str = "word", *patterns: str) -> list[int]:
    index = SearchIndex(folder, log.log_id)
    return whole(index.find(asked_for(asked), list(patterns or ["**"]), "", 0, wire.OFFSET_MAX, 1000))


def test_it_goes_on_where_it_was(tmp_path: Path, open_log: OpenLog) -> None:
    log = open_log(tmp_path)
    scribe = Scribe(log)
    scribe.write("ops", b"a word", b"\xff\xfe", b"none")
    scribe.write("ops", b"word", kind=wire.PRESENCE)
    scribe.write("@bob", wire.Record(b"one more word", "note", {"k": "v"}))  # type: ignore[arg-type]
    assert filling.fill(tmp_path) == log.head() == 5
    assert found(tmp_path, log) == [1] and found(tmp_path, log, "word", "@bob") == [5]
    scribe.write("ops", *[b"word"] * 3)
    assert filling.fill(tmp_path) == SearchIndex(tmp_path, log.log_id).upto() == 8
    assert found(tmp_path, log) == [8, 7, 6, 1]
    assert filling.fill(tmp_path) == 8 and found(tmp_path, log) == [8, 7, 6, 1]


def test_ranges_are_tables_and_trimmed_ones_go(
    tmp_path: Path, open_log: OpenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "RANGE_BITS", 3)
    monkeypatch.setattr(filling, "BATCHES_MAX", 2)
    log = open_log(tmp_path)
    scribe = Scribe(log)
    for _ in range(10):
        scribe.write("ops", b"word", b"word", b"word")
    assert filling.fill(tmp_path) == 30
    assert found(tmp_path, log) == list(range(30, 0, -1))
    trim(log, [RetentionRule("**", records=6)])
    filling.fill(tmp_path)
    with closing(tables.connect(tmp_path / tables.FILE, "ro")) as index:
        assert tables.numbers(index) == [3]


@pytest.mark.parametrize("harm", ["missing", "no database", "torn", "another version"])
def test_what_is_no_index_of_this_log_is_made_again(tmp_path: Path, open_log: OpenLog, harm: str) -> None:
    log = open_log(tmp_path)
    Scribe(log).write("ops", *[f"word {number}".encode() for number in range(500)])
    filling.fill(tmp_path)
    path = tmp_path / tables.FILE
    if harm == "missing":
        path.unlink()
    elif harm == "no database":
        path.write_bytes(b"\0" * 8192)
    elif harm == "torn":
        Scribe(log).write("ops", b"word 500")
        content = bytearray(path.read_bytes())
        content[4096:] = b"\x55" * (len(content) - 4096)
        path.write_bytes(content)
    else:
        with closing(tables.open_to_write(path)) as index:
            tables.set_meta(index, version=0)
    assert filling.fill(tmp_path) == log.head()
    assert len(found(tmp_path, log)) == log.head()


def test_after_it_went_back_below_the_index_that_knows_nothing_until_it_is_made_again(
    tmp_path: Path, open_log: OpenLog
) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    log = open_log(data)
    Scribe(log).write("ops", b"word one")
    shutil.copytree(data, copy)  # with its WAL, of the start that the index is filled in
    Scribe(log).write("ops", *[b"word two"] * 3)
    filling.fill(data)
    log.close()
    for path in copy.iterdir():
        if path.name.startswith("log."):
            shutil.copy(path, data / path.name)
    log = open_log(data)
    Scribe(log).write("ops", *[b"word three"] * 3)
    assert log.head() == 4 and SearchIndex(data, log.log_id, log.starts()).upto() == 0
    filling.fill(data)
    assert SearchIndex(data, log.log_id, log.starts()).upto() == 4
    assert found(data, log, "three") == [4, 3, 2] and found(data, log, "two") == []


def test_after_the_log_went_back_nothing_is_missing(tmp_path: Path, open_log: OpenLog) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    log = open_log(data)
    Scribe(log).write("ops", b"word one")
    log.close()
    shutil.copytree(data, copy)
    log = open_log(data)
    Scribe(log).write("ops", *[b"word two"] * 3)
    filling.fill(data)
    log.close()
    for name in ("log.db", "log.lock"):
        shutil.copy(copy / name, data / name)
    log = open_log(data)
    Scribe(log).write("ops", *[b"three", b"word three"] * 3)
    filling.fill(data)
    assert found(data, log, "three") == [7, 6, 5, 4, 3, 2] and found(data, log, "two") == []
