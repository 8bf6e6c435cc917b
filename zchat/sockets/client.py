"""One client's connection: its engine (core/engine.py) over ZeroMQ's sockets (port.py), and what a program calls.

    program threads --outbox, commands--> driver: engine --DEALER--> broker
                    <--queues, answers--                 <--SUB-----

Rules of this file
1. Whoever drives the engine (driver.py) touches its sockets and core. Others append to the outbox, or have a command
   done (waiting.py).
2. Nobody waits for a name server (resolve.py), nor for a connection (connector.py), but until a deadline.

Spec: docs/design.md, "The client". Tests: tests/sockets/test_client.py.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from functools import partial
from time import monotonic

import zmq

from zchat import wire
from zchat.address import Address
from zchat.core import Instant
from zchat.core.client import AWAY, CLOSED, GREETING, READY, Answer, ClientCore
from zchat.core.engine import Engine
from zchat.core.listening import Listener
from zchat.core.ordering import Notice
from zchat.core.publishing import Chunk
from zchat.errors import Closed, Refused, TimedOut, Unreachable, ZchatError
from zchat.sockets import context, exits
from zchat.sockets.clock import Deadline
from zchat.sockets.driver import Driver
from zchat.sockets.incoming import Incoming
from zchat.sockets.notices import Notices
from zchat.sockets.outbox import CHUNK_BYTES, Outbox
from zchat.sockets.port import SocketPort
from zchat.sockets.waiting import Waiting


class Connection(Waiting):
    """One client's connection. `start` waits for the broker; `close` ends the session."""

    def __init__(
        self, address: Address, user: str, info: dict[str, str], on_notice: Callable[[Notice], object] | None = None
    ) -> None:
        super().__init__(address, ClientCore(user, info, iter(partial(secrets.token_bytes, 16), b"")))
        self.user = user
        try:
            self._port = SocketPort(address)
        except zmq.ZMQError as error:
            raise Closed(f"the connection failed: {error.strerror}") from error
        self.outbox = Outbox(lambda: self._driver.push(), self)
        self._engine = Engine(self._core, address, self._port, self.outbox, self)
        self._driver = Driver(self._engine, self._port, self._end)
        self.wake, self.stir = self._driver.wake, self._driver.stir
        self._notices = Notices(on_notice)
        self._refused: Refused | None = None  # the first since the last flush,
        self._untold: Refused | None = None  # and the first of which nobody has been told at all
        self._lost = 0  # messages that have no outcome, at the end
        self.broke: ZchatError | None = None  # why it ended, where nobody closed it

    # --- called by the program's threads ----------------------------------------------------

    def start(self, wait: float) -> wire.Welcome:
        """Connect and say hello. Raises Unreachable, Refused."""
        context.keep_from_forks(self)
        self._driver.thread.start()
        try:
            exits.close_at_exit(self)
            self.wait_until(lambda: self._core.welcome, Deadline("the broker", wait))
            if self._failure is not None:
                raise self._failure
            welcome = self._core.welcome
            if welcome is None:
                raise Unreachable(str(self.address), wait, self.why_not())
        except BaseException:  # a signal, too
            self.close(0.0)
            raise
        limit = welcome.limits.get("record_bytes_max", wire.RECORD_BYTES_MAX)
        self.outbox.record_bytes_max = max(CHUNK_BYTES, limit)
        return welcome

    @property
    def welcome(self) -> wire.Welcome:
        """What the broker said last about this session."""
        assert self._core.welcome is not None, "connected"
        return self._core.welcome

    def listen(self, listener: Listener, incoming: Incoming, deadline: Deadline) -> None:
        """Subscribe. What the ordering delivers goes to `incoming`.

        Returns when everything from now on is delivered. Raises Unreachable, Closed.
        """

        def start(core: ClientCore, now: Instant) -> None:
            self._engine.consumers[listener] = incoming
            core.listen(listener, now)

        self.do(start)
        listening, began = self._core.listening, monotonic()
        try:
            self.wait_for(lambda: bool(listener.ordering.is_begun or listening.trouble), deadline)
        except TimedOut:
            why = listening.trouble or listening.silence if self.is_ready else self.why_not()
            raise Unreachable(str(self.address), deadline.seconds or 0.0, why) from None
        if not listener.ordering.is_begun:
            raise Unreachable(str(self.address), round(monotonic() - began, 1), listening.trouble)

    def unlisten(self, listener: Listener) -> None:
        """Unsubscribe; nothing comes after it returns."""

        def end(core: ClientCore, now: Instant) -> None:
            core.unlisten(listener, now)
            self._engine.consumers.pop(listener, None)

        self.do(end)

    def flush(self, timeout: float | None) -> None:
        """Wait until all that was published is settled. Raises the first Refused since the last flush, TimedOut."""
        opened = self.outbox.opened
        if self._engine.settled_upto < opened:
            self._want_acks()
        self.wait_for(lambda: self._engine.settled_upto >= opened, self.deadline("acks", timeout))
        refused, self._refused = self._refused, None
        if refused is not None:
            self.told(refused)
            raise refused

    def settle(self, deadline: Deadline, *, while_away: bool = True) -> None:
        """Wait until all that was published is settled, or the client has ended."""
        opened = self.outbox.opened
        if self._engine.settled_upto < opened:
            self._want_acks()
        self.wait_until(lambda: self._engine.settled_upto >= opened or not (while_away or self.is_ready), deadline)

    def wait_for_settled(self, chunk: Chunk, timeout: float | None) -> None:
        """Until the chunk's outcome is known. Raises TimedOut, Closed."""
        self._want_acks()
        self.wait_for(lambda: chunk.is_settled, self.deadline("ack", timeout))

    def told(self, error: Exception) -> None:
        """The program knows of it."""
        if isinstance(error, Refused):
            self._untold = None

    def close(self, timeout: float) -> None:
        """Wait for acks and say bye while the broker is there, end the thread. What is unacked stays unknown."""
        thread = self._driver.thread
        if thread.ident is None:
            return
        deadline = Deadline("close", timeout)
        try:
            if thread.is_alive() and self._failure is None and timeout > 0:
                self.settle(deadline, while_away=False)
                self._say_bye(deadline)
        finally:  # a signal, too
            self._driver.end()
        if threading.current_thread() is not thread:
            thread.join(timeout=5.0)
        exits.closed(self)
        self._tell_lost()

    def finish(self, deadline: Deadline) -> None:
        """At the end of the process. The thread stays: those who use the client now end with the process."""
        if self._failure is None:
            self._say_bye(deadline)
            self._lost = self._engine.unsettled()
        self._tell_lost()

    def forked(self) -> None:
        """In a child after a fork: the sockets belong to the parent's thread, and would hang."""
        self._failure = self.broke = Closed("this process was forked: connect again in the child")
        self._driver.forked()
        self.outbox.forked(self._failure)
        self._engine.forked()

    # --- by the engine and its driver --------------------------------------------------------

    def there(self) -> None:
        """The broker is there."""
        self._notices.there()

    def lost(self) -> None:
        """The connection is lost."""
        self._notices.lost("")

    def news(self, refused: list[Refused], answers: list[tuple[int, Answer]]) -> None:
        """Something that a thread may wait for."""
        if refused:
            self._refused = self._refused or refused[0]
            self._untold = self._untold or refused[0]
        for number, answer in answers:
            if number in self._answers:
                self._answers[number] = answer

    def _end(self, error: Exception | None) -> None:
        """The last that is done with the engine; `error` is what a turn raised."""
        broke = self._engine.failure
        if isinstance(error, zmq.ZMQError):
            broke = Closed(f"the connection failed: {error.strerror}")
        elif error is not None:  # whatever it is, nobody may wait for an engine that goes on no more
            broke = Closed(f"the client failed: {type(error).__name__}: {error}")
            broke.__cause__ = error
        self.broke = broke
        failure = broke or Closed()
        unknown = failure if isinstance(failure, Closed) else Closed(str(failure))  # a Refused would say: not stored
        self._lost = self._engine.close(unknown)
        self._failure = failure
        self._notices.end(broke)
        self._port.close()

    # --- parts ------------------------------------------------------------------------------

    def why_not(self) -> str:
        """What keeps the broker from answering, as far as we know."""
        if self._core.state == GREETING and self._core.welcome is None:
            return "something answers there, but not a zchat broker"
        return self._engine.seen if self._core.state == AWAY else "it is there, and slow"

    def _say_bye(self, deadline: Deadline) -> None:
        if self._core.state == READY:
            try:
                self.do(lambda core, now: core.bye())
            except ZchatError:
                return  # it has ended
            self.wait_until(lambda: self._core.state == CLOSED, deadline)

    def _tell_lost(self) -> None:
        """What the program has not been told, and nobody else will tell."""
        lost, self._lost = self._lost, 0
        refused, self._untold = self._untold, None
        if lost:
            what = "1 message has" if lost == 1 else f"{lost} messages have"
            exits.tell(f"zchat: {what} no acknowledgement of {self.address}, and may be lost: the client has ended")
        if refused is not None:
            exits.tell(f"zchat: {self.address} refused what was published, and it is not stored: {refused}")

    def _want_acks(self) -> None:
        """Somebody is about to wait for what becomes of what was published so far."""
        opened = self.outbox.opened
        self.do(lambda core, now: core.want_acks(opened))
