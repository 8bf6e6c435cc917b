"""Each way in which a task may not be done is seen; what may happen is not taken for one."""

from __future__ import annotations

from math import inf

import pytest

from tests.simulation.tasks import (
    Asked,
    DeadLetter,
    Given,
    Later,
    Listed,
    Promised,
    Started,
    Taken,
    dead_letters,
    handing_out,
    jobs,
    later,
    lists,
    requests,
    scheduled,
)

FIRST = Taken(7, 1, 1.0, 2.0, True)
KILLED = Taken(8, 1, 1.0, 3.0, False)
AGAIN = Taken(8, 2, 3.5, 4.0, True)
RIGHT = Asked("a 1", 3.0, 0.1)


def test_jobs_that_are_done_and_one_that_a_dead_member_had_are_well() -> None:
    assert jobs({7, 8}, [AGAIN, FIRST, KILLED]) == []


def test_a_broker_that_is_killed_forgets_what_it_handed_out_last() -> None:
    alive = KILLED._replace(end=inf)
    assert jobs({8}, [alive, AGAIN._replace(deliveries=1)], [1.5]) == []
    assert [each.kind for each in jobs({8}, [alive, AGAIN._replace(deliveries=1)], [9.0])] == ["shared", "untold"]


@pytest.mark.parametrize(
    ("taken", "kind"),
    [
        ([FIRST, KILLED], "undone"),
        ([FIRST], "undone"),
        ([FIRST, KILLED._replace(end=inf), AGAIN], "shared"),
        ([FIRST, KILLED, AGAIN._replace(deliveries=1)], "untold"),
    ],
)
def test_what_is_wrong_with_jobs_is_seen(taken: list[Taken], kind: str) -> None:
    assert [anomaly.kind for anomaly in jobs({7, 8}, taken)] == [kind]


def test_a_request_has_a_reply_or_a_clear_error() -> None:
    assert requests([RIGHT, Asked("a 2", 3.0, 3.4, "timed-out"), Asked("a 3", 3.0, 0.0, "no-server")], 0.5) == []


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        (RIGHT._replace(seconds=None), "unanswered"),
        (RIGHT._replace(seconds=3.6), "late_answer"),
        (RIGHT._replace(is_right=False), "wrong_answer"),
        (RIGHT._replace(error="bad-frame"), "strange_error"),
        (RIGHT._replace(times_done=2, retry=False), "asked_twice"),
    ],
)
def test_what_is_wrong_with_requests_is_seen(asked: Asked, kind: str) -> None:
    (anomaly,) = requests([RIGHT, asked], 0.5)
    assert anomaly.kind == kind and "a 1" in anomaly.what


def test_what_was_scheduled_is_sent_once() -> None:
    assert scheduled([("p", 1)], [("p", 1), ("p", 2)]) == [], "of the second it was not known"
    assert [each.kind for each in scheduled([("p", 1), ("p", 2)], [("p", 1), ("p", 1)])] == ["never_sent", "sent_twice"]


def test_a_member_that_has_a_job_twice_and_one_that_a_broker_forgot_share_nothing() -> None:
    alive = KILLED._replace(end=inf, member="ann")
    assert jobs({8}, [alive, AGAIN._replace(member="ann")]) == []
    assert jobs({8}, [alive._replace(is_forgotten=True), AGAIN._replace(deliveries=1)]) == []


MOST = {"crew": 2}
GIVEN = Given("crew", 5, 6, 1, 1.0)
WELL: list[Given | Promised | Started] = [
    Started({}),
    GIVEN,
    Given("crew", 7, 9, 1, 2.0),
    Promised("crew", 5, 5),
    Given("crew", 6, 6, 2, 3.0),
    Started({"crew": (9, {6: 2, 7: 1})}),
    Given("crew", 7, 7, 2, 4.0),
]


def test_what_fits_to_what_was_said_before_is_well() -> None:
    assert handing_out(WELL, MOST) == []
    at_once: list[Given | Promised | Started] = [GIVEN._replace(first=7, last=7), GIVEN]
    assert handing_out(at_once, MOST) == [], "what goes to several members at once has no order"
    assert dead_letters([DeadLetter("crew", 7, 2)], MOST) == []


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (Given("crew", 5, 5, 2, 5.0), "done_again"),
        (Given("crew", 8, 8, 1, 5.0), "unordered"),
        (Given("crew", 10, 10, 2, 5.0), "miscounted"),
        (Given("crew", 6, 6, 3, 5.0), "miscounted"),
    ],
)
def test_what_does_not_fit_is_seen(given: Given, kind: str) -> None:
    assert kind in [anomaly.kind for anomaly in handing_out([*WELL, given], MOST)]


def test_a_dead_letter_that_came_too_early_is_seen() -> None:
    assert [each.kind for each in dead_letters([DeadLetter("crew", 7, 1)], MOST)] == ["early_dead"]


SENT = Later("one", True, 5.0, (6.0,))
TAKEN_BACK = Later("two", True, 5.0, (), 3.0, 4.0)


def test_what_is_sent_once_at_its_time_or_taken_back_is_well() -> None:
    assert later([SENT, TAKEN_BACK, SENT._replace(is_confirmed=False, sent=())]) == []
    assert lists([Listed(5.5, frozenset({"one"}), frozenset({"one"}))], [SENT, TAKEN_BACK]) == []


@pytest.mark.parametrize(
    ("planned", "kind"),
    [
        (SENT._replace(sent=()), "never_sent"),
        (SENT._replace(sent=(6.0, 7.0)), "sent_twice"),
        (SENT._replace(sent=(4.0,)), "sent_early"),
        (TAKEN_BACK._replace(sent=(5.0,)), "sent_after_all"),
    ],
)
def test_what_is_wrong_with_what_is_sent_later_is_seen(planned: Later, kind: str) -> None:
    assert [anomaly.kind for anomaly in later([planned])] == [kind]


def test_a_list_that_is_wrong_is_seen() -> None:
    wrong = [Listed(7.0, frozenset({"one", "two"}), frozenset({"three"}))]
    assert [each.kind for each in lists(wrong, [SENT, TAKEN_BACK])] == ["not_listed", "listed"]
