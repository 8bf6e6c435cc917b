"""Export and import: the same lines again, whatever the log holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.log.contract import SECOND, Scribe, read, trim
from tests.log.damage import change, written
from zchat import wire
from zchat.core.log import RetentionRule
from zchat.errors import StartError
from zchat.log.offline.exporting import export, micros, rfc3339
from zchat.log.offline.importing import import_lines
from zchat.log.offline.repairing import Finding, check
from zchat.log.sqlite.log import SqliteLog

OpenLog = Callable[..., SqliteLog]


def again(tmp_path: Path, lines: list[bytes], name: str = "again") -> list[bytes]:
    """Import into a new folder, find it whole, export that."""
    import_lines(tmp_path / name, iter(lines))
    found: list[Finding] = []
    check(tmp_path / name, found.append)
    assert not found
    return list(export(tmp_path / name))


def test_a_line_holds_everything_of_a_record(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    scribe = Scribe(log)
    records: list[wire.RecordOrBody] = [
        b"hi",
        wire.Record(b"\xff\x00", "deploy", {"k": "é"}),
        "会议".encode(),
    ]
    scribe.keep(scribe.batch_of("a", [wire.RawEntry("李明", "s1", 7, wire.raw(wire.encode_records(records)))], 3))
    scribe.keep(scribe.batch("b", b"", kind=wire.PRESENCE))
    log.close()
    shared = {"room": "a", "user": "李明", "session": "s1", "seq": 7, "time": rfc3339(2_000_000), "kind": "message"}
    plain = {"event": "message", "headers": {}}
    assert [json.loads(line) for line in export(tmp_path / "log")] == [
        {**shared, **plain, "offset": 1, "body": "hi"},
        {
            **shared,
            "offset": 2,
            "event": "deploy",
            "headers": {"k": "é"},
            "body_base64": "/wA=",
        },
        {**shared, **plain, "offset": 3, "body": "会议"},
        {
            **shared,
            **plain,
            "room": "b",
            "user": "alice",
            "session": "s",
            "seq": 1,
            "time": rfc3339(3_000_000),
            "kind": "presence",
            "offset": 4,
            "body": "",
        },
    ]


def test_what_was_imported_is_a_new_log_with_the_old_offsets(open_log: OpenLog, tmp_path: Path) -> None:
    kept = written(tmp_path / "log", size=3_000)
    lines = list(export(tmp_path / "log"))
    told: list[tuple[int, int]] = []
    imported = import_lines(tmp_path / "new", lines, lambda done, total: told.append((done, total)))
    assert imported.records == len(lines) == sum(batch.records for batch in kept) and imported.rooms == 3
    old, new = open_log(tmp_path / "log"), open_log(tmp_path / "new")
    assert (new.log_id, new.head(), new.rooms()) == (imported.log_id, old.head(), old.rooms())
    assert new.log_id != old.log_id and new.last_time() == old.last_time()
    assert not read(new).gaps and not new.sessions()
    Scribe(new).write("a", b"goes on")


def test_exported_again_it_gives_the_same_lines(tmp_path: Path) -> None:
    written(tmp_path / "log", rooms=10, batches=400)
    lines = list(export(tmp_path / "log"))
    assert again(tmp_path, lines) == lines


def test_what_was_purged_goes_with_it_by_its_own_word(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    scribe = Scribe(log)
    for number in range(20):
        scribe.write(f"r{number % 2}", b"x")
    trim(log, [RetentionRule("r0", upto=5), RetentionRule("r1", upto=6)])
    trim(log, [RetentionRule("r0", records=2)])
    log.close()
    lines = list(export(tmp_path / "log"))
    gaps = [(gap["gap"], gap["room"], gap["last"]) for gap in map(json.loads, lines) if "gap" in gap]
    assert gaps == [("purged", "r0", 5), ("trimmed", "r0", 15), ("purged", "r1", 6)]
    assert again(tmp_path, lines) == lines
    assert read(open_log(tmp_path / "again")).gaps == read(open_log(tmp_path / "log")).gaps


def test_gaps_go_with_it(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    scribe = Scribe(log)
    for number in range(60):
        scribe.write(f"r{number % 3}", b"x", b"y")
    trim(log, [RetentionRule("r1", records=10)])
    log.close()
    change(tmp_path / "log", "UPDATE batches SET crc = 0 WHERE base IN (61, 63, 115, 119)")
    lines = list(export(tmp_path / "log"))
    gaps = [line for line in map(json.loads, lines) if "gap" in line]
    assert {(gap["gap"], gap["room"], gap["last"], gap.get("time")) for gap in gaps} == {
        ("trimmed", "r1", 88, rfc3339(45 * SECOND)),
        ("damaged", "r0", 62, None),
        ("damaged", "r2", 120, None),
        ("damaged", "r0", 116, None),
    }
    assert again(tmp_path, lines) == lines
    old, new = open_log(tmp_path / "log"), open_log(tmp_path / "again")
    assert (new.head(), new.rooms()) == (old.head(), old.rooms())
    assert [batch for _, batch in read(new).batches] == [batch for _, batch in read(old).batches]


def test_an_empty_log_gives_no_line_and_no_line_gives_an_empty_log(open_log: OpenLog, tmp_path: Path) -> None:
    open_log().close()
    assert list(export(tmp_path / "log")) == []
    assert again(tmp_path, []) == []
    assert open_log(tmp_path / "again").head() == 0


def test_an_export_tells_how_far_it_is(tmp_path: Path) -> None:
    kept = written(tmp_path / "log")
    told: list[tuple[int, int]] = []
    assert list(export(tmp_path / "log", lambda done, total: told.append((done, total))))
    head = kept[-1].base + kept[-1].records - 1
    assert told[-1] == (head, head)


def test_a_log_in_use_is_not_exported_and_one_that_is_there_not_replaced(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    with pytest.raises(StartError, match="in use"):
        next(export(tmp_path / "log"))
    log.close()
    with pytest.raises(StartError, match="holds a log already"):
        import_lines(tmp_path / "log", [])


@given(st.integers(0, 253_402_300_799_999_999))
@settings(max_examples=200, deadline=None)
def test_times_come_back(when: int) -> None:
    assert micros(rfc3339(when)) == when
