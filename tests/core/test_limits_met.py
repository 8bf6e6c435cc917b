"""Which limits were met and by whom: each is counted, and told of so often that nobody fills a disk with it."""

from __future__ import annotations

from zchat.core.limits_met import TOLD_SECONDS, WHO_MAX, LimitsMet, Meeting

ALICE = Meeting("cursors_max", "alice", "10.0.0.7")


def test_who_meets_a_limit_is_told_of_at_once_and_then_once_a_minute_with_how_often() -> None:
    limits = LimitsMet()
    limits.note(*ALICE)
    assert limits.take(0.0) == [(ALICE, 1)] and limits.take(1.0) == []
    for _ in range(40):
        limits.note(*ALICE)
    limits.note("cursors_max", "bob", "10.0.0.8")
    assert limits.take(2.0) == [(Meeting("cursors_max", "bob", "10.0.0.8"), 1)], "another one does not wait for it"
    assert limits.take(TOLD_SECONDS) == [(ALICE, 40)]
    assert limits.counts == {"cursors_max": 42}


def test_an_endpoint_is_its_users() -> None:
    limits = LimitsMet()
    limits.whose = lambda endpoint: ("alice", "10.0.0.7") if endpoint == b"a" else ("", "10.0.0.9")
    limits.meet("reads_max", b"a")
    limits.meet("sessions_max", b"b")
    told = [(Meeting("reads_max", "alice", "10.0.0.7"), 1), (Meeting("sessions_max", "", "10.0.0.9"), 1)]
    assert limits.take(0.0) == told


def test_of_very_many_only_the_number_is_known() -> None:
    limits = LimitsMet()
    for number in range(WHO_MAX + 10):
        limits.note("reads_max", f"u{number}", "")
    told = limits.take(0.0)
    assert len(told) == WHO_MAX + 1 and told[-1] == (Meeting("reads_max", "", ""), 10)
    limits.note("reads_max", "another", "")
    assert limits.take(1.0) == [], "in the same minute"
    assert limits.take(TOLD_SECONDS) == [(Meeting("reads_max", "", ""), 1)]
