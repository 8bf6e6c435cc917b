"""Volatile records are counted at both ends: what was lost is told, exactly, and nothing that was not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zchat import wire
from zchat.core import volatile
from zchat.core.deliveries import Delivery
from zchat.core.gaps import Notice
from zchat.core.volatile import Counts, Heard


def batch_of(base: int, prev: int, records: int = 1) -> wire.Batch:
    return wire.Batch(wire.VOLATILE_MESSAGES, base, prev, 0, [wire.Entry("alice", "s1", 1, [b"x"] * records)])


def lost(out: list[Delivery | Notice] | list[Notice]) -> list[tuple[str, int]]:
    """(room, how many) of what is told, which comes before what is delivered."""
    told = [item for item in out if isinstance(item, Notice)]
    assert out[: len(told)] == told
    assert all(notice == Notice("gap", room=notice.room, records=notice.records, reason="volatile") for notice in told)
    return [(notice.room, notice.records) for notice in told]


def hear(heard: Heard, base: int, prev: int, records: int = 1, *, paused: bool = False) -> list[tuple[str, int]]:
    """What is told when that batch comes, which is delivered unless it is paused."""
    batch = batch_of(base, prev, records)
    out = heard.batch("a", batch, 10, paused=paused)
    assert [item for item in out if isinstance(item, Delivery)] == ([] if paused else [Delivery("a", batch, 0, 0, 10)])
    return lost(out)


# --- the broker ---------------------------------------------------------------------------------


def test_each_room_is_counted_by_itself_from_when_it_began() -> None:
    counts = Counts("start")
    base, prev = counts.add("a", 2)
    assert prev == 0 and 0 < base < wire.OFFSET_MAX - 65_536
    assert counts.add("b", 5) == (base + 1, 0)
    assert counts.add("a", 3) == (base, 2)
    assert counts.add("a", 1) == (base, 5)


def test_no_count_of_another_start_is_the_same() -> None:
    one, other = Counts("one"), Counts("other")
    assert {one.add(room, 1)[0] for room in "abc"}.isdisjoint(other.add(room, 1)[0] for room in "abc")


def test_the_room_that_was_quiet_for_longest_is_forgotten_and_begins_a_count_of_another_base() -> None:
    counts = Counts("start", rooms_max=2)
    base, _ = counts.add("a", 2)
    assert counts.add("b", 1) == (base + 1, 0)
    assert counts.add("a", 1) == (base, 2)
    assert counts.add("c", 1) == (base + 2, 0)  # in the place of b
    assert counts.add("a", 1) == (base, 3)
    assert counts.add("b", 1) == (base + 3, 0)


# --- a listener ---------------------------------------------------------------------------------


def test_what_lies_between_two_batches_is_lost() -> None:
    heard = Heard()
    assert hear(heard, 900, 40, 2) == []  # the first: what came before it nobody knows
    assert hear(heard, 900, 42) == []
    assert hear(heard, 900, 46, 3) == [("a", 3)]
    assert hear(heard, 900, 49) == []


def test_of_a_count_that_began_since_all_before_is_lost() -> None:
    heard = Heard()
    hear(heard, 900, 40)
    assert hear(heard, 950, 0) == []
    assert hear(heard, 950, 1) == []
    assert hear(heard, 990, 7) == [("a", 7)]
    assert hear(heard, 800, 2) == [("a", 2)]  # a restarted broker whose clock was set back


def test_a_batch_that_comes_again_is_left_out() -> None:
    heard = Heard()
    hear(heard, 900, 40)
    hear(heard, 900, 41)
    for prev in (3, 40, 41):
        assert heard.batch("a", batch_of(900, prev), 10, paused=False) == []
    assert hear(heard, 900, 42) == []


def test_what_comes_while_it_takes_no_more_is_told_when_it_does_again() -> None:
    heard = Heard()
    hear(heard, 900, 40)
    assert hear(heard, 900, 41, 2, paused=True) == []
    assert hear(heard, 900, 50, paused=True) == []
    assert hear(heard, 900, 7, paused=True) == []  # a repeat
    assert lost(heard.paused(True)) == []
    assert lost(heard.paused(False)) == [("a", 10)]
    assert lost(heard.paused(False)) == []
    assert hear(heard, 900, 51) == []


def test_a_room_that_is_first_heard_while_it_takes_no_more_is_counted_from_there() -> None:
    heard = Heard()
    hear(heard, 900, 40, 2, paused=True)
    assert lost(heard.paused(False)) == [("a", 2)]
    assert hear(heard, 900, 44) == [("a", 2)]


def test_a_listener_of_too_many_rooms_forgets_them_and_tells_no_loss() -> None:
    heard = Heard()
    for number in range(volatile.ROOMS_HEARD_MAX + 1):
        heard.batch(f"room{number}", batch_of(900, 0), 10, paused=bool(number % 2))
    assert hear(heard, 900, 40) == []
    assert lost(heard.batch("room0", batch_of(900, 9), 10, paused=False)) == []
    assert lost(heard.paused(False)) == []


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4), st.booleans(), st.booleans()), max_size=60),
    st.integers(1, 3),
)
def test_all_that_was_broadcast_between_two_that_were_heard_is_told_and_no_more(
    broadcasts: list[tuple[str, int, bool, bool]], rooms_max: int
) -> None:
    """Of one count exactly so many; over two counts those that the later one had, and none that were not broadcast."""
    counts, heard = Counts("start", rooms_max), Heard()
    missed: dict[str, int] = {}  # since it was last heard, in any count,
    missed_now: dict[str, int] = {}  # and in this one
    was: dict[str, int] = {}
    is_paused, told = False, dict[str, int]()
    for room, records, arrives, paused in broadcasts:
        if paused != is_paused:
            is_paused = paused
            for name, count in lost(heard.paused(paused)):
                told[name] = told.get(name, 0) + count
        base, prev = counts.add(room, records)
        assert prev == 0 or was[room] == base
        if was.get(room) != base:
            was[room], missed_now[room] = base, 0
        if arrives:
            out = heard.batch(room, batch_of(base, prev, records), 10, paused=paused)
            for name, count in lost(out):
                told[name] = told.get(name, 0) + count
        if arrives and not paused:
            sum_told, begins_here = told.pop(room, 0), room not in missed
            assert begins_here or missed_now[room] <= sum_told <= missed[room], (room, sum_told)
            missed[room] = missed_now[room] = 0
        elif room in missed or arrives:
            missed[room] = missed.get(room, 0) + records
            missed_now[room] += records
