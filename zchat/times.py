"""Times and lengths of time as people write them, read here and nowhere else.

    length    5   0.5   500ms   30s   2m   2h   1d   1w
    coming    17:30 (the next)   2026-09-20T12:00   2026-09-20T12:00Z
    time      2h (so long ago)   all (the beginning)   2026-09-20   2026-09-20T12:00   2026-09-20T12:00Z   1789905600

Rules of this file: it has no clock, `now` is handed in; what cannot be read raises UsageError.
Tests: tests/test_times.py.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from zchat.errors import UsageError

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
SECONDS_MAX = 1e8  # three years: what is longer cannot be waited for
Since: TypeAlias = float | datetime | timedelta | str
"""What Python's `since` takes: seconds since 1970, a datetime, so long ago, or a time as people write it."""

ALL = "all"
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)", re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|[smhdw])?", re.ASCII)
_UNIX_TIME = re.compile(r"\d{9,10}(?:\.\d+)?", re.ASCII)


def is_duration(text: str) -> bool:
    """Whether it has the form of a length of time."""
    return _DURATION.fullmatch(text) is not None


def duration(text: str) -> float:
    """The seconds of a length of time. Raises UsageError."""
    text = text.strip()
    found = _DURATION.fullmatch(text)
    if not found:
        raise UsageError(f'"{text}" is no length of time, such as 5, 0.5, 500ms, 2m or 1h')
    seconds = float(found[1]) * UNITS[found[2] or "s"]
    if not math.isfinite(seconds) or seconds > SECONDS_MAX:
        raise UsageError(f"{text} is longer than {SECONDS_MAX:g} seconds")
    return seconds


def moment(text: str, now: datetime) -> datetime:
    """A time; without a zone it is local. Raises UsageError."""
    text = text.strip()
    try:
        if text == ALL:
            return BEGINNING
        if _UNIX_TIME.fullmatch(text):
            return datetime.fromtimestamp(float(text), UTC)
        if is_duration(text) and text[-1].isalpha():
            return now - timedelta(seconds=duration(text))
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise UsageError(f'"{text}" is no time, such as 2h, 1d, 2026-09-20 or 2026-09-20T12:00:00Z') from None


def coming(text: str, now: datetime) -> datetime:
    """A time that is to come; without a zone it is local, and `17:30` is the next one. Raises UsageError."""
    text = text.strip()
    if clock := _CLOCK.fullmatch(text):
        today = now.astimezone().replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
        then = today if today > now else today + timedelta(days=1)
        return then.replace(tzinfo=None).astimezone(UTC)  # the zone's offset may be another one tomorrow
    refusal = f'"{text}" is no time that is to come, such as 17:30, 2026-09-20T12:00 or 2026-09-20T12:00:00Z'
    if text == ALL or (is_duration(text) and not _UNIX_TIME.fullmatch(text)):
        raise UsageError(refusal)
    try:
        return moment(text, now)
    except UsageError:
        raise UsageError(refusal) from None
