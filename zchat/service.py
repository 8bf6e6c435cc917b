"""One room that a program of threads serves: requests come one by one to a function of the program.

Spec: docs/client.md, "Requests". Tests: tests/test_requests.py.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue

from zchat import wire
from zchat.arguments import function_of
from zchat.core import Instant
from zchat.core.client_session import CLOSED, SessionCore
from zchat.core.steps import ServeNoMore, ServeRoom, done
from zchat.errors import ZchatError
from zchat.message import Message, message_of
from zchat.sockets.client import Connection
from zchat.sockets.clock import CLOSE_SECONDS, Deadline
from zchat.work import failure_of, handler_of, said_of, served_of

Handler = Callable[[Message], "bytes | str | Message | None"]


class Service:
    """Serves until it or its client is closed. A context manager. Made by `serve`."""

    def __init__(
        self, connection: Connection, room: str, handler: Handler, group: str | None, max_in_flight: int
    ) -> None:
        self._connection = connection
        function_of("handler", handler)
        self._handler = handler_of(handler)
        self._queue: SimpleQueue[wire.Called | None] = SimpleQueue()
        number = connection.server_number()
        self._server = served_of(number, room, group, max_in_flight, self._queue.put)
        self._thread = threading.Thread(target=self._serve, name="zchat-serve", daemon=True)
        self._is_closed = False

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, deadline: Deadline) -> Service:
        """Begin. Raises Refused, TimedOut, Closed."""
        try:
            self._connection.run(done(ServeRoom(self._server)), deadline)
        except BaseException:  # it may be stored all the same, and nobody is there who answers
            self._connection.later(lambda core, now: core.calling.end(self._server, core, now))
            raise
        self._thread.start()
        return self

    def wait(self, timeout: float | None = None) -> bool:
        """Until it has ended. Returns whether it has."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Take no more requests; the one in hand is answered first."""
        if self._is_closed:
            return
        self._is_closed = True
        self._queue.put(None)
        self._connection.stir()
        if threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_SECONDS)
        try:
            self._connection.run(done(ServeNoMore(self._server)), Deadline("close", CLOSE_SECONDS))
        except ZchatError:
            pass  # the client has ended, or the broker is away

    def _serve(self) -> None:
        while (called := self._next()) is not None:
            try:
                reply = partial(self._reply, called, *self._handled(called))
                if self._queue.empty():
                    self._connection.begin(reply)  # by the wait that follows
                else:
                    self._connection.do(reply)
            except ZchatError:
                return

    def _next(self) -> wire.Called | None:
        """What is asked next; None at the end. Whoever waits takes the connection's turns: nothing is handed over."""
        while True:
            try:
                return self._queue.get_nowait()
            except Empty:
                if self._connection.broke is not None or self._connection.state == CLOSED:
                    return None
            self._connection.wait_until(lambda: not self._queue.empty(), Deadline("a request", None))

    def _reply(
        self, called: wire.Called, record: wire.RecordOrBody, error: str, core: SessionCore, now: Instant
    ) -> None:
        core.calling.reply(core, called, record, error)

    def _handled(self, called: wire.Called) -> tuple[wire.RecordOrBody, str]:
        room, connection = called.room, self._connection
        try:
            return said_of(self._handler(message_of(room, called, connection.opens)), room, connection.sealed), ""
        except (Exception, SystemExit) as error:  # whatever it is: who asked is told, and the next one is served
            if not isinstance(error, ZchatError):  # that is the program's word to who asked
                logging.getLogger("zchat").exception("a request to %s failed", room)
            return b"", failure_of(error, room, connection.is_sealed)
