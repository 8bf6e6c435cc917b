"""How times and lengths of time are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from zchat import times
from zchat.errors import UsageError

NOW = datetime(2026, 9, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5.0), ("0", 0.0), ("0.5", 0.5), (".5", 0.5), ("500ms", 0.5), ("30s", 30.0), ("2m", 120.0), ("1.5h", 5400.0)],
)
def test_a_length_of_time_is_seconds_or_has_a_unit(text: str, seconds: float) -> None:
    assert times.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "1e3", "5 m", "m", "1y", "٣", "9" * 400, "5m5"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        times.duration(text)


@pytest.mark.parametrize(("text", "ago"), [("2h", 7200), ("30m", 1800), ("1d", 86_400), ("500ms", 0.5)])
def test_a_time_can_be_so_long_ago(text: str, ago: float) -> None:
    assert times.moment(text, NOW) == NOW - timedelta(seconds=ago)


@pytest.mark.parametrize(
    "text", ["2026-09-20T12:00:00Z", "2026-09-20T14:00+02:00", "2026-09-20T12:00:00.000000Z", "1789905600"]
)
def test_a_time_can_be_an_iso_time_in_any_zone(text: str) -> None:
    assert times.moment(text, NOW - timedelta(days=1)) == NOW


def test_a_time_without_a_zone_is_local() -> None:
    assert times.moment("2026-09-20T12:00", NOW) == datetime(2026, 9, 20, 12, 0).astimezone()
    assert times.moment("2026-09-20", NOW) == datetime(2026, 9, 20).astimezone()


def test_all_is_the_beginning() -> None:
    assert times.moment("all", NOW).timestamp() == 0


@pytest.mark.parametrize("text", ["", "later", "2026-13-01", "5", "-2h", "9999999h" * 9, "0001-01-01T00:00+23:59"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        times.moment(text, NOW)


@pytest.mark.parametrize("text", ["10m", "all", "25:00", "9:60", "soon", ""])
def test_what_is_no_time_to_come_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="such as 17:30"):
        times.coming(text, datetime.now(UTC))


def test_a_clock_time_is_the_next_one() -> None:
    now = datetime(2026, 3, 1, 12, 0).astimezone()
    assert times.coming("17:30", now) == datetime(2026, 3, 1, 17, 30).astimezone()
    assert times.coming("9:05", now) == datetime(2026, 3, 2, 9, 5).astimezone()
    assert times.coming("2026-03-05T10:00Z", now) == datetime(2026, 3, 5, 10, tzinfo=UTC)
