"""What a step does to a core, and what it waits for."""

from __future__ import annotations

from zchat import wire
from zchat.core import Instant
from zchat.core.client import ClientCore
from zchat.core.listener import Listener
from zchat.core.ordering import OrderedDelivery, Start
from zchat.core.steps import Ask, BecomeMember, Listen, begin

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
    assert begin(BecomeMember({"a"}), core, NOW) == 0, "it is a member already"
    assert [wire.decode_client(frame) for frame in core.take_sends()] == [wire.Rooms(1), wire.Join(2, ["a", "b"])]


def test_to_listen_waits_for_no_answer() -> None:
    core = ready()
    listener = Listener(["a"], OrderedDelivery(["a"], Start(), False))
    assert begin(Listen(listener), core, NOW) == 0
    core.broadcast(wire.PRIVATE_TOPIC, wire.encode(wire.Sync(b"n1", 40)), NOW)
    assert listener.ordering.is_begun and listener.log_id == "log"
