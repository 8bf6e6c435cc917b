"""Reading backwards finds what is there, in a few questions, however it lies."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zchat.chat.core.back import MOST_TIMES, Backwards


def read(offsets: list[int], before: int, wanted: int) -> tuple[Backwards[int], int]:
    """As a broker answers."""
    back, questions = Backwards[int](before, wanted), 0
    while (after := back.after) is not None:
        questions += 1
        span = [offset for offset in offsets if after < offset <= back.upto]
        back.take(span, is_whole=len(span) <= back.most)
    return back, questions


@given(st.sets(st.integers(1, 5_000)), st.integers(1, 5_100), st.integers(1, 20))
def test_it_finds_the_last_ones_before(offsets: set[int], before: int, wanted: int) -> None:
    there = sorted(offset for offset in offsets if offset < before)
    back, _ = read(sorted(offsets), before, wanted)
    assert back.found == there[len(there) - len(back.found) :], "no hole"
    assert len(back.found) >= min(wanted, len(there))
    assert len(back.found) <= wanted * (MOST_TIMES + 1)
    assert not back.is_at_beginning or back.found == there


def test_one_record_far_back_takes_few_questions() -> None:
    back, questions = read([3], 10_000_000, 100)
    assert back.found == [3] and back.is_at_beginning and questions < 10


def test_a_dense_room_takes_one_question() -> None:
    back, questions = read(list(range(1, 1_000)), 800, 100)
    assert back.found == list(range(700, 800)) and questions == 1


def test_many_behind_an_empty_span_are_not_all_taken() -> None:
    back, questions = read(list(range(1, 100_000)), 200_000, 50)
    assert 50 <= len(back.found) <= 250 and back.found[-1] == 99_999 and questions < 25
