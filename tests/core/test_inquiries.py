"""What a session asks: at once, with the next WELCOME, and in which order. More is in test_gate.py."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.core.test_client_session import NOW, WELCOME, Plain, session
from zchat import wire
from zchat.core.answers import Request

__all__ = ["session"]


def said(of: Plain) -> list[object]:
    return [wire.decode_client(frame) for frame in of.take_sends()]


def test_what_is_put_is_said_with_what_is_said_again_in_order(session: Plain) -> None:
    assert session.ask(wire.Rooms(0), NOW) == 1
    assert session.put(wire.Cursors(0), NOW) == 2
    session.ask(wire.Who(0), NOW)
    session.put_last(1)
    assert said(session) == []
    session.connected()
    session.received(wire.encode(WELCOME), NOW)
    assert said(session)[1:] == [wire.Cursors(2), wire.Who(3), wire.Rooms(1)]
    session.ask(wire.Groups(0), NOW)
    assert said(session) == [wire.Groups(4)]
    session.forget(4)
    session.received(wire.encode(wire.GroupsAre(4, [])), NOW)
    assert session.take_answers() == []


@pytest.mark.parametrize(
    ("request_", "is_said_again"),
    [
        (wire.Part(0, ["den"]), True),
        (wire.JoinGroup(0, 1, "jobs", "g", 0, 30_000, 5), True),
        (wire.Serve(0, 1, "jobs", "", 0), True),
        (wire.JoinGroup(0, 1, "jobs", "g", 8, 30_000, 5), False),
        (wire.Serve(0, 1, "jobs", "", 1), False),
        (wire.Rooms(0), False),
    ],
)
def test_what_ends_something_is_said_until_it_is_answered_also_when_nobody_waits(
    session: Plain, request_: Request, is_said_again: bool
) -> None:
    session.connected()
    session.received(wire.encode(WELCOME), NOW)
    session.ask(request_, NOW)
    session.take_sends()
    session.waits_no_more(1)
    for _ in range(2):
        session.disconnected("")
        session.connected()
        session.received(wire.encode(replace(WELCOME, hello=0)), NOW)
        assert said(session)[1:] == [request_] * is_said_again
    session.received(wire.encode(wire.Done(1)), NOW)
    assert session.is_idle
