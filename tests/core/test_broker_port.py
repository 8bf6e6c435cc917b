"""What a poll tells can be told apart. What a port promises is held by the loop's tests and the simulator."""

from __future__ import annotations

from zchat.core.broker_port import ENDS, FRAMES, SUBSCRIPTIONS, WOKEN


def test_what_a_poll_finds_is_one_bit_each() -> None:
    flags = (ENDS, SUBSCRIPTIONS, FRAMES, WOKEN)
    assert sum(flags) == ENDS | SUBSCRIPTIONS | FRAMES | WOKEN and all(flags)
