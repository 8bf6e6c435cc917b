"""Who publishes faster than its user may is acked later, and nobody else; a day has so many bytes."""

from __future__ import annotations

from typing import Any

from tests.core.cycle import Cycle
from zchat import wire


def acked(cycle: Cycle) -> list[tuple[bytes, int]]:
    """Who was acked for which publish, since the last time."""
    told = []
    for connection, reply in cycle.take_replies():
        assert isinstance(reply, wire.Ack), reply
        told += [(connection, seq) for seq, _ in reply.pairs]
    return told


def slow(**settings: Any) -> tuple[Cycle, bytes, bytes]:
    cycle = Cycle(user_records_max=2, user_records_a_second_max=1.0, **settings)
    alice, bob = cycle.clients("alice", "bob")
    return cycle, alice, bob


def test_who_is_faster_is_stored_at_once_and_acked_later_and_others_are_acked_at_once() -> None:
    cycle, alice, bob = slow()
    for seq in range(1, 6):
        cycle.publish(alice, seq, "a", b"%d" % seq)
    cycle.publish(bob, 1, "a", b"from bob")
    cycle.commit()
    assert len(cycle.history("a")[0].records) == 6, "all of it is stored"
    assert acked(cycle) == [(alice, 1), (alice, 2), (bob, 1)]
    assert cycle.core.next_deadline() == cycle.now.seconds + 1.0
    cycle.wait(1.0)
    assert acked(cycle) == [(alice, 3)]
    cycle.wait(2.0)
    assert acked(cycle) == [(alice, 4), (alice, 5)]
    cycle.wait(60.0)
    for seq in (6, 7):
        cycle.publish(alice, seq, "a", b"x")
    cycle.commit()
    assert acked(cycle) == [(alice, 6), (alice, 7)], "it may do so much at once again"


def test_volatile_ones_count_too_and_go_out_at_once() -> None:
    cycle, alice, _ = slow()
    for seq in range(1, 5):
        cycle.publish(alice, seq, "a", b"x", flags=wire.VOLATILE)
    assert len(cycle.take_heard()[0].records) == 4
    assert acked(cycle) == [(alice, 1), (alice, 2)]
    cycle.wait(2.0)
    assert acked(cycle) == [(alice, 3), (alice, 4)]


def test_bytes_count_as_records_do_and_all_sessions_of_a_user_together() -> None:
    cycle = Cycle(user_bytes_max=2_000, user_bytes_a_second_max=1_000.0)
    for connection in (b"one", b"two"):
        cycle.hello("alice", connection)
        cycle.publish(connection, 1, "a", bytes(1_500))
    cycle.commit()
    assert acked(cycle) == [(b"one", 1)]
    cycle.wait(1.1)
    assert acked(cycle) == [(b"two", 1)]


def test_a_repeat_is_answered_when_its_turn_has_come_and_no_sooner() -> None:
    cycle, alice, _ = slow()
    for seq in range(1, 4):
        cycle.publish(alice, seq, "a", b"x")
    cycle.commit()
    assert acked(cycle) == [(alice, 1), (alice, 2)]
    cycle.publish(alice, 3, "a", b"x")
    assert acked(cycle) == []
    cycle.wait(1.0)
    assert acked(cycle) == [(alice, 3)]
    cycle.publish(alice, 3, "a", b"x")
    assert acked(cycle) == [(alice, 3)]


def test_who_waits_for_no_ack_has_too_many_in_flight() -> None:
    cycle, alice, bob = slow(in_flight_max=3)
    for seq in range(1, 9):
        cycle.publish(alice, seq, "a", b"x")
        cycle.commit()
    told = cycle.take_replies()
    refused = [reply.number for _, reply in told if isinstance(reply, wire.Error) and reply.code == "busy"]
    assert refused == [6, 7, 8], "two at once, and three that wait"
    cycle.publish(bob, 1, "a", b"x")
    cycle.commit()
    assert acked(cycle) == [(bob, 1)]


def test_what_the_log_did_not_keep_is_refused_at_once_and_one_that_has_gone_harms_nothing() -> None:
    cycle, alice, _ = slow()
    for seq in range(1, 5):
        cycle.publish(alice, seq, "a", b"x")
    cycle.fail("log-full")
    assert [code for *_, code in cycle.take_errors()] == ["log-full"] * 4
    for seq in range(5, 9):
        cycle.publish(alice, seq, "a", b"x")
    cycle.commit()
    cycle.take_replies()
    cycle.disconnect(alice)
    cycle.wait(30.0)
    assert cycle.take_replies() == []


def test_a_user_stores_so_much_in_a_day() -> None:
    cycle = Cycle(user_day_bytes_max=2_000)
    alice, bob = cycle.clients("alice", "bob")
    cycle.publish(alice, 1, "a", bytes(1_500))
    cycle.publish(alice, 2, "a", bytes(1_500))
    cycle.publish(alice, 3, "a", bytes(1_500), flags=wire.VOLATILE)
    assert cycle.take_replies()[0] == (
        alice,
        wire.Error("publish", 2, "over-limit", "the user has stored as much as it may in a day"),
    )
    cycle.publish(bob, 1, "a", bytes(1_500))
    cycle.commit()
    assert acked(cycle) == [(alice, 1), (bob, 1)]
    cycle.wait(43_200.0)
    cycle.hello("alice", b"later")
    cycle.publish(b"later", 1, "a", bytes(900))
    cycle.commit()
    assert acked(cycle) == [(b"later", 1)], "half a day gives half of it back"
