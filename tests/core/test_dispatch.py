"""What a session asks for besides PUBLISH: when it is answered. What comes of it is in the tests of who does it."""

from __future__ import annotations

import pytest

from tests.core.cycle import Cycle
from zchat import wire
from zchat.core.rights import HISTORY, RoomRule, Rules


@pytest.mark.parametrize(
    "message",
    [
        wire.Join(3, ["general"]),
        wire.SetGroup(3, "jobs", "workers", 0),
        wire.JoinGroup(3, 1, "jobs", "workers", 8),
    ],
)
def test_what_changes_a_row_is_answered_once_that_is_kept(message: wire.ClientMessage) -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.send(alice, message)
    assert cycle.take_replies() == []
    cycle.begin_commit()
    assert cycle.take_replies() == []
    cycle.end_commit()
    assert cycle.take_replies() == [(alice, wire.Done(3))]


def test_what_was_kept_already_is_answered_at_once_or_with_the_commit_under_way() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.send(alice, wire.Join(1, ["general"]))
    cycle.begin_commit()
    cycle.send(alice, wire.Join(1, ["general"]))
    assert cycle.take_replies() == []
    cycle.end_commit()
    assert cycle.take_replies() == [(alice, wire.Done(1))] * 2
    assert cycle.ask(alice, wire.Join(2, ["general"])) == wire.Done(2)


def test_what_cannot_be_is_refused_by_its_number() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.send(alice, wire.Join(5, ["**"]), wire.Fetch(6, ["@bob"], 0), wire.SetCursor(7, "a/b", "log", 0))
    assert [(number, code) for _, _, number, code in cycle.take_errors()] == [
        (5, "bad-room"),
        (6, "denied"),
        (7, "bad-cursor"),
    ]


def test_a_group_hands_out_what_was_before_and_needs_the_right_to_that() -> None:
    cycle = Cycle(rules=Rules(True, (RoomRule("jobs", {HISTORY: ("ann",)}),)))
    ann, bob = cycle.clients("ann", "bob")
    cycle.publish(ann, 1, "jobs", b"x")
    cycle.commit()
    cycle.take_replies()
    cycle.send(bob, wire.JoinGroup(5, 1, "jobs", "workers", 8, after=0))
    assert [(number, code) for _, _, number, code in cycle.take_errors()] == [(5, "denied")]
    cycle.send(ann, wire.JoinGroup(6, 6, "jobs", "workers", 0, after=0))
    cycle.commit()
    assert (ann, wire.Done(6)) in cycle.take_replies()
    for number, group, after in ((7, "workers", None), (8, "others", None), (9, "others", 1)):
        cycle.send(bob, wire.JoinGroup(number, number, "jobs", group, 8, after=after))
        assert [(number, code) for _, _, number, code in cycle.take_errors()] == [(number, "denied")]
    cycle.send(bob, wire.SetGroup(10, "jobs", "workers", 0))  # he may administer it, and has no part in it
    cycle.commit()
    assert (bob, wire.Done(10)) in cycle.take_replies()
