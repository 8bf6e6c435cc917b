"""One client's connection for a program of threads: how its engine is driven, and how a program waits for it.

    program threads --outbox, commands--> driver: engine --DEALER--> broker
                    <--queues, answers--                 <--SUB-----

Rules of this file: whoever drives the engine (driver.py) touches its sockets and core. Others append to the outbox, or
have a command done (waiting.py). What is known of the connection is in link.py.

Spec: docs/design.md, "The client". Tests: tests/sockets/test_client.py.
"""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING

from zchat import wire
from zchat.address import Address
from zchat.core.publishing import Chunk
from zchat.core.steps import Leave, begin, done
from zchat.core.working import Receiver
from zchat.errors import TimedOut, ZchatError
from zchat.sockets import context, exits
from zchat.sockets.clock import Deadline
from zchat.sockets.driver import Driver
from zchat.sockets.link import OnNotice, OwnKey, Seals
from zchat.sockets.notices import Caller
from zchat.sockets.outbox import ProgramEnded
from zchat.sockets.publication import Publication
from zchat.sockets.waiting import Waiting

if TYPE_CHECKING:
    from zchat.sockets.incoming import Incoming


class Connection(Waiting):
    """One client's connection. `start` waits for the broker; `close` ends the session."""

    def __init__(
        self,
        address: Address,
        user: str,
        info: dict[str, str],
        on_notice: OnNotice = None,
        seals: Seals | None = None,
        credentials: OwnKey = None,
    ) -> None:
        self._caller = Caller()
        super().__init__(address, user, info, on_notice, seals, credentials, made=Publication, call=self._caller.call)
        self._driver = Driver(self._engine, self._port, self._end)

    def push(self) -> None:
        """Something was published, and nobody is awake to send it."""
        self._driver.push()

    def wake(self) -> None:
        """The engine rests, and there is something to do."""
        self._driver.wake()

    def stir(self) -> None:
        """What somebody waits for may be there, and no turn brought it."""
        self._driver.stir()

    def start(self, wait: float) -> wire.Welcome:
        """Connect and say hello. Raises Unreachable, Refused."""
        context.keep_from_forks(self)
        self._driver.thread.start()
        try:
            exits.close_at_exit(self)
            self.wait_until(lambda: self._core.welcome, Deadline("the broker", wait))
            return self._welcomed(wait)
        except BaseException:  # a signal, too
            self.close(0.0)
            raise

    def listen(self, listener: Receiver, incoming: Incoming, deadline: Deadline) -> None:
        """Subscribe. What is ordered goes to `incoming`.

        Returns when everything from now on goes there. Raises Unreachable, Closed.
        """
        is_over, began = self._subscribe(listener, incoming), monotonic()
        try:
            self.wait_for(is_over, deadline)
        except TimedOut:
            raise self._not_live(deadline, began, is_late=True) from None
        if not listener.is_begun:
            raise self._not_live(deadline, began, is_late=False)

    def part(self, rooms: set[str], deadline: Deadline) -> None:
        """Take a `join` back. Where the broker is away, it is told when it is back, and nobody waits."""
        if self.is_ready:
            self.run(done(Leave(rooms)), deadline)
        else:
            self.later(lambda core, now: begin(Leave(rooms), core, now))

    def flush(self, timeout: float | None) -> None:
        """Wait until all that was published is settled. Raises the first Refused since the last flush, TimedOut."""
        self.wait_for(self._want_acks(), self.deadline("acks", timeout))
        self._flushed()

    def settle(self, deadline: Deadline, *, while_away: bool = True) -> None:
        """Wait until all that was published is settled, also by other sessions, or the client has ended."""
        try:
            is_settled = self._want_all_acks()
        except ZchatError:
            return  # it has
        self.wait_until(lambda: is_settled() or not (while_away or self.is_ready), deadline)

    def wait_for_settled(self, chunk: Chunk, timeout: float | None) -> None:
        """Until the chunk's outcome is known. Raises TimedOut, Closed."""
        self._want_acks()
        self.wait_for(lambda: chunk.is_settled, self.deadline("ack", timeout))

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
            self.outbox.close(ProgramEnded())
        self._tell_lost()

    def hold(self, seconds: float) -> None:
        """Before a fork: nobody is in the middle of a turn, unless that takes too long."""
        self._driver.hold(seconds)

    def let_go(self) -> None:
        """After it, in the parent."""
        self._driver.let_go()

    def forked(self) -> None:
        """In a child after a fork: no thread of the parent's is there."""
        self._caller.forked()
        self._driver.forked()
        super().forked()

    # --- parts ------------------------------------------------------------------------------

    def _say_bye(self, deadline: Deadline) -> None:
        has_ended = self._bye()
        if has_ended is not None:
            self.wait_until(has_ended, deadline)

    def _end(self, error: Exception | None) -> None:
        super()._end(error)
        self._caller.end()
