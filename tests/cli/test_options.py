"""How times, lengths of time and headers are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import typer

from zchat import client, wire
from zchat.cli import options
from zchat.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5.0), ("0", 0.0), ("0.5", 0.5), (".5", 0.5), ("500ms", 0.5), ("30s", 30.0), ("2m", 120.0), ("1.5h", 5400.0)],
)
def test_a_length_of_time_is_seconds_or_has_a_unit(text: str, seconds: float) -> None:
    assert options.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "1e3", "5 m", "m", "1y", "٣", "9" * 400, "5m5"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        options.duration(text)


@pytest.mark.parametrize(("text", "ago"), [("2h", 7200), ("30m", 1800), ("1d", 86_400)])
def test_a_time_can_be_so_long_ago(text: str, ago: float) -> None:
    found = options.moment(text)
    assert abs(datetime.now(UTC) - timedelta(seconds=ago) - found) < timedelta(seconds=5)


def test_a_time_can_be_an_iso_time_in_any_zone() -> None:
    noon = datetime(2026, 9, 20, 12, 0, tzinfo=UTC)
    assert options.moment("2026-09-20T12:00:00Z") == noon
    assert options.moment("2026-09-20T14:00+02:00") == noon
    assert options.moment("2026-09-20T12:00:00.000000Z") == noon
    assert options.moment(str(int(noon.timestamp()))) == noon


def test_a_time_without_a_zone_is_local() -> None:
    assert options.moment("2026-09-20T12:00") == datetime(2026, 9, 20, 12, 0).astimezone()
    assert options.moment("2026-09-20") == datetime(2026, 9, 20).astimezone()


@pytest.mark.parametrize("text", ["", "later", "2026-13-01", "5", "-2h", "9999999h" * 9, "0001-01-01T00:00+23:59"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        options.moment(text)


def test_a_wait_of_0_is_one_try() -> None:
    assert (options.waiting("0"), options.waiting("0.2"), options.waiting(5)) == (options.TRY_SECONDS, 0.2, 5.0)
    assert client.TRY_SECONDS == options.TRY_SECONDS  # as the API has it


@pytest.mark.parametrize(
    ("rule", "kept"),
    [
        ("a.*=7d", ("a.*", 604_800.0, 0, 0)),
        ("a=90,1.5KB", ("a", 0.0, 90, 1500)),
        (f"a={wire.OFFSET_MAX}", ("a", 0.0, wire.OFFSET_MAX, 0)),
    ],
)
def test_a_retention_is_a_pattern_and_limits(rule: str, kept: tuple[str, float, int, int]) -> None:
    assert options.retention(rule) == kept


@pytest.mark.parametrize(
    "rule",
    ["a", "a=", "=7d", "a..b=7d", "a=soon", "a=0", "a=9999999w", f"a={1 << 53}", f"a={'9' * 5000}", f"a={'9' * 400}GB"],
)
def test_a_retention_that_cannot_be_is_refused_by_the_name_of_its_option(rule: str) -> None:
    with pytest.raises(UsageError, match=r"^--retain "):
        options.retention(rule)


def test_a_header_is_a_name_and_a_value() -> None:
    assert options.header("priority=high") == ("priority", "high")
    assert options.header("note=a=b") == ("note", "a=b")
    assert options.header("empty=") == ("empty", "")
    for text in ("", "priority", "=high", "name=\udcff"):
        with pytest.raises(UsageError):
            options.header(text)
