"""Which rooms are purged, by whom, and how many wait."""

from __future__ import annotations

import pytest

from tests.core.cycle import Cycle
from zchat import wire
from zchat.core import purges
from zchat.core.log import RetentionRule


def asked(cycle: Cycle, connection: bytes, *messages: wire.ClientMessage) -> list[object]:
    cycle.send(connection, *messages)
    return [reply for _, reply in cycle.take_replies()]


@pytest.fixture
def cycle() -> Cycle:
    cycle = Cycle()
    cycle.clients("ann", "ben")
    for seq, room in enumerate(("den", "den", "lair", "@ann"), 1):
        cycle.send(b"ann", wire.Publish(seq, room, 0, wire.raw(wire.encode_records([b"x"]))))
        cycle.commit()
    cycle.take_replies()
    return cycle


def test_what_was_broadcast_by_then_goes_and_later_asks_are_one(cycle: Cycle) -> None:
    assert asked(cycle, b"ann", wire.Purge(7, "den", 1), wire.Purge(8, "den"), wire.Purge(9, "none")) == [
        wire.Done(7),
        wire.Done(8),
        wire.Done(9),
    ]
    assert cycle.core.purges and cycle.core.purges.take(cycle.now.seconds) == [RetentionRule("den", upto=2)]
    asked(cycle, b"ben", wire.Purge(1, "lair", cycle.core.head))
    assert cycle.core.purges.take(cycle.now.seconds) == [], "not so soon"
    assert cycle.core.purges.take(cycle.now.seconds + 1) == [RetentionRule("lair", upto=3)]
    assert not cycle.core.purges.upto


def test_an_offset_above_the_head_removes_nothing(cycle: Cycle) -> None:
    (refused,) = asked(cycle, b"ann", wire.Purge(1, "den", cycle.core.head + 1))
    assert isinstance(refused, wire.Error)
    assert (refused.code, refused.text) == ("bad-request", "offset 5 is above the head, 4")
    assert not cycle.core.purges.upto


def test_nobody_purges_anothers_inbox_nor_what_is_no_room(cycle: Cycle) -> None:
    (denied,) = asked(cycle, b"ben", wire.Purge(1, "@ann"))
    assert isinstance(denied, wire.Error) and denied.code == "denied"
    (bad,) = asked(cycle, b"ben", wire.Purge(2, "Den"))
    assert isinstance(bad, wire.Error) and bad.code == "bad-room"
    assert asked(cycle, b"ann", wire.Purge(3, "@ann")) == [wire.Done(3)]
    assert cycle.core.purges.take(cycle.now.seconds) == [RetentionRule("@ann", upto=4)]


def test_so_many_wait_and_no_more(cycle: Cycle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purges, "WAITING_MAX", 1)
    asked(cycle, b"ann", wire.Purge(1, "den"))
    (busy,) = asked(cycle, b"ann", wire.Purge(2, "lair"))
    assert isinstance(busy, wire.Error) and busy.code == "busy"
    assert asked(cycle, b"ann", wire.Purge(3, "den")) == [wire.Done(3)]
