"""What is missing is fetched page by page, and what makes no sense is asked again."""

from __future__ import annotations

import pytest

from zchat import wire
from zchat.core.answers import EMPTY_PAGES_MAX, Missing
from zchat.core.fill import Fill
from zchat.errors import WireError


def page(upto: int, *, more: bool = False, gaps: list[wire.Gap] | None = None) -> wire.Page:
    return wire.Page(0, [], upto, more, gaps or [])


def test_it_goes_on_behind_each_page() -> None:
    fill = Fill(["a", "b.*"], 40, 90, 90)
    assert fill.fetch == wire.Fetch(0, ["a", "b.*"], 40, 90)
    assert fill.take(page(60, more=True, gaps=[wire.Gap("a", 41, 45, "trimmed")])) == [Missing("a", 41, 45, "trimmed")]
    assert (fill.fetch, fill.upto, fill.is_done) == (wire.Fetch(0, ["a", "b.*"], 60, 90), 60, False)
    assert fill.take(page(90)) == []
    assert (fill.is_done, fill.is_short, fill.low, fill.room) == (True, False, 90, "")


def test_one_of_a_room_says_nothing_about_others() -> None:
    fill = Fill(["a"], 40, 52, 0)
    fill.take(page(52))
    assert (fill.is_done, fill.low, fill.room, fill.upto) == (True, 0, "a", 52)


def test_what_was_said_to_be_there_and_is_not_counts_as_far_as_it_goes() -> None:
    fill = Fill(["a", "b"], 40, 90, 90)
    fill.take(page(70))
    assert (fill.is_done, fill.is_short, fill.low) == (True, True, 70)


@pytest.mark.parametrize("wrong", [page(91), page(40, more=True), page(60, gaps=[wire.Gap("c", 41, 45, "trimmed")])])
def test_after_a_page_that_makes_no_sense_the_same_is_asked(wrong: wire.Page) -> None:
    fill = Fill(["a"], 40, 90, 0)
    with pytest.raises(WireError):
        fill.take(wrong)
    assert (fill.fetch, fill.is_done, fill.upto) == (wire.Fetch(0, ["a"], 40, 90), False, 40)


def test_pages_that_bring_nothing_come_to_an_end() -> None:
    fill = Fill(["a"], 0, wire.OFFSET_MAX, 0)
    with pytest.raises(WireError, match="bring nothing"):
        for upto in range(1, EMPTY_PAGES_MAX + 2):
            fill.take(page(upto, more=True))
    assert fill.fetch.after == EMPTY_PAGES_MAX
