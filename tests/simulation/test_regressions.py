"""What the simulation found, each in a few lines on a pair of cores."""

from __future__ import annotations

from tests.simulation.pair import End, Pair, numbered_log
from zchat import wire
from zchat.core.client import AWAY, CLOSED, READY
from zchat.core.ordering import Delivery, Notice, OrderedDelivery, Start
from zchat.errors import LogError, Refused

LOG_FULL = LogError("log-full", "no space")


class Dropping:
    """The first reply of a kind is lost."""

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.is_over = False

    def __call__(self, end: End, frame: bytes) -> bool:
        if self.is_over or not isinstance(wire.decode_broker(frame), self.kind):
            return False
        self.is_over = True
        return True


def test_what_is_sent_after_listen_returned_comes_although_its_history_is_sought_later() -> None:
    pair = Pair("alice", "bob")
    alice, bob = pair.ends
    pair.holds_reads = True
    heard = bob.listen("a", start=Start(last=1))
    pair.run()
    assert heard.ordering.is_begun
    alice.publish("a", b"one", b"two", b"three")
    pair.run()
    pair.holds_reads = False
    pair.answer()
    pair.run()
    assert bob.bodies(heard) == [b"one", b"two", b"three"]


def test_a_listener_that_has_not_begun_takes_no_offset_of_another_log_for_a_good_one() -> None:
    pair = Pair("alice", "bob")
    alice, bob = pair.ends
    alice.publish("a", *[b"old"] * 9)
    pair.run()
    pair.drops = lambda end, topic, frame: True
    heard = bob.listen("a", start=Start(after=5))
    pair.run()
    pair.restart(numbered_log(2), reconnects=False)
    pair.reconnect(alice)
    pair.run()
    alice.publish("a", *[b"new"] * 7)
    pair.run()
    pair.drops = lambda end, topic, frame: False
    pair.reconnect(bob)
    pair.run()
    assert bob.bodies(heard) == [b"new"] * 7
    assert bob.delivered[heard][0] == Notice("gap", 6, 0, reason="log", log_id="log-2")


def test_a_welcome_that_was_lost_is_asked_for_again() -> None:
    pair = Pair()
    pair.drops_reply = Dropping(wire.Welcome)
    alice = pair.connect("alice")
    pair.wait(8.0)
    assert alice.core.state == READY


def test_a_hello_that_is_said_twice_begins_one_session() -> None:
    pair = Pair()
    pair.drops_reply = Dropping(wire.Welcome)
    alice = pair.connect("alice")
    pair.wait(8.0)
    present = alice.ask(wire.Who(0))
    assert isinstance(present, wire.Present) and len(present.members) == 1
    assert alice.core.welcome is not None and present.members[0].session == alice.core.welcome.session


def test_a_session_that_has_ended_publishes_nothing_again_although_its_goodbye_was_lost() -> None:
    pair = Pair("alice")
    (alice,) = pair.ends
    pair.drops_reply = lambda end, frame: isinstance(wire.decode_broker(frame), wire.Ack | wire.Goodbye)
    chunk = alice.publish("a", b"once")
    pair.run()
    alice.core.bye()
    pair.run()
    pair.cut(alice)
    pair.drops_reply = lambda end, frame: False
    pair.reconnect(alice)
    pair.run()
    assert alice.core.state == CLOSED and not chunk.is_settled and pair.log.head() == 1


def test_a_bye_that_never_arrived_is_said_again() -> None:
    pair = Pair("alice")
    (alice,) = pair.ends
    alice.core.join({"a"}, pair.now)
    pair.run()
    alice.core.bye()
    alice.core.take_sends()
    pair.cut(alice)
    pair.reconnect(alice)
    pair.run()
    assert alice.core.state == CLOSED and pair.log.head() == 2


def test_a_part_that_is_asked_again_does_not_undo_a_later_join() -> None:
    pair = Pair("alice")
    (alice,) = pair.ends
    alice.core.join({"a"}, pair.now)
    pair.run()
    pair.drops_reply = Dropping(wire.Done)
    alice.core.part({"a"}, pair.now)
    pair.run()
    number = alice.core.join({"a"}, pair.now)
    pair.run()
    assert alice.answers[number] == wire.Done(number)
    pair.wait(8.0)
    assert pair.core.registry.members("a") == 1


def test_a_listener_that_shares_a_room_with_one_whose_join_was_refused_is_joined_later() -> None:
    pair = Pair("alice")
    (alice,) = pair.ends
    pair.holds_commits = True
    refused = alice.listen("a")
    alice.listen("a", "b")
    pair.run()
    pair.commit(LOG_FULL)
    pair.run()
    pair.holds_commits = False
    alice.unlisten(refused)
    pair.wait(8.0)
    assert pair.core.registry.members("a") == 1 and pair.core.registry.members("b") == 1


def test_a_session_whose_join_was_refused_after_its_return_is_joined_later() -> None:
    pair = Pair("alice")
    (alice,) = pair.ends
    alice.core.join({"a"}, pair.now)
    pair.run()
    pair.cut(alice)
    pair.wait(pair.settings.grace_seconds + 1.0)
    pair.holds_commits = True
    pair.reconnect(alice)
    pair.run()
    pair.commit(LOG_FULL)
    pair.holds_commits = False
    pair.wait(8.0)
    assert pair.core.registry.members("a") == 1


def batch(base: int, prev: int) -> wire.Batch:
    return wire.Batch(wire.MESSAGES, base, prev, base, [wire.Entry("ann", "s", base, [b"x"])])


def test_what_comes_before_the_session_is_back_may_be_of_another_log() -> None:
    ordering = OrderedDelivery(["a"], Start(), False)
    ordering.synced(10, 0)
    ordering.take()
    ordering.lost("cut off")
    ordering.broadcast("a", batch(3, 0), 9)
    ordering.watermark("a", 90)
    ordering.other_log()
    assert ordering.take() == [Notice("lost", reason="cut off"), Notice("gap", 11, 0, reason="log")]


def test_what_comes_before_the_session_is_back_is_fetched_once_it_is() -> None:
    ordering = OrderedDelivery(["a"], Start(), False)
    ordering.synced(10, 0)
    ordering.lost("cut off")
    ordering.broadcast("a", batch(11, 10), 9)
    ordering.take()
    ordering.synced(11, 0)
    assert ordering.take_question() == wire.Heads(0, ["a"])
    ordering.answered(wire.HeadsAre(0, 11, [("a", 11, 11)]))
    assert ordering.take_question() == wire.Fetch(0, ["a"], 10, 11)
    frame = wire.encode(batch(11, 10))
    ordering.answered(wire.Page(0, [("a", wire.raw(frame))], 11, False, []))
    assert ordering.take() == [Delivery("a", batch(11, 10), 11, 11, len(frame)), Notice("back", records=1)]


def test_a_hello_of_another_log_that_is_said_twice_begins_one_session() -> None:
    pair = Pair("alice")
    (alice,) = pair.ends
    pair.restart(numbered_log(2))
    pair.drops_reply = Dropping(wire.Welcome)
    pair.wait(8.0)
    present = alice.ask(wire.Who(0))
    assert isinstance(present, wire.Present) and len(present.members) == 1
    assert alice.core.welcome is not None and present.members[0].session == alice.core.welcome.session


def test_a_session_that_has_ended_publishes_nothing_again_although_it_says_hello_twice() -> None:
    pair = Pair("alice")
    (alice,) = pair.ends
    pair.drops_reply = lambda end, frame: isinstance(wire.decode_broker(frame), wire.Ack | wire.Goodbye | wire.Welcome)
    alice.publish("a", b"once")
    pair.run()
    alice.core.bye()
    pair.run()
    pair.cut(alice)
    pair.reconnect(alice)
    pair.run()
    pair.drops_reply = lambda end, frame: False
    pair.wait(8.0)
    assert alice.core.state == CLOSED and pair.log.head() == 1


def test_a_refusal_is_not_definite_when_a_log_that_is_gone_may_have_the_message() -> None:
    pair = Pair("alice")
    (alice,) = pair.ends
    pair.drops_reply = lambda end, frame: isinstance(wire.decode_broker(frame), wire.Ack)
    chunk = alice.publish("a", b"kept")
    pair.run()
    pair.drops_reply = lambda end, frame: False
    pair.holds_commits = True
    pair.restart(numbered_log(2))
    pair.run()
    pair.commit(LOG_FULL)
    pair.run()
    assert isinstance(chunk.error, Refused) and chunk.error.code == "repeat-unknown" and not chunk.error.definite


def test_a_part_that_the_log_refused_is_asked_again_of_a_broker_that_restarted() -> None:
    pair = Pair("alice")
    (alice,) = pair.ends
    alice.core.join({"a"}, pair.now)
    pair.run()
    pair.holds_commits = True
    alice.core.part({"a"}, pair.now)
    pair.run()
    pair.commit(LOG_FULL)
    pair.run()
    pair.holds_commits = False
    pair.restart()
    pair.wait(8.0)
    assert pair.core.registry.members("a") == 0


def hello_of(end: End, number: int) -> bytes:
    welcome = end.core.welcome
    assert welcome is not None
    return wire.encode(wire.Hello(wire.VERSION, end.core.user, welcome.session, welcome.token, {}, number))


def test_a_hello_that_comes_late_takes_the_session_from_no_younger_connection() -> None:
    pair = Pair("alice")
    (alice,) = pair.ends
    pair.cut(alice, told=False)
    pair.reconnect(alice)
    pair.run()
    pair.core.received(b"connection that is gone", hello_of(alice, 1), pair.now)
    chunk = alice.publish("a", b"hi")
    pair.run()
    assert chunk.first == 1


def test_a_welcome_that_was_left_over_makes_no_session_of_a_broker_that_is_gone() -> None:
    pair = Pair("alice", "bob")
    alice, bob = pair.ends
    heard = bob.listen("a", start=Start(after=0))
    alice.publish("a", b"of the first log", b"of the first log")
    pair.run()
    pair.cut(bob)
    pair.reconnect(bob)
    bob.turn(pair.now)
    pair._cycle()
    left_over = list(bob.to_client)
    pair.restart(numbered_log(2))
    bob.to_client[:0] = left_over
    pair.run()
    alice.publish("a", b"of the second")
    pair.run()
    assert bob.bodies(heard)[-1] == b"of the second" and bob.notices(heard)[-2:] == ["gap", "back"]


def test_a_welcome_that_comes_while_nothing_is_connected_is_left_over_too() -> None:
    pair = Pair("alice")
    (alice,) = pair.ends
    pair.cut(alice)
    alice.to_client.append(wire.encode(alice.core.welcome or wire.HelloAgain()))
    alice.turn(pair.now)
    assert alice.core.state == AWAY


def test_what_a_stopping_broker_was_asked_is_asked_once_of_the_next() -> None:
    pair = Pair("alice")
    (alice,) = pair.ends
    pair.holds_reads = True
    alice.listen("a", start=Start(last=5))
    pair.run()
    pair.core.stopping()
    pair.run()
    alice.core.received(wire.encode(wire.HelloAgain()), pair.now)
    pair.run()
    pair.holds_reads = False
    while pair.reads:  # their answers are lost
        pair.core.read_done(pair.reads.pop(), 0.0)
    pair.wait(8.0)
    assert not alice.core._requests


def test_a_cursor_that_is_set_again_for_want_of_an_answer_does_not_go_back() -> None:
    pair = Pair("alice")
    (alice,) = pair.ends
    alice.publish("a", b"one", b"two")
    pair.run()
    pair.drops_reply = Dropping(wire.Done)
    alice.core.ask(wire.SetCursor(0, "one", pair.log.log_id, 1), pair.now)
    pair.run()
    alice.core.ask(wire.SetCursor(0, "one", pair.log.log_id, 2), pair.now)
    pair.wait(8.0)
    assert [row.offset for row in pair.log.cursors()] == [2] and not alice.core._requests


def test_a_publish_whose_ack_was_lost_is_told_of_although_others_are_acked_all_the_time() -> None:
    pair = Pair("alice")
    (alice,) = pair.ends
    pair.drops_reply = Dropping(wire.Ack)
    chunk = alice.publish("a", b"first")
    pair.run()
    for _ in range(6):
        alice.publish("a", b"another")
        pair.wait(1.0)
    assert chunk.first == 1


def test_a_schedule_that_was_refused_and_said_again_meanwhile_is_not_refused_for_certain() -> None:
    pair = Pair("alice")
    (alice,) = pair.ends
    late: list[bytes] = []  # what the broker answers is on the way for longer than a client waits

    def holds(end: End, frame: bytes) -> bool:
        late.append(frame)
        return True

    pair.holds_commits, pair.drops_reply = True, holds
    records = wire.raw(wire.encode_records([b"later"]))
    number = alice.core.ask(wire.Schedule(0, "x", "a", records, 0, 60_000_000), pair.now)
    pair.run()
    pair.commit(LOG_FULL)
    pair.holds_commits = False
    pair.wait(4.0)
    alice.to_client.extend(late[:1])
    pair.run()
    answer = alice.answers.get(number)
    assert isinstance(answer, wire.Error) and not Refused(answer.code).definite
    assert [row.id for row in pair.log.scheduled()] == ["x"]
