"""Each way in which a task may not be done is seen; what may happen is not taken for one."""

from __future__ import annotations

from math import inf

import pytest

from tests.simulation.tasks import Asked, Taken, jobs, requests, scheduled

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
    ],
)
def test_what_is_wrong_with_requests_is_seen(asked: Asked, kind: str) -> None:
    (anomaly,) = requests([RIGHT, asked], 0.5)
    assert anomaly.kind == kind and "a 1" in anomaly.what


def test_what_was_scheduled_is_sent_once() -> None:
    assert scheduled([("p", 1)], [("p", 1), ("p", 2)]) == [], "of the second it was not known"
    assert [each.kind for each in scheduled([("p", 1), ("p", 2)], [("p", 1), ("p", 1)])] == ["never_sent", "sent_twice"]
