"""Requests at the broker: whom they go to, what becomes of them, and that none is left behind."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core.cycle import Cycle
from zchat import wire

ASKED, SAID = wire.raw(wire.encode_record(b"2 + 3")), wire.raw(wire.encode_record(b"5"))


def started(*servers: str, **options: Any) -> tuple[Any, ...]:
    """Who asks, and who serves `math`."""
    cycle = Cycle()
    connections = cycle.clients("ann", *servers)
    for connection in connections[1:]:
        assert cycle.ask(connection, wire.Serve(1, 1, "math", **options)) == wire.Done(1)
    return cycle, *connections


def call(request: int = 5, replies: int = 1, *, retry: bool = False, room: str = "math") -> wire.Call:
    return wire.Call(request, room, ASKED, 5_000, replies, retry)


def test_a_request_goes_to_a_server_and_its_reply_back_without_a_commit() -> None:
    cycle, ann, bob = started("bob")
    called = cycle.ask_for(ann, call())
    ((to, asked),) = called
    assert to == bob and (asked.server, asked.room, asked.user, asked.record) == (1, "math", "ann", ASKED)
    ((to, replied),) = cycle.ask_for(bob, wire.Reply(asked.call, SAID))
    assert to == ann and (replied.request, replied.user, replied.record, replied.left) == (5, "bob", SAID, 0)
    assert cycle.core.take_append(cycle.now) is None and not cycle.core._calls._open
    assert cycle.ask_for(bob, wire.Reply(asked.call, SAID)) == [], "once"


def test_who_has_least_to_do_is_asked_and_who_has_as_much_as_it_takes_is_not() -> None:
    cycle, ann, bob, carol = started("bob", "carol", max_in_flight=2)
    asked = [cycle.ask_for(ann, call(number))[0] for number in range(1, 5)]
    assert sorted(to for to, _ in asked) == [bob, bob, carol, carol] and asked[0][0] != asked[1][0]
    ((_, refused),) = cycle.ask_for(ann, call(9))
    assert refused.code == "busy"
    cycle.ask_for(asked[2][0], wire.Reply(asked[2][1].call, SAID))
    ((to, _),) = cycle.ask_for(ann, call(10))
    assert to == asked[2][0]


def test_nobody_there_is_told_at_once() -> None:
    cycle, ann = started()
    ((_, refused),) = cycle.ask_for(ann, call())
    assert (refused.about, refused.number, refused.code) == ("request", 5, "no-server")


def test_a_server_that_goes_is_told_at_once_or_another_is_asked() -> None:
    cycle, ann, bob, carol = started("bob", "carol")
    ((first, _),) = cycle.ask_for(ann, call(1))
    ((second, _),) = cycle.ask_for(ann, call(2, retry=True))
    assert {first, second} == {bob, carol}
    cycle.disconnect(first)
    ((to, refused),) = cycle.take_replies()
    assert to == ann and (refused.number, refused.code) == (1, "no-answer")
    again = cycle.hello("dan") and cycle.ask_for(b"dan", wire.Serve(1, 1, "math"))
    assert again == [(b"dan", wire.Done(1))]
    cycle.send(second, wire.Bye())
    replies = cycle.take_replies()
    ((asked,),) = [[reply for to, reply in replies if to == b"dan"]]
    assert isinstance(asked, wire.Called) and asked.record == ASKED
    cycle.ask_for(b"dan", wire.Serve(2, 1, "math", "", 0))
    ((_, refused),) = cycle.take_replies() or [(b"", None)]
    assert refused is None or refused.code == "no-answer"


def test_several_replies_come_of_different_groups_first() -> None:
    cycle, ann, *_, dan = started("bob", "carol", "dan")
    cycle.ask(dan, wire.Serve(2, 1, "math", "other"))
    asked = cycle.ask_for(ann, call(replies=2))
    assert dan in {to for to, _ in asked} and len(asked) == 2
    ((_, first),) = cycle.ask_for(dan, wire.Reply(next(each.call for to, each in asked if to == dan), SAID))
    assert first.left == 1
    other = next(to for to, _ in asked if to != dan)
    cycle.disconnect(other)
    ((_, refused),) = cycle.take_replies()
    assert isinstance(refused, wire.Error) and refused.code == "no-answer"
    assert len(cycle.ask_for(ann, call(6, replies=9))) == 2, "as many as there are"


def test_who_asked_and_has_gone_or_whose_time_is_over_is_not_waited_for() -> None:
    cycle, ann, bob = started("bob", max_in_flight=9)
    ((_, asked),) = cycle.ask_for(ann, call())
    assert cycle.ask_for(ann, call()) == [], "said twice it is one"
    cycle.wait(5.1)
    assert cycle.ask_for(bob, wire.Reply(asked.call, SAID)) == []
    ((_, asked),) = cycle.ask_for(ann, call(6))
    cycle.disconnect(ann)
    assert cycle.ask_for(bob, wire.Reply(asked.call, SAID)) == []
    assert not cycle.core._calls._open and not cycle.core._calls._asked
    cycle.disconnect(bob)
    assert not cycle.core._calls._servers and not cycle.core._calls._of


def test_a_reply_that_makes_no_sense_is_an_error_for_who_asked() -> None:
    cycle, ann, bob = started("bob")
    ((_, asked),) = cycle.ask_for(ann, call())
    assert cycle.ask_for(ann, wire.Reply(asked.call, SAID)) == [], "nobody asked ann"
    ((_, replied),) = cycle.ask_for(bob, wire.Reply(asked.call, wire.raw(b"\xa1x")))
    assert replied.error


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (wire.Serve(5, 1, "Math"), "bad-room"),
        (wire.Serve(5, 1, "math.*"), "bad-room"),
        (wire.Serve(5, 1, "@bob"), "denied"),
        (wire.Serve(5, 1, "math", "no name"), "bad-group"),
        (wire.Call(5, "math.*", ASKED, 5), "bad-room"),
        (wire.Call(5, "math", ASKED, 0), "bad-request"),
        (wire.Call(5, "math", ASKED, 5, 0), "bad-request"),
        (wire.Call(5, "math", wire.raw(b"\xa1x"), 5), "bad-frame"),
    ],
)
def test_what_cannot_be_is_refused(message: wire.ClientMessage, code: str) -> None:
    cycle, ann = started()
    ((_, refused),) = cycle.ask_for(ann, message)
    assert (refused.number, refused.code) == (5, code) and not cycle.core._calls._open


def test_requests_and_servers_are_bounded() -> None:
    cycle = Cycle(session_calls_max=2, servers_max=1)
    ann, bob = cycle.clients("ann", "bob")
    cycle.ask(bob, wire.Serve(1, 1, "math", "", 9))
    assert cycle.ask(bob, wire.Serve(2, 2, "math")).code == "over-limit"
    codes = [cycle.ask_for(ann, call(number))[0][1] for number in (1, 2, 3)]
    assert isinstance(codes[2], wire.Error) and codes[2].code == "busy"
