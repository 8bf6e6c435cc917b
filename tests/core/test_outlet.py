"""Volatile publishes go out at once, or are held back for a while where a subscriber has no room: never for long."""

from __future__ import annotations

from tests.core.cycle import Cycle, Heard, heard_of
from zchat import wire
from zchat.core.outlet import AGAIN_SECONDS, HELD_BYTES_MAX, PATIENCE_GROWS, PATIENCE_SECONDS
from zchat.names import room_of

NOBODY = frozenset[str]()


def broadcast(cycle: Cycle, full: frozenset[str] | set[str] = NOBODY) -> list[Heard]:
    """What goes out when the subscribers of these rooms have no room; it is refused while the core is patient."""
    patient, refused, out, full_now = cycle.core.is_patient(cycle.now), set[bytes](), [], set(full)
    for topic, frame in cycle.core.take_broadcasts(cycle.now):
        batch = wire.decode_broadcast(frame)
        assert isinstance(batch, wire.Batch)
        if patient and room_of(topic) in full_now:
            refused.add(frame)
        else:
            out.append(heard_of(room_of(topic), batch))
    cycle.core.broadcast(refused, cycle.now)
    return out


def say(cycle: Cycle, connection: bytes, seq: int, room: str = "a", body: bytes = b"", flags: int = 0) -> None:
    cycle.publish(connection, seq, room, body or b"%d" % seq, flags=wire.VOLATILE | flags)


def records(heard: list[Heard]) -> list[tuple[str, int, list[str]]]:
    return [(each.room, each.prev, each.records) for each in heard]


def test_what_is_refused_comes_again_in_order_and_only_what_is_published_meanwhile_waits_for_its_ack() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    say(cycle, alice, 1)
    assert cycle.take_replies() == [(alice, wire.Ack([(1, 0)]))]
    assert broadcast(cycle, {"a"}) == []
    say(cycle, alice, 2)
    say(cycle, alice, 3, "b")
    assert cycle.take_replies() == [(alice, wire.Ack([(3, 0)]))]  # nobody of that room is full
    assert records(broadcast(cycle, {"a"})) == [("b", 0, ["alice: 3"])]
    say(cycle, alice, 4)
    assert cycle.take_replies() == []
    assert records(broadcast(cycle)) == [("a", 0, ["alice: 1"]), ("a", 1, ["alice: 2"]), ("a", 2, ["alice: 4"])]
    assert cycle.take_replies() == [(alice, wire.Ack([(2, 0), (4, 0)]))]
    assert broadcast(cycle) == []
    say(cycle, alice, 5)
    assert cycle.take_replies() == [(alice, wire.Ack([(5, 0)]))]


def test_a_sync_while_something_is_held_sends_it_once() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    say(cycle, alice, 1)
    assert broadcast(cycle, {"a"}) == []
    say(cycle, alice, 2)
    cycle.core.subscribed(wire.PRIVATE_TOPIC + b"nonce", cycle.now)
    say(cycle, alice, 3)
    taken = [batch for _, batch in cycle.take_broadcasts()]
    assert [isinstance(each, wire.Batch) for each in taken] == [True, True, False, True]
    assert isinstance(taken[2], wire.Sync)
    cycle.core.broadcast(set(), cycle.now)
    assert cycle.take_broadcasts() == []


def test_a_repeat_of_what_waits_has_no_answer_yet_and_a_quiet_one_is_told_of_when_it_is_out() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    say(cycle, alice, 1)
    broadcast(cycle, {"a"})
    cycle.take_replies()
    quiet = cycle.publish(alice, 2, "a", b"quiet", flags=wire.VOLATILE | wire.QUIET)
    cycle.core.received(alice, quiet, cycle.now)
    assert cycle.take_replies() == []
    assert len(broadcast(cycle)) == 2
    assert cycle.take_replies() == [(alice, wire.Ack([(2, 0)]))]


def test_a_sender_that_keeps_to_no_window_is_refused_while_its_room_is_held() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    say(cycle, alice, 1)
    broadcast(cycle, {"a"})
    cycle.take_replies()
    for seq in range(2, 8):
        say(cycle, alice, seq, body=b"x" * 1_000_000)
    assert [code for *_, code in cycle.take_errors()] == ["busy"]


def test_who_goes_while_its_publish_waits_harms_nobody() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    say(cycle, alice, 1)
    broadcast(cycle, {"a"})
    say(cycle, alice, 2)
    cycle.disconnect(alice)
    cycle.take_replies()
    assert len(broadcast(cycle)) == 2
    assert cycle.take_replies() == []


def held_for(cycle: Cycle, connection: bytes, seq: int) -> float:
    """For how long a batch is held whose subscriber takes nothing."""
    say(cycle, connection, seq)
    began = cycle.now.seconds
    while not broadcast(cycle, {"a"}):
        due = cycle.core.next_deadline()
        assert due is not None and due <= cycle.now.seconds + AGAIN_SECONDS
        cycle.wait(AGAIN_SECONDS)
    return cycle.now.seconds - began


def test_a_subscriber_that_takes_nothing_holds_others_back_once() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    assert abs(held_for(cycle, alice, 1) - PATIENCE_SECONDS) < 0.01
    assert held_for(cycle, alice, 2) < 0.01  # nothing of it has come back


def test_one_that_is_slow_holds_them_back_for_a_part_of_the_time() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    held_for(cycle, alice, 1)
    held, began = 0.0, cycle.now.seconds
    for seq in range(2, 52):
        cycle.wait(0.1)
        broadcast(cycle)
        held += held_for(cycle, alice, seq)
    share = held / (cycle.now.seconds - began)
    assert abs(share - PATIENCE_GROWS / (1 + PATIENCE_GROWS)) < 0.02


def test_no_more_is_held_than_there_is_memory_for() -> None:
    cycle = Cycle()
    names = [f"user{number}" for number in range(2 + HELD_BYTES_MAX // 4_000_000)]
    clients = cycle.clients(*names)
    for connection in clients:
        for seq in range(1, 5):
            say(cycle, connection, seq, body=b"x" * 1_000_000)
    assert broadcast(cycle, {"a"}) == []
    assert not cycle.core.is_patient(cycle.now)
    assert sum(len(each.records) for each in broadcast(cycle, {"a"})) == 4 * len(clients)
    assert cycle.core.is_patient(cycle.now)
