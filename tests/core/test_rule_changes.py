"""Other rules: what ends, who is told, and that nothing that was made by the former ones is given out."""

from __future__ import annotations

from tests.core.cycle import Cycle
from zchat import wire
from zchat.core.reads import Read
from zchat.core.rights import READ, RoomRule, Rules

OPEN = Rules()
CLOSED = Rules(True, (RoomRule("ops.**", {READ: ("ann",)}),))
RECORD = wire.raw(wire.encode_record(b"x"))


def changed(cycle: Cycle, rules: Rules) -> list[tuple[bytes, wire.BrokerMessage]]:
    cycle.core.rules_changed(rules, cycle.now)
    return cycle.take_replies()


def test_memberships_end_with_a_leave_that_says_why_and_the_session_says_hello_again() -> None:
    cycle = Cycle(rules=OPEN)
    ann, bob = cycle.clients("ann", "bob")
    for one in (ann, bob):
        cycle.send(one, wire.Join(1, ["ops.a", "general"]))
    cycle.commit()
    cycle.take_replies()
    assert changed(cycle, CLOSED) == [(bob, wire.HelloAgain())]
    cycle.commit()
    assert cycle.presence("ops.a") == ["ann join: ", "bob join: ", "bob leave: denied"]
    assert cycle.presence("general") == ["ann join: ", "bob join: "]
    assert cycle.hello("bob", bob).resumed, "nothing else of it has ended"
    assert cycle.ask(bob, wire.Join(2, ["ops.a"])).code == "denied"
    assert changed(cycle, CLOSED) == changed(cycle, OPEN) == []


def test_groups_and_servers_are_left_and_what_they_had_goes_to_others() -> None:
    cycle = Cycle(rules=OPEN)
    ann, bob = cycle.clients("ann", "bob")
    cycle.send(bob, wire.JoinGroup(1, 1, "ops.a", "g", 8), wire.Serve(2, 1, "ops.a"))
    cycle.send(ann, wire.Call(3, "ops.a", RECORD, 1_000))
    cycle.commit()
    cycle.take_replies()
    told = changed(cycle, CLOSED)
    assert (bob, wire.HelloAgain()) in told
    assert [answer.code for to, answer in told if to == ann and isinstance(answer, wire.Error)] == ["no-answer"]
    (group,) = (group for part in cycle.core.groups.listed("ops.a", "g", lambda room: True) for group in part)
    assert group.members == 0


def test_a_session_on_a_channel_is_told_there() -> None:
    cycle = Cycle(rules=OPEN)
    (gateway,) = cycle.clients("gateway")
    for message in (wire.Hello(wire.VERSION, "bob"), wire.Join(1, ["ops.a"])):
        cycle.send(gateway, wire.From(3, wire.raw(wire.encode(message))))
    cycle.commit()
    cycle.take_replies()
    assert changed(cycle, CLOSED) == [(gateway, wire.For(3, wire.raw(wire.encode(wire.HelloAgain()))))]


def test_what_is_half_made_is_made_by_the_new_rules() -> None:
    cycle = Cycle(rules=OPEN)
    ann, bob = cycle.clients("ann", "bob")
    cycle.publish(ann, 1, "ops.a", b"x")
    cycle.publish(ann, 2, "general", b"x")
    cycle.commit()
    cycle.take_replies()
    cycle.send(bob, wire.Rooms(1), wire.Heads(2, ["ops.a"]), wire.Heads(3, ["**"]))
    assert cycle.core.answer(()), "it is begun"
    rooms, refusal, heads = (answer for _, answer in changed(cycle, CLOSED))
    assert isinstance(rooms, wire.RoomsAre) and [room.name for room in rooms.rooms] == ["general"]
    assert isinstance(refusal, wire.Error) and refusal.code == "denied"
    assert isinstance(heads, wire.HeadsAre) and [name for name, *_ in heads.rooms] == ["general"]


def read_of(cycle: Cycle, connection: bytes, message: wire.ClientMessage) -> Read:
    cycle.send(connection, message)
    (read,) = cycle.core.take_reads()
    return read


def test_what_is_being_read_is_read_again_or_refused() -> None:
    cycle = Cycle(rules=OPEN)
    (bob,) = cycle.clients("bob")
    some, named = wire.Fetch(1, ["**"], 0), wire.Fetch(2, ["ops.a"], 0)
    read = read_of(cycle, bob, some)
    assert read.view is not None and read.view.table is cycle.core.rights.table
    changed(cycle, CLOSED)
    assert read.view.table is not cycle.core.rights.table
    assert cycle.core.renew(read) is None
    assert read.view.table is cycle.core.rights.table and cycle.core.read_done(read, 0.0)
    changed(cycle, OPEN)
    read = read_of(cycle, bob, named)
    changed(cycle, CLOSED)
    refusal = wire.decode_broker(cycle.core.renew(read) or b"")
    assert isinstance(refusal, wire.Error) and (refusal.number, refusal.code) == (2, "denied")
    cycle.disconnect(bob)
    assert wire.decode_broker(cycle.core.renew(read) or b"") == wire.HelloAgain()


def test_what_is_scheduled_is_not_sent_by_who_may_not_write_any_more() -> None:
    cycle = Cycle(rules=OPEN)
    (bob,) = cycle.clients("bob")
    for number, room in enumerate(("ops.a", "general"), 1):
        records = wire.raw(wire.encode_records([b"tea"]))
        cycle.send(bob, wire.Schedule(number, f"id{number}", room, records, 0, 1_000_000))
    cycle.commit()
    changed(cycle, Rules(True, (RoomRule("ops.**", {"write": ()}),)))
    cycle.wait(2.0)
    cycle.commit()
    assert [heard.room for heard in cycle.history()] == ["general"]
    assert cycle.ask(bob, wire.Scheduled(3)).messages == []
