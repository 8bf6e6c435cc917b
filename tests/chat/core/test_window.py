"""The window over a conversation: bounded, without holes, and with numbers that stay."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.chat.core.made import said
from zchat.chat.core.shown import Shown
from zchat.chat.core.window import STEP, LoadedPart

MOST = 400


def page(first: int, end: int) -> list[Shown]:
    return [said("ann", str(offset), offset) for offset in range(first, end)]


def test_what_comes_pushes_out_what_is_oldest_where_it_is_followed() -> None:
    window = LoadedPart(MOST)
    for record in page(1, 2_001):
        assert window.add(record, is_followed=True)
    assert MOST <= len(window.records) < MOST + STEP and window.last_offset == 2_000
    assert window.end == 2_000 and window.records[0].offset == window.first + 1, "numbers stay"


def test_who_reads_further_up_is_not_moved() -> None:
    window = LoadedPart(MOST)
    for record in page(1, 1_001):
        window.add(record, is_followed=False)
    assert (window.first, window.first_offset, window.last_offset) == (0, 1, MOST)
    assert not window.is_at_end and window.newer == 600
    window.add_newer(page(MOST + 1, 501), is_at_end=False)
    assert window.newer == 500 and window.last_offset == 500
    window.add_newer(page(501, 1_001), is_at_end=True)
    assert window.is_at_end and window.newer == 0 and window.last_offset == 1_000


def test_what_is_read_further_up_pushes_out_what_is_newest() -> None:
    window = LoadedPart(MOST)
    window.begin_at(page(1_001, 1_401), is_at_end=True)
    window.add_older(page(1, 1_001), is_at_beginning=True)
    assert window.first == -1_000 and window.first_offset == 1 and window.is_at_beginning
    assert len(window.records) == MOST + STEP and not window.is_at_end


@given(st.lists(st.sampled_from(["came", "older", "newer", "end"]), max_size=60), st.booleans())
def test_there_is_never_a_hole_in_it_and_never_too_much(steps: list[str], is_followed: bool) -> None:
    window, head, low = LoadedPart(20), 500, 480
    window.begin_at(page(low, head), is_at_end=True)
    for step in steps:
        if step == "came":
            window.add(said("ann", "", head), is_followed=is_followed)
            head += 1
        elif step == "older":
            before = window.first_offset
            window.add_older(page(max(1, before - 200), before), is_at_beginning=before <= 201)
        elif step == "newer":
            last = window.last_offset
            window.add_newer(page(last + 1, min(head, last + 201)), is_at_end=last + 201 >= head)
        else:
            window.begin_at(page(head - 20, head), is_at_end=True)
        offsets = [record.offset for record in window.records]
        assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))
        assert len(offsets) <= 20 + STEP + 200 and window.is_at_end == (offsets[-1] == head - 1)
