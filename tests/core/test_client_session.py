"""What a session is whatever connection it speaks on; test_client.py and test_sessions.py have each kind."""

from __future__ import annotations

import pytest

from zchat import wire
from zchat.core import Instant
from zchat.core.calling import Calling
from zchat.core.client_session import AWAY, GREETING, READY, SessionCore
from zchat.core.gate import Gate
from zchat.core.greeting import Greeting
from zchat.core.listening import Listening
from zchat.core.publishing import Publishing
from zchat.core.timeline import Break, Timeline
from zchat.core.working import Working

NOW = Instant(100.0, 0)
WELCOME = wire.Welcome(1, "s1", b"t", False, "log", 40, 5556, {}, 0, 1, [("A", 0)])


class Plain(SessionCore):
    """One whose log never breaks."""

    def _break_of(self, welcome: wire.Welcome) -> Break | None:
        return None


@pytest.fixture
def session() -> SessionCore:
    return Plain(
        "ann", Greeting("ann", {}, 0), Publishing(), Listening(iter([b"n"])), Timeline(), Gate(), Working(), Calling()
    )


def test_it_is_idle_but_while_it_waits_for_something(session: SessionCore) -> None:
    assert session.is_idle and session.state == AWAY
    session.connected()
    assert not session.is_idle and session.state == GREETING
    session.received(wire.encode(WELCOME), NOW)
    assert session.is_idle and session.is_ready and session.state == READY
    number = session.join({"den"}, NOW)
    assert not session.is_idle
    session.received(wire.encode(wire.Error("request", number, "log-full", "")), NOW)
    assert not session.is_idle, "it is asked for again"
    session.elapsed(Instant(104.0, 0))
    session.received(wire.encode(wire.Done(number + 1)), NOW)
    assert session.is_idle


def test_what_is_for_another_session_is_passed_over_by_one_that_has_no_others(session: SessionCore) -> None:
    session.connected()
    session.received(wire.for_channel(1) + wire.encode(WELCOME), NOW)
    assert session.state == GREETING


def test_busy_about_the_connection_ends_nothing(session: SessionCore) -> None:
    session.connected()
    session.received(wire.encode(wire.Error("connection", 0, "busy", "later")), NOW)
    assert session.refusal is None
    session.received(wire.encode(wire.Error("connection", 0, "bad-user", "")), NOW)
    assert session.refusal is not None
