"""One session on a channel of a program's connection: it drives and waits as that does.

Spec: docs/client.md, "Many sessions". Tests: tests/sockets/test_session.py.
"""

from __future__ import annotations

from collections.abc import Callable

from zchat import wire
from zchat.core.gaps import Notice
from zchat.sockets.channel import ChannelLink
from zchat.sockets.client import Connection
from zchat.sockets.clock import Deadline
from zchat.sockets.publication import Publication


class SessionConnection(ChannelLink, Connection):
    """Another session of a connection. `start` waits for the broker; `close` ends this session alone."""

    def __init__(self, connection: Connection, user: str, on_notice: Callable[[Notice], object] | None) -> None:
        self._driver, self._caller = connection._driver, connection._caller
        self._open(connection, user, on_notice, Publication)

    def start(self, wait: float) -> wire.Welcome:
        """Say hello. Raises Unreachable, Refused; then nothing is left of it."""
        try:
            self.wait_until(lambda: self._core.welcome, Deadline("the broker", wait))
            return self._welcomed(wait)
        except BaseException:  # a signal, too
            self.close(0.0)
            raise

    def close(self, timeout: float) -> None:
        """Wait for acks and say bye while the broker is there. What is unacked stays unknown."""
        deadline = Deadline("close", timeout)
        try:
            if self._failure is None and timeout > 0:
                self.settle(deadline, while_away=False)
                self._say_bye(deadline)
        finally:  # a signal, too
            self._end_it()
