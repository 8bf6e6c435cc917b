"""What a session listens to: subscriptions and their handshake, whom a batch goes to, cursors and lag."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from zchat import wire
from zchat.core import Instant
from zchat.core.listener import Listener
from zchat.core.listening import (
    CHECK_SECONDS,
    MARK_SECONDS,
    SILENCE_SECONDS,
    STRANGERS_MAX,
    SYNC_SECONDS,
    Listening,
)
from zchat.core.ordering import CHECKING, LIVE, NEW, Delivery, Mark, Notice, OrderedDelivery, Start
from zchat.core.progress import COMMIT_SECONDS, Progress
from zchat.core.timeline import Break
from zchat.names import topic, topic_prefix

NOON = 1_700_000_000_000_000
WELCOME = wire.Welcome(wire.VERSION, "s1", b"token", False, "log", 40, 5556, {}, NOON)


def at(seconds: float) -> Instant:
    return Instant(1_000.0 + seconds, NOON + round(seconds * 1e6))


def nonces() -> Iterator[bytes]:
    return (b"n%d" % number for number in count(1))


def private(number: int) -> bytes:
    return wire.PRIVATE_TOPIC + b"n%d" % number


def listener_of(*patterns: str, start: Start | None = None, cursor: str = "", presence: bool = False) -> Listener:
    ordering = OrderedDelivery(list(patterns), start or Start(), presence, marks=bool(cursor))
    return Listener(list(patterns), ordering, Progress(list(patterns), cursor))


def batch_of(base: int, prev: int) -> wire.Batch:
    return wire.Batch(wire.MESSAGES, base, prev, NOON, [wire.Entry("alice", "s1", 1, [b""])])


def live(*listeners: Listener, head: int = 40) -> Listening:
    """All of them live from `head` on, and what they were told so far is taken."""
    listening = Listening(nonces())
    for listener in listeners:
        listening.listen(listener, at(0))
    listening.synced(wire.Sync(b"n%d" % len(listeners), head), WELCOME, at(0))
    assert all(listener.ordering.state == LIVE for listener in listeners)
    listening.take_subscriptions()
    listening.take_deliveries()
    return listening


def heard(listening: Listening) -> list[tuple[str, list[int]]]:
    """(pattern, offsets) of what each listener is handed."""
    return [
        (listener.patterns[0], [item.first for item in items if isinstance(item, Delivery)])
        for listener, items in listening.take_deliveries()
    ]


# --- subscriptions ------------------------------------------------------------------------------


def test_the_topics_come_first_and_then_a_private_one() -> None:
    listening = Listening(nonces())
    listening.listen(listener_of("general", "build.*"), at(0))
    *topics, last = listening.take_subscriptions()
    assert sorted(topics) == sorted([(True, topic("general")), (True, topic_prefix("build.*"))])
    assert last == (True, private(1))
    assert listening.take_subscriptions() == []


def test_the_introduction_comes_before_all_topics_and_is_given_back_with_the_private_one() -> None:
    listening = Listening(nonces())
    listening.handshake.introduction = lambda: b"\0s1\0proof"
    listening.listen(listener_of("general"), at(0))
    introduction, *others = listening.take_subscriptions()
    assert introduction == (True, b"\0s1\0proof")
    assert others == [(True, topic("general")), (True, private(1))]
    assert listening.take_subscriptions() == []
    listening.synced(wire.Sync(b"n1", 40), WELCOME, at(0))
    assert listening.take_subscriptions() == [(False, private(1)), (False, b"\0s1\0proof")]
    listening.unsubscribed(at(1))
    assert listening.take_subscriptions() == [(True, b"\0s1\0proof"), (True, private(2))]


def test_who_is_cut_off_for_its_subscriptions_says_so_until_it_is_live() -> None:
    listener = listener_of("general")
    listening = live(listener)
    listening.refused("more than 4 topics")
    assert "more than 4 topics" in listening.trouble
    ((_, (notice,)),) = listening.take_deliveries()
    assert isinstance(notice, Notice) and notice.kind == "lost" and "more than 4 topics" in notice.reason
    listening.unsubscribed(at(1))
    listening.elapsed(at(100))
    assert "more than 4 topics" in listening.trouble, "and not that nothing comes"
    nonce = [name for subscribes, name in listening.take_subscriptions() if subscribes][-1]
    listening.synced(wire.Sync(nonce[1:], 40), WELCOME, at(100))
    assert not listening.trouble


def test_the_private_topic_sorts_behind_every_other_so_that_it_comes_last_after_a_break() -> None:
    topics = [topic("general"), topic("@alice"), topic("会议"), topic("\U00020000"), topic_prefix("**")]
    assert max([*topics, private(1)]) == private(1)


def test_who_asks_for_joins_and_leaves_has_their_topics_too() -> None:
    listening = Listening(nonces())
    listening.listen(listener_of("general", "build.*", "@alice", presence=True), at(0))
    topics = {name for _, name in listening.take_subscriptions()}
    assert topics == {b"#general\0", b"+#general\0", b"#build.", b"+#build.", private(1)}  # an inbox comes another way


def test_of_two_listeners_only_the_one_that_asks_for_joins_and_leaves_gets_them() -> None:
    both, one = listener_of("general", presence=True), listener_of("general")
    listening = live(both, one)
    join = wire.Batch(wire.PRESENCE, 41, 40, NOON, [wire.Entry("bob", "s2", 0, [wire.Record(b"", "join")])])
    message = batch_of(42, 41)
    message.prev_message = 40
    listening.broadcast(wire.PRESENCE_TOPIC + topic("general"), join, 10)
    listening.broadcast(topic("general"), message, 10)
    assert [item.first for item in both.ordering.take() if isinstance(item, Delivery)] == [41, 42]
    assert [item.first for item in one.ordering.take() if isinstance(item, Delivery)] == [42]
    listening.broadcast(wire.PRESENCE_TOPIC + topic("general"), wire.Watermark(43), 10)
    questions = listening.take_questions(at(0))
    assert [(listener, question.after) for listener, question in questions if isinstance(question, wire.Fetch)] == [
        (both, 42)
    ]


def test_a_topic_is_subscribed_to_once_and_given_up_with_its_last_listener() -> None:
    listening = Listening(nonces())
    one, other = listener_of("general", "build.*"), listener_of("general")
    listening.listen(one, at(0))
    listening.take_subscriptions()
    listening.listen(other, at(0))
    assert listening.take_subscriptions() == []  # one private topic at a time
    listening.synced(wire.Sync(b"n1", 40), WELCOME, at(0))
    assert listening.take_subscriptions() == [(False, private(1)), (True, private(2))]
    assert (one.ordering.is_begun, other.ordering.is_begun) == (True, False)
    listening.unlisten(one)
    assert listening.take_subscriptions() == [(False, topic_prefix("build.*"))]
    listening.unlisten(other)
    assert listening.take_subscriptions() == [(False, topic("general"))]


# --- the handshake ------------------------------------------------------------------------------


def test_a_listener_is_live_once_its_sync_comes() -> None:
    listening = Listening(nonces())
    listener = listener_of("general")
    listening.listen(listener, at(0))
    listening.synced(wire.Sync(b"of another", 40), WELCOME, at(0))
    assert listener.ordering.state == NEW
    listening.synced(wire.Sync(b"n1", 40), WELCOME, at(0))
    assert listening.take_deliveries() == [(listener, [Notice("live", 40)])]


def test_a_sync_without_a_session_is_asked_for_again() -> None:
    listening = Listening(nonces())
    listener = listener_of("general")
    listening.listen(listener, at(0))
    listening.synced(wire.Sync(b"n1", 40), None, at(0))
    assert listener.ordering.state == NEW
    listening.take_subscriptions()
    listening.back(at(1), None)
    assert listening.take_subscriptions() == [(True, private(2))]
    listening.synced(wire.Sync(b"n2", 41), WELCOME, at(0))
    assert listener.ordering.state == LIVE


STARTED = wire.Welcome(wire.VERSION, "s1", b"token", False, "log", 40, 5556, {}, NOON, 0, [("A", 0), ("B", 30)])


@pytest.mark.parametrize("start", ["", "A", "C"])
def test_a_sync_of_another_broker_makes_nothing_live_and_its_connection_is_given_up(start: str) -> None:
    listening = Listening(nonces())
    listener = listener_of("general")
    listening.publisher = "tcp://there:5556"
    listening.listen(listener, at(0))
    assert not listening.take_stranger()
    for number in range(1, 4):
        listening.synced(wire.Sync(b"n%d" % number, 40, start), STARTED, at(0))
        assert listener.ordering.state == NEW
        assert listening.take_stranger() and not listening.take_stranger()
        assert bool(listening.trouble) == (number == STRANGERS_MAX)
        listening.unsubscribed(at(number))  # as the shell does
    told = "another broker publishes at tcp://there:5556, where this one is said to"
    assert listening.trouble == told
    assert listening.take_deliveries() == [(listener, [Notice("stranger", reason=told)])]
    listening.synced(wire.Sync(b"n4", 40, "C"), STARTED, at(0))
    assert listening.take_deliveries() == [], "it is told once"
    listening.unsubscribed(at(4))
    listening.take_stranger()
    listening.synced(wire.Sync(b"n5", 40, "B"), STARTED, at(0))
    assert not listening.take_stranger() and listening.trouble == ""
    assert listening.take_deliveries() == [(listener, [Notice("live", 40)])]


def test_nothing_of_a_connection_is_handed_on_until_it_has_proved_itself() -> None:
    listener = listener_of("general", cursor="mine")
    listening = live(listener)
    listening.unsubscribed(at(1))
    for base, prev, kind in ((41, 0, wire.MESSAGES), (0, 0, wire.VOLATILE_MESSAGES)):
        entries = [wire.Entry("mallory", "s9", 1, [b"false"])]
        listening.broadcast(topic("general"), wire.Batch(kind, base, prev, NOON, entries), 10)
    listening.broadcast(topic("general"), wire.Watermark(99), 10)
    listening.missed(topic("general"), b"no batch")
    assert listening.take_deliveries() == [] and listening.take_questions(at(1)) == []
    listening.synced(wire.Sync(b"n2", 99, "another"), WELCOME, at(0))
    assert listening.take_deliveries() == [] and listening.take_questions(at(2)) == []
    assert listener.ordering.highest == 40
    listening.unsubscribed(at(2))
    listening.synced(wire.Sync(b"n3", 40), WELCOME, at(0))
    ((_, question),) = listening.take_questions(at(2))
    assert isinstance(question, wire.Heads)
    assert listening.take_deliveries() == []


def test_a_volatile_batch_that_makes_no_sense_is_counted_with_the_next_one_and_not_asked_for() -> None:
    listening = live(listener_of("general"))
    entries = [wire.Entry("alice", "s1", 1, [b"x"])]
    batches = [wire.Batch(wire.VOLATILE_MESSAGES, NOON, prev, NOON, entries) for prev in range(3)]
    listening.broadcast(topic("general"), batches[0], 10)
    listening.missed(topic("general"), wire.encode(batches[1])[:-1])
    listening.broadcast(topic("general"), batches[2], 10)
    ((_, out),) = listening.take_deliveries()
    assert [item for item in out if isinstance(item, Notice)] == [
        Notice("gap", room="general", records=1, reason="volatile")
    ]
    assert listening.take_questions(at(1)) == []


def test_a_broker_that_welcomes_anew_has_not_been_strange() -> None:
    listening = Listening(nonces())
    listening.listen(listener_of("general"), at(0))
    for number in range(1, 2 * STRANGERS_MAX):
        listening.synced(wire.Sync(b"n%d" % number, 40, "C"), STARTED, at(0))
        listening.back(at(number), None)
    assert listening.trouble == ""


def test_subscriptions_that_are_not_live_for_long_are_told_with_the_place() -> None:
    listening = Listening(nonces())
    listener = listener_of("general")
    listening.publisher, listening.seen = "tcp://there:5556", "connection refused"
    listening.listen(listener, at(0))
    listening.elapsed(at(SILENCE_SECONDS - 1))
    assert listening.trouble == ""
    listening.elapsed(at(SILENCE_SECONDS + 1))
    assert "tcp://there:5556: connection refused" in listening.trouble == listening.silence
    listening.unlisten(listener)
    other = listener_of("build")
    listening.listen(other, at(100))
    listening.elapsed(at(101))
    assert listening.trouble == ""


def test_a_second_listener_does_not_disturb_the_first() -> None:
    first, second = listener_of("general"), listener_of("build")
    listening = live(first)
    listening.listen(second, at(1))
    listening.synced(wire.Sync(b"n2", 50), WELCOME, at(0))
    assert (first.ordering.state, second.ordering.state) == (LIVE, LIVE)
    assert listening.take_deliveries() == [(second, [Notice("live", 50)])]


def test_the_private_topic_is_given_back_once_its_sync_came_and_that_counts_once() -> None:
    listening = Listening(nonces())
    listener = listener_of("general")
    listening.listen(listener, at(0))
    listening.take_subscriptions()
    listening.synced(wire.Sync(b"n1", 40), WELCOME, at(0))
    assert listening.take_subscriptions() == [(False, private(1))]
    listening.synced(wire.Sync(b"n1", 50), WELCOME, at(0))
    assert listener.ordering.state == LIVE and listening.take_subscriptions() == []


def test_after_a_break_a_sync_is_asked_for_anew_and_then_all_compare_the_heads() -> None:
    first, second = listener_of("general"), listener_of("build")
    listening = live(first, second)
    listening.unsubscribed(at(1))
    assert not first.ordering.is_synced and not second.ordering.is_synced
    assert listening.take_subscriptions() == [(True, private(3))]
    listening.synced(wire.Sync(b"n3", 50), WELCOME, at(0))
    assert [listener.ordering.state for listener in (first, second)] == [CHECKING, CHECKING]
    assert [listener for listener, _ in listening.take_questions(at(0))] == [first, second]


def test_a_sync_that_was_asked_for_before_a_break_does_not_count_after_it() -> None:
    listening = Listening(nonces())
    listener = listener_of("general")
    listening.listen(listener, at(0))
    listening.take_subscriptions()
    listening.unsubscribed(at(1))
    assert listening.take_subscriptions() == [(False, private(1)), (True, private(2))]
    listening.synced(wire.Sync(b"n1", 40), WELCOME, at(0))
    assert listener.ordering.state == NEW


def test_a_break_without_listeners_asks_for_nothing() -> None:
    listening = Listening(nonces())
    listening.unsubscribed(at(0))
    assert listening.take_subscriptions() == []


def test_a_sync_that_does_not_come_is_asked_for_under_another_nonce() -> None:
    listening = Listening(nonces())
    listener = listener_of("general")
    listening.listen(listener, at(0))
    listening.take_subscriptions()
    listening.elapsed(at(SYNC_SECONDS))
    assert listening.take_subscriptions() == []
    listening.elapsed(at(SYNC_SECONDS + 0.1))
    assert listening.take_subscriptions() == [(False, private(1)), (True, private(2))]
    listening.synced(wire.Sync(b"n1", 40), WELCOME, at(0))  # late
    assert listener.ordering.state == NEW
    listening.synced(wire.Sync(b"n2", 41), WELCOME, at(0))
    assert listener.ordering.state == LIVE
    listening.take_subscriptions()
    listening.elapsed(at(3 * SYNC_SECONDS))
    assert listening.take_subscriptions() == []


def test_a_session_that_goes_on_asks_for_a_sync_when_it_listens() -> None:
    listening = Listening(nonces())
    listening.back(at(0), None)
    assert listening.take_subscriptions() == []
    listener = listener_of("general")
    listening.listen(listener, at(0))
    listening.take_subscriptions()
    listener.asked = 7
    listening.lost("cut")
    assert listener.asked == 0  # its answer will not come
    listening.back(at(1), None)
    assert listening.take_subscriptions() == [(False, private(1)), (True, private(2))]


def test_another_log_begins_anew_also_when_no_break_was_seen() -> None:
    listener = listener_of("general")
    listening = live(listener)
    listening.back(at(1), Break(0, 0))
    assert listener.ordering.state == NEW
    listening.synced(wire.Sync(b"n2", 3), WELCOME, at(0))
    ((of, question),) = listening.take_questions(at(0))
    assert of is listener and isinstance(question, wire.Seek)


def test_a_broker_that_is_about_to_go_is_told_as_lost() -> None:
    listener = listener_of("general")
    listening = live(listener)
    listening.stopping("stopping", at(0))
    assert listening.take_deliveries() == [(listener, [Notice("lost", reason="stopping")])]


# --- batches and answers ------------------------------------------------------------------------


def test_a_batch_goes_to_the_listeners_whose_patterns_stand_for_its_room() -> None:
    listening = live(listener_of("build.linux"), listener_of("build.*"), listener_of("build.*.x"), listener_of("**"))
    listening.broadcast(topic("build.linux"), batch_of(41, 0), 10)
    assert heard(listening) == [("build.linux", [41]), ("build.*", [41]), ("**", [41])]
    listening.broadcast(topic("general"), batch_of(42, 0), 10)
    assert heard(listening) == [("**", [42])]


def test_a_listener_that_came_or_went_counts_at_the_next_batch() -> None:
    one, other = listener_of("**"), listener_of("general")
    listening = live(one)
    listening.broadcast(topic("general"), batch_of(41, 0), 10)
    listening.listen(other, at(0))
    listening.synced(wire.Sync(b"n2", 41), WELCOME, at(0))
    listening.take_deliveries()
    listening.broadcast(topic("general"), batch_of(42, 41), 10)
    assert sorted(heard(listening)) == [("**", [42]), ("general", [42])]
    listening.unlisten(one)
    listening.broadcast(topic("general"), batch_of(43, 42), 10)
    assert heard(listening) == [("general", [43])]
    assert one.ordering.take() == []


def test_a_watermark_goes_where_a_batch_would() -> None:
    one, other = listener_of("general"), listener_of("build")
    listening = live(one, other)
    listening.broadcast(topic("general"), wire.Watermark(41), 10)
    assert [listener for listener, _ in listening.take_questions(at(0))] == [one]


def test_heads_are_compared_now_and_then_in_case_a_loss_went_unseen() -> None:
    listener = listener_of("general")
    listening = live(listener)
    listening.elapsed(at(CHECK_SECONDS - 0.1))
    assert listener.ordering.state == LIVE
    listening.elapsed(at(CHECK_SECONDS))
    assert listener.ordering.state == CHECKING
    listening.take_questions(at(0))
    listener.asked = 7
    listening.answered(listener, 7, wire.HeadsAre(7, 40, []), at(0))
    listening.elapsed(at(2 * CHECK_SECONDS - 0.1))
    assert listener.ordering.state == LIVE
    listening.elapsed(at(2 * CHECK_SECONDS))
    assert listener.ordering.state == CHECKING


def test_an_answer_goes_to_the_listener_that_asked() -> None:
    one, other = listener_of("general", start=Start(after=0)), listener_of("build", start=Start(after=0))
    listening = Listening(nonces())
    for listener in (one, other):
        listening.listen(listener, at(0))
    listening.synced(wire.Sync(b"n2", 40), WELCOME, at(0))
    assert len(listening.take_questions(at(0))) == 2
    one.asked, other.asked = 7, 8
    assert listening.answered(one, 9, wire.Page(9, [], 40, False, []), at(0)) is True  # nobody waits for it
    assert listening.answered(other, 8, wire.Page(8, [], 40, False, []), at(0)) is True
    assert (one.ordering.state == LIVE, other.ordering.state == LIVE, one.asked, other.asked) == (False, True, 7, 0)


def test_a_question_that_is_refused_for_now_stays_asked() -> None:
    listener = listener_of("general", start=Start(after=0))
    listening = Listening(nonces())
    listening.listen(listener, at(0))
    listening.synced(wire.Sync(b"n1", 40), WELCOME, at(0))
    listening.take_questions(at(0))
    listener.asked = 7
    assert listening.answered(listener, 7, wire.Error("request", 7, "busy", ""), at(0)) is False
    assert listener.asked == 7 and listening.take_questions(at(0)) == []
    assert listening.answered(listener, 7, wire.Page(7, [], 40, False, []), at(0)) is True


# --- cursors ------------------------------------------------------------------------------------


def test_a_cursor_is_kept_where_the_consumer_wants_it_now_and_then() -> None:
    listener = listener_of("general", cursor="laptop")
    listening = live(listener)
    assert listening.take_cursors("log", at(0)) == []
    listener.progress.wanted = (0, 41)
    ((of, message),) = listening.take_cursors("log", at(0))
    assert of is listener and message == wire.SetCursor(0, "laptop", "log", 41)
    listener.progress.number = 7
    listener.progress.wanted = (0, 42)
    assert listening.take_cursors("log", at(5)) == []  # one at a time
    assert listening.answered(listener, 7, wire.Done(7), at(0)) is True
    assert listener.progress.committed == (0, 41)
    ((_, message),) = listening.take_cursors("log", at(5))
    assert message.offset == 42
    listener.progress.wanted = (0, 43)
    assert listening.take_cursors("log", at(5 + COMMIT_SECONDS - 0.1)) == []
    assert len(listening.take_cursors("log", at(5 + COMMIT_SECONDS))) == 1


def test_a_cursor_that_was_refused_is_kept_later() -> None:
    listener = listener_of("general", cursor="laptop")
    listening = live(listener)
    listener.progress.wanted = (0, 41)
    listening.take_cursors("log", at(0))
    listener.progress.number = 7
    assert listening.answered(listener, 7, wire.Error("request", 7, "log-full", ""), at(0)) is True
    assert listener.progress.committed == (0, 0)
    ((_, message),) = listening.take_cursors("log", at(COMMIT_SECONDS))
    assert message.offset == 41


def test_a_position_in_another_log_is_not_kept() -> None:
    listener = listener_of("general", cursor="laptop")
    listening = live(listener)
    listener.progress.wanted = (0, 41)
    listening.back(at(0), Break(0, 0))
    assert listening.take_cursors("log 2", at(1)) == []
    listener.progress.wanted = (1, 3)
    ((_, message),) = listening.take_cursors("log 2", at(1))
    assert (message.log_id, message.offset) == ("log 2", 3)


def test_a_listener_without_a_cursor_keeps_nothing() -> None:
    listener = listener_of("general")
    listening = live(listener)
    listener.progress.wanted = (0, 41)
    assert listening.take_cursors("log", at(0)) == []


def test_a_cursor_over_several_rooms_gets_a_mark_soon_after_it_moved() -> None:
    listener = listener_of("**", cursor="laptop")
    listening = live(listener)
    listening.elapsed(at(0))
    listening.broadcast(topic("general"), batch_of(41, 0), 10)
    listening.elapsed(at(MARK_SECONDS - 0.1))
    assert listener.ordering.state == LIVE
    listening.elapsed(at(MARK_SECONDS))
    assert listener.ordering.state == CHECKING
    listening.take_questions(at(0))
    listener.asked = 7
    listening.take_deliveries()
    listening.answered(listener, 7, wire.HeadsAre(7, 41, [("general", 41, 41)]), at(0))
    assert listening.take_deliveries() == [(listener, [Mark(41)])]
    listening.elapsed(at(2 * MARK_SECONDS))
    assert listener.ordering.state == LIVE  # it did not move again


def test_who_listens_after_all_others_have_gone_does_not_wait_for_a_sync_that_was_theirs() -> None:
    listening = Listening(nonces())
    first, second = listener_of("general"), listener_of("ops")
    listening.listen(first, at(0))
    assert (True, private(1)) in listening.take_subscriptions()
    listening.unlisten(first)  # its SYNC is lost with the connection
    listening.back(at(1), None)
    listening.listen(second, at(2))
    subscriptions = listening.take_subscriptions()
    assert (False, private(1)) in subscriptions and (True, private(2)) in subscriptions
