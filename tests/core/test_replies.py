"""What goes back: in order, acks gathered by connection and last, and who is cut off."""

from __future__ import annotations

import pytest

from zchat import wire
from zchat.core.replies import Replies
from zchat.errors import CODES


def taken(replies: Replies) -> list[tuple[bytes, wire.BrokerMessage]]:
    return [(connection, wire.decode_broker(frame)) for connection, frame in replies.take(0)]


def test_replies_are_taken_once_in_their_order() -> None:
    replies = Replies()
    replies.reply(b"a", wire.Done(1))
    replies.reply(b"b", wire.Done(2))
    replies.reply(b"a", wire.Done(3))
    assert taken(replies) == [(b"a", wire.Done(1)), (b"b", wire.Done(2)), (b"a", wire.Done(3))]
    assert taken(replies) == []


def test_acks_of_a_connection_are_one_message_after_the_others() -> None:
    replies = Replies()
    replies.ack(b"a", 1, 10)
    replies.ack(b"b", 1, 11)
    replies.reply(b"a", wire.Done(1))
    replies.ack(b"a", 2, 12)
    assert taken(replies) == [(b"a", wire.Done(1)), (b"a", wire.Ack([(1, 10), (2, 12)])), (b"b", wire.Ack([(1, 11)]))]
    assert taken(replies) == []


def test_a_connection_that_is_gone_gets_no_acks() -> None:
    replies = Replies()
    replies.ack(b"a", 1, 10)
    replies.forget(b"a")
    replies.forget(b"never known")
    assert taken(replies) == []


def test_a_session_without_a_connection_is_told_nothing() -> None:
    replies = Replies()
    replies.ack(b"", 1, 10)
    replies.refuse(b"", "publish", 1, "log-full")
    replies.refuse(b"", "connection", 0, "bad-user")
    assert taken(replies) == [] and replies.take_cutoffs() == []


def test_all_get_the_same_answer() -> None:
    replies = Replies()
    replies.reply_all([b"a", b"b"], wire.Goodbye("stopping"))
    assert taken(replies) == [(b"a", wire.Goodbye("stopping")), (b"b", wire.Goodbye("stopping"))]


def test_a_refusal_without_a_text_says_what_the_code_means() -> None:
    replies = Replies()
    replies.refuse(b"a", "publish", 3, "denied")
    replies.refuse(b"a", "request", 4, "busy", "32 reads are waiting")
    assert taken(replies) == [
        (b"a", wire.Error("publish", 3, "denied", CODES["denied"].sentence)),
        (b"a", wire.Error("request", 4, "busy", "32 reads are waiting")),
    ]


@pytest.mark.parametrize("about", ["connection", "request", "publish"])
@pytest.mark.parametrize("code", sorted(CODES))
def test_only_a_fatal_refusal_of_the_connection_ends_it(about: str, code: str) -> None:
    replies = Replies()
    replies.refuse(b"a", about, 0, code)
    ends = CODES[code].fatal and about == "connection"
    assert replies.take_cutoffs() == ([b"a"] if ends else [])
    assert replies.take_cutoffs() == []


def test_a_refusal_quotes_little_of_what_was_sent() -> None:
    replies = Replies()
    replies.refuse(b"a", "request", 1, "bad-room", "x" * 3_000_000)
    ((_, frame),) = replies.take(0)
    assert len(frame) < 500
