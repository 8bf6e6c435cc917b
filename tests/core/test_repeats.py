"""A publish that comes again has the outcome that it had, whatever that was."""

from __future__ import annotations

from tests.core.cycle import Cycle
from zchat import wire
from zchat.core.session import OUTCOMES_MAX


def test_what_was_stored_is_acked_again_and_what_was_refused_is_refused_again() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.publish(alice, 1, "a", b"x")
    cycle.publish(alice, 2, "Not Canonical", b"x")
    cycle.commit()
    first = cycle.take_replies()
    assert {type(reply) for _, reply in first} == {wire.Ack, wire.Error}
    cycle.publish(alice, 1, "a", b"x")
    cycle.publish(alice, 2, "Not Canonical", b"x")
    again = cycle.take_replies()
    assert [reply for _, reply in again if isinstance(reply, wire.Ack)] == [wire.Ack([(1, 1)])]
    assert [(reply.number, reply.code) for _, reply in again if isinstance(reply, wire.Error)] == [(2, "bad-room")]
    assert len(cycle.history("a")[0].records) == 1


def test_one_that_waits_for_its_commit_is_told_by_that_alone() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.publish(alice, 1, "a", b"x")
    cycle.publish(alice, 1, "a", b"x")
    assert cycle.take_replies() == []
    cycle.commit()
    assert cycle.take_replies() == [(alice, wire.Ack([(1, 1)]))]


def test_of_one_that_is_not_remembered_the_log_is_asked_and_none_is_number_0() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    for seq in range(1, OUTCOMES_MAX + 2):
        cycle.publish(alice, seq, "a", b"x")
        cycle.commit()
    cycle.take_replies()
    cycle.publish(alice, 1, "a", b"x")
    assert cycle.take_replies() == [] and len(cycle.core.take_reads(())) == 1
    cycle.publish(alice, 0, "a", b"x")
    assert cycle.take_errors() == [(alice, "publish", 0, "bad-request")]
