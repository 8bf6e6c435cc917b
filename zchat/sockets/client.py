"""The client's one I/O thread: it owns the DEALER and the SUB, feeds ClientCore and does what it says.

    program threads --outbox, commands--> I/O thread --DEALER--> broker
                    <--queues, answers--             <--SUB-----

Rules of this file
1. One thread touches the sockets and the core. Others append to the outbox or to `_commands` (waiting.py) and wake it.
2. It sleeps in one place, and is woken only when it sleeps.
3. It never waits for a name server (resolve.py), nor for a connection (connector.py).

It has more than 300 lines because one thread does it all, and is read best in one piece.
Spec: docs/design.md, "The client". Tests: tests/sockets/test_client.py.
"""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable
from contextlib import closing
from functools import partial
from math import inf
from time import monotonic

import zmq

from zchat import wire
from zchat.address import Address, Published
from zchat.core import Instant
from zchat.core.chain import Notice
from zchat.core.client import AWAY, CLOSED, GREETING, READY, ClientCore
from zchat.core.listening import Listener
from zchat.core.publishing import Chunk
from zchat.errors import Closed, Refused, TimedOut, Unreachable, WireError, ZchatError
from zchat.sockets import context, exits, options
from zchat.sockets.clock import Deadline, instant
from zchat.sockets.connector import CAME_UP
from zchat.sockets.dealer import Dealer
from zchat.sockets.incoming import Incoming
from zchat.sockets.notices import Notices
from zchat.sockets.options import POLLIN
from zchat.sockets.outbox import CHUNK_BYTES, Outbox
from zchat.sockets.subscriber import Subscriber
from zchat.sockets.waiting import Waiting

TICK_SECONDS, TICK_MS = 0.05, 50  # what the core does by time is due in half seconds
POLL_MS_MAX = 1000  # SUB sends its subscriptions only when its thread touches it


class Connection(Waiting):
    """One client's connection. `start` waits for the broker; `close` ends the session."""

    def __init__(
        self, address: Address, user: str, info: dict[str, str], notify: Callable[[Notice], object] | None = None
    ) -> None:
        super().__init__(address, ClientCore(user, info, iter(partial(secrets.token_bytes, 16), b"")))
        self.user = user
        self.outbox = Outbox(self._wake, self)
        self._notices = Notices(notify)
        self._waker = options.Waker()
        self._sleeping = False
        self._ending = False
        self._incoming: dict[Listener, Incoming] = {}
        self._sent: deque[Chunk] = deque()  # and not settled; some behind the first may be
        self._state = AWAY  # of the core, as last notified
        self._settled_upto = 0  # chunks, counted as the outbox opens them
        self._refused: Refused | None = None  # the first since the last flush,
        self._untold: Refused | None = None  # and the first of which nobody has been told at all
        self._lost = 0  # messages that have no outcome, at the end
        self.broke: ZchatError | None = None  # why it ended, where nobody closed it
        self._seen = ""  # what keeps the broker away
        self._welcome: wire.Welcome | None = None  # whose publisher the SUB is connected to,
        self._publisher = address  # which is there
        self._tick = 0.0  # when the core is next told that time has passed
        self._waking = self._waker.fileno()
        self._thread = threading.Thread(target=self._run, name="zchat", daemon=True)

    # --- called by the program's threads ----------------------------------------------------

    def start(self, wait: float) -> wire.Welcome:
        """Connect and say hello. Raises Unreachable, Refused."""
        context.keep_from_forks(self)
        self._thread.start()
        try:
            exits.close_at_exit(self)
            with self._changed:
                self._changed.wait_for(lambda: self._core.welcome or self._failure is not None, wait)
                welcome = self._core.welcome
                failure = self._failure
            if failure is not None:
                raise failure
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
        """Subscribe. What the chain hands on goes to `incoming`.

        Returns when everything from now on is handed on. Raises Unreachable, Closed.
        """

        def start(core: ClientCore, now: Instant) -> None:
            self._incoming[listener] = incoming
            core.listen(listener, now)

        self.do(start)
        listening, began = self._core.listening, monotonic()
        try:
            self.wait_for(lambda: bool(listener.chain.is_begun or listening.trouble), deadline)
        except TimedOut:
            why = listening.trouble or listening.silence if self.is_ready else self.why_not()
            raise Unreachable(str(self.address), deadline.seconds or 0.0, why) from None
        if not listener.chain.is_begun:
            raise Unreachable(str(self.address), round(monotonic() - began, 1), listening.trouble)

    def unlisten(self, listener: Listener) -> None:
        """Unsubscribe; nothing comes after it returns."""

        def end(core: ClientCore, now: Instant) -> None:
            core.unlisten(listener, now)
            self._incoming.pop(listener, None)

        self.do(end)

    def flush(self, timeout: float | None) -> None:
        """Wait until all that was published is settled. Raises the first Refused since the last flush, TimedOut."""
        opened = self.outbox.opened
        if self._settled_upto < opened:
            self._want_acks()
        self.wait_for(lambda: self._settled_upto >= opened, self.deadline("acks", timeout))
        refused, self._refused = self._refused, None
        if refused is not None:
            self.told(refused)
            raise refused

    def settle(self, deadline: Deadline, *, while_away: bool = True) -> None:
        """Wait until all that was published is settled, or the client has ended."""
        opened = self.outbox.opened
        if self._settled_upto < opened:
            self._want_acks()
        with self._changed:
            self._changed.wait_for(
                lambda: self._settled_upto >= opened or self._failure or not (while_away or self.is_ready),
                deadline.left(),
            )

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
        if self._thread.ident is None:
            return
        deadline = Deadline("close", timeout)
        try:
            if self._thread.is_alive() and not self._ending and timeout > 0:
                self.settle(deadline, while_away=False)
                self._say_bye(deadline)
        finally:  # a signal, too
            self._ending = True
            self._waker.wake()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5.0)
        exits.closed(self)
        self._tell_lost()

    def finish(self, deadline: Deadline) -> None:
        """At the end of the process. The thread stays: those who use the client now end with the process."""
        if self._failure is None:
            self._say_bye(deadline)
            self._lost = self._unsettled()
        self._tell_lost()

    def forked(self) -> None:
        """In a child after a fork: the sockets belong to the parent's thread, and would hang."""
        self._failure = self.broke = Closed("this process was forked: connect again in the child")
        self._changed = threading.Condition()
        self._sleeping = False
        self.outbox.forked(self._failure)
        for incoming in list(self._incoming.values()):
            incoming.forked()

    # --- the I/O thread ---------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._poller = poller = zmq.Poller()
            poller.register(self._waking, POLLIN)
            wake = self._waker.wake
            dealer, subscriber = Dealer(poller, self.address, wake), Subscriber(poller, wake)
            with closing(dealer) as self._dealer, closing(subscriber) as self._subscriber:
                while not self._ending and self._failure is None:
                    self._turn()
        except zmq.ZMQError as error:
            self._failure = Closed(f"the connection failed: {error.strerror}")
        except Exception as error:  # whatever it is, nobody may wait for a thread that is gone
            self._failure = Closed(f"the client failed: {type(error).__name__}: {error}")
            self._failure.__cause__ = error
        finally:
            self.broke = self._failure
            self._end()

    def _turn(self) -> None:
        """Sleep until something happens, take it all, do what the core says."""
        core = self._core
        self._sleeping = True
        self.outbox.is_waiting = core.has_room
        busy = self._commands or (self.outbox and core.has_room)
        soon = 5 if self._dealer.is_full else TICK_MS if core.state == GREETING else POLL_MS_MAX
        due = min(self._dealer.due, self._subscriber.due)
        if due < inf:
            soon = min(soon, max(0, int((due - instant().seconds) * 1000) + 1))
        ready = dict(self._poller.poll(0 if busy else soon))
        self._sleeping = self.outbox.is_waiting = False
        now = instant()
        # Whose connection is new comes before what came on it: another broker may have another log.
        if self._dealer.monitor in ready:
            self._read_changes(now)
        if self._subscriber.monitor in ready and self._subscriber.is_disconnected(now.seconds):
            core.unsubscribed(now)
        # Then what somebody waits for: messages in, messages out. A round trip is made of such turns.
        if self._subscriber.sub in ready:
            for topic, frame in self._subscriber.received():
                core.broadcast(topic, frame, now)
            if core.listening.take_stranger():
                self._subscriber.refuse(now.seconds)
                core.unsubscribed(now)
            self._hand_on(now)
        if self._waking in ready:
            self._waker.clear()
        if self.outbox:
            self._publish(now)
        if self._dealer.socket in ready:
            for frame in self._dealer.received():
                core.received(frame, now)
            self._publish(now)
        while self._commands:
            self._commands.popleft()(now)
        if now.seconds >= min(self._tick, due):
            self._tick = now.seconds + TICK_SECONDS
            core.elapsed(now)
            self._dealer.go_on(now.seconds)
            self._subscriber.go_on(now.seconds)
            self._seen = self._dealer.seen
            core.listening.publisher, core.listening.seen = self._subscriber.place
        self._carry_out(now)

    def _publish(self, now: Instant) -> None:
        """Send what programs have published, as much as may be unacked."""
        core = self._core
        while core.has_room:
            chunk = self.outbox.take()
            if chunk is None:
                break
            self._sent.append(chunk)
            core.publish(chunk, now)
        self._send()

    def _hand_on(self, now: Instant) -> None:
        """Give the listeners what is theirs."""
        for listener, out in self._core.take_deliveries(now):
            incoming = self._incoming.get(listener)
            if incoming is not None:
                incoming.put(out)

    def _carry_out(self, now: Instant) -> None:
        core = self._core
        if core.refusal is not None:
            self._failure = core.refusal
        self._hand_on(now)
        subscriptions = core.take_subscriptions()
        if subscriptions or core.welcome is not self._welcome:
            self._subscribe(subscriptions, now)
        self._send()
        answers = core.take_answers()
        refused = core.take_news()
        if refused is not None or answers or self._state != core.state:
            with self._changed:
                self._state = core.state
                self._settled_upto = core.settled_upto
                while self._sent and self._sent[0].is_settled:
                    self._sent.popleft()
                if refused:
                    self._refused = self._refused or refused[0]
                    self._untold = self._untold or refused[0]
                for number, answer in answers:
                    if number in self._answers:
                        self._answers[number] = answer
                self._changed.notify_all()
            if core.state == READY:
                self._notices.there()
                self._dealer.proved()

    def _send(self) -> None:
        self._dealer.send(self._core.take_sends(), away=self._core.state == AWAY)

    def _read_changes(self, now: Instant) -> None:
        for change in self._dealer.changes(now.seconds):
            if change == CAME_UP:
                self._core.connected()
            else:
                self._core.disconnected("")  # nothing is known but that it was lost
                self._notices.lost("")

    def _subscribe(self, subscriptions: list[tuple[bool, bytes]], now: Instant) -> None:
        welcome, number = self._core.welcome, self._dealer.number
        assert welcome is not None, "it was connected"
        if self.address.scheme == "tcp" and not (welcome.publish_port or self.address.publish_port):
            self._failure = WireError("bad-frame", "the broker's WELCOME has no port to subscribe at")
            return
        if welcome is not self._welcome and number:  # of several brokers of one name, what the one that spoke publishes
            told = Published(welcome.publish_port, welcome.publish_host, welcome.port)
            self._publisher = self.address.at(number).publisher(told)
            self._subscriber.hurry(now.seconds)
        self._welcome = welcome
        self._subscriber.subscribe(self._publisher, subscriptions)

    def _end(self) -> None:
        self._failure = error = self._failure or Closed()
        unknown = error if isinstance(error, Closed) else Closed(str(error))  # a Refused would say: not stored
        self._lost = self._unsettled()
        self._core.close(unknown)
        for chunk in self.outbox.close(unknown):
            chunk.error = unknown
        for incoming in self._incoming.values():
            incoming.end()
        self._notices.end(self.broke)
        self._waker.close()
        with self._changed:
            self._changed.notify_all()

    # --- parts ------------------------------------------------------------------------------

    def why_not(self) -> str:
        """What keeps the broker from answering, as far as we know."""
        if self._core.state == GREETING and self._core.welcome is None:
            return "something answers there, but not a zchat broker"
        return self._seen if self._core.state == AWAY else "it is there, and slow"

    def _say_bye(self, deadline: Deadline) -> None:
        if self._core.state == READY:
            self.later(lambda core, now: core.bye())
            with self._changed:
                self._changed.wait_for(lambda: self._core.state == CLOSED or self._failure, deadline.left())

    def _unsettled(self) -> int:
        """Messages that were to be stored, and have no outcome."""
        chunks = [*list(self._sent), *self.outbox.waiting()]
        return sum(len(chunk.records) for chunk in chunks if not chunk.is_settled and not chunk.flags & wire.VOLATILE)

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
        self.later(lambda core, now: core.want_acks(opened))

    def _wake(self) -> None:
        if self._sleeping:
            self._waker.wake()
