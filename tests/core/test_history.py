"""History page by page: what is asked next, what comes of it and in which order, and that it ends."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given as holds
from hypothesis import settings
from hypothesis import strategies as st

from tests.core.test_answers import batch, page
from zchat import wire
from zchat.core.answers import EMPTY_PAGES_MAX, Answer
from zchat.core.deliveries import Delivery, Start
from zchat.core.gaps import Notice
from zchat.core.history import PAGE_RECORDS, History, Pages
from zchat.errors import Refused, WireError


def test_pages_follow_each_other_up_to_the_head_and_grow() -> None:
    history = Pages(["a"], 40, 90, begins_small=True)
    asked = []
    for upto in (51, 61, 71, 81):
        assert isinstance(history.fetch, wire.Fetch)
        asked.append((history.fetch.after, history.fetch.limit))
        history.take(page(("a", batch(upto - 1)), upto=upto, more=True))
    assert asked == [(40, PAGE_RECORDS), (51, 4 * PAGE_RECORDS), (61, 16 * PAGE_RECORDS), (71, 64 * PAGE_RECORDS)]
    assert history.fetch == wire.Fetch(0, ["a"], 81, 90, 0)
    history.take(page(upto=90))
    assert history.fetch is None


def test_where_there_is_nothing_nothing_is_asked() -> None:
    assert Pages(["a"], 40, 40).fetch is None
    assert Pages(["a"], 50, 40).fetch is None


def test_a_broker_that_promises_more_for_ever_is_not_asked_for_ever() -> None:
    history = Pages(["a"], 0, wire.OFFSET_MAX)
    with pytest.raises(WireError):
        for upto in range(1, EMPTY_PAGES_MAX + 2):
            history.take(page(upto=upto, more=True))
    assert history.fetch is not None and history.fetch.after == EMPTY_PAGES_MAX


def test_a_page_that_does_not_go_on_ends_it() -> None:
    history = Pages(["a"], 40, 90)
    with pytest.raises(WireError):
        history.take(page(upto=40, more=True))


def test_a_page_that_nobody_asked_for_brings_nothing() -> None:
    assert Pages(["a"], 40, 40).take(page(("a", batch(30)))) == []


def welcome(log_id: str, *starts: tuple[str, int]) -> wire.Welcome:
    return wire.Welcome(1, "s1", b"token", True, log_id, 90, 5556, {}, 1, 0, list(starts))


WELCOME = welcome("log", ("A", 0))


# --- from where it begins up to the head --------------------------------------------------------


def begun(start: Start = Start(), limit: int = 1_000, presence: bool = False, head: int = 90) -> History:  # noqa: B008
    """One that is to ask for its first page."""
    history = History(["a", "b"], start, presence, limit)
    assert history.request == start.seek(["a", "b"], presence)
    assert history.take(wire.Position(1, 40, head), WELCOME, WELCOME) == []
    return history


def told(items: list[Delivery | Notice]) -> list[tuple[str, int, int, str]]:
    return [
        (i.room, i.first, i.last, "") if isinstance(i, Delivery) else (i.room, i.offset, i.last, i.reason)
        for i in items
    ]


def test_a_gap_is_told_where_it_lies_and_not_at_the_end_of_its_page() -> None:
    history = begun()
    gaps = [("b", 60, 69, "trimmed"), ("a", 80, 90, "damaged"), ("a", 3, 4, "trimmed")]
    found = told(history.take(page(("a", batch(45)), ("b", batch(70)), gaps=gaps), WELCOME, WELCOME))
    assert found == [
        ("a", 3, 4, "trimmed"),
        ("a", 45, 46, ""),
        ("b", 60, 69, "trimmed"),
        ("b", 70, 71, ""),
        ("a", 80, 90, "damaged"),
    ]
    assert history.request is None


def test_it_is_read_from_where_it_begins_up_to_the_head_of_then() -> None:
    history = begun(Start(last=3))
    assert isinstance(history.request, wire.Fetch) and (history.request.after, history.request.until) == (40, 90)
    gaps = [("a", 38, 44, "trimmed"), ("a", 30, 40, "trimmed")]
    found = history.take(page(("b", batch(40)), ("a", batch(90)), gaps=gaps), WELCOME, WELCOME)
    assert told(found) == [("a", 41, 44, "trimmed"), ("b", 41, 41, ""), ("a", 90, 90, "")]


def test_a_limit_counts_messages_and_ends_it_there() -> None:
    history = begun(limit=3, presence=True)
    joins = ("b", batch(47, kind=wire.PRESENCE, records=9))
    later = ("a", batch(60, records=5))
    found = history.take(page(("a", batch(45)), joins, later, ("b", batch(70)), upto=80, more=True), WELCOME, WELCOME)
    assert told(found) == [("a", 45, 46, ""), ("b", 47, 55, ""), ("a", 60, 60, "")]
    assert history.request is None and begun(limit=0).request is None


def test_joins_and_kinds_of_tomorrow_are_left_out_where_nobody_wants_them() -> None:
    joins, unknown = ("a", batch(45, kind=wire.PRESENCE)), ("a", batch(50, kind=9))
    assert begun().take(page(joins, unknown), WELCOME, WELCOME) == []
    assert told(begun(presence=True).take(page(joins, unknown), WELCOME, WELCOME)) == [("a", 45, 46, "")]


def test_what_an_earlier_page_had_does_not_come_again() -> None:
    history = begun()
    history.take(page(("a", batch(45)), upto=50, more=True), WELCOME, WELCOME)
    gaps = [("a", 47, 48, "trimmed"), ("b", 47, 55, "trimmed")]
    found = told(history.take(page(("a", batch(45)), ("a", batch(50)), gaps=gaps), WELCOME, WELCOME))
    assert found == [("b", 51, 55, "trimmed"), ("a", 51, 51, "")]


def test_a_batch_that_two_pages_bring_comes_once() -> None:
    history = begun(Start(after=0))
    history.take(page(("a", batch(45, records=9)), upto=45, more=True), WELCOME, WELCOME)
    assert told(history.take(page(("a", batch(45, records=9)), ("b", batch(60))), WELCOME, WELCOME)) == [
        ("b", 60, 61, "")
    ]


def test_above_the_head_it_cannot_begin() -> None:
    with pytest.raises(Refused, match="offset 91 is above the head, 90"):
        begun(Start(after=91))
    assert begun(Start(after=90)).request is None


def test_pages_of_another_log_are_refused() -> None:
    history = begun()
    with pytest.raises(Refused) as raised:
        history.take(page(("a", batch(45))), WELCOME, welcome("log 2", ("A", 0)))
    assert raised.value.code == "other-log"


def test_an_older_copy_is_read_on_where_it_has_all_that_was_read() -> None:
    for copied_at, is_same in ((50, True), (49, False)):
        history = begun()
        history.take(page(("a", batch(45)), upto=50, more=True), WELCOME, WELCOME)
        copy = welcome("log", ("A", 0), ("C", copied_at))
        if is_same:
            request = history.request
            assert history.take(page(("a", batch(60))), WELCOME, copy) == [] and history.request == request
            assert told(history.take(page(("a", batch(60))), copy, copy)) == [("a", 60, 61, "")]
            continue
        with pytest.raises(Refused, match="went back"):
            history.take(page(("a", batch(60))), copy, copy)


def test_where_it_begins_is_asked_again_if_the_log_is_another_one_by_the_time_that_is_known() -> None:
    """The answer may be of the log before: its head is no head of this one."""
    history, other = History(["a"], Start(), False, 1_000), welcome("log 2", ("A", 0))
    seek = history.request
    assert history.take(wire.Position(1, 0, 78), WELCOME, other) == [] and history.request == seek
    assert history.take(wire.Position(2, 0, 22), other, other) == []
    assert isinstance(history.request, wire.Fetch) and history.request.until == 22


@pytest.mark.parametrize(
    "answer", [wire.Done(1), wire.HeadsAre(1, 4, []), wire.Goodbye("bye"), WireError("bad-frame", "x")]
)
def test_an_answer_of_another_kind_is_an_error(answer: Answer) -> None:
    for history in (History(["a"], Start(), False, 9), begun()):
        with pytest.raises(WireError):
            history.take(answer, WELCOME, WELCOME)
        with pytest.raises(Refused):
            history.take(wire.Error("request", 1, "denied", "no"), WELCOME, WELCOME)
    with pytest.raises(WireError):
        begun().take(wire.Position(1, 40, 90), WELCOME, WELCOME)
    with pytest.raises(WireError):
        History(["a"], Start(), False, 9).take(page(), WELCOME, WELCOME)


@settings(max_examples=300, deadline=None)
@holds(
    rooms=st.lists(st.sampled_from("abc"), max_size=20),
    gone=st.sets(st.integers(0, 19)),
    after=st.integers(0, 20),
    limit=st.integers(0, 25),
    per_page=st.integers(1, 6),
)
def test_any_history_comes_whole_in_order_and_to_its_end(
    rooms: list[str], gone: set[int], after: int, limit: int, per_page: int
) -> None:
    """Batches of one record; those that have gone are gaps."""
    head = len(rooms)
    after = min(after, head)
    history = History(["a", "b"], Start(after=after), False, limit)
    history.take(wire.Position(1, 0, head), WELCOME, WELCOME)
    found: list[Delivery | Notice] = []
    while history.request is not None:
        fetch = msgspec.convert(history.request, wire.Fetch)
        upto = min(fetch.after + per_page, head)
        offsets = range(fetch.after + 1, upto + 1)
        stored = [(rooms[offset - 1], offset) for offset in offsets if rooms[offset - 1] != "c"]
        batches = [(room, batch(offset, records=1)) for room, offset in stored if offset - 1 not in gone]
        gaps = [(room, offset, offset, "damaged") for room, offset in stored if offset - 1 in gone]
        found += history.take(page(*batches, upto=upto, more=upto < head, gaps=gaps), WELCOME, WELCOME)
    expected, left = [], limit
    for offset in range(after + 1, head + 1):
        if rooms[offset - 1] != "c" and left:
            is_gone = offset - 1 in gone
            left -= not is_gone
            expected.append((rooms[offset - 1], offset, offset, "damaged" if is_gone else ""))
    assert told(found) == expected
