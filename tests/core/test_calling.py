"""Requests and servers at the client: what is said when, and what is known after a break."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.core.test_client_session import NOW, WELCOME, Plain, session
from zchat import wire
from zchat.core import Instant
from zchat.core.answers import AllReplies
from zchat.core.calling import RoomServer

__all__ = ["session"]

RECORD = wire.raw(wire.encode_record(b"x"))


def welcome(of: Plain) -> None:
    of.connected()
    of.received(wire.encode(replace(WELCOME, hello=0)), NOW)


def said(of: Plain) -> list[Any]:
    return [
        each for each in (wire.decode_client(frame) for frame in of.take_sends()) if not isinstance(each, wire.Hello)
    ]


def call(replies: int = 1, *, retry: bool = False) -> wire.Call:
    return wire.Call(0, "math", RECORD, 5_000, replies, retry)


def replied(request: int, left: int = 0) -> bytes:
    return wire.encode(wire.Replied(request, "bob", "s2", 7, RECORD, "", left))


def test_replies_are_the_answer_once_all_are_there(session: Plain) -> None:
    welcome(session)
    number = session.calling.call(call(2), session)
    assert [each.request for each in said(session)] == [number]
    session.received(replied(number, 1), NOW)
    session.received(replied(99), NOW)
    assert session.take_answers() == []
    session.received(replied(number), NOW)
    session.received(replied(number), NOW)
    ((told, answer),) = session.take_answers()
    assert told == number and isinstance(answer, AllReplies) and len(answer.replies) == 2


def test_what_is_refused_is_the_answer_too_and_what_nobody_waits_for_is_none(session: Plain) -> None:
    welcome(session)
    number, other = (session.calling.call(call(2), session) for _ in range(2))
    session.received(wire.encode(wire.Error("request", number, "no-server", "")), NOW)
    assert [(told, getattr(answer, "code", "")) for told, answer in session.take_answers()] == [(number, "no-server")]
    session.received(replied(other, 1), NOW)
    assert len(session.calling.forget(session, other)) == 1 and session.calling.forget(session, other) == []
    session.received(replied(other), NOW)
    assert session.take_answers() == []


def test_after_a_break_what_may_be_done_twice_is_asked_again_and_of_the_rest_nobody_knows(session: Plain) -> None:
    early = session.calling.call(call(), session)
    welcome(session)
    once, again = session.calling.call(call(), session), session.calling.call(call(retry=True), session)
    assert [each.request for each in said(session)] == [early, once, again]
    session.disconnected("")
    failed = session.take_answers()
    assert {(number, getattr(answer, "code", "")) for number, answer in failed} == {
        (early, "no-answer"),
        (once, "no-answer"),
    }
    welcome(session)
    assert [each.request for each in said(session)] == [again] and session.take_answers() == []


def test_who_serves_is_asked_answers_and_says_so_again_after_a_break(session: Plain) -> None:
    welcome(session)
    came: list[wire.Called | None] = []
    server = RoomServer(session.calling.next_number(), "math", "g", 3, came.append)
    number = session.calling.serve(server, session, NOW)
    assert said(session) == [wire.Serve(number, 1, "math", "g", 3)]
    called = wire.Called(1, 9, "math", "ann", "s1", 7, RECORD)
    for each in (called, replace(called, server=7), replace(called, room="other")):
        session.received(wire.encode(each), NOW)
    assert came == [called] and came[0] is not None
    session.calling.reply(session, came[0], b"5", "")
    assert said(session) == [wire.Reply(9, wire.raw(wire.encode_record(b"5")))]
    session.received(wire.encode(wire.Done(number)), NOW)
    session.disconnected("")
    session.calling.reply(session, came[0], b"5", "")
    welcome(session)
    ((serve),) = said(session)
    assert isinstance(serve, wire.Serve) and serve.max_in_flight == 3
    session.received(wire.encode(called), NOW)
    session.calling.end(server, session, NOW)
    assert said(session)[-1].max_in_flight == 0
    assert came == [called, called] and came[1] is not None
    session.calling.reply(session, came[1], b"5", "")
    assert said(session) == [], "the broker has given it up"
    session.received(wire.encode(called), NOW)
    assert came == [called, called]


def test_a_reply_is_said_once_and_never_for_another_request_of_the_same_number(session: Plain) -> None:
    welcome(session)
    came: list[wire.Called | None] = []
    session.calling.serve(RoomServer(1, "math", "", 3, came.append), session, NOW)
    called = wire.encode(wire.Called(1, 9, "math", "ann", "s1", 7, RECORD))
    session.received(called, NOW)
    session.disconnected("")  # and the broker, which was started again, counts anew
    welcome(session)
    session.received(called, NOW)
    said(session)
    old, new = came
    assert old is not None and new is not None
    for each in (old, new, new):
        session.calling.reply(session, each, b"of the old" if each is old else b"of the new", "")
    assert said(session) == [wire.Reply(9, wire.raw(wire.encode_record(b"of the new")))]


def test_who_serves_no_more_does_not_say_again_that_it_does(session: Plain) -> None:
    welcome(session)
    server = RoomServer(1, "math", "", 3, lambda called: None)
    session.calling.serve(server, session, NOW)  # its answer is late
    session.disconnected("")
    welcome(session)
    end = session.calling.end(server, session, NOW)
    said(session)
    session.elapsed(Instant(NOW.seconds + 9.0, 9))
    assert said(session) == [wire.Serve(end, 1, "math", "", 0)]


def test_the_end_of_the_session_is_the_end_of_what_it_serves(session: Plain) -> None:
    welcome(session)
    came: list[wire.Called | None] = []
    session.calling.serve(RoomServer(1, "math", "", 1, came.append), session, NOW)
    session.close(RuntimeError())
    assert came == [None]


@pytest.mark.parametrize("left", [0, 1])
def test_a_broker_that_sends_more_than_was_asked_for_is_not_believed(session: Plain, left: int) -> None:
    welcome(session)
    number = session.calling.call(call(), session)
    session.received(replied(number, left), NOW)
    ((_, answer),) = session.take_answers()
    assert isinstance(answer, AllReplies) and len(answer.replies) == 1
