"""What an engine works on: the simulator's and the real ones have all of it."""

from __future__ import annotations

from time import monotonic

import pytest

from tests.simulation.clients import SimulatedClient, SimulatedPort
from tests.simulation.programs import Hearing
from zchat import address
from zchat.core import port
from zchat.sockets.incoming import Incoming
from zchat.sockets.outbox import Outbox
from zchat.sockets.port import SocketPort


def test_what_a_poll_says_can_be_told_apart() -> None:
    flags = [port.CHANGES, port.SUB_CHANGES, port.BATCHES, port.REPLIES]
    assert sorted(flags) == [1 << at for at in range(len(flags))]


@pytest.mark.parametrize(
    ("protocol", "types"),
    [
        (port.Port, [SimulatedPort]),
        (port.Outgoing, [Outbox]),
        (port.Consumer, [Incoming, Hearing]),
        (port.Owner, [SimulatedClient]),
    ],
)
def test_each_has_what_the_engine_asks_for(protocol: type, types: list[type]) -> None:
    wanted = {name for name in vars(protocol) if not name.startswith("_")} | set(protocol.__annotations__)
    for each in types:
        missing = wanted - set(dir(each))
        assert missing <= set(protocol.__annotations__), (each, missing)  # those are set when one is made


def test_the_port_of_sockets_has_what_the_engine_asks_for() -> None:
    sockets = SocketPort(address.parse("tcp://127.0.0.1:9"))
    try:
        assert {name for name in vars(port.Port) if not name.startswith("_")} <= set(dir(sockets))
        assert sockets.look() & ~port.CHANGES == 0
        sockets.wake()
        began = monotonic()
        sockets.sleep(10.0)
        assert monotonic() - began < 5.0
    finally:
        sockets.close()
