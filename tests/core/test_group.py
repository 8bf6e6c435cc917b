"""One group: what is done with each record, whatever its members do, against a model that knows each one by itself."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.core.test_handing_out import group_of, put
from tests.core.test_stock import frame_of
from zchat.core import Instant
from zchat.core.group import DYING, OUT, READY, WAITING, WorkGroup
from zchat.core.group_member import GroupMember
from zchat.core.log import GroupRow
from zchat.core.stock import StockBatch

NOW = Instant(5.0, 5)


def at(seconds: float) -> Instant:
    return Instant(seconds, round(seconds * 1e6))


def fates(group: WorkGroup) -> dict[int, tuple[str, int]]:
    """Of each record that is pending."""
    return {n: (run.state, run.deliveries) for run in group.pending for n in range(run.first, run.last + 1)}


def handed(group: WorkGroup, jobs: int, room: int = 100) -> GroupMember:
    """The one member, who was handed all of so many."""
    put(group, [b"x"] * jobs)
    (member,) = group.members.values()
    assert group.hand_out(room, member, NOW, takes_new=True) is not None
    return member


def test_a_run_is_cut_where_a_part_of_it_has_another_fate() -> None:
    group = group_of(100)
    member = handed(group, 9)
    assert group.ack(3, 4) == 2 and group.ack(3, 4) == 0
    group.nack(member, 7, 8, 0.0, 9, NOW)
    states = {number: state for number, (state, _) in fates(group).items()}
    assert states == {1: OUT, 2: OUT, 5: OUT, 6: OUT, 7: READY, 8: READY, 9: OUT}
    assert (group.low, group.upto, member.out) == (0, 9, 5)
    assert group.row().pending == [(1, 2, 1), (5, 9, 1)], "runs that touch are one"
    assert group.ack(0, 99) == 7 and (group.low, member.out, member.out_bytes) == (9, 0, 0)


def test_a_log_that_could_not_be_read_is_tried_again_whatever_is_due_before_that() -> None:
    group = group_of(100)
    handed(group, 2)
    group.read_at = group.due = NOW.seconds + 0.5
    group.elapsed(at(NOW.seconds + 0.1))
    assert group.due == group.read_at
    group.elapsed(at(group.read_at))
    assert group.due > group.read_at + 1.0, "of what is out"


def test_runs_that_are_handed_out_in_one_breath_are_one() -> None:
    group = group_of(100)
    (member,) = group.members.values()
    put(group, [b"1"], [b"2"], [b"3"])
    while group.hand_out(1, member, NOW, takes_new=True):
        pass
    assert [(run.first, run.last) for run in group.pending] == [(1, 3)]


def test_a_row_brings_back_what_was_not_done() -> None:
    row = GroupRow("jobs", "g", 20, 3, 7, [(4, 6, 1), (9, 9, 2)])
    group = WorkGroup.of_row(row, 15.0)
    assert group.row() == row and group.due == 15.0 and {state for state, _ in fates(group).values()} == {WAITING}
    group.elapsed(at(15.0))
    assert {state for state, _ in fates(group).values()} == {READY} and len(group.ready) == 2


def test_what_is_dying_is_in_no_row_and_cannot_be_acked() -> None:
    group = group_of(100)
    handed(group, 2)
    group.pending[0].state = DYING
    assert group.row().pending == [] and group.ack(1, 2) == 0
    group.buried(group.pending[0])
    assert (group.dead, group.low) == (2, 2)
    group.max_deliveries = 2
    again = group_of(1)
    member = handed(again, 1)
    again.nack(member, 1, 1, 0.0, 9, NOW)
    again.max_deliveries = 1
    assert again.dies(again.pending[0])


def test_who_is_late_has_no_room_for_others_until_it_says_what_became_of_it() -> None:
    group = group_of(3)
    member = handed(group, 3)
    group.elapsed(at(NOW.seconds + member.ack_wait))
    assert (member.out, member.free, member.late) == (0, 0, [(1, 3)])
    member.settled(2, 2)
    assert (member.free, member.late) == (1, [(1, 1), (3, 3)])
    member.settled(9, 1)
    group.claim(member, [(3, 3)], at(40))
    assert (member.out, member.free) == (1, 2), "what nobody else has, it goes on with"


def test_ranges_that_overlap_are_held_as_a_whole() -> None:
    group = group_of(3, 9)
    first, second = group.members.values()
    put(group, [b"x"] * 5)
    group.hand_out(3, second, NOW, takes_new=True)
    group.hand_out(2, first, NOW, takes_new=True)
    group.claim(first, [(2, 5), (1, 4), (5, 3)], at(6))
    assert {number for number, (state, _) in fates(group).items() if state == OUT} == {1, 2, 3, 4, 5}
    assert first.out == 2 and first.late == [(1, 3)], "these are the other's"


def test_what_cannot_be_had_any_more_is_waited_for_no_more() -> None:
    group = group_of(100)
    member = handed(group, 6)
    group.nack(member, 2, 5, 9.0, 9, NOW)
    group.is_lost(1, 3)
    assert sorted(fates(group)) == [1, 4, 5, 6], "1 is out, and may be done"
    group.skip(9)
    assert group.upto == 9


@pytest.mark.parametrize("most", [1, 2, 7])
def test_what_comes_again_is_handed_out_in_parts_too(most: int) -> None:
    group = group_of(100)
    member = handed(group, 6)
    group.release(member, "gone", NOW, counts=True)
    group.ready.clear()
    frame = frame_of([[b"x"] * 6], 1)
    group.again.append((group.pending[0], StockBatch(frame, 1, 6)))
    given = []
    while (found := group.hand_out(most, member, NOW, takes_new=True)) is not None:
        given.append((found[0], found[2]))
    assert sum(records for _, records in given) == 6 and max(given)[1] <= most and {d for d, _ in given} == {2}
    assert group.redelivered == 6 and {state for state, _ in fates(group).values()} == {OUT}


class GroupMachine(RuleBasedStateMachine):
    """Members do what they like; the model has a fate for each record."""

    def __init__(self) -> None:
        super().__init__()
        self.group = group_of(4, 9)
        self.members = list(self.group.members.values())
        self.now = 5.0
        self.holder: dict[int, GroupMember] = {}
        self.done: set[int] = set()
        self.batches: list[StockBatch] = []

    @rule(jobs=st.integers(1, 6))
    def send(self, jobs: int) -> None:
        put(self.group, [b"x"] * jobs)
        self.batches.append(self.group.stock[-1])

    @rule(who=st.integers(0, 1), most=st.integers(1, 5))
    def hand_out(self, who: int, most: int) -> None:
        member, group = self.members[who], self.group
        for run in group.ready:
            if run.state == READY and all(run is not other for other, _ in group.again):
                (batch,) = (each for each in self.batches if each.base <= run.first <= each.last)
                for part in group.cut_for(batch, [run]):
                    group.again.append((part, batch))
        group.ready.clear()
        found = (
            group.hand_out(min(most, member.free), member, at(self.now), takes_new=True) if member.free > 0 else None
        )
        if found is not None:
            parts = StockBatch.of_frame(found[1])
            assert parts is not None and parts.last - parts.base + 1 == found[2] <= most
            for number in range(parts.base, parts.last + 1):
                assert number not in self.done and number not in self.holder, (
                    "to one at a time, and not when it is done"
                )
                self.holder[number] = member

    @rule(first=st.integers(1, 60), size=st.integers(0, 9), who=st.integers(0, 1))
    def ack(self, first: int, size: int, who: int) -> None:
        self.members[who].settled(first, first + size)
        self.group.ack(first, first + size)
        for number in range(first, min(first + size, self.group.upto) + 1):
            self.done.add(number)
            self.holder.pop(number, None)

    @rule(first=st.integers(1, 60), size=st.integers(0, 9), who=st.integers(0, 1), delay=st.sampled_from([0.0, 3.0]))
    def nack(self, first: int, size: int, who: int, delay: float) -> None:
        member = self.members[who]
        self.group.nack(member, first, first + size, delay, 99, at(self.now))
        for number in range(first, first + size + 1):
            if self.holder.get(number) is member:
                del self.holder[number]

    @rule(who=st.integers(0, 1), holds=st.lists(st.integers(1, 60).map(lambda n: (n, n + 3)), max_size=2))
    def come_back(self, who: int, holds: list[tuple[int, int]]) -> None:
        member = self.members[who]
        self.group.claim(member, holds, at(self.now))
        held = {number for first, last in holds for number in range(first, last + 1)}
        for number in range(1, self.group.upto + 1):
            if number in held and number not in self.done and self.holder.get(number, member) is member:
                self.holder[number] = member
            elif self.holder.get(number) is member:
                del self.holder[number]

    @rule(seconds=st.sampled_from([1.0, 29.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        due = {
            n
            for run in self.group.pending
            if run.state == OUT and run.due <= self.now
            for n in range(run.first, run.last + 1)
        }
        self.group.elapsed(at(self.now))
        self.holder = {number: member for number, member in self.holder.items() if number not in due}

    @rule()
    def restart(self) -> None:
        if not self.group.stock:
            row = self.group.row()
            members = self.group.members
            self.group = WorkGroup.of_row(row, self.now + 10)
            self.group.members = members
            for member in self.members:
                member.out = member.out_bytes = 0
                member.late = []
            self.holder.clear()

    @invariant()
    def what_is_known_is_so(self) -> None:
        group = self.group
        runs = [(run.first, run.last) for run in group.pending]
        assert runs == sorted(runs) and all(one[1] < two[0] for one, two in pairwise(runs))
        pending = fates(group)
        assert set(pending) == set(range(1, group.upto + 1)) - self.done
        assert {number for number, (state, _) in pending.items() if state == OUT} == set(self.holder)
        for member in self.members:
            assert member.out == sum(held is member for held in self.holder.values())
            assert member.out_bytes >= 0 and (member.out or not member.out_bytes)
        assert group.low == min(pending, default=group.upto + 1) - 1


TestGroupMachine = GroupMachine.TestCase
