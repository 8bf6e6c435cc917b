"""One listener's order: the moves one by one, then any order of what a broker and a network do to it.

The machine at the end is a broker's log with a lossy way to the listener. What the ordering delivers is compared
with the log: each record of each room once, in order, and nothing passed over that no gap was told for.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from zchat import wire
from zchat.core.held import HELD_BYTES_MAX
from zchat.core.log import Append, RetentionRule, StoredBatch, whole
from zchat.core.ordering import (
    CHECKING,
    FILLING,
    LIVE,
    NEW,
    ROOMS_FETCHED_MAX,
    SEEKING,
    TRANSITIONS,
    Delivery,
    Mark,
    Notice,
    OrderedDelivery,
    OrderingQuestion,
    Start,
)
from zchat.core.volatile import Counts
from zchat.errors import WireError
from zchat.log.memory import MemoryLog
from zchat.names import matcher

NOON = 1_700_000_000_000_000


def batch_of(
    base: int,
    prev: int,
    records: int = 1,
    kind: int = wire.MESSAGES,
    time: int = NOON,
    prev_message: int | None = None,
) -> wire.Batch:
    bodies: list[wire.RecordOrBody] = [b"%d" % (base + at) for at in range(records)]
    return wire.Batch(kind, base, prev, time, [wire.Entry("alice", "s1", 1, bodies)], prev_message)


def page_of(
    *batches: tuple[str, wire.Batch], upto: int, more: bool = False, gaps: list[tuple[str, int, int, str]] | None = None
) -> wire.Page:
    missing = [wire.Gap(*gap) for gap in gaps or []]
    return wire.Page(0, [(room, wire.raw(wire.encode(batch))) for room, batch in batches], upto, more, missing)


def delivered(ordering: OrderedDelivery) -> list[tuple[str, int, int]]:
    """(room, first, last) of the deliveries that wait; notices are passed over."""
    return [
        (item.room, item.first, item.batch.base - 1 + sum(len(entry.records) for entry in item.batch.entries))
        for item in ordering.take()
        if isinstance(item, Delivery)
    ]


def notices(ordering: OrderedDelivery) -> list[Notice]:
    return [item for item in ordering.take() if isinstance(item, Notice)]


def live_ordering(*patterns: str, head: int = 40, presence: bool = False) -> OrderedDelivery:
    """Live from `head` on, and told so."""
    ordering = OrderedDelivery(list(patterns or ["general"]), Start(), presence)
    ordering.synced(head, NOON)
    assert ordering.take() == [Notice("live", head)] and ordering.state == LIVE
    return ordering


def fetch_of(ordering: OrderedDelivery) -> tuple[list[str], int, int]:
    question = ordering.take_question()
    assert isinstance(question, wire.Fetch), question
    return question.patterns, question.after, question.until


# --- from state to state --------------------------------------------------------------------------


def fresh(start: Start) -> OrderedDelivery:
    return OrderedDelivery(["a", "b"], start, False)


def seeking() -> OrderedDelivery:
    ordering = fresh(Start(last=3))
    ordering.synced(40, NOON)
    ordering.take_question()
    return ordering


def filling() -> OrderedDelivery:
    ordering = fresh(Start(after=10))
    ordering.synced(40, NOON)
    ordering.take_question()
    return ordering


def checking() -> OrderedDelivery:
    ordering = live_ordering("a", "b")
    ordering.check()
    ordering.take_question()
    return ordering


def other_log(ordering: OrderedDelivery) -> None:
    ordering.other_log("another")


def answers(
    ordering: OrderedDelivery, *answers: wire.Position | wire.Page | wire.HeadsAre, doubt: bool = False
) -> None:
    if doubt:
        ordering.synced(40, NOON)  # the subscriptions broke meanwhile, and are back
    for answer in answers:
        ordering.answered(answer)


def overtaken(ordering: OrderedDelivery) -> None:
    ordering.broadcast("a", batch_of(41, 40), 10)
    ordering.synced(40, NOON)


FOUND = {after: wire.Position(0, after, 40) for after in (30, 40)}
MOVES: dict[tuple[str, str], tuple[Callable[[], OrderedDelivery], Callable[[OrderedDelivery], object]]] = {
    (NEW, "other offsets"): (lambda: fresh(Start(after=10)), other_log),
    (NEW, "start unknown"): (lambda: fresh(Start(since=NOON)), lambda ordering: ordering.synced(40, NOON)),
    (NEW, "missing"): (lambda: fresh(Start(after=10)), lambda ordering: ordering.synced(40, NOON)),
    (NEW, "doubt"): (lambda: fresh(Start()), overtaken),
    (NEW, "whole"): (lambda: fresh(Start()), lambda ordering: ordering.synced(40, NOON)),
    (SEEKING, "other offsets"): (seeking, other_log),
    (SEEKING, "missing"): (seeking, lambda ordering: answers(ordering, FOUND[30])),
    (SEEKING, "whole"): (seeking, lambda ordering: answers(ordering, FOUND[40])),
    (SEEKING, "doubt"): (seeking, lambda ordering: answers(ordering, FOUND[40], doubt=True)),
    (FILLING, "other offsets"): (filling, other_log),
    (FILLING, "whole"): (filling, lambda ordering: answers(ordering, page_of(upto=40))),
    (FILLING, "doubt"): (filling, lambda ordering: answers(ordering, page_of(upto=40), doubt=True)),
    (CHECKING, "other offsets"): (checking, other_log),
    (CHECKING, "missing"): (checking, lambda ordering: answers(ordering, wire.HeadsAre(0, 57, [("a", 57, 57)]))),
    (CHECKING, "whole"): (checking, lambda ordering: answers(ordering, wire.HeadsAre(0, 40, []))),
    (CHECKING, "doubt"): (checking, lambda ordering: answers(ordering, wire.HeadsAre(0, 40, []), doubt=True)),
    (LIVE, "other offsets"): (lambda: live_ordering("a", "b"), other_log),
    (LIVE, "missing"): (lambda: live_ordering("a", "b"), lambda ordering: ordering.watermark("a", 57)),
    (LIVE, "doubt"): (lambda: live_ordering("a", "b"), lambda ordering: ordering.check()),
}


def test_each_move_of_the_table_has_something_that_makes_it() -> None:
    assert MOVES.keys() == {(state, why) for state, moves in TRANSITIONS.items() for why in moves}


@pytest.mark.parametrize(("state", "why"), MOVES)
def test_it_moves_as_the_table_says(state: str, why: str) -> None:
    begin, act = MOVES[state, why]
    ordering = begin()
    assert ordering.state == state
    act(ordering)
    assert ordering.state == TRANSITIONS[state][why]
    asks = {FILLING: wire.Fetch, CHECKING: wire.Heads, SEEKING: wire.Seek}.get(ordering.state)
    question = ordering.take_question()
    assert question is None if asks is None else isinstance(question, asks)


# --- where it begins ----------------------------------------------------------------------------


def test_without_a_start_it_is_live_from_the_head_on() -> None:
    ordering = live_ordering(head=40)
    assert ordering.take_question() is None
    ordering.broadcast("general", batch_of(57, 40), 10)
    assert delivered(ordering) == [("general", 57, 57)]


def test_what_comes_before_the_first_sync_is_left_to_it() -> None:
    ordering = OrderedDelivery(["general"], Start(), False)
    ordering.broadcast("general", batch_of(40, 30), 10)
    ordering.broadcast("general", batch_of(0, 0, kind=wire.VOLATILE_MESSAGES), 10)
    ordering.watermark("general", 40)
    assert (ordering.state, ordering.is_begun, ordering.is_synced, ordering.take()) == (NEW, False, False, [])
    ordering.synced(40, NOON)
    assert ordering.is_begun and ordering.is_synced
    assert ordering.take() == [Notice("live", 40)]


def test_from_an_offset_on_it_fetches_up_to_the_head_and_holds_what_comes_meanwhile() -> None:
    ordering = OrderedDelivery(["general"], Start(after=10), False)
    ordering.synced(40, NOON)
    assert ordering.state == FILLING
    assert fetch_of(ordering) == (["general"], 10, 40)
    ordering.broadcast("general", batch_of(41, 40), 10)
    assert ordering.take() == []
    ordering.answered(page_of(("general", batch_of(20, 0)), ("general", batch_of(40, 20)), upto=40))
    assert delivered(ordering) == [("general", 20, 20), ("general", 40, 40), ("general", 41, 41)]
    assert ordering.low_watermark == 40


def test_live_is_told_after_history_and_before_what_came_meanwhile() -> None:
    ordering = OrderedDelivery(["general"], Start(after=10), False)
    ordering.synced(40, NOON)
    ordering.take_question()
    ordering.broadcast("general", batch_of(41, 40), 10)
    ordering.answered(page_of(("general", batch_of(40, 0)), upto=40))
    history, live, meanwhile = ordering.take()
    assert isinstance(history, Delivery) and live == Notice("live", 40) and isinstance(meanwhile, Delivery)


def test_an_offset_within_a_batch_hands_on_the_rest_of_it() -> None:
    ordering = OrderedDelivery(["general"], Start(after=11), False)
    ordering.synced(40, NOON)
    ordering.take_question()
    ordering.answered(page_of(("general", batch_of(10, 0, records=4)), upto=40))
    assert delivered(ordering) == [("general", 12, 13)]


@pytest.mark.parametrize("records", [2, 3])
def test_a_batch_that_reaches_over_the_end_of_history_is_not_handed_on_again(records: int) -> None:
    ordering = OrderedDelivery(["general"], Start(after=30), False)
    ordering.synced(40, NOON)
    ordering.take_question()
    ordering.broadcast("general", batch_of(40, 0, records), 10)
    ordering.answered(page_of(("general", batch_of(40, 0, records)), upto=40))
    ordering.broadcast("general", batch_of(40, 0, records), 10)
    assert delivered(ordering) == [("general", 40, 39 + records)]


@pytest.mark.parametrize("after", [40, 41])
def test_from_the_head_on_nothing_is_fetched(after: int) -> None:
    ordering = OrderedDelivery(["general"], Start(after=after), False)
    ordering.synced(40, NOON)
    assert (ordering.state, ordering.take_question()) == (LIVE, None)


@pytest.mark.parametrize(("start", "last", "since"), [(Start(last=5), 5, 0), (Start(since=NOON), 0, NOON)])
def test_for_the_last_records_or_a_time_it_asks_where_they_start(start: Start, last: int, since: int) -> None:
    ordering = OrderedDelivery(["general", "build.*"], start, True)
    ordering.synced(40, NOON)
    assert ordering.state == SEEKING
    question = ordering.take_question()
    assert isinstance(question, wire.Seek)
    assert (question.patterns, question.last, question.since) == (["general", "build.*"], last, since)
    assert question.presence == (last == 0), "joins and leaves are none of the last messages"
    ordering.answered(wire.Position(0, 35, 41))
    assert fetch_of(ordering) == (["general", "build.*"], 35, 40)


@pytest.mark.parametrize("after", [41, 42])
def test_what_came_after_the_sync_is_handed_on_however_late_the_start_is_found(after: int) -> None:
    ordering = OrderedDelivery(["general"], Start(last=1), False)
    ordering.synced(40, NOON)
    ordering.take_question()
    ordering.broadcast("general", batch_of(41, 40), 10)
    ordering.answered(wire.Position(0, after, 42))  # the log has committed 41 and 42 meanwhile
    ordering.broadcast("general", batch_of(42, 41), 10)
    assert delivered(ordering) == [("general", 41, 41), ("general", 42, 42)]


def test_history_comes_page_by_page() -> None:
    ordering = OrderedDelivery(["general"], Start(after=0), False)
    ordering.synced(40, NOON)
    assert fetch_of(ordering) == (["general"], 0, 40)
    ordering.answered(page_of(("general", batch_of(5, 0)), upto=5, more=True))
    assert delivered(ordering) == [("general", 5, 5)]
    assert fetch_of(ordering) == (["general"], 5, 40)
    ordering.answered(page_of(("general", batch_of(30, 5)), upto=40))
    assert (delivered(ordering), ordering.state) == ([("general", 30, 30)], LIVE)


# --- prev links ---------------------------------------------------------------------------------


def test_a_batch_that_follows_is_handed_on() -> None:
    ordering = live_ordering()
    ordering.broadcast("general", batch_of(57, 40, records=2), 10)
    ordering.broadcast("general", batch_of(60, 58), 10)
    assert delivered(ordering) == [("general", 57, 58), ("general", 60, 60)]


def test_a_batch_that_does_not_follow_is_held_until_what_lies_between_is_fetched() -> None:
    ordering = live_ordering()
    ordering.broadcast("general", batch_of(57, 52), 10)
    assert (ordering.state, ordering.take()) == (FILLING, [])
    assert fetch_of(ordering) == (["general"], 40, 52)
    ordering.answered(page_of(("general", batch_of(50, 40, records=3)), upto=52))
    assert delivered(ordering) == [("general", 50, 52), ("general", 57, 57)]
    assert ordering.state == LIVE


def test_a_batch_that_was_seen_is_dropped() -> None:
    ordering = live_ordering()
    ordering.broadcast("general", batch_of(57, 40), 10)
    ordering.take()
    ordering.broadcast("general", batch_of(57, 40), 10)
    ordering.broadcast("general", batch_of(30, 20), 10)
    assert ordering.take() == []


def test_a_gap_of_one_room_holds_the_other_rooms_back_in_order() -> None:
    ordering = live_ordering("**")
    ordering.broadcast("a", batch_of(50, 45), 10)
    ordering.broadcast("b", batch_of(51, 0), 10)
    ordering.broadcast("a", batch_of(52, 50), 10)
    assert ordering.take() == []
    assert fetch_of(ordering) == (["a"], 40, 45)
    ordering.answered(page_of(("a", batch_of(45, 40)), upto=45))
    assert delivered(ordering) == [("a", 45, 45), ("a", 50, 50), ("b", 51, 51), ("a", 52, 52)]


def test_two_gaps_are_filled_one_after_the_other() -> None:
    ordering = live_ordering("**")
    ordering.broadcast("a", batch_of(50, 45), 10)
    ordering.broadcast("b", batch_of(51, 46), 10)
    assert fetch_of(ordering) == (["a"], 40, 45)
    ordering.answered(page_of(("a", batch_of(45, 0)), upto=45))
    assert fetch_of(ordering) == (["b"], 40, 46)
    ordering.answered(page_of(("b", batch_of(46, 0)), upto=46))
    assert delivered(ordering) == [("a", 45, 45), ("a", 50, 50), ("b", 46, 46), ("b", 51, 51)]


def test_what_was_lost_is_counted_when_it_is_recovered() -> None:
    ordering = live_ordering()
    ordering.broadcast("general", batch_of(57, 52), 10)
    ordering.take_question()
    ordering.answered(page_of(("general", batch_of(50, 40, records=3)), upto=52))
    assert notices(ordering) == [Notice("recovered", records=3)]


def test_a_loss_at_the_end_is_seen_by_the_tail_marker() -> None:
    ordering = live_ordering()
    ordering.watermark("general", 40)
    assert ordering.state == LIVE
    ordering.watermark("general", 57)
    assert fetch_of(ordering) == (["general"], 40, 57)
    ordering.answered(page_of(("general", batch_of(57, 40)), upto=57))
    assert delivered(ordering) == [("general", 57, 57)]
    ordering.watermark("general", 57)
    assert ordering.state == LIVE


def test_joins_and_leaves_are_handed_on_only_when_asked_for_and_keep_the_order_all_the_same() -> None:
    for presence, handed in ((False, [("general", 58, 58)]), (True, [("general", 57, 57), ("general", 58, 58)])):
        ordering = live_ordering(presence=presence)
        ordering.broadcast("general", batch_of(57, 40, kind=wire.PRESENCE), 10)
        ordering.broadcast("general", batch_of(58, 57), 10)
        assert delivered(ordering) == handed


def test_a_volatile_batch_stands_outside_the_order() -> None:
    ordering = live_ordering()
    ordering.broadcast("general", batch_of(57, 52), 10)
    ordering.broadcast("general", batch_of(0, 0, kind=wire.VOLATILE_MESSAGES), 10)
    (item,) = ordering.take()
    assert isinstance(item, Delivery) and item.batch.kind == wire.VOLATILE_MESSAGES
    assert ordering.state == FILLING


def test_a_volatile_batch_of_a_connection_that_has_proved_nothing_is_left_out() -> None:
    ordering = live_ordering()
    ordering.unsynced()
    ordering.broadcast("general", batch_of(0, 0, kind=wire.VOLATILE_MESSAGES), 10)
    assert ordering.take() == []


def test_joins_and_leaves_that_were_not_asked_for_are_not_missed() -> None:
    ordering = live_ordering(head=40)
    ordering.broadcast("general", batch_of(45, 44, prev_message=40), 10)
    ordering.broadcast("general", batch_of(50, 49, 2, prev_message=45), 10)
    assert delivered(ordering) == [("general", 45, 45), ("general", 50, 51)]
    ordering.check()
    assert isinstance(ordering.take_question(), wire.Heads)
    ordering.answered(wire.HeadsAre(0, 70, [("general", 70, 51)]))
    assert ordering.take_question() is None and ordering.low_watermark == 70


def test_a_message_that_is_missed_is_fetched_as_far_as_the_last_message_goes() -> None:
    ordering = live_ordering(head=40)
    ordering.broadcast("general", batch_of(50, 49, prev_message=45), 10)
    assert fetch_of(ordering) == (["general"], 40, 45)
    ordering.answered(page_of(("general", batch_of(45, 44, prev_message=40)), upto=45))
    assert delivered(ordering) == [("general", 45, 45), ("general", 50, 50)]
    ordering.check()
    ordering.take_question()
    ordering.answered(wire.HeadsAre(0, 70, [("general", 70, 60)]))
    assert fetch_of(ordering) == (["general"], 50, 70)


@pytest.mark.parametrize("prev_message", [40, None])
def test_who_hears_joins_and_leaves_misses_them(prev_message: int | None) -> None:
    ordering = live_ordering(head=40, presence=True)
    ordering.broadcast("general", batch_of(45, 44, prev_message=prev_message), 10)
    assert fetch_of(ordering) == (["general"], 40, 44)
    ordering = live_ordering(head=40, presence=True)
    ordering.check()
    ordering.take_question()
    ordering.answered(wire.HeadsAre(0, 45, [("general", 45, 40)]))
    assert fetch_of(ordering) == (["general"], 40, 45)


def test_after_a_start_of_the_broker_what_may_be_a_message_is_fetched_once() -> None:
    ordering = live_ordering(head=40)
    ordering.broadcast("general", batch_of(45, 44, prev_message=44), 10)
    assert fetch_of(ordering) == (["general"], 40, 44)
    ordering.answered(page_of(("general", batch_of(44, 40, kind=wire.PRESENCE)), upto=44))
    ordering.broadcast("general", batch_of(46, 45, prev_message=45), 10)
    assert delivered(ordering) == [("general", 45, 45), ("general", 46, 46)]
    assert ordering.take_question() is None


# --- gaps that stay -----------------------------------------------------------------------------


def test_what_cannot_be_had_any_more_is_told_in_its_place() -> None:
    ordering = OrderedDelivery(["general"], Start(after=0), False)
    ordering.synced(40, NOON)
    ordering.take_question()
    first, second = ("general", batch_of(10, 9)), ("general", batch_of(30, 20))
    gaps = [("general", 11, 20, "damaged"), ("general", 1, 9, "trimmed")]
    ordering.answered(page_of(first, second, upto=40, gaps=gaps))
    items = [item.first if isinstance(item, Delivery) else item for item in ordering.take()]
    assert items == [
        Notice("gap", 1, 9, "general", reason="trimmed"),
        10,
        Notice("gap", 11, 20, "general", reason="damaged"),
        30,
        Notice("live", 40),
    ]


def test_one_hole_of_many_pages_is_told_once() -> None:
    ordering = OrderedDelivery(["general", "build"], Start(after=0), False)
    ordering.synced(90, NOON)
    ordering.take_question()
    ordering.answered(page_of(upto=20, more=True, gaps=[("general", 1, 20, "trimmed"), ("build", 1, 20, "trimmed")]))
    assert ordering.take() == []
    ordering.take_question()
    ordering.answered(page_of(upto=40, more=True, gaps=[("general", 21, 40, "trimmed"), ("build", 21, 40, "damaged")]))
    assert ordering.take() == [Notice("gap", 1, 20, "build", reason="trimmed")]  # the next one has another reason
    ordering.take_question()
    ordering.answered(page_of(("general", batch_of(50, 41)), upto=90, gaps=[("general", 41, 45, "trimmed")]))
    items = [item.first if isinstance(item, Delivery) else item for item in ordering.take()]
    assert items == [
        Notice("gap", 1, 45, "general", reason="trimmed"),
        50,
        Notice("gap", 21, 40, "build", reason="damaged"),
        Notice("live", 90),
    ]


def test_a_cursor_is_marked_only_behind_gaps_that_are_told() -> None:
    ordering = OrderedDelivery(["general"], Start(after=0), False, marks=True)
    ordering.synced(90, NOON)
    ordering.take_question()
    ordering.answered(page_of(upto=20, more=True, gaps=[("general", 1, 20, "trimmed")]))
    assert ordering.take() == [Notice("gap", 1, 20, "general", reason="trimmed"), Mark(20)]


def test_a_gap_is_told_only_as_far_as_it_was_not_seen() -> None:
    ordering = live_ordering(head=40)
    ordering.watermark("general", 57)
    ordering.take_question()
    ordering.answered(page_of(upto=57, gaps=[("general", 30, 57, "damaged")]))
    assert notices(ordering) == [Notice("gap", 41, 57, "general", reason="damaged")]
    ordering.broadcast("general", batch_of(58, 57), 10)
    assert delivered(ordering) == [("general", 58, 58)]


def test_another_log_is_a_gap_and_goes_on_from_the_time_that_was_reached() -> None:
    ordering = live_ordering()
    ordering.broadcast("general", batch_of(41, 40, time=NOON + 5), 10)
    ordering.take()
    ordering.lost("gone")
    ordering.other_log()
    assert notices(ordering) == [Notice("lost", reason="gone"), Notice("gap", 41, 0, reason="log")]
    ordering.broadcast("general", batch_of(1, 0), 10)  # of the new log: history has it
    ordering.synced(3, NOON + 9)
    question = ordering.take_question()
    assert isinstance(question, wire.Seek) and question.since == NOON + 6
    ordering.answered(wire.Position(0, 0, 3))
    assert fetch_of(ordering) == (["general"], 0, 3)
    ordering.answered(page_of(("general", batch_of(1, 0)), ("general", batch_of(3, 1)), upto=3))
    assert delivered(ordering) == [("general", 1, 1), ("general", 3, 3)]


def test_a_log_that_went_back_is_a_gap_and_goes_on_from_where_it_is_the_same() -> None:
    ordering = live_ordering("a", "b", head=40)
    ordering.broadcast("a", batch_of(41, 40), 10)
    ordering.broadcast("b", batch_of(42, 40), 10)
    ordering.take()
    ordering.lost("gone")
    ordering.went_back(41, 60)
    assert notices(ordering) == [Notice("lost", reason="gone"), Notice("gap", 42, 60, reason="log")]
    assert (ordering.low_watermark, ordering.logs, ordering.is_synced) == (40, 1, False)
    ordering.broadcast("a", batch_of(70, 41), 10)  # of either log
    ordering.synced(90, NOON)  # longer again than what was seen
    assert fetch_of(ordering) == (["a", "b"], 40, 90)
    new = [("a", batch_of(41, 40)), ("b", batch_of(42, 40)), ("a", batch_of(70, 41))]
    ordering.answered(page_of(*new, upto=90))
    assert delivered(ordering) == [("b", 42, 42), ("a", 70, 70)]
    ordering.broadcast("a", batch_of(91, 70), 10)
    assert delivered(ordering) == [("a", 91, 91)]


def test_a_log_that_went_back_and_has_nothing_new_is_live_at_once() -> None:
    ordering = OrderedDelivery(["general"], Start(after=30), False)
    ordering.synced(40, NOON)
    assert fetch_of(ordering) == (["general"], 30, 40)
    ordering.went_back(25, 40)  # while the page was under way
    ordering.synced(25, NOON)
    assert (ordering.state, ordering.low_watermark) == (LIVE, 25)
    ordering.broadcast("general", batch_of(26, 25), 10)
    assert delivered(ordering) == [("general", 26, 26)]


@pytest.mark.parametrize(("after", "begins"), [(10, 10), (25, 25), (40, 25)])
def test_a_start_above_where_the_log_went_back_to_skips_nothing(after: int, begins: int) -> None:
    ordering = OrderedDelivery(["general"], Start(after=after), False)
    ordering.went_back(25, 40)
    assert notices(ordering) == [Notice("gap", 26, 40, reason="log")]
    ordering.synced(60, NOON)
    assert fetch_of(ordering) == (["general"], begins, 60)


@pytest.mark.parametrize("start", [Start(), Start(last=5), Start(since=NOON)])
def test_a_log_that_went_back_before_it_began_is_no_gap(start: Start) -> None:
    ordering = OrderedDelivery(["general"], start, False)
    ordering.went_back(25, 40)
    assert (ordering.take(), ordering.state) == ([], NEW)


def test_a_log_that_goes_back_while_the_start_is_looked_for_keeps_what_was_promised() -> None:
    ordering = OrderedDelivery(["general"], Start(last=2), False)
    ordering.synced(40, NOON)
    assert isinstance(ordering.take_question(), wire.Seek)
    ordering.went_back(25, 40)
    ordering.went_back(22, 30)  # and once more
    ordering.synced(60, NOON)
    assert isinstance(ordering.take_question(), wire.Seek)
    ordering.answered(wire.Position(0, 58, 60))  # the last two; what came since it was live is above 22
    assert fetch_of(ordering) == (["general"], 22, 60)


def test_what_was_held_before_a_sync_may_be_of_a_log_that_went_back_and_is_fetched() -> None:
    ordering = live_ordering(head=40)
    ordering.lost("gone")
    ordering.broadcast("general", batch_of(41, 40), 10)
    ordering.take()
    ordering.synced(45, NOON)
    assert isinstance(ordering.take_question(), wire.Heads)
    ordering.answered(wire.HeadsAre(0, 45, [("general", 45, 45)]))
    assert delivered(ordering) == [] and fetch_of(ordering) == (["general"], 40, 45)


@pytest.mark.parametrize("start", [Start(), Start(last=5), Start(since=NOON)])
def test_another_log_before_it_began_is_no_gap(start: Start) -> None:
    ordering = OrderedDelivery(["general"], start, False)
    ordering.other_log()
    assert (ordering.take(), ordering.state) == ([], NEW)


def test_an_offset_of_another_log_starts_nothing_all_of_this_log_is_new() -> None:
    ordering = OrderedDelivery(["general"], Start(after=4), False)
    ordering.other_log()
    assert ordering.take() == [Notice("gap", 5, 0, reason="log")]
    ordering.synced(9, NOON)
    assert fetch_of(ordering) == (["general"], 0, 9)


def test_another_log_that_is_found_without_a_break_waits_for_its_sync_too() -> None:
    ordering = live_ordering()
    ordering.check()
    ordering.take_question()
    ordering.other_log()
    assert not ordering.is_synced
    ordering.synced(3, NOON)
    assert isinstance(ordering.take_question(), wire.Seek)


# --- marks --------------------------------------------------------------------------------------


def test_a_mark_says_that_everything_up_to_it_was_handed_on() -> None:
    ordering = OrderedDelivery(["**"], Start(), False, marks=True)
    ordering.synced(40, NOON)
    assert ordering.take() == [Mark(40), Notice("live", 40)]
    assert not ordering.wants_mark
    ordering.broadcast("a", batch_of(41, 0), 10)
    assert ordering.wants_mark and ordering.take()
    ordering.check()
    ordering.take_question()
    ordering.answered(wire.HeadsAre(0, 45, [("a", 41, 41), ("b", 45, 45)]))
    assert ordering.take() == []
    ordering.take_question()
    ordering.answered(page_of(("b", batch_of(45, 0)), upto=45))
    delivery, mark, recovered = ordering.take()
    assert isinstance(delivery, Delivery) and mark == Mark(45) and recovered == Notice("recovered", records=1)
    assert not ordering.wants_mark
    ordering.check()
    ordering.take_question()
    ordering.answered(wire.HeadsAre(0, 45, [("a", 41, 41), ("b", 45, 45)]))
    assert ordering.take() == []  # it says nothing new


def test_a_listener_without_a_cursor_gets_no_marks() -> None:
    ordering = live_ordering()
    ordering.broadcast("general", batch_of(41, 40), 10)
    assert not ordering.wants_mark


def test_a_consumer_that_was_given_all_has_reached_the_latest_that_is_known() -> None:
    ordering = live_ordering("**")
    assert ordering.reached((0, 0)) == 40
    ordering.broadcast("a", batch_of(41, 0, records=2), 10)
    ordering.broadcast("b", batch_of(43, 0, kind=wire.PRESENCE), 10)
    assert ordering.reached((0, 41)) == 41
    assert ordering.reached((0, 42)) == 43
    ordering.other_log()
    assert ordering.reached((0, 42)) == 0
    ordering.synced(0, NOON)
    ordering.take_question()
    ordering.answered(wire.Position(0, 0, 0))
    ordering.broadcast("a", batch_of(1, 0, records=2), 10)
    assert ordering.reached((0, 42)) == 0  # it was given nothing of this log yet
    assert (ordering.reached((1, 1)), ordering.reached((1, 2))) == (1, 2)


def test_a_watermark_of_one_room_says_nothing_about_the_others() -> None:
    ordering = live_ordering("**")
    ordering.watermark("a", 57)
    ordering.take_question()
    ordering.answered(page_of(("a", batch_of(57, 40)), upto=57))
    ordering.take()
    ordering.broadcast("b", batch_of(58, 50), 10)
    assert fetch_of(ordering) == (["b"], 40, 50)


def test_what_a_page_does_not_have_does_not_exist_and_is_not_fetched_again() -> None:
    ordering = live_ordering()
    ordering.broadcast("general", batch_of(58, 57), 10)
    ordering.take_question()
    ordering.answered(page_of(upto=57))
    assert (delivered(ordering), ordering.state) == ([("general", 58, 58)], LIVE)


def test_a_gap_below_what_was_seen_is_not_told() -> None:
    ordering = live_ordering("**")
    ordering.broadcast("a", batch_of(50, 0), 10)
    ordering.watermark("b", 45)
    ordering.take()
    ordering.take_question()
    ordering.answered(page_of(upto=45, gaps=[("b", 10, 40, "trimmed")]))
    assert ordering.take() == []
    ordering.broadcast("a", batch_of(50, 0), 10)
    assert ordering.take() == []  # seen all the same


# --- breaks -------------------------------------------------------------------------------------


def test_after_a_break_it_compares_the_heads_and_fetches_what_is_behind() -> None:
    ordering = live_ordering("**")
    ordering.broadcast("a", batch_of(41, 0), 10)
    ordering.lost("cut")
    ordering.synced(60, NOON)
    assert ordering.state == CHECKING
    assert isinstance(ordering.take_question(), wire.Heads)
    ordering.broadcast("a", batch_of(61, 50), 10)
    ordering.answered(wire.HeadsAre(0, 60, [("a", 50, 50), ("b", 30, 30)]))
    assert fetch_of(ordering) == (["a"], 41, 60)
    ordering.answered(page_of(("a", batch_of(50, 41)), upto=60))
    items = [item.first if isinstance(item, Delivery) else item for item in ordering.take()]
    assert items == [41, Notice("lost", reason="cut"), 50, Notice("back", records=1), 61]
    assert ordering.low_watermark == 60


def test_rooms_that_are_behind_are_fetched_from_the_one_that_is_furthest_behind() -> None:
    ordering = live_ordering("**")
    ordering.broadcast("a", batch_of(50, 0), 10)
    ordering.broadcast("b", batch_of(51, 0), 10)
    ordering.broadcast("c", batch_of(52, 0), 10)
    ordering.check()
    ordering.take_question()
    ordering.answered(wire.HeadsAre(0, 60, [("b", 59, 59), ("a", 60, 60), ("c", 52, 52)]))
    assert fetch_of(ordering) == (["b", "a"], 50, 60)


def test_heads_that_were_all_seen_are_the_floor_of_all_rooms() -> None:
    ordering = live_ordering("**")
    ordering.broadcast("a", batch_of(50, 0), 10)
    ordering.check()
    ordering.take_question()
    ordering.answered(wire.HeadsAre(0, 60, [("a", 50, 50)]))
    assert (ordering.state, ordering.low_watermark) == (LIVE, 60)
    ordering.broadcast("b", batch_of(61, 60), 10)
    ordering.broadcast("a", batch_of(62, 50), 10)
    assert delivered(ordering) == [("a", 50, 50), ("b", 61, 61), ("a", 62, 62)]


def test_after_a_break_in_which_nothing_was_said_it_is_back_with_nothing() -> None:
    ordering = live_ordering()
    ordering.lost("cut")
    ordering.lost("cut again")
    ordering.synced(40, NOON)
    ordering.take_question()
    ordering.answered(wire.HeadsAre(0, 40, [("general", 40, 40)]))
    assert ordering.take() == [Notice("lost", reason="cut"), Notice("back")]


def test_more_rooms_than_can_be_named_are_fetched_by_the_patterns() -> None:
    ordering = live_ordering("**")
    ordering.check()
    ordering.take_question()
    behind = [(f"room-{number}", 41 + number, 41 + number) for number in range(ROOMS_FETCHED_MAX + 1)]
    ordering.answered(wire.HeadsAre(0, 200, behind))
    assert fetch_of(ordering) == (["**"], 40, 200)


def test_a_question_whose_answer_was_lost_is_asked_again_once_it_is_synced() -> None:
    ordering = OrderedDelivery(["general"], Start(after=10), False)
    ordering.synced(40, NOON)
    assert fetch_of(ordering) == (["general"], 10, 40)
    assert ordering.take_question() is None
    ordering.lost("cut")
    assert ordering.take_question() is None
    ordering.synced(50, NOON)
    assert fetch_of(ordering) == (["general"], 10, 40)
    ordering.answered(page_of(upto=40))
    assert ordering.state == CHECKING  # the subscriptions were away meanwhile


def test_a_break_of_the_subscriptions_alone_is_checked_and_not_told() -> None:
    ordering = live_ordering()
    ordering.unsynced()
    assert not ordering.is_synced
    ordering.synced(40, NOON)
    assert ordering.state == CHECKING
    ordering.take_question()
    ordering.answered(wire.HeadsAre(0, 40, []))
    assert ordering.take() == []


def test_an_answer_to_something_else_changes_nothing_and_the_question_is_asked_again() -> None:
    ordering = OrderedDelivery(["general"], Start(after=10), False)
    ordering.synced(40, NOON)
    question = ordering.take_question()
    assert ordering.take_question() is None
    with pytest.raises(WireError):
        ordering.answered(wire.HeadsAre(0, 40, []))
    assert (ordering.state, ordering.take()) == (FILLING, [])
    assert ordering.take_question() == question
    ordering.answered(page_of(upto=40))
    assert ordering.state == LIVE


# --- pauses and memory --------------------------------------------------------------------------


def test_a_paused_listener_takes_nothing_and_catches_up_from_history() -> None:
    ordering = live_ordering()
    ordering.paused(True)
    ordering.broadcast("general", batch_of(41, 40), 10)
    ordering.broadcast("general", batch_of(0, 0, kind=wire.VOLATILE_MESSAGES), 10)
    ordering.watermark("general", 41)
    ordering.check()
    assert (ordering.take(), ordering.take_question()) == ([], None)
    ordering.paused(False)
    assert isinstance(ordering.take_question(), wire.Heads)
    ordering.answered(wire.HeadsAre(0, 41, [("general", 41, 41)]))
    assert fetch_of(ordering) == (["general"], 40, 41)
    ordering.answered(page_of(("general", batch_of(41, 40)), upto=41))
    assert delivered(ordering) == [("general", 41, 41)]


def test_a_pause_in_which_nothing_came_asks_nothing() -> None:
    ordering = live_ordering()
    ordering.paused(True)
    ordering.paused(False)
    assert (ordering.state, ordering.take_question()) == (LIVE, None)


def test_a_paused_listener_asks_for_no_next_page() -> None:
    ordering = OrderedDelivery(["general"], Start(after=0), False)
    ordering.synced(40, NOON)
    ordering.take_question()
    ordering.paused(True)
    ordering.answered(page_of(("general", batch_of(5, 0)), upto=5, more=True))
    assert ordering.take_question() is None
    ordering.paused(False)
    assert fetch_of(ordering) == (["general"], 5, 40)


def batches_kept() -> int:
    return sum(isinstance(each, wire.Batch) for each in gc.get_objects())


def test_what_is_held_is_bounded_and_what_was_dropped_of_it_is_fetched() -> None:
    ordering = live_ordering()
    before = batches_kept()
    ordering.broadcast("general", batch_of(57, 52), 10)
    for offset in range(58, 100):
        ordering.broadcast("general", batch_of(offset, offset - 1), 1 << 20)
    assert batches_kept() - before <= HELD_BYTES_MAX >> 20
    ordering.take_question()
    ordering.answered(page_of(("general", batch_of(52, 40)), upto=52))
    assert ordering.state == CHECKING
    ordering.take_question()
    ordering.answered(wire.HeadsAre(0, 99, [("general", 99, 99)]))
    assert fetch_of(ordering) == (["general"], 52, 99)


def test_a_paused_listener_keeps_nothing() -> None:
    ordering = live_ordering()
    before = batches_kept()
    ordering.paused(True)
    for offset in range(41, 200):
        ordering.broadcast("general", batch_of(offset, offset - 1), 10)
    assert batches_kept() == before


# --- any order of anything ----------------------------------------------------------------------

ROOMS = ["a", "b", "c.x", "c.y"]
PATTERNS = [["a"], ["a", "b"], ["c.*"], ["a", "c.*"], ["**"]]
STARTS = [Start(), Start(after=0), Start(after=3), Start(last=2), Start(since=NOON + 3)]
HUGE = HELD_BYTES_MAX // 3
Step = Callable[[], None]


class AnyWay(RuleBasedStateMachine):
    """A log, a broker that commits and then broadcasts, and a way to one listener that loses what it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.times = count(NOON)
        self.way: deque[Step] = deque()  # on the listener's SUB
        self.question: OrderingQuestion | None = None
        self.answer: wire.Page | wire.HeadsAre | wire.Position | None = None
        self.logs_told = self.logs = 0
        self.counts = Counts("start")
        self.volatile_heard: dict[str, int] = {}  # room -> how far its count was heard,
        self.volatile_lost: dict[str, int] = {}  # and how many were told as lost since
        self.new_log()

    def new_log(self) -> None:
        self.log = MemoryLog()
        self.committed: deque[tuple[str, wire.Batch]] = deque()  # not broadcast yet
        self.head = 0  # of what was broadcast
        self.lasts: dict[str, int] = {}
        self.last_messages: dict[str, int] = {}  # of what was broadcast, as far as the broker knows,
        self.given_messages: dict[str, int] = {}  # and of what is committed
        self.said: dict[str, dict[int, int]] = {room: {} for room in ROOMS}  # offset -> kind
        self.gone: dict[str, set[int]] = {room: set() for room in ROOMS}  # trimmed or damaged
        self.damaged: set[int] = set()
        self.begin: int | None = None  # nothing up to here is wanted
        self.began_at = 0  # the head of the SYNC that it began with
        self.got: dict[str, int] = {}  # room -> last offset that was delivered or told as a gap

    @initialize(
        patterns=st.sampled_from(PATTERNS),
        start=st.sampled_from(STARTS),
        presence=st.booleans(),
        history=st.lists(st.tuples(st.sampled_from(ROOMS), st.integers(1, 3), st.booleans()), max_size=5),
        begins=st.sampled_from([True, True, True, False]),
        way_out=st.sampled_from(["a new connection", "watermarks", "a check"]),
    )
    def listen(
        self,
        patterns: list[str],
        start: Start,
        presence: bool,
        history: list[tuple[str, int, bool]],
        begins: bool,
        way_out: str,
    ) -> None:
        self.start, self.presence, self.way_out = start, presence, way_out
        self.ordering = OrderedDelivery(patterns, start, presence, marks=True)
        self.wanted = matcher(patterns)
        for room, records, by_broker in history:
            self.commit(room, records, by_broker)
        self.broadcast_all()
        self.way.clear()
        if begins:
            self.connect()
            self.carry_all()

    # --- the broker -------------------------------------------------------------------------

    @rule(room=st.sampled_from(ROOMS), records=st.integers(1, 3), presence=st.booleans())
    def commit(self, room: str, records: int, presence: bool) -> None:
        kind = wire.PRESENCE if presence else wire.MESSAGES
        base = self.log.head() + 1
        prev_message = None if presence else self.given_messages.get(room, 0)
        batch = batch_of(base, self.log.rooms().get(room, 0), records, kind, next(self.times), prev_message)
        if not presence:
            self.given_messages[room] = base + records - 1
        stored = StoredBatch(base, room, kind, records, batch.time, wire.encode(batch))
        self.log.append(Append([stored], [], [], {}), lambda error: None)
        self.said[room].update(dict.fromkeys(range(base, base + records), kind))
        self.committed.append((room, batch))

    @rule(
        said=st.lists(st.tuples(st.sampled_from(ROOMS), st.integers(1, 2), st.booleans()), min_size=1, max_size=4),
        presence=st.booleans(),
    )
    def say(self, said: list[tuple[str, int, bool]], presence: bool) -> None:
        """Commit and broadcast; only some of it is not lost."""
        for room, records, arrives in said:
            self.commit(room, records, presence)
            while self.committed:
                self.broadcast(100, arrives)

    @precondition(lambda self: self.committed)
    @rule(size=st.sampled_from([100, HUGE]), arrives=st.sampled_from([True, True, False]))
    def broadcast(self, size: int, arrives: bool) -> None:
        room, batch = self.committed.popleft()
        self.head = self.lasts[room] = batch.base - 1 + sum(len(entry.records) for entry in batch.entries)
        if batch.kind == wire.MESSAGES:
            self.last_messages[room] = self.head
        if arrives and self.wanted(room) and (self.presence or batch.kind == wire.MESSAGES):
            self.way.append(lambda: self.ordering.broadcast(room, batch, size))

    @rule(room=st.sampled_from(ROOMS), records=st.integers(1, 2), arrives=st.sampled_from([True, True, False]))
    def broadcast_a_volatile_one(self, room: str, records: int, arrives: bool) -> None:
        base, prev = self.counts.add(room, records)
        if arrives and self.wanted(room):
            batch = batch_of(base, prev, records, wire.VOLATILE_MESSAGES)
            self.way.append(lambda: self.ordering.broadcast(room, batch, 100))

    @rule(room=st.sampled_from(ROOMS))
    def mark_the_tail(self, room: str) -> None:
        last = (self.lasts if self.presence else self.last_messages).get(room, 0)
        if last and self.wanted(room):
            self.way.append(lambda: self.ordering.watermark(room, last))

    @rule()
    def start_the_broker_anew(self) -> None:
        """It does not know which of a room's records are messages."""
        self.broadcast_all()
        self.last_messages, self.given_messages = dict(self.lasts), dict(self.lasts)

    @rule(room=st.sampled_from(ROOMS))
    def trim(self, room: str) -> None:
        self.log.trim([RetentionRule(room, records=1)], NOON)
        kept = whole(self.log.read([room], 0, 0, 0, 1 << 30)).batches
        first = min((wire.decode_batch(frame).base for _, frame in kept), default=0)
        self.gone[room].update(offset for offset in self.said[room] if offset < first)

    @rule(room=st.sampled_from(ROOMS), which=st.integers(0, 5))
    def damage(self, room: str, which: int) -> None:
        batches = [wire.decode_batch(frame) for _, frame in whole(self.log.read([room], 0, 0, 0, 1 << 30)).batches]
        if which < len(batches):
            base = batches[which].base
            self.damaged.add(base)
            self.gone[room].update(range(base, base + len(batches[which].entries[0].records)))

    @precondition(lambda self: self.logs < 2 and self.log.head() > 8)
    @rule()
    def begin_another_log(self) -> None:
        self.take()
        self.lose_the_connection()
        start = Start(after=0) if self.ordering.state == NEW else Start(since=NOON)
        self.ordering.other_log()
        if self.ordering.logs > self.logs:  # else nothing has come of the one before, or there was none
            self.start = start
            self.logs += 1
        self.take()  # a gap of the log before, whose turn had not come, is told before the other log is
        self.new_log()

    # --- the way ----------------------------------------------------------------------------

    @precondition(lambda self: self.way)
    @rule(times=st.integers(1, 4))
    def arrive(self, times: int) -> None:
        for _ in range(min(times, len(self.way))):
            self.way.popleft()()

    @precondition(lambda self: self.way)
    @rule(data=st.data())
    def arrive_twice(self, data: st.DataObject) -> None:
        """As when a libzmq that connects twice subscribes twice."""
        step = self.way[0]
        if getattr(step, "func", None) != self.sync:
            step()

    @rule()
    def connect(self) -> None:
        """The SUB's connection is a new one: what was under way is lost, the SYNC comes behind the subscriptions."""
        self.ordering.unsynced()
        self.way.clear()
        self.way.append(partial(self.sync, self.head))

    @rule()
    def lose_the_connection(self) -> None:
        self.ordering.lost("cut")
        self.question = self.answer = None
        self.way.clear()

    def sync(self, head: int) -> None:
        if self.ordering.state == NEW:
            self.began_at = head
        if self.ordering.state == NEW and self.start.last is None and self.start.since is None:
            after = self.start.after
            self.begin = head if after is None else min(after, head)
        self.ordering.synced(head, next(self.times))

    @rule()
    def ask(self) -> None:
        question = self.ordering.take_question()
        if question is not None:
            assert self.question is None, "two questions are out"
            self.question = question

    @precondition(lambda self: self.question is not None and self.answer is None)
    @rule(bytes_max=st.sampled_from([1, 150, 1 << 20]))
    def read(self, bytes_max: int) -> None:
        """The broker answers; the answer is under way."""
        question = self.question
        if isinstance(question, wire.Seek):
            after = whole(self.log.seek(question.patterns, question.last, question.since, question.presence))
            self.answer = wire.Position(0, after, self.log.head())
        elif isinstance(question, wire.Heads):
            rooms = [(room, last, self.last_messages.get(room, 0)) for room, last in self.lasts.items()]
            self.answer = wire.HeadsAre(0, self.head, [each for each in rooms if self.wanted(each[0])])
        elif isinstance(question, wire.Fetch):
            page = whole(self.log.read(question.patterns, question.after, question.until, 0, bytes_max))
            batches, gaps = [], page.gaps
            for room, frame in page.batches:
                batch = wire.decode_batch(frame)
                if batch.base in self.damaged:
                    last = batch.base + len(batch.entries[0].records) - 1
                    gaps.append(wire.Gap(room, batch.base, last, "damaged"))
                else:
                    batches.append((room, wire.raw(frame)))
            self.answer = wire.Page(0, batches, page.upto, page.more, gaps)

    @precondition(lambda self: self.answer is not None)
    @rule()
    def hear_the_answer(self) -> None:
        answer, self.answer, self.question = self.answer, None, None
        assert answer is not None
        if isinstance(answer, wire.Position) and self.begin is None:
            self.begin = min(answer.after, self.began_at)
            if self.logs:  # all of another log is younger than what was reached
                for room in filter(self.wanted, ROOMS):
                    assert {offset for offset in self.said[room] if offset <= self.begin} <= self.gone[room]
        self.ordering.answered(answer)

    @rule(bytes_max=st.sampled_from([1, 1 << 20]))
    def exchange(self, bytes_max: int) -> None:
        """Question and answer at once."""
        self.ask()
        if self.question is not None:
            if self.answer is None:
                self.read(bytes_max)
            self.hear_the_answer()

    # --- the listener -----------------------------------------------------------------------

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.ordering.paused(paused)

    @rule()
    def check(self) -> None:
        self.ordering.check()

    @rule()
    def take(self) -> None:
        for item in self.ordering.take():
            if isinstance(item, Notice):
                self.told(item)
            elif isinstance(item, Mark):
                assert not any(self.due(room, item.offset) for room in ROOMS if self.wanted(room))
            elif item.batch.kind == wire.VOLATILE_MESSAGES:
                self.heard_volatile(item)
            else:
                self.heard(item)

    def heard_volatile(self, item: Delivery) -> None:
        room, prev = item.room, item.batch.prev
        lost = self.volatile_lost.pop(room, 0)
        assert lost == prev - self.volatile_heard.get(room, prev - lost)
        self.volatile_heard[room] = prev + len(item.batch.entries[0].records)

    def heard(self, item: Delivery) -> None:
        entry_records = item.batch.entries[0].records
        last = item.batch.base + len(entry_records) - 1
        assert item.last == last
        assert self.wanted(item.room) and item.batch.base <= item.first <= last
        assert item.batch.kind == wire.MESSAGES or self.presence
        assert item.first > self.reached(item.room), "twice, or out of order"
        assert not self.due(item.room, item.first - 1), "passed over in silence"
        self.got[item.room] = last

    def told(self, notice: Notice) -> None:
        if notice.reason == "log":
            self.logs_told += 1
        if notice.kind != "gap" or not notice.room:
            return
        if notice.reason == "volatile":
            assert self.wanted(notice.room) and notice.records > 0
            self.volatile_lost[notice.room] = self.volatile_lost.get(notice.room, 0) + notice.records
            return
        assert self.wanted(notice.room) and notice.offset > self.reached(notice.room)
        missing = {offset for offset in self.said[notice.room] if notice.offset <= offset <= notice.last}
        assert missing <= self.gone[notice.room], "told as a gap, and there"
        assert not self.due(notice.room, notice.offset - 1)
        self.got[notice.room] = notice.last

    def reached(self, room: str) -> int:
        assert self.begin is not None
        return max(self.got.get(room, 0), self.begin)

    def due(self, room: str, upto: int) -> list[int]:
        """What the listener should have been handed up to there, and was not."""
        after = self.reached(room)
        return [
            offset
            for offset, kind in self.said[room].items()
            if after < offset <= upto and (self.presence or kind == wire.MESSAGES)
        ]

    @invariant()
    def what_it_asks_is_about_its_patterns(self) -> None:
        if isinstance(self.question, wire.Fetch):
            assert self.question.after < self.question.until <= self.log.head()

    def broadcast_all(self) -> None:
        while self.committed:
            self.broadcast(100, True)

    def teardown(self) -> None:
        """A calm time: what was lost is found out by one of three ways, and the listener ends up with all there is."""
        self.pause(False)
        self.broadcast_all()
        if self.way_out == "a new connection":
            self.lose_the_connection()
        self.carry_all()
        if not self.ordering.is_synced:
            self.connect()
            self.carry_all()
        for room in ROOMS:
            if self.way_out == "watermarks":
                self.mark_the_tail(room)
                self.carry_all()
        if self.way_out == "a check":
            self.check()
            self.carry_all()
        self.take()
        assert self.ordering.state == LIVE and self.logs == self.logs_told
        for room in ROOMS:
            assert not self.wanted(room) or not self.due(room, self.log.head()), "lost"

    def carry_all(self) -> None:
        for _ in range(200):
            self.arrive(len(self.way))
            self.ask()
            if self.question is not None:
                self.read(1 << 20)
                self.hear_the_answer()
            elif not self.way:
                return
        raise AssertionError("it asks for ever")


AnyWay.TestCase.settings = settings(deadline=None, max_examples=150, stateful_step_count=50)
TestAnyWay = pytest.mark.slow(AnyWay.TestCase)
