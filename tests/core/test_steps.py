"""What a step does to a core, and what it waits for."""

from __future__ import annotations

import pytest

from zchat import wire
from zchat.core import Instant
from zchat.core.client import ClientCore
from zchat.core.listener import Listener
from zchat.core.ordering import OrderedDelivery, Start
from zchat.core.steps import Ask, BecomeMember, Leave, Listen, PlaceCursor, begin, done
from zchat.errors import Refused, WireError

NOW = Instant(1_000.0, 0)


def ready() -> ClientCore:
    core = ClientCore("ann", {}, iter([b"n1", b"n2"]))
    core.connected()
    core.received(wire.encode(wire.Welcome(1, "s1", b"token", False, "log", 40, 5556, {}, 1)), NOW)
    core.take_sends()
    return core


def test_each_step_is_sent_and_says_which_answer_it_waits_for() -> None:
    core = ready()
    assert begin(Ask(wire.Rooms(0)), core, NOW) == 1
    assert begin(BecomeMember({"a", "b"}), core, NOW) == 2
    core.received(wire.encode(wire.Done(2)), NOW)
    assert begin(BecomeMember({"a"}), core, NOW) == 0, "it is a member already"
    assert [wire.decode_client(frame) for frame in core.take_sends()] == [wire.Rooms(1), wire.Join(2, ["a", "b"])]


def test_to_leave_is_asked_when_the_last_join_is_taken_back() -> None:
    core = ready()
    assert [begin(BecomeMember({"a"}), core, NOW), begin(BecomeMember({"a"}), core, NOW)] == [1, 2]
    assert [begin(Leave({"a"}), core, NOW), begin(Leave({"a"}), core, NOW)] == [0, 3]
    assert wire.decode_client(core.take_sends()[-1]) == wire.Part(3, ["a"])


def test_a_cursor_is_placed_in_the_log_that_the_broker_has() -> None:
    core = ready()
    assert begin(PlaceCursor("c", 7), core, NOW) == 1
    assert wire.decode_client(core.take_sends()[-1]) == wire.SetCursor(1, "c", "log", 7)


def test_one_step_is_done_or_raises() -> None:
    steps = done(PlaceCursor("c", 7))
    assert next(steps) == PlaceCursor("c", 7)
    with pytest.raises(StopIteration):
        steps.send(wire.Done(1))
    for answer in (wire.Error("request", 1, "log-full", ""), wire.RoomsAre(1, [])):
        steps = done(Leave({"a"}))
        next(steps)
        with pytest.raises(Refused if isinstance(answer, wire.Error) else WireError):
            steps.send(answer)


def test_to_listen_waits_for_no_answer() -> None:
    core = ready()
    listener = Listener(["a"], OrderedDelivery(["a"], Start(), False))
    assert begin(Listen(listener), core, NOW) == 0
    core.broadcast(wire.PRIVATE_TOPIC, wire.encode(wire.Sync(b"n1", 40)), NOW)
    assert listener.ordering.is_begun and listener.log_id == "log"
