"""What not everybody may read is said to each session that may have it, in the form in which all else is broadcast."""

from __future__ import annotations

import pytest

from tests.core.cycle import Cycle
from tests.core.test_channels import Gateway
from zchat import wire
from zchat.core.channels import Channel
from zchat.core.recipients import RECIPIENTS_MAX
from zchat.core.rights import PRESENCE as SEES_WHO
from zchat.core.rights import READ, RoomRule, Rules
from zchat.names import topic

INBOX, PRESENCE = topic("@alice"), wire.PRESENCE_TOPIC + topic("@alice")


def said(cycle: Cycle) -> list[tuple[bytes, str, wire.Batch | wire.Watermark | wire.Sync]]:
    """(connection, topic, what it is told of it), and that nothing is broadcast."""
    assert cycle.core.take_broadcasts(cycle.now) == []
    found = []
    for frame, reply, endpoints in cycle.core.take_direct():
        direct = wire.decode_broker(reply)
        assert isinstance(direct, wire.Direct) and bytes(direct.message) == frame
        for endpoint in endpoints:
            assert isinstance(endpoint, bytes)
            found.append((endpoint, direct.topic[:-1].decode(), wire.decode_broadcast(frame)))
    return found


def subscribed(cycle: Cycle, connection: bytes, *topics: bytes) -> None:
    cycle.take_replies()
    assert cycle.ask(connection, wire.Subscribe(7, list(topics))) == wire.Done(7)


def tell(cycle: Cycle, seq: int = 1, flags: int = 0) -> None:
    cycle.publish(b"bob", seq, "@alice", b"psst", flags=flags)
    cycle.commit()


def test_who_has_subscribed_is_told_and_nobody_else() -> None:
    cycle = Cycle()
    cycle.clients("alice", "bob")
    cycle.hello("alice", b"second")
    cycle.hello("alice", b"third")
    subscribed(cycle, b"alice", INBOX)
    subscribed(cycle, b"third", INBOX)
    tell(cycle)
    (to, room, batch), (other, _, same) = said(cycle)
    assert (to, other, room) == (b"alice", b"third", "@alice") and isinstance(batch, wire.Batch) and same == batch
    assert (batch.kind, batch.base, batch.prev, batch.entries[0].records) == (wire.MESSAGES, 1, 0, [b"psst"])
    subscribed(cycle, b"third")
    tell(cycle, 2)
    assert [to for to, _, _ in said(cycle)] == [b"alice"]


def test_where_nobody_has_subscribed_nobody_is_told_and_it_is_stored() -> None:
    cycle = Cycle()
    cycle.clients("alice", "bob")
    tell(cycle)
    assert said(cycle) == [] and [heard.room for heard in cycle.history("@alice")] == ["@alice"]


def test_markers_joins_and_volatile_messages_go_the_same_way() -> None:
    cycle = Cycle()
    cycle.clients("alice", "bob")
    subscribed(cycle, b"alice", INBOX, PRESENCE)
    tell(cycle, flags=wire.VOLATILE)
    ((_, _, batch),) = said(cycle)
    assert isinstance(batch, wire.Batch) and batch.kind == wire.VOLATILE_MESSAGES
    cycle.core.broadcast(set(), cycle.now)
    tell(cycle, 2)
    said(cycle)
    cycle.send(b"alice", wire.Join(8, ["@alice"]))
    cycle.commit()
    ((_, room, join),) = said(cycle)
    assert room == "+@alice" and isinstance(join, wire.Batch) and join.kind == wire.PRESENCE
    cycle.wait(1.5)
    assert sorted(said(cycle), key=lambda row: row[1]) == [
        (b"alice", "+@alice", wire.Watermark(2)),
        (b"alice", "@alice", wire.Watermark(1)),
    ]


def test_a_volatile_one_that_was_refused_is_said_again_and_acked_then() -> None:
    cycle = Cycle()
    cycle.clients("alice", "bob")
    subscribed(cycle, b"alice", INBOX)
    tell(cycle, flags=wire.VOLATILE)
    cycle.take_replies()
    cycle.core.take_broadcasts(cycle.now)
    ((frame, _, _),) = cycle.core.take_direct()
    cycle.core.broadcast({frame}, cycle.now)
    tell(cycle, 2, flags=wire.VOLATILE)
    assert cycle.take_replies() == []  # its room is held back
    cycle.core.take_broadcasts(cycle.now)
    again, _ = cycle.core.take_direct()
    assert again.frame == frame
    cycle.core.broadcast(set(), cycle.now)
    assert cycle.take_replies() == [(b"bob", wire.Ack([(2, 0)]))]


@pytest.mark.parametrize("topics", [[topic("@bob")], [INBOX, topic("@bob")], [wire.PRESENCE_TOPIC + topic("@bob")]])
def test_the_inbox_of_another_is_denied_and_nothing_changes(topics: list[bytes]) -> None:
    cycle = Cycle()
    cycle.clients("alice", "bob")
    subscribed(cycle, b"alice", INBOX)
    answer = cycle.ask(b"alice", wire.Subscribe(8, topics))
    assert isinstance(answer, wire.Error) and (answer.about, answer.number, answer.code) == ("request", 8, "denied")
    cycle.publish(b"alice", 1, "@bob", b"psst")
    cycle.commit()
    assert said(cycle) == []
    tell(cycle)
    assert len(said(cycle)) == 1


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (topic("general"), "bad-request"),
        (b"#", "bad-request"),
        (b"", "bad-request"),
        (wire.PRIVATE_TOPIC + b"nonce", "bad-request"),
        (b"@", "bad-frame"),
        (b"@alice", "bad-frame"),
        (b"@\xff\0", "bad-frame"),
        (topic("@Alice"), "bad-room"),
    ],
)
def test_what_is_no_direct_topic_is_refused(name: bytes, code: str) -> None:
    cycle = Cycle()
    cycle.clients("alice")
    answer = cycle.ask(b"alice", wire.Subscribe(8, [name]))
    assert isinstance(answer, wire.Error) and (answer.number, answer.code) == (8, code)


def test_no_more_sessions_have_a_topic_than_a_message_can_be_said_to() -> None:
    cycle = Cycle()
    cycle.clients("bob")
    for number in range(RECIPIENTS_MAX):
        cycle.hello("alice", b"alice-%d" % number)
        subscribed(cycle, b"alice-%d" % number, INBOX)
    cycle.hello("alice", b"late")
    answer = cycle.ask(b"late", wire.Subscribe(8, [INBOX]))
    assert isinstance(answer, wire.Error) and answer.code == "over-limit"
    subscribed(cycle, b"alice-0", INBOX, PRESENCE)  # who has it, keeps it
    cycle.disconnect(b"alice-7")
    subscribed(cycle, b"late", INBOX)
    tell(cycle)
    assert len(said(cycle)) == RECIPIENTS_MAX


def test_it_ends_with_the_connection_and_with_the_session() -> None:
    cycle = Cycle()
    cycle.clients("bob")
    alice = cycle.hello("alice")
    subscribed(cycle, b"alice", INBOX)
    cycle.hello("alice", b"alice", alice.session, alice.token)  # on the same connection nothing changes
    tell(cycle)
    assert len(said(cycle)) == 1
    cycle.disconnect(b"alice")
    tell(cycle, 2)
    cycle.take_replies()
    assert said(cycle) == []
    assert cycle.hello("alice", b"later", alice.session, alice.token).resumed
    tell(cycle, 3)
    assert said(cycle) == []
    subscribed(cycle, b"later", INBOX)
    cycle.hello("alice", b"elsewhere", alice.session, alice.token)
    tell(cycle, 4)
    assert said(cycle) == []
    subscribed(cycle, b"elsewhere", INBOX)
    cycle.send(b"elsewhere", wire.Bye())
    tell(cycle, 5)
    assert said(cycle) == []
    recipients = cycle.core.registry.recipients
    assert not recipients._sessions and not recipients._topics  # nothing is kept of who has gone


def test_sessions_on_channels_are_told_on_theirs() -> None:
    cycle = Cycle()
    cycle.clients("bob")
    gate = Gateway(cycle)
    for channel, user in ((1, "alice"), (2, "alice"), (3, "eve")):
        gate.hello(channel, user)
    assert gate.ask(1, wire.Subscribe(4, [INBOX])) == gate.ask(2, wire.Subscribe(4, [INBOX])) == wire.Done(4)
    assert gate.refused(3, wire.Subscribe(5, [INBOX])) == ("request", 5, "denied")
    tell(cycle)
    cycle.core.take_broadcasts(cycle.now)
    ((frame, reply, endpoints),) = cycle.core.take_direct()
    assert reply == wire.direct(INBOX, frame) and endpoints == [Channel(b"gate", 1), Channel(b"gate", 2)]
    gate.say(2, wire.Bye())
    tell(cycle, 2)
    cycle.core.take_broadcasts(cycle.now)
    ((_, _, endpoints),) = cycle.core.take_direct()
    assert len(endpoints) == 1
    cycle.disconnect(b"gate")
    tell(cycle, 3)
    assert cycle.core.take_direct() == []


# --- rooms that not everybody may read ----------------------------------------------------------

OPS = Rules(True, (RoomRule("ops.**", {READ: ("ann", "carol"), SEES_WHO: ("ann",)}),))


def heard(cycle: Cycle) -> dict[bytes, list[str]]:
    """Who is told what of which topic one by one; what everybody is told stands under `b""`."""
    told: dict[bytes, list[str]] = {}
    for name, _ in cycle.take_broadcasts():
        told.setdefault(b"", []).append(name)
    for _, reply, endpoints in cycle.core.take_direct():
        direct = wire.decode_broker(reply)
        assert isinstance(direct, wire.Direct)
        for endpoint in endpoints:
            assert isinstance(endpoint, bytes)
            told.setdefault(endpoint, []).append(direct.topic[:-1].decode())
    return told


def test_a_room_is_said_to_those_who_may_read_it_and_listen_to_it_by_name_or_pattern() -> None:
    cycle = Cycle(rules=OPS)
    ann, bob, carol, _ = cycle.clients("ann", "bob", "carol", "dave")
    subscribed(cycle, ann, b"#ops.")
    subscribed(cycle, bob, b"#", topic("ops.a"))
    subscribed(cycle, carol, topic("ops.a"), b"#", b"+#")
    for seq, room in enumerate(("ops.a", "ops.b", "general"), 1):
        cycle.publish(bob, seq, room, b"x")
    cycle.commit()
    cycle.take_replies()
    assert heard(cycle) == {ann: ["#ops.a", "#ops.b"], carol: ["#ops.a", "#ops.b"], b"": ["general"]}
    cycle.send(ann, wire.Join(9, ["ops.a"]))
    cycle.commit()
    cycle.take_replies()
    subscribed(cycle, ann, b"+#ops.")
    cycle.send(ann, wire.Part(10, ["ops.a"]))
    cycle.commit()
    cycle.take_replies()
    assert heard(cycle) == {ann: ["+#ops.a"]}, "who may not see who is there is not told of it"


def test_other_rules_hold_from_the_next_batch_on_and_who_named_the_room_is_told() -> None:
    cycle = Cycle(rules=OPS)
    ann, bob = cycle.clients("ann", "bob")
    subscribed(cycle, ann, topic("ops.a"))
    subscribed(cycle, bob, b"#ops.")

    def said_now(seq: int) -> dict[bytes, list[str]]:
        cycle.publish(bob, seq, "ops.a", b"x")
        cycle.commit()
        cycle.take_replies()
        return heard(cycle)

    assert said_now(1) == {ann: ["#ops.a"]}
    cycle.core.rules_changed(Rules(), cycle.now)
    assert said_now(2) == {b"": ["ops.a"]}
    cycle.core.rules_changed(Rules(True, (RoomRule("ops.**", {READ: ("bob",)}),)), cycle.now)
    assert cycle.take_replies() == [(ann, wire.HelloAgain())]
    assert said_now(3) == {bob: ["#ops.a"]}
    cycle.disconnect(bob)
    cycle.hello("bob", b"other")
    cycle.publish(ann, 1, "ops.a", b"x")
    cycle.commit()
    assert heard(cycle) == {}


def test_inboxes_are_found_by_no_beginning_of_their_topic() -> None:
    cycle = Cycle(rules=OPS)
    cycle.clients("alice", "bob")
    for name in (b"", b"@", b"+", b"+@", b"\xff", b"#" + bytes(200), b"#\0", b"#\xff\0"):
        answer = cycle.ask(b"bob", wire.Subscribe(8, [name]))
        assert isinstance(answer, wire.Error), name
    subscribed(cycle, b"bob", b"#", b"+#")
    subscribed(cycle, b"alice", INBOX)
    tell(cycle)
    assert heard(cycle) == {b"alice": ["@alice"]}


def test_subscriptions_of_an_address_and_of_all_are_bounded() -> None:
    cycle = Cycle(rules=OPS, subscriptions_max=3, address_subscriptions_max=3)
    ann, bob = cycle.clients("ann", "bob")
    subscribed(cycle, ann, b"#a", b"#b")
    answer = cycle.ask(bob, wire.Subscribe(8, [b"#a", b"#b"]))
    assert isinstance(answer, wire.Error) and answer.code == "over-limit"
    subscribed(cycle, ann, b"#c")
    subscribed(cycle, bob, b"#a", b"#b")
    cycle.disconnect(bob)
    subscribed(cycle, ann, b"#c", b"#d", b"#e")
