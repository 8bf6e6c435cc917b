"""What a session asks: at once, with the next WELCOME, and in which order. More is in test_gate.py."""

from __future__ import annotations

from tests.core.test_client_session import NOW, WELCOME, Plain, session
from zchat import wire

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
