"""The last messages of each room, at a listener: in order, then live; also over breaks and other logs."""

from __future__ import annotations

import pytest

from tests.core.test_ordering import batch_of, delivered, notices, page_of
from zchat import wire
from zchat.core.ordering import FILLING, LIVE, OrderedDelivery, Start
from zchat.errors import WireError


def asking(head: int = 40) -> OrderedDelivery:
    """One that has asked for the last two of each room."""
    ordering = OrderedDelivery(["**"], Start(last_per_room=2), presence=False)
    ordering.synced(head, 1)
    assert ordering.state == FILLING
    assert ordering.take_question() == wire.Latest(0, ["**"], 0, head, 2)
    return ordering


def test_it_is_given_page_by_page_and_what_comes_meanwhile_follows() -> None:
    ordering = asking()
    ordering.broadcast("a", batch_of(41, 20), 1)
    ordering.answered(page_of(("a", batch_of(11, 3)), ("a", batch_of(20, 12)), upto=20, more=True))
    assert ordering.take_question() == wire.Latest(0, ["**"], 20, 40, 2)
    ordering.answered(page_of(("b", batch_of(30, 25, 2)), upto=40))
    assert (ordering.state, ordering.low_watermark) == (LIVE, 40)
    assert delivered(ordering) == [("a", 11, 11), ("a", 20, 20), ("b", 30, 31), ("a", 41, 41)]


def test_without_a_message_it_is_live_at_once() -> None:
    ordering = OrderedDelivery(["**"], Start(last_per_room=1), presence=False)
    ordering.synced(0, 1)
    assert (ordering.state, ordering.take_question()) == (LIVE, None)


def test_after_a_break_it_goes_on_with_the_page_that_was_out_and_compares_the_heads() -> None:
    ordering = asking()
    ordering.answered(page_of(("a", batch_of(20, 12)), upto=20, more=True))
    assert ordering.take_question() is not None
    ordering.lost("cut")
    assert ordering.take_question() is None
    ordering.synced(45, 2)
    assert ordering.take_question() == wire.Latest(0, ["**"], 20, 40, 2)
    ordering.answered(page_of(("b", batch_of(30, 25)), upto=40))
    assert isinstance(ordering.take_question(), wire.Heads)
    ordering.answered(wire.HeadsAre(0, 45, [("a", 20, 20), ("b", 43, 43)]))
    question = ordering.take_question()
    assert isinstance(question, wire.Fetch) and (question.patterns, question.after, question.until) == (["b"], 40, 45)
    ordering.answered(page_of(("b", batch_of(43, 30)), upto=45))
    assert (ordering.state, delivered(ordering)) == (LIVE, [("a", 20, 20), ("b", 30, 30), ("b", 43, 43)])


@pytest.mark.parametrize("upto", [15, 30])
def test_where_the_log_went_back_what_it_has_left_and_was_not_given_is(upto: int) -> None:
    ordering = asking()
    ordering.answered(page_of(("a", batch_of(20, 12)), upto=20, more=True))
    ordering.went_back(upto, 40)
    ordering.synced(33, 2)
    assert ordering.take_question() == wire.Latest(0, ["**"], min(upto, 20), 33, 2)
    ordering.answered(page_of(("b", batch_of(32, 25)), upto=33))
    assert (ordering.state, ordering.low_watermark) == (LIVE, 33)


@pytest.mark.parametrize("goes_back_first", [False, True])
def test_of_another_log_it_is_given_the_last_of_each_room(goes_back_first: bool) -> None:
    ordering = asking()
    ordering.answered(page_of(("a", batch_of(20, 12)), upto=20, more=True))
    if goes_back_first:
        ordering.went_back(18, 40)
    ordering.other_log("other")
    ordering.synced(9, 2)
    assert ordering.take_question() == wire.Latest(0, ["**"], 0, 9, 2)


def test_once_it_is_live_another_log_is_read_from_then_on() -> None:
    ordering = asking()
    ordering.answered(page_of(("a", batch_of(20, 12, time=77)), upto=40))
    ordering.other_log("other")
    ordering.synced(9, 2)
    assert ordering.take_question() == wire.Seek(0, ["**"], 0, 78)


def test_a_gap_is_told_and_a_page_that_goes_nowhere_is_an_error() -> None:
    ordering = asking()
    ordering.answered(page_of(upto=20, more=True, gaps=[("a", 12, 20, "damaged")]))
    with pytest.raises(WireError):
        ordering.answered(page_of(upto=20, more=True))
    ordering.answered(page_of(upto=40))
    assert [(each.kind, each.reason) for each in notices(ordering)] == [("gap", "damaged"), ("live", "")]
