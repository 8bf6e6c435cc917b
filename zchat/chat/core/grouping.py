"""Records as blocks on the screen: a line for each day, a name once for what its user says in a row, joins folded.

Rules of this file
1. A block is of some records in a row, by their numbers. What it is depends on them, on the one before, and on where
   the line of what is new goes; so what is added at either end changes at most the block that it joins.
2. Joins and leaves in a row are one block, however many they are.

Tests: tests/chat/core/test_grouping.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import NamedTuple

from zchat.chat.core.shown import PRESENCE, Shown

GROUP_SECONDS = 300  # what is said later has the name again
TIME_MAX = 253_000_000_000  # seconds: what is later has no year of four digits
NAMED_MAX = 3  # of those who came or went; the others are counted


class Block(NamedTuple):
    """Records `first` to `end`, which is not one of them, by their numbers."""

    first: int
    end: int
    day: str  # the line above it; empty: none
    is_named: bool  # with the name and time of its sender
    is_new: bool  # the line of what is new is above it
    records: Sequence[Shown]  # several where they are folded


def blocks(
    records: Sequence[Shown], first: int, before: Shown | None, read_upto: int | None, zone: tzinfo | None = None
) -> list[Block]:
    """Those of records from number `first` on. `read_upto`: what is above that offset is new; None: nothing is."""
    found: list[Block] = []
    at = 0
    while at < len(records):
        record = records[at]
        until = at + 1
        day = day_of(record.time, zone)
        is_other_day = before is None or day_of(before.time, zone) != day
        if record.kind in PRESENCE:
            while until < len(records) and _goes_on(records[until], record, read_upto, zone):
                until += 1
        is_new = read_upto is not None and record.offset > read_upto and (before is None or before.offset <= read_upto)
        is_named = is_other_day or is_new or before is None or not _follows(record, before)
        found.append(Block(first + at, first + until, day if is_other_day else "", is_named, is_new, records[at:until]))
        before, at = records[until - 1], until
    return found


def _goes_on(record: Shown, first: Shown, read_upto: int | None, zone: tzinfo | None) -> bool:
    is_same_side = read_upto is None or (record.offset > read_upto) == (first.offset > read_upto)
    return record.kind in PRESENCE and is_same_side and day_of(record.time, zone) == day_of(first.time, zone)


def _follows(record: Shown, before: Shown) -> bool:
    is_soon = record.time - before.time < GROUP_SECONDS * 1_000_000
    return (
        is_soon and record.user == before.user and record.kind in ("said", "file") and before.kind in ("said", "file")
    )


def folded(records: Sequence[Shown]) -> str:
    """`ann and ben joined · carl left · 7 came and went`."""
    last: dict[str, str] = {}
    began: dict[str, str] = {}
    for record in records:
        began.setdefault(record.user, record.kind)
        last[record.user] = record.kind
    came = [user for user, kind in last.items() if kind == "join" and began[user] == "join"]
    went = [user for user, kind in last.items() if kind == "leave" and began[user] == "leave"]
    back = [user for user, kind in last.items() if kind == "join" and began[user] == "leave"]
    gone = [user for user, kind in last.items() if kind == "leave" and began[user] == "join"]
    parts = ((came, "joined"), (went, "left"), (back, "left and came back"), (gone, "came and went"))
    return " · ".join(f"{_named(users)} {what}" for users, what in parts if users)


def _named(users: list[str]) -> str:
    if len(users) == 1:
        return users[0]
    if len(users) <= NAMED_MAX:
        return f"{', '.join(users[:-1])} and {users[-1]}"
    return f"{', '.join(users[: NAMED_MAX - 1])} and {len(users) - NAMED_MAX + 1:,} more"


def day_of(time: int, zone: tzinfo | None = None) -> str:
    """`Friday, 27 November 2026`, where the reader is."""
    local = _local(time, zone)
    return f"{local:%A}, {local.day} {local:%B} {local.year}"


def clock_of(time: int, zone: tzinfo | None = None) -> str:
    """`12:34`, where the reader is."""
    return f"{_local(time, zone):%H:%M}"


def _local(time: int, zone: tzinfo | None) -> datetime:
    return _local_minute(time // 60_000_000, zone)


@lru_cache(maxsize=4096)
def _local_minute(minute: int, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(min(minute * 60, TIME_MAX), UTC).astimezone(zone)
