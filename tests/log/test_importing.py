"""Import: what is no line is told with its number, and what was changed with its count."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.log.contract import Scribe, read
from tests.log.damage import written
from zchat.errors import StartError, WireError
from zchat.log import schema
from zchat.log.exporting import export
from zchat.log.importing import IMPORTED_OFFSET_MAX, import_lines
from zchat.log.offline import check
from zchat.log.sqlite import SqliteLog

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
        ({"seq": -1}, ">= 0"),
        ({"offset": 1 << 63}, "$.offset"),
        ({"offset": (1 << 63) - 1}, "none would be left"),
        ({"offset": 1 << 62}, "none would be left"),
        ({"gap": "trimmed", "first": 1, "last": 1 << 62}, "none would be left"),
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
        "content_type": "",
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
