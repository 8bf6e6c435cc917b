"""Offsets as ranges, against a set of them."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from zchat.core.ranges import OffsetRanges

CHANGES = st.lists(st.tuples(st.booleans(), st.integers(1, 30), st.integers(0, 6)), max_size=30)


@given(CHANGES)
def test_it_has_what_a_set_has(changes: list[tuple[bool, int, int]]) -> None:
    ranges, model = OffsetRanges(), set[int]()
    for adds, first, size in changes:
        numbers = set(range(first, first + size + 1))
        if adds:
            ranges.add(first, first + size)
            model |= numbers
        else:
            removed = ranges.remove(first, first + size)
            assert {n for begin, end in removed for n in range(begin, end + 1)} == model & numbers
            model -= numbers
        assert {n for begin, end in ranges for n in range(begin, end + 1)} == model and ranges.count == len(model)
        assert all(one[1] + 1 < two[0] for one, two in pairwise(ranges)), "none beside another"
    ranges.clear()
    assert (ranges.count, len(ranges)) == (0, 0)
