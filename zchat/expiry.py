"""How long a message lives: its sender says so in a header, and who reads it later is not shown it.

    headers_with({"host": "web1"}, 600)  ->  {"host": "web1", "expire-seconds": "600"}

Rules of this file
1. A life begins when the broker takes the message, and goes by the broker's clock: the reader tells what that says now.
2. A header that makes no sense says nothing: the message is shown.

Spec: docs/protocol.md, "Expiry". Tests: tests/test_expiry.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TypeAlias

from zchat.errors import UsageError
from zchat.times import SECONDS_MAX, duration

HEADER = "expire-seconds"
VALUE_CHARACTERS_MAX = 20

Life: TypeAlias = float | timedelta | str
"""What Python's `expire` takes: seconds, a timedelta, or text as people write it: "10m"."""


def headers_with(headers: Mapping[str, str] | None, life: Life) -> dict[str, str]:
    """The headers, and the one that says how long it lives. Raises UsageError."""
    try:
        if isinstance(life, bool | bytes):
            raise TypeError
        if isinstance(life, str):
            life = duration(life)
        seconds = life.total_seconds() if isinstance(life, timedelta) else float(life)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, UsageError):
            raise
        seconds = -1.0
    if not 0.0 < seconds <= SECONDS_MAX:
        raise UsageError(f"expire is a length of time, above 0 and at most {SECONDS_MAX:g} seconds")
    return {**(headers or {}), HEADER: f"{seconds:.6f}".rstrip("0").rstrip(".")}


def has_expired(headers: Mapping[str, str], taken: int, now: int) -> bool:
    """Whether its life is over: `taken` by the broker, and now by its clock, in microseconds since 1970."""
    value = headers.get(HEADER)
    if value is None or len(value) > VALUE_CHARACTERS_MAX or not value.isascii():
        return False
    try:
        return now - taken >= float(value) * 1_000_000 > 0
    except ValueError:
        return False
