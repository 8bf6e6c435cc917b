"""The HELLO of one session: what it says, and when it is said again.

Rules of this file: a broker may forget a session again and again, or have another log each time. So a HELLO that it
asks for waits for a pause that grows.
Tests: tests/core/test_greeting.py.
"""

from __future__ import annotations

from zchat import wire
from zchat.core import Instant
from zchat.core.pauses import Pause
from zchat.core.requests import REPEAT_SECONDS


class Greeting:
    """Of one session."""

    def __init__(self, user: str, info: dict[str, str], ttl_ms: int) -> None:
        self.number = 0  # of the last HELLO
        self.waits = False  # until a pause is over
        self.former = ("", b"")  # session and token of a process before, to go on as that
        self._user = user
        self._info = info
        self._ttl_ms = ttl_ms
        self._said_at = 0.0  # when `is_due` first saw that it is out
        self._pause = Pause()

    def pause(self, now: Instant) -> None:
        """The next one is said once a pause is over."""
        self._pause.begin(now.seconds)
        self.waits = self._pause.until > now.seconds

    def hello(self, known: wire.Welcome | None) -> bytes:
        """The frame, for a session that was welcomed so the last time."""
        self._said_at = 0.0
        session, token = (known.session, known.token) if known else self.former
        return wire.encode(wire.Hello(wire.VERSION, self._user, session, token, self._info, self.number, self._ttl_ms))

    def is_due(self, now: Instant, *, is_out: bool) -> bool:
        """Whether it is to be said now; `is_out`: WELCOME is waited for. A broker may drop that like any reply."""
        if self.waits:
            self.waits = now.seconds < self._pause.until
            return is_out and not self.waits
        if not is_out:
            return False
        if not self._said_at:
            self._said_at = now.seconds
        return now.seconds - self._said_at > REPEAT_SECONDS
