"""Groups as a broker's clients have them: who is handed what, what comes again, what a restart leaves."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core.sharing import MEMBER, Sharing
from zchat import wire
from zchat.core.groups import AGAIN_SECONDS
from zchat.core.log import RetentionRule
from zchat.log.memory import MemoryLog


def started(*users: str, **options: Any) -> tuple[Any, ...]:
    """Workers of one group, and `boss`, who sends."""
    cycle = Sharing()
    connections = cycle.clients("boss", *users)
    for connection in connections[1:]:
        cycle.work(connection, **options)
    return (cycle, *connections)


def test_each_record_is_handed_to_one_member_and_is_done_once_it_is_acked() -> None:
    cycle, boss, ann, bob = started("ann", "bob")
    assert [answer for _, answer in cycle.answers] == [wire.Done(7), wire.Done(7)]
    cycle.jobs(boss, 1, b"1", b"2", b"3", b"4")
    first, second = cycle.offsets(ann), cycle.offsets(bob)
    assert sorted(first + second) == [1, 2, 3, 4] and len(first) == len(second) == 2
    told = cycle.told()
    assert (told.low, told.upto, told.members, told.out, told.waiting) == (0, 4, 2, 4, 0)
    assert {(run.user, run.deliveries) for run in told.pending} == {("ann", 1), ("bob", 1)}
    cycle.ack(ann, (first[0], first[-1]))
    cycle.ack(bob, (second[0], second[-1]))
    assert (cycle.told().low, cycle.told().out) == (4, 0)


def test_a_slow_member_holds_nobody_up() -> None:
    cycle, boss, ann, bob = started("ann", "bob", max_in_flight=2)
    cycle.jobs(boss, 1, *[b"%d" % number for number in range(10)])
    slow, quick = cycle.offsets(ann), []
    while done := cycle.offsets(bob):
        quick += done
        cycle.ack(bob, *[(offset, offset) for offset in done])
    assert len(slow) == 2 and sorted(slow + quick) == list(range(1, 11))
    assert cycle.offsets(ann) == []


def test_what_is_refused_comes_again_and_not_before_its_time() -> None:
    cycle, boss, ann = started("ann")
    cycle.jobs(boss, 1, b"1", b"2", b"3")
    assert cycle.offsets(ann) == [1, 2, 3]
    cycle.ack(ann, (1, 1), nacks=[(2, 2, 0, 1), (3, 3, 5_000, 1)])
    handed = cycle.take_handed(ann)
    assert (handed.offsets, handed.bodies, handed.deliveries) == ([2], [b"2"], [2])
    assert (cycle.told().out, cycle.told().waiting, cycle.told().redelivered) == (1, 1, 1)
    cycle.wait(4.9)
    cycle.turn()
    assert cycle.offsets(ann) == []
    cycle.wait(0.2)
    cycle.turn()
    assert cycle.take_handed(ann).deliveries == [2]


def test_a_nack_of_what_was_handed_out_once_more_meanwhile_gives_nothing_back() -> None:
    """It crossed that on its way, or is said again as its answer was lost."""
    cycle, boss, ann = started("ann")
    cycle.jobs(boss, 1, b"1", b"2")
    assert cycle.take_handed(ann).deliveries == [1]
    cycle.ack(ann, nacks=[(1, 2, 0, 1)])
    assert cycle.take_handed(ann).deliveries == [2]
    cycle.ack(ann, nacks=[(1, 2, 0, 1)])
    assert cycle.offsets(ann) == [] and cycle.told().out == 2
    cycle.ack(ann, nacks=[(2, 2, 0, 2)])
    handed = cycle.take_handed(ann)
    assert (handed.offsets, handed.deliveries) == ([2], [3])


def test_what_takes_too_long_goes_to_another_and_counts_when_the_first_acks_it_after_all() -> None:
    cycle, boss, ann = started("ann", ack_wait=1_000)
    cycle.jobs(boss, 1, b"1", b"2")
    assert cycle.offsets(ann) == [1, 2]
    (bob,) = cycle.clients("bob")
    cycle.work(ann, request=9, max_in_flight=2, ack_wait=1_000, holds=[(1, 2)])
    cycle.work(bob, max_in_flight=1)
    cycle.wait(1.1)
    cycle.turn()
    handed = cycle.take_handed(bob)
    assert handed.offsets == [1] and handed.deliveries == [2]
    assert cycle.offsets(ann) == [], "it is stuck with those that it has"
    cycle.ack(ann, (1, 2))
    assert cycle.told().low == 2
    cycle.jobs(boss, 2, b"3", b"4", b"5")
    assert sorted(cycle.offsets(bob) + cycle.offsets(ann)) == [3, 4, 5]


@pytest.mark.parametrize("end", ["gone", "bye"])
def test_what_a_member_had_goes_to_another_when_its_session_ends(end: str) -> None:
    cycle, boss, ann = started("ann")
    cycle.jobs(boss, 1, b"1", b"2")
    assert cycle.offsets(ann) == [1, 2]
    (bob,) = cycle.clients("bob")
    cycle.work(bob)
    if end == "bye":
        cycle.send(ann, wire.Bye())
    else:
        cycle.disconnect(ann)
        cycle.turn()
        assert cycle.offsets(bob) == [], "it may come back"
        cycle.wait(cycle.settings.grace_seconds + 0.1)
    cycle.turn()
    handed = cycle.take_handed(bob)
    assert (handed.offsets, set(handed.deliveries)) == ([1, 2], {2})


def test_after_a_break_a_member_says_what_it_has_and_what_was_lost_on_the_way_comes_again() -> None:
    cycle, boss = started()
    welcome = cycle.hello("ann")
    cycle.work(b"ann")
    cycle.jobs(boss, 1, b"1", b"2", b"3")
    assert cycle.offsets(b"ann") == [1, 2, 3]
    cycle.disconnect(b"ann")
    again = cycle.hello("ann", b"ann again", welcome.session, welcome.token)
    assert again.resumed
    cycle.jobs(boss, 2, b"4")
    assert not cycle.handed, "not before it has said what it has"
    cycle.work(b"ann again", holds=[(1, 1), (3, 3)])
    handed = cycle.take_handed(b"ann again")
    assert handed.offsets == [2, 4] and set(handed.deliveries) == {1}, "2 was never seen, and does not count"


def test_to_take_part_said_twice_changes_nothing() -> None:
    cycle, boss, ann = started("ann")
    cycle.jobs(boss, 1, b"1")
    assert cycle.offsets(ann) == [1]
    cycle.work(ann)  # with the same number, as its answer was late
    assert cycle.offsets(ann) == [] and cycle.told().out == 1
    cycle.work(ann, request=9, max_in_flight=2)
    assert cycle.offsets(ann) == [] and cycle.told().out == 1, "what it does not name may be on its way to it"
    cycle.jobs(boss, 2, b"2", b"3")
    assert cycle.offsets(ann) == [2]


def test_nothing_is_handed_out_while_the_log_keeps_nothing() -> None:
    cycle, boss, ann = started("ann")
    cycle.jobs(boss, 1, b"1", b"2", b"3", b"4")
    assert cycle.offsets(ann) == [1, 2, 3, 4]
    cycle.ack(ann, nacks=[(1, 4, 0, 1)])
    assert cycle.offsets(ann) == [1, 2, 3, 4]
    cycle.send(ann, wire.Settle(8, MEMBER, [], [(1, 4, 0, 9)]))
    cycle.fail()
    cycle.turn(commits=False)
    assert cycle.offsets(ann) == []
    due = cycle.core.next_deadline()
    assert due is not None and due <= cycle.now.seconds + AGAIN_SECONDS
    cycle.wait(AGAIN_SECONDS)
    cycle.fail()
    cycle.turn(commits=False)
    assert cycle.offsets(ann) == []
    cycle.wait(AGAIN_SECONDS)
    cycle.turn()
    assert cycle.offsets(ann) == [1, 2, 3, 4], "a commit was kept"


def test_who_leaves_gives_back_what_it_has() -> None:
    cycle, boss, ann = started("ann")
    cycle.jobs(boss, 1, b"1", b"2")
    (bob,) = cycle.clients("bob")
    cycle.work(bob)
    cycle.work(ann, max_in_flight=0)
    handed = cycle.take_handed(bob)
    assert handed.offsets == [1, 2] and set(handed.deliveries) == {1} and cycle.told().members == 1


def test_what_was_handed_out_too_often_goes_to_the_dead_letter_room_in_the_commit_that_ends_it() -> None:
    cycle, boss, ann = started("ann", max_deliveries=2)
    cycle.publish(boss, 1, "jobs", wire.Record(b"poison", "job", {"by": "boss"}), b"plain")
    cycle.turn()
    for _ in range(2):
        assert cycle.offsets(ann) == [1, 2]
        cycle.send(ann, wire.Settle(9, MEMBER, [], [(1, 2, 0, 9)]))
        cycle.turn(commits=False)
    cycle.turn(commits=False)
    append = cycle.append or cycle.begin_commit()
    assert append is not None and [batch.room for batch in append.batches] == ["jobs.dead"]
    assert [row.pending for row in append.groups] == [[]]
    cycle.fail()  # then they are written again
    assert cycle.told().waiting == 2
    cycle.wait(1.1)
    cycle.turn()
    (heard,) = cycle.history("jobs.dead")
    assert heard.records == ["boss job: poison", "boss message: plain"]
    assert (cycle.told().low, cycle.told().waiting, cycle.told().dead) == (2, 0, 2)
    ((_, _, frame),) = [batch[:1] + batch[3:4] + batch[5:] for batch in append.batches]
    letter = wire.decode_batch(frame).entries[0].records[0]
    assert isinstance(letter, wire.Record) and letter.headers == {
        "by": "boss",
        "dead-room": "jobs",
        "dead-offset": "1",
        "dead-group": "g",
        "dead-deliveries": "2",
        "dead-reason": "nack",
    }


def test_after_a_restart_what_was_done_is_done_and_what_was_out_comes_again() -> None:
    cycle, boss, ann = started("ann", max_deliveries=5)
    cycle.jobs(boss, 1, *[b"%d" % number for number in range(1, 7)])
    cycle.ack(ann, (1, 2), (5, 5))
    cycle.start()
    (bob,) = cycle.clients("bob")
    cycle.work(bob, max_deliveries=5)
    assert cycle.offsets(bob) == [], "whoever had it may come back"
    assert (cycle.told().low, cycle.told().upto, cycle.told().waiting) == (2, 6, 3)
    cycle.wait(cycle.settings.restart_grace_seconds + 0.1)
    cycle.turn()
    handed = cycle.take_handed(bob)
    assert sorted(handed.offsets) == [3, 4, 6] and set(handed.deliveries) == {2}


def test_who_comes_back_after_a_restart_goes_on_with_what_it_has() -> None:
    cycle, boss, ann = started("ann")
    cycle.jobs(boss, 1, b"1", b"2", b"3")
    cycle.start()
    ann, bob = cycle.clients("ann", "bob")
    cycle.work(bob)
    cycle.work(ann, holds=[(1, 2)])
    assert [(run.first, run.last, run.deliveries, run.user) for run in cycle.told().pending if run.user] == [
        (1, 2, 1, "ann")
    ]
    cycle.ack(ann, (1, 2))
    cycle.wait(cycle.settings.restart_grace_seconds + 0.1)
    cycle.turn()
    assert cycle.offsets(ann) + cycle.offsets(bob) == [3]


def test_a_group_goes_on_where_it_was_though_nobody_was_there() -> None:
    cycle, boss, ann = started("ann")
    cycle.work(ann, max_in_flight=0)
    for seq in range(1, 6):
        cycle.jobs(boss, seq, b"%d" % seq)
    cycle.jobs(boss, 9, b"other", room="general")
    cycle.work(ann)
    assert cycle.offsets(ann) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("after", "offsets"), [(0, [1, 2, 3]), (2, [3]), (None, [])])
def test_a_new_group_begins_where_it_is_said(after: int | None, offsets: list[int]) -> None:
    cycle, boss = started()
    (ann,) = cycle.clients("ann")
    cycle.jobs(boss, 1, b"1", b"2")
    cycle.jobs(boss, 2, b"3")
    cycle.work(ann, after=after)
    assert cycle.offsets(ann) == offsets
    cycle.jobs(boss, 3, b"4")
    assert cycle.offsets(ann) == [4]


def test_two_groups_of_a_room_each_get_all_of_it() -> None:
    cycle, boss, ann = started("ann")
    (bob,) = cycle.clients("bob")
    cycle.work(bob, group="other")
    cycle.jobs(boss, 1, b"1", b"2")
    assert cycle.offsets(ann) == cycle.offsets(bob) == [1, 2]


def test_what_was_trimmed_is_told_as_a_gap_and_waited_for_no_more() -> None:
    cycle, boss, ann = started("ann")
    for seq in range(1, 5):
        cycle.jobs(boss, seq, b"%d" % seq)
    assert cycle.offsets(ann) == [1, 2, 3, 4]
    assert isinstance(cycle.log, MemoryLog)
    cycle.log.trim([RetentionRule("jobs", records=2)], cycle.now.micros)
    cycle.ack(ann, (4, 4), nacks=[(1, 3, 0, 9)])
    assert cycle.gaps(ann) == [wire.Gap("jobs", 1, 2, "trimmed")]
    assert cycle.offsets(ann) == [3] and cycle.told().low == 2
    cycle.work(ann, max_in_flight=0)
    for seq in range(5, 9):
        cycle.jobs(boss, seq, b"%d" % seq)
    cycle.log.trim([RetentionRule("jobs", records=1)], cycle.now.micros)
    cycle.work(ann)
    assert (5, 7) in [(gap.first, gap.last) for gap in cycle.gaps(ann)] or cycle.gaps(ann)[-1].last == 7
    assert cycle.offsets(ann)[-1] == 8


def test_a_group_is_moved_and_removed() -> None:
    cycle, boss, ann = started("ann")
    cycle.jobs(boss, 1, b"1", b"2", b"3")
    cycle.ack(ann, (1, 3))
    cycle.offsets(ann)
    cycle.send(boss, wire.SetGroup(1, "jobs", "g", 1))
    cycle.turn()
    assert cycle.offsets(ann) == [2, 3]
    cycle.send(boss, wire.SetGroup(2, "jobs", "g", None), wire.SetGroup(3, "jobs", "g", 99))
    assert cycle.turn() is None and cycle.refusals() == ["bad-request", "bad-request"]
    cycle.work(ann, max_in_flight=0)
    cycle.send(boss, wire.SetGroup(4, "jobs", "g", None))
    cycle.turn()
    assert cycle.log.groups() == [] and not cycle.core.groups.rooms


def test_who_does_not_read_is_handed_nothing_meanwhile() -> None:
    cycle, boss, ann, bob = started("ann", "bob")
    cycle.full = {ann}
    cycle.jobs(boss, 1, b"1", b"2")
    assert cycle.offsets(bob) == [1, 2] and cycle.offsets(ann) == []


def test_a_commit_that_fails_leaves_what_was_done_to_the_next_one() -> None:
    cycle, boss, ann = started("ann")
    cycle.jobs(boss, 1, b"1")
    cycle.send(ann, wire.Settle(9, MEMBER, [(1, 1)]))
    cycle.fail()
    cycle.hear()
    assert cycle.refusals() == ["log-full"] and cycle.told().low == 1
    cycle.wait(1.1)
    cycle.turn()
    assert [row.pending for row in cycle.log.groups()] == [[]]


def test_members_groups_and_runs_are_bounded() -> None:
    cycle = Sharing(groups_max=2, group_members_max=3, group_runs_max=4)
    (ann,) = cycle.clients("ann")
    for number, group in enumerate("aabc"):
        cycle.work(ann, member=number + 1, group=group)
    assert cycle.refusals() == ["over-limit"], "a third group"
    cycle.work(ann, member=9, group="b")
    assert cycle.refusals() == ["over-limit"], "a fourth member"
    (boss,) = cycle.clients("boss")
    for seq in range(1, 20):
        cycle.jobs(boss, seq, b"%d" % seq)
    assert sum(len(cycle.told(name=name).pending) for name in "ab") <= 5
    assert len(cycle.told(name="a").pending) < 19


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (wire.JoinGroup(1, 1, "Jobs", "g", 8), "bad-room"),
        (wire.JoinGroup(1, 1, "jobs.*", "g", 8), "bad-room"),
        (wire.JoinGroup(1, 1, "x" * 126, "g", 8), "bad-room"),
        (wire.JoinGroup(1, 1, "@ann", "g", 8), "denied"),
        (wire.JoinGroup(1, 1, "@bob", "g", 8), "denied"),
        (wire.JoinGroup(1, 1, "jobs", "G", 8), "bad-group"),
        (wire.JoinGroup(1, 1, "jobs", "g", 65_537), "bad-request"),
        (wire.JoinGroup(1, 1, "jobs", "g", 8, 99), "bad-request"),
        (wire.JoinGroup(1, 1, "jobs", "g", 8, 100, 0, 5), "bad-request"),
        (wire.SetGroup(1, "jobs", "g", 5), "bad-request"),
        (wire.SetGroup(1, "@bob", "g", 5), "denied"),
        (wire.Groups(1, "@bob"), "denied"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(message: wire.ClientMessage, code: str) -> None:
    cycle = Sharing()
    (ann,) = cycle.clients("ann")
    cycle.send(ann, message)
    cycle.turn()
    assert cycle.refusals() == [code] and not cycle.core.groups.rooms and cycle.log.groups() == []


def test_what_makes_no_sense_in_a_settle_is_passed_over() -> None:
    cycle, boss, ann, _ = started("ann", "bob", max_in_flight=2)
    cycle.jobs(boss, 1, b"1", b"2", b"3", b"4")
    before = cycle.told()
    theirs = [run for run in before.pending if run.user == "bob"]
    cycle.ack(ann, (9, 3), (0, 0), (70, wire.OFFSET_MAX), nacks=[(run.first, run.last, 0, 9) for run in theirs])
    cycle.send(ann, wire.Settle(8, 77, [(1, 4)]))
    cycle.turn()
    assert cycle.told() == before


def test_groups_are_told_in_an_answer() -> None:
    cycle, boss, ann = started("ann")
    cycle.work(ann, room="build", member=2)
    everything = cycle.ask(boss, wire.Groups(3))
    assert [(each.room, each.name, each.members) for each in everything.groups] == [("jobs", "g", 1), ("build", "g", 1)]
    assert [group.room for group in cycle.ask(boss, wire.Groups(4, "build")).groups] == ["build"]
    assert cycle.ask(boss, wire.Groups(5, "nowhere")).groups == []
