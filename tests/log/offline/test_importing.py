"""Import: what is no line is told with its number, and what was changed with its count."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.log.contract import Scribe, read
from tests.log.damage import written
from zchat import wire
from zchat.errors import StartError, WireError
from zchat.log.offline.exporting import export
from zchat.log.offline.importing import IMPORTED_OFFSET_MAX, import_lines
from zchat.log.offline.repairing import Finding, check
from zchat.log.sqlite import schema
from zchat.log.sqlite.log import SqliteLog
from zchat.wire import PUBLISH_RECORDS_MAX, RECORD_BYTES_MAX

OpenLog = Callable[..., SqliteLog]

LINE = {"room": "a", "offset": 5, "user": "u", "session": "s", "seq": 1, "time": "1970-01-01T00:00:01Z", "body": "x"}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (b"{", "truncated"),
        (b"[]", "Expected"),
        ({"offset": 4}, "not above 4"),
        ({"offset": "6"}, "`int`"),
        ({"room": "A"}, "canonical"),
        ({"room": "a..b"}, "empty segment"),
        ({"user": "u v"}, "not allowed"),
        ({"time": "yesterday"}, "2026"),
        ({"time": "1970-01-01T00:00:01.1234567Z"}, "2026"),
        ({"kind": "other"}, "message, presence"),
        ({"body_base64": "?"}, "base64"),
        ({"gap": "other", "first": 1, "last": 2}, "damaged"),
        ({"gap": "trimmed", "first": 3, "last": 2}, "from 3 to 2"),
        ({"gap": "purged", "first": 3, "last": 4}, "from its beginning"),
        ({"seq": -1}, ">= 0"),
        ({"offset": 1 << 53}, "$.offset"),
        ({"offset": (1 << 53) - 1}, "none would be left"),
        ({"offset": 1 << 52}, "none would be left"),
        ({"gap": "trimmed", "first": 1, "last": 1 << 52}, "none would be left"),
        # What no broker would have taken.
        ({"body": "x" * (RECORD_BYTES_MAX + 1)}, f"record is {RECORD_BYTES_MAX + 1} bytes, limit {RECORD_BYTES_MAX}"),
        ({"body": "", "body_base64": b64encode(bytes(RECORD_BYTES_MAX + 3)).decode()}, "record is "),
        ({"headers": {"k": "v" * (RECORD_BYTES_MAX + 5_000)}}, "bytes with its headers, limit "),
        ({"event": "e" * (RECORD_BYTES_MAX + 5_000)}, "bytes with its headers, limit "),
        ({"event": "join"}, 'event "join" is not one of kind "message"'),
        ({"kind": "presence"}, 'event "message" is not one of kind "presence"'),
        ({"body_base64": "eA=="}, "one body"),
        ({"session": "s" * 65}, "session has 65 characters"),
        ({"time": "9999-12-31T23:59:60Z"}, "between 1970 and 2254"),
        ({"time": "2255-01-01T00:00:00Z"}, "between 1970 and 2254"),
        ({"time": "1969-12-31T23:59:59Z"}, "between 1970 and 2254"),
        ({"time": "10000-01-01T00:00:00Z"}, "time"),
        ({"time": "1970-01-01T00:00:0\u0661Z"}, "2026"),
        ({"time": ""}, "2026"),
        ({"gap": "trimmed", "first": 1, "last": 2, "time": "9999-12-31T23:59:60Z"}, "between 1970 and 2254"),
        ({"room": "a" * 200}, "a"),
        ({"user": ""}, "user"),
    ],
)
def test_a_line_that_is_none_is_told_with_its_number_and_leaves_nothing(
    tmp_path: Path, wrong: bytes | dict[str, object], why: str
) -> None:
    first = json.dumps({**LINE, "offset": 4}).encode()
    second = wrong if isinstance(wrong, bytes) else json.dumps({**LINE, **wrong}).encode()
    with pytest.raises(WireError, match="line 2: ") as raised:
        import_lines(tmp_path / "log", [first, second])
    assert why in str(raised.value)
    assert not (tmp_path / "log" / schema.FILE).exists()
    assert {path.name for path in (tmp_path / "log").iterdir()} == {"log.lock"}


def test_a_byte_order_mark_at_the_beginning_is_passed_over(tmp_path: Path) -> None:
    lines = [b"\xef\xbb\xbf" + json.dumps(LINE).encode(), json.dumps({**LINE, "offset": 6}).encode()]
    assert import_lines(tmp_path / "new", lines).records == 2
    with pytest.raises(WireError, match=r"^line 2: "):
        import_lines(tmp_path / "other", [lines[1], lines[0]])


def test_a_line_needs_no_more_than_a_record_has(tmp_path: Path) -> None:
    line = json.dumps(LINE).encode()
    import_lines(tmp_path / "log", [b"", line, b"\n"])
    assert not check(tmp_path / "log", print).findings
    (whole,) = export(tmp_path / "log")
    assert json.loads(whole) == {
        **LINE,
        "time": "1970-01-01T00:00:01.000000Z",
        "kind": "message",
        "event": "message",
        "headers": {},
    }


def line(**changed: object) -> bytes:
    return json.dumps({**LINE, **changed}).encode()


def test_behind_the_highest_offset_a_log_goes_on(open_log: OpenLog, tmp_path: Path) -> None:
    import_lines(tmp_path / "log", [line(offset=IMPORTED_OFFSET_MAX)])
    log = open_log()
    assert Scribe(log).write("a", b"goes on").base == IMPORTED_OFFSET_MAX + 1
    assert len(read(log).batches) == 2


def test_a_time_that_goes_back_is_that_of_the_line_before_and_counted(tmp_path: Path) -> None:
    times = ["1970-01-01T00:00:05Z", "1970-01-01T00:00:03Z", "1970-01-01T00:00:03Z", "1970-01-01T00:00:06Z"]
    lines = [line(offset=offset, time=time) for offset, time in enumerate(times, 1)]
    assert import_lines(tmp_path / "log", lines).times_raised == 2
    assert not check(tmp_path / "log", print).findings
    seconds = [json.loads(each)["time"][17:19] for each in export(tmp_path / "log")]
    assert seconds == ["05", "05", "05", "06"]
    assert import_lines(tmp_path / "again", list(export(tmp_path / "log"))).times_raised == 0


def test_a_log_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    written(tmp_path / "log", batches=3)
    before = (tmp_path / "log" / schema.FILE).read_bytes()
    with pytest.raises(StartError, match="holds a log already"):
        import_lines(tmp_path / "log", [line()])
    assert (tmp_path / "log" / schema.FILE).read_bytes() == before


def test_the_largest_that_a_broker_takes_is_taken_and_a_wrong_line_has_its_own_number(tmp_path: Path) -> None:
    largest = {**LINE, "offset": 1, "body": "x" * RECORD_BYTES_MAX, "time": "2254-12-31T23:59:59.999999Z"}
    lines = [json.dumps(largest).encode()]
    import_lines(tmp_path / "log", lines)
    assert [json.loads(line)["body"] for line in export(tmp_path / "log")] == [largest["body"]]
    whole = [json.dumps({**LINE, "offset": offset}).encode() for offset in (1, 2, 3)]
    wrong = json.dumps({**LINE, "offset": 4, "kind": "other"}).encode()
    with pytest.raises(WireError, match="line 4: kind"):
        import_lines(tmp_path / "other", [*whole, wrong, json.dumps({**LINE, "offset": 5}).encode()])


def test_no_entry_has_more_records_than_a_publish(tmp_path: Path) -> None:
    lines = [
        json.dumps({**LINE, "offset": offset, "body": ""}).encode() for offset in range(1, PUBLISH_RECORDS_MAX + 9)
    ]
    import_lines(tmp_path / "log", lines)
    assert len(list(export(tmp_path / "log"))) == len(lines)
    findings: list[Finding] = []
    assert check(tmp_path / "log", findings.append).records == len(lines) and not findings
    log = SqliteLog(tmp_path / "log")
    entries = [entry for _, frame in read(log).batches for entry in wire.decode_batch(frame).entries]
    log.close()
    assert [len(entry.records) for entry in entries] == [PUBLISH_RECORDS_MAX, 8]
