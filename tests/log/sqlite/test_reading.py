"""A page of a damaged log: what is sound is served, the rest is a gap, whatever was damaged and however."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.log.contract import Scribe, append, bases, read, read_all
from tests.log.damage import change, copied, flip, overwrite, pages_of, silent, written
from zchat.core.log import Append, Log, whole
from zchat.errors import StartError
from zchat.log import slices
from zchat.log.memory import MemoryLog
from zchat.log.sqlite import reading, schema
from zchat.log.sqlite.log import SqliteLog

OpenLog = Callable[..., SqliteLog]
PAGE = schema.PAGE_BYTES


@pytest.mark.parametrize("rooms", [2, reading.FEW_ROOMS + 20])
@pytest.mark.parametrize("bytes_max", [1 << 20, 1_000])
@pytest.mark.parametrize("slice_seconds", [60.0, 0.0])
def test_rooms_that_lie_scattered_among_others_are_read_as_from_memory(
    open_log: OpenLog, rooms: int, bytes_max: int, slice_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "SLICE_SECONDS", slice_seconds)
    logs: list[Log] = [MemoryLog(), open_log(sync="normal")]
    scribe = Scribe(logs[0])
    batches = []
    for number in range(150):
        batches.append(scribe.batch(f"some.{number % rooms}", b"x", b"y"))
        batches += [scribe.batch("other", b"z") for _ in range(40 if number != 75 else 2_500)]
    for log in logs:
        assert append(log, Append(batches, [], [], {})) is None
    for patterns in (["some.*"], ["some.*", "other"] if slice_seconds else ["some.7"], ["some.1", "some.0"]):
        memory, disk = (read_all(log, patterns, bytes_max) for log in logs)
        assert memory == disk
        for after, until, limit in ((100, 4_000, 0), (3_100, 3_101, 0), (0, 5_000, 3)) if slice_seconds else ():
            pages = [whole(log.read(patterns, after, until, limit, bytes_max)) for log in logs]
            assert pages[0] == pages[1]


def test_a_changed_frame_is_a_gap_of_exactly_its_offsets(open_log: OpenLog, tmp_path: Path) -> None:
    kept = written(tmp_path / "log")
    bad = kept[100]
    change(tmp_path / "log", "UPDATE batches SET frame = substr(frame, 1, 40) || x'00' WHERE base = ?", [bad.base])
    log = open_log()
    gap = (bad.room, bad.base, bad.base + bad.records - 1, "damaged")
    for patterns in (["**"], [bad.room], ["r0", "r1", "r2"]):
        assert read(log, patterns).gaps == [gap]
        assert not silent(log, kept, patterns)
    assert len(read(log).batches) == len(kept) - 1


@pytest.mark.parametrize(
    ("column", "value"),
    [("room", 1), ("room", 99), ("kind", 7), ("records", 9), ("records", "x"), ("time", 5), ("crc", 1), ("frame", 3)],
)
def test_a_changed_place_is_a_gap_too(open_log: OpenLog, tmp_path: Path, column: str, value: object) -> None:
    kept = written(tmp_path / "log")
    bad = next(batch for batch in kept[100:] if batch.room == "r0")
    change(tmp_path / "log", f"UPDATE batches SET {column} = ? WHERE base = ?", [value, bad.base])
    log = open_log()
    for patterns in (["**"], ["r0"], ["r1", "r0"]):
        assert not silent(log, kept, patterns)
        assert bad.base not in bases(read(log, patterns))


def test_a_row_that_is_gone_is_a_gap(open_log: OpenLog, tmp_path: Path) -> None:
    kept = written(tmp_path / "log")
    gone = kept[50:60]
    change(tmp_path / "log", "DELETE FROM batches WHERE base BETWEEN ? AND ?", [gone[0].base, gone[-1].base])
    log = open_log()
    for patterns in (["**"], ["r0"], ["r1", "r2"]):
        for bytes_max in (1 << 20, 2_000, 1):
            assert not silent(log, kept, patterns, bytes_max)


def test_a_gap_is_told_on_the_page_that_it_belongs_to(open_log: OpenLog, tmp_path: Path) -> None:
    kept = written(tmp_path / "log", rooms=2)
    bad = kept[100]
    change(tmp_path / "log", "UPDATE batches SET crc = 0 WHERE base = ?", [bad.base])
    log = open_log()
    gap = (bad.room, bad.base, bad.base + bad.records - 1, "damaged")
    assert read(log, until=kept[100].base - 1).gaps == []
    assert read(log, until=kept[100].base + bad.records - 1).gaps == [gap]
    assert read(log, after=kept[99].base, until=kept[101].base).gaps == [gap]
    assert read(log, after=kept[101].base - 1).gaps == []


def test_a_newest_batch_that_is_damaged_later_is_a_gap(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    scribe = Scribe(log)
    kept = [scribe.write("a", b"x"), scribe.write("a", b"y"), scribe.write("b", b"z"), scribe.write("a", b"w")]
    change(tmp_path / "log", "DELETE FROM batches WHERE base = 4")
    assert not silent(log, kept, ["**"]) and not silent(log, kept, ["a"])
    assert append(log, Append([scribe.batch("a", b"v")], [], [], {})) is None
    assert read(log, ["a"]).gaps == [("a", 3, 4, "damaged")]


@pytest.mark.parametrize("name", ["batches", "batches_of_room"])
@pytest.mark.parametrize("how", ["zeros", "noise", "another page", "half"])
def test_a_page_that_is_damaged_costs_no_more_than_what_is_in_it(
    open_log: OpenLog, tmp_path: Path, name: str, how: str
) -> None:
    kept = written(tmp_path / "log", batches=300)
    pages = pages_of(tmp_path / "log", name)
    at, other = pages[len(pages) // 2], pages[0]
    raw = (tmp_path / "log" / schema.FILE).read_bytes()
    contents = {
        "zeros": bytes(PAGE),
        "noise": random.Random(1).randbytes(PAGE),
        "another page": raw[other : other + PAGE],
        "half": raw[at : at + PAGE // 2] + bytes(PAGE // 2),
    }
    overwrite(tmp_path / "log", at, contents[how])
    log = open_log()
    for patterns in (["**"], ["r0"], ["r1", "r2"]):
        assert not silent(log, kept, patterns)
    assert len(read(log).batches) >= len(kept) - 300 // len(pages_of(tmp_path / "log", "batches")) * 4


def test_many_rooms_are_read_over_damage_too(open_log: OpenLog, tmp_path: Path) -> None:
    kept = written(tmp_path / "log", rooms=150, batches=300)
    for number, page in enumerate(pages_of(tmp_path / "log", "batches")):
        if number % 5 == 2:
            overwrite(tmp_path / "log", page + 8, random.Random(number).randbytes(300))
    log = open_log()
    for bytes_max in (1 << 20, 3_000):
        assert not silent(log, kept, ["**"], bytes_max)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rooms", "size", "bytes_max"), [(1, 200, 1 << 20), (5, 200, 3_000), (100, 200, 1 << 20), (3, 9_000, 40_000)]
)
def test_one_bit_that_is_changed_anywhere_is_never_served_and_never_silent(
    open_log: OpenLog, tmp_path: Path, rooms: int, size: int, bytes_max: int
) -> None:
    kept = written(tmp_path / "whole", rooms=rooms, size=size)
    length = (tmp_path / "whole" / schema.FILE).stat().st_size
    chance = random.Random(rooms * size)
    told = refused = 0
    for number in range(40):
        folder = copied(tmp_path / "whole", tmp_path / str(number))
        flip(folder, chance.randrange(length), chance.randrange(8))
        try:
            log = open_log(folder, sync="normal")
        except StartError:
            refused += 1
            continue
        for patterns in (["**"], ["r0"]):
            assert not silent(log, kept, patterns, bytes_max)
        told += bool(read(log).gaps)
        log.close()
    assert told and refused < 20


def test_what_is_in_no_batch_is_served_as_it_is(open_log: OpenLog, tmp_path: Path) -> None:
    """A log may hold what was encoded by a later version: then there is no link to go by."""
    log = open_log()
    batch = Scribe(log).batch("a", b"x")._replace(frame=b"\xc1 no msgpack")
    assert append(log, Append([batch], [], [], {})) is None
    assert read(log).batches == [("a", batch.frame)] and not read(log).gaps
