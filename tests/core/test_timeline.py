"""Whether a log goes on as it was known, went back, or is another: from two lists of starts."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchat import wire
from zchat.core.timeline import Break, Timeline

Starts = list[tuple[str, int]]
OTHER = Break(0, 0)


def welcome_of(starts: Starts, head: int, log_id: str = "log") -> wire.Welcome:
    return wire.Welcome(wire.VERSION, "s1", b"token", False, log_id, head, 5556, {}, 0, 0, starts)


def known(starts: Starts, head: int, seen: int = 0) -> Timeline:
    timeline = Timeline()
    assert timeline.welcomed(welcome_of(starts, head)) is None
    timeline.saw(seen)
    return timeline


@pytest.mark.parametrize(
    ("starts", "head", "expected"),
    [
        ([("A", 0)], 201, None),  # the same broker
        ([("A", 0), ("B", 201)], 201, None),
        ([("A", 0), ("B", 230), ("C", 230)], 260, None),
        ([("A", 0), ("B", 150)], 150, Break(150, 201)),
        ([("A", 0), ("B", 150)], 260, Break(150, 201)),  # longer again than what was seen
        ([("A", 0), ("B", 150), ("C", 260)], 260, Break(150, 201)),
        ([("A", 0), ("B", 0)], 0, Break(0, 201)),
        ([("B", 150)], 260, OTHER),  # nothing in common
        ([], 260, None),  # a broker that tells none
    ],
)
def test_what_was_seen_up_to_201_under_the_start_a(starts: Starts, head: int, expected: Break | None) -> None:
    assert known([("A", 0)], 40, seen=201).welcomed(welcome_of(starts, head)) == expected


def test_two_copies_of_one_log_share_what_was_before_the_first_of_their_starts() -> None:
    timeline = known([("A", 0), ("B", 150)], 150, seen=201)
    assert timeline.welcomed(welcome_of([("A", 0), ("C", 170)], 300)) == Break(150, 201)
    timeline = known([("A", 0), ("B", 150)], 150, seen=201)
    assert timeline.welcomed(welcome_of([("A", 0), ("C", 120)], 300)) == Break(120, 201)


def test_a_start_that_was_never_written_takes_nothing_away() -> None:
    timeline = known([("A", 0), ("B", 150)], 150)  # the disk was full: nothing was given under B
    assert timeline.welcomed(welcome_of([("A", 0), ("C", 150)], 150)) is None


def test_a_log_with_another_id_is_another() -> None:
    assert known([("A", 0)], 40).welcomed(welcome_of([("A", 0)], 40, "another")) == OTHER


def test_a_broker_that_learned_to_tell_its_starts_has_the_same_log() -> None:
    assert known([], 40, seen=201).welcomed(welcome_of([("A", 201)], 201)) is None
    assert known([], 40, seen=201).welcomed(welcome_of([("A", 150)], 260)) == Break(150, 201)


def test_after_it_went_back_what_was_seen_before_counts_no_more() -> None:
    timeline = known([("A", 0)], 40, seen=201)
    copy = welcome_of([("A", 0), ("B", 150)], 150)
    assert timeline.welcomed(copy) == Break(150, 201)
    assert timeline.welcomed(copy) is None
    assert (timeline.highest, timeline.start) == (150, "B")


def test_only_the_newest_starts_are_remembered() -> None:
    starts = [(str(number), number) for number in range(1_000)]
    timeline = known(starts, 1_000)
    assert timeline.welcomed(welcome_of(starts[:-64], 1_000)) == OTHER
    timeline = known(starts, 1_000)
    assert timeline.welcomed(welcome_of(starts, 1_000)) is None


@given(st.data())
def test_it_is_right_about_any_logs_that_were_copied(data: st.DataObject) -> None:
    """Logs are lists of records that nobody else writes; a client sees a part and comes back to another."""
    numbers = count(1)
    logs: list[tuple[list[int], Starts]] = [([], [])]
    visits = []
    for _ in range(data.draw(st.integers(2, 8))):
        records, starts = data.draw(st.sampled_from(logs)) if data.draw(st.booleans()) else logs[-1]
        records, starts = list(records), [*starts, (f"S{next(numbers)}", len(records))]
        begun = list(starts)
        for _ in range(data.draw(st.integers(0, 4))):
            records.append(next(numbers))
            logs.append((list(records), list(starts)))
        logs.append((records, starts))
        visits.append((begun, records))
    (before, seen_records), (after, records) = data.draw(st.sampled_from(visits)), visits[-1]
    seen = data.draw(st.integers(0, len(seen_records)))
    timeline = known(before, before[-1][1])
    timeline.saw(seen)
    seen = timeline.highest
    told = timeline.welcomed(welcome_of(after, len(records)))
    upto = seen if told is None else told.upto
    assert seen_records[:upto] == records[:upto], "what it takes for the same is the same"
    if told is not None:
        assert upto == len(records) or upto == len(seen_records) or seen_records[upto] != records[upto]
