"""The last messages of each room in logs that are sparse, damaged or written meanwhile; the rest is in the contract."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.log.contract import Scribe, in_slices, latest
from tests.log.damage import change, overwrite, pages_of, written
from zchat import wire
from zchat.core.log import Gap, RetentionRule, whole
from zchat.errors import LogError
from zchat.log import slices
from zchat.log.sqlite import schema
from zchat.log.sqlite.log import SqliteLog

OpenLog = Callable[..., SqliteLog]


def test_joins_and_leaves_behind_the_last_message_are_passed_over(open_log: OpenLog) -> None:
    log = open_log(sync="normal")
    scribe = Scribe(log)
    kept = [scribe.batch(f"r.{number}", b"x") for number in range(100)]
    scribe.keep(*kept, *[scribe.batch(f"r.{n % 100}", b"", kind=wire.PRESENCE) for n in range(5_000)])
    scribe.write("only.joins", b"", kind=wire.PRESENCE)
    assert latest(log, ["**"], 3) == [(batch.room, batch.base, [b"x"]) for batch in kept]


def test_between_slices_it_may_be_written_and_trimmed(open_log: OpenLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_SECONDS", 0.0)
    log = open_log(sync="normal")
    scribe = Scribe(log)
    scribe.keep(*[scribe.batch(f"r.{number % 200}", str(number).encode()) for number in range(600)])

    def between() -> None:
        scribe.write("r.0", b"later")
        scribe.write("r.1", b"later")
        log.trim([RetentionRule("r.1", records=1)], 0)

    page, pauses = in_slices(log.latest(["r.*"], 0, 600, 2, 1 << 20), between)
    assert pauses > 10 and page.gaps == [] and not page.more
    found = [(room, wire.decode_batch(frame).entries[0].records) for room, frame in page.batches]
    assert [each for each in found if each[0] != "r.1"] == [
        (f"r.{number % 200}", [str(number).encode()]) for number in range(200, 600) if number % 200 != 1
    ]


def test_what_cannot_be_read_is_a_gap_and_a_row_of_another_room_too(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    scribe = Scribe(log)
    for room in "abc":
        scribe.write(room, b"1", b"2", b"3")
    log.close()
    change(tmp_path / "log", "UPDATE batches SET crc = crc + 1 WHERE base = 1")
    change(tmp_path / "log", "UPDATE batches SET time = 'x' WHERE base = 7")
    page = whole(open_log().latest(["*"], 0, 9, 2, 1 << 20))
    assert [room for room, _ in page.batches] == ["b"]
    assert page.gaps == [Gap("a", 2, 3, "damaged"), Gap("c", 8, 9, "damaged")]


def test_without_its_index_it_says_so(open_log: OpenLog, tmp_path: Path) -> None:
    written(tmp_path / "log", rooms=3)
    for page in pages_of(tmp_path / "log", "batches_of_room"):
        overwrite(tmp_path / "log", page, bytes(schema.PAGE_BYTES))
    with pytest.raises(LogError) as error:
        whole(open_log().latest(["**"], 0, 0, 1, 1 << 20))
    assert error.value.code == "log-damaged"
