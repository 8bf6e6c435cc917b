"""Blocks: days, names, and folded joins."""

from __future__ import annotations

from datetime import UTC

from hypothesis import given
from hypothesis import strategies as st

from tests.chat.core.made import NOON, said
from zchat.chat.core.grouping import blocks, clock_of, day_of, folded

DAY = 86_400


def test_a_name_stands_once_for_what_is_said_in_a_row_soon() -> None:
    records = [
        said("ann", "a"),
        said("ann", "b", at=10),
        said("ben", "c", at=20),
        said("ann", "d", at=30),
        said("ann", "e", at=900),
        said("ann", "f", at=901, kind="action"),
        said("ann", "g", at=902),
    ]
    assert [block.is_named for block in blocks(records, 0, None, None, UTC)] == [True, False, *[True] * 5]


def test_each_day_has_a_line() -> None:
    records = [said("ann", "a"), said("ann", "b", at=DAY), said("ann", "c", at=DAY + 1)]
    found = blocks(records, 5, None, None, UTC)
    assert [block.day for block in found] == ["Monday, 21 September 2026", "Tuesday, 22 September 2026", ""]
    assert [(block.first, block.end) for block in found] == [(5, 6), (6, 7), (7, 8)]
    assert day_of(NOON, UTC) == "Monday, 21 September 2026" and clock_of(NOON, UTC) == "14:13"


def test_a_time_that_no_calendar_has_is_shown_all_the_same() -> None:
    assert day_of(2**53, UTC) and clock_of(2**62, UTC)


def test_joins_and_leaves_in_a_row_are_one_block() -> None:
    names = ["ann", "ben", "cat", "dan", "eve"]
    records = [said(name, "", kind="join") for name in names]
    (block,) = blocks(records, 0, said("x", ""), None, UTC)
    assert folded(block.records) == "ann, ben and 3 more joined"
    records = [said("ann", "", kind="join"), said("ben", "", kind="leave"), said("ann", "", kind="leave")]
    assert folded(records) == "ben left · ann came and went"
    assert folded([said("ann", "", kind="leave"), said("ann", "", kind="join")]) == "ann left and came back"


def test_the_line_of_what_is_new_is_above_the_first_that_is() -> None:
    records = [said("ann", "a", 1), said("ann", "b", 2), said("ann", "c", 3)]
    assert [block.is_new for block in blocks(records, 0, None, 1, UTC)] == [False, True, False]
    assert [block.is_new for block in blocks(records, 0, None, None, UTC)] == [False, False, False]
    joins = [said("ann", "", 1, kind="join"), said("ben", "", 2, kind="join")]
    assert [block.is_new for block in blocks(joins, 0, said("x", "", 0), 1, UTC)] == [False, True]


record = st.builds(
    lambda user, kind, at: said(user, "x", at=at * 100, kind=kind),
    st.sampled_from(["ann", "ben"]),
    st.sampled_from(["said", "join", "leave", "action"]),
    st.integers(0, 2_000),
)


@given(st.lists(record, max_size=30), st.integers(0, 30))
def test_what_is_added_at_the_end_changes_the_last_block_only(records: list, cut: int) -> None:  # type: ignore[type-arg]
    whole = blocks(records, 0, None, None, UTC)
    assert [number for block in whole for number in range(block.first, block.end)] == list(range(len(records)))
    begun = blocks(records[:cut], 0, None, None, UTC)
    kept = begun[:-1]
    at = kept[-1].end if kept else 0
    assert kept + blocks(records[at:], at, records[at - 1] if at else None, None, UTC) == whole
