"""When HELLO is said, and said again."""

from __future__ import annotations

from zchat import wire
from zchat.core import Instant
from zchat.core.greeting import Greeting
from zchat.core.requests import REPEAT_SECONDS

WELCOME = wire.Welcome(wire.VERSION, "s1", b"token", False, "log", 40, 5556, {}, 0)


def at(seconds: float) -> Instant:
    return Instant(100.0 + seconds, 0)


def test_it_says_who_it_is_and_which_session_goes_on() -> None:
    greeting = Greeting("ann", {"pid": "1"}, 1500)
    greeting.number = 3
    assert wire.decode_client(greeting.hello(None)) == wire.Hello(1, "ann", "", b"", {"pid": "1"}, 3, 1500)
    assert wire.decode_client(greeting.hello(WELCOME)) == wire.Hello(1, "ann", "s1", b"token", {"pid": "1"}, 3, 1500)


def test_without_an_answer_it_is_said_again_while_that_is_waited_for() -> None:
    greeting = Greeting("ann", {}, 0)
    greeting.hello(None)
    assert not greeting.is_due(at(0), is_out=True)
    assert not greeting.is_due(at(REPEAT_SECONDS + 1), is_out=False)
    assert greeting.is_due(at(REPEAT_SECONDS + 1), is_out=True)


def test_who_is_forgotten_again_and_again_waits_ever_longer() -> None:
    greeting = Greeting("ann", {}, 0)
    greeting.pause(at(0))
    assert not greeting.waits
    greeting.pause(at(0))
    assert greeting.waits
    assert not greeting.is_due(at(0.05), is_out=True)
    assert greeting.is_due(at(0.11), is_out=True) and not greeting.waits
    greeting.pause(at(0.2))
    assert not greeting.is_due(at(5), is_out=False) and not greeting.waits
