"""One session on a channel of a client's connection, without waits: it uses what the connection has.

Rules of this file: what is the connection's is ended by it alone. What is here is the session's own. A face puts this
before the class of its connections, and adds how it waits.
Spec: docs/client.md, "Many sessions". Tests: tests/sockets/test_session.py, tests/aio/test_sessions.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from zchat.core import Instant
from zchat.core.client import ClientCore
from zchat.core.client_session import SessionCore
from zchat.core.gaps import Notice
from zchat.core.lines import SessionLine
from zchat.core.publishing import Chunk
from zchat.core.sessions import ChannelCore
from zchat.errors import Closed, ZchatError
from zchat.sockets.link import Link
from zchat.sockets.outbox import Outbox

T = TypeVar("T")


class ChannelLink(Link):
    """Another session of a connection."""

    _connection: Link
    _line: SessionLine

    def _open(
        self,
        connection: Link,
        user: str,
        on_notice: Callable[[Notice], object] | None,
        made: Callable[[Any, Chunk, int], Any],
    ) -> None:
        """Begin it; it is there once the broker has welcomed it."""
        self._connection = connection
        self._engine, self._own = connection._engine, connection._own
        outbox = Outbox(self.push, self, made, self._has_some)

        def open_it(own: SessionCore, now: Instant) -> SessionLine:
            assert isinstance(own, ClientCore)
            line = SessionLine(own.sessions.open(user), outbox, self)
            self._begin(line.core, connection.address, outbox, on_notice, connection._call, connection.seals)
            self._engine.lines.add(line)
            return line

        self._published = self._line = connection.do(open_it)
        self.timeout = connection.timeout

    def why_not(self) -> str:
        """What keeps the broker from answering, as far as we know."""
        return "it is there, and slow" if self._connection.is_ready else self._connection.why_not()

    # --- by the engine ----------------------------------------------------------------------

    def ended(self, error: ZchatError, unsettled: int) -> None:
        """The session goes on no more."""
        self.broke = self._connection.broke if isinstance(error, Closed) else error
        self._lost = unsettled
        if unsettled:
            self._connection._lost_beside[self] = None
        self._failure = error
        self._notices.end(self.broke)

    def forked(self) -> None:
        """In a child after a fork: all is the parent's."""
        self._failure = self.broke = Closed("this process was forked: connect again in the child")
        self.outbox.forked(self._failure)

    # --- parts ------------------------------------------------------------------------------

    def _want_all_acks(self) -> Callable[[], bool]:
        return self._want_acks()  # those of the others are none of its own

    def _tell_lost(self) -> None:
        self._connection._lost_beside.pop(self, None)
        super()._tell_lost()

    @property
    def _channel(self) -> ChannelCore:
        return self._line.core

    def _end_it(self) -> None:
        """The session ends here, whatever the broker knows of it."""
        if self._failure is None:
            try:
                self._connection.do(lambda own, now: self._engine.lines.end(self._line, Closed()))
            except ZchatError:
                pass  # the connection has ended, and with it this session
        self._tell_lost()

    def _has_some(self) -> None:
        """Called by the outbox, of a chunk that is opened."""
        self._engine.lines.has_some(self._line)
        self.outbox.is_waiting = self._engine.is_resting  # else its next look finds it

    def _command(self, command: Callable[[SessionCore, Instant], T], own: ClientCore, now: Instant) -> T:
        try:
            return command(self._core, now)
        finally:
            own.sessions.touch(self._core)
