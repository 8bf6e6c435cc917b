"""History page by page: what is asked next, and that it ends."""

from __future__ import annotations

import pytest

from tests.core.test_answers import batch, page
from zchat import wire
from zchat.core.answers import EMPTY_PAGES_MAX
from zchat.core.history import PAGE_RECORDS, History
from zchat.errors import WireError


def test_pages_follow_each_other_up_to_the_head_and_grow() -> None:
    history = History(["a"], 40, 90, begins_small=True)
    asked = []
    for upto in (51, 61, 71, 81):
        assert history.fetch is not None
        asked.append((history.fetch.after, history.fetch.limit))
        history.take(page(("a", batch(upto - 1)), upto=upto, more=True))
    assert asked == [(40, PAGE_RECORDS), (51, 4 * PAGE_RECORDS), (61, 16 * PAGE_RECORDS), (71, 64 * PAGE_RECORDS)]
    assert history.fetch == wire.Fetch(0, ["a"], 81, 90, 0)
    history.take(page(upto=90))
    assert history.fetch is None


def test_where_there_is_nothing_nothing_is_asked() -> None:
    assert History(["a"], 40, 40).fetch is None
    assert History(["a"], 50, 40).fetch is None


def test_a_broker_that_promises_more_for_ever_is_not_asked_for_ever() -> None:
    history = History(["a"], 0, wire.OFFSET_MAX)
    with pytest.raises(WireError):
        for upto in range(1, EMPTY_PAGES_MAX + 2):
            history.take(page(upto=upto, more=True))
    assert history.fetch is not None and history.fetch.after == EMPTY_PAGES_MAX


def test_a_page_that_does_not_go_on_ends_it() -> None:
    history = History(["a"], 40, 90)
    with pytest.raises(WireError):
        history.take(page(upto=40, more=True))
