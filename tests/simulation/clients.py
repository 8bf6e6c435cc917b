"""The client's shell in the simulation: what zchat/sockets/client.py does, on simulated sockets.

Rules of this file: it takes its turns in the order of its model, and calls the core in that order and no other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

from tests.simulation.network import ClientSocket, Connection, Port, World
from tests.simulation.process import Process
from zchat import wire
from zchat.core import Instant
from zchat.core.chain import LIVE
from zchat.core.client import AWAY, CLOSED, READY, Answer, ClientCore
from zchat.core.publishing import Chunk
from zchat.errors import Closed

TAIL = wire.encode(wire.Tail(0))[1]
RECEIVED_MAX = 16  # of a turn; 256 in truth
POLL_SECONDS_MAX = 1.0
TICK_SECONDS = 0.05
CLOSE_SECONDS = 5.0

Finished = Callable[[Instant], None]


class Readable(NamedTuple):
    """What a poll says."""

    dealer: bool
    dealer_monitor: bool
    sub: bool
    sub_monitor: bool
    busy: bool


class SimulatedClient(Process[Readable | None]):
    """One client process: a core, its sockets, and the turns of its I/O thread."""

    def __init__(self, world: World, port: Port, user: str, number: int) -> None:
        super().__init__(world)
        self.core = ClientCore(user, {}, (f"{number}-{at}".encode() for at in count(1)))
        self.outbox: deque[Chunk] = deque()
        self.commands: deque[Finished] = deque()
        self.answers: dict[int, Answer] = {}  # to requests of the program
        self.deliver: Callable[[], None] = lambda: None
        self._port = port
        self._tick = 0.0
        self._unsent: deque[bytes] = deque()
        self._topics: dict[bytes, None] = {}
        self._sub: ClientSocket | None = None
        self._subscribed: Connection | None = None  # the SUB's connection that knows the topics
        self._is_reachable = True
        self._ending: float | None = None  # said bye; by then it ends anyway
        self._dealer = ClientSocket(world, port, "dealer", self.wake)
        self.wake()

    @property
    def sockets(self) -> list[ClientSocket]:
        """That it has."""
        return [self._dealer] if self._sub is None else [self._dealer, self._sub]

    @property
    def is_reachable(self) -> bool:
        """Whether the network has it."""
        return self._is_reachable

    @is_reachable.setter
    def is_reachable(self, reachable: bool) -> None:
        self._is_reachable = reachable
        for socket in self.sockets:
            socket.is_reachable = reachable
            if not reachable and socket.connection is not None:
                socket.connection.cut(self._world.random.uniform(0.0, 2.0))

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits in it to be sent."""
        return not (self.outbox or self.commands or self._unsent)

    # --- its life ---------------------------------------------------------------------------

    def kill(self) -> None:
        """As kill -9 does."""
        self.is_alive = False
        for socket in self.sockets:
            socket.close(lingers=self._ending is not None)

    def close(self) -> None:
        """As `Client.close`: bye, then wait for its answer, but not for ever."""
        if self.core.state == READY:
            self.commands.append(lambda now: self.core.bye())
            self._ending = self._world.seconds + CLOSE_SECONDS
        else:
            self._ending = self._world.seconds
        self.wake()

    # --- turns ------------------------------------------------------------------------------

    def poll(self) -> Readable | None:
        """What can be read or is to be done."""
        dealer, sub = self._dealer, self._sub
        busy = bool(self.commands or (self.outbox and self.core.has_room))
        readable = Readable(
            dealer.is_readable, bool(dealer.events), bool(sub and sub.is_readable), bool(sub and sub.events), busy
        )
        return readable if any(readable) else None

    def act(self, polled: Readable | None) -> float | None:
        """One turn of `Connection._turn`."""
        now, core, sub = self._world.now, self.core, self._sub
        polled = polled or Readable(False, False, False, False, False)
        while polled.dealer_monitor and self._dealer.events:
            self._unsent.clear()
            if self._dealer.events.popleft() == "up":
                core.connected()
            else:
                core.disconnected("the connection was lost")
        while sub is not None and polled.sub_monitor and sub.events:
            if sub.events.popleft() == "down":
                core.unsubscribed(now)
        if sub is not None:
            self._attach(sub)
            if polled.sub:
                self._receive_batches(sub, now)
                self.deliver()
        if self.outbox:
            self._publish(now)
        if polled.dealer:
            self._receive_replies(now)
            self._publish(now)
        while self.commands:
            self.commands.popleft()(now)
        if now.seconds >= self._tick:
            self._tick = now.seconds + TICK_SECONDS
            core.elapsed(now)
        self._carry_out()
        if self._ending is not None and (core.state == CLOSED or now.seconds >= self._ending):
            core.close(Closed())
            self.deliver()
            self.kill()
        return now.seconds + (0.005 if self._unsent else POLL_SECONDS_MAX)

    def _publish(self, now: Instant) -> None:
        while self.core.has_room and self.outbox:
            self.core.publish(self.outbox.popleft(), now)
        self._send()

    def _attach(self, sub: ClientSocket) -> None:
        """libzmq subscribes again on a new connection, in byte order, once the socket's thread touches it."""
        if sub.connection is not None and sub.connection is not self._subscribed:
            self._subscribed = sub.connection
            for topic in sorted(self._topics):
                sub.send(b"\1" + topic)

    def _receive_replies(self, now: Instant) -> None:
        for _ in range(RECEIVED_MAX):
            frame = self._dealer.receive()
            if frame is None:
                return
            assert isinstance(frame, bytes)
            self.core.received(frame, now)

    def _receive_batches(self, sub: ClientSocket, now: Instant) -> None:
        for _ in range(RECEIVED_MAX):
            broadcast = sub.receive()
            if broadcast is None:
                return
            assert isinstance(broadcast, tuple)
            chains = [listener.chain for listener in self.core.listening.listeners]
            live = [chain for chain in chains if chain.state == LIVE]
            self.core.broadcast(*broadcast, now)
            if broadcast[1][1] == TAIL:
                self._world.counts["losses told by a tail"] += sum(chain.state != LIVE for chain in live)

    def _carry_out(self) -> None:
        self.deliver()
        subscriptions = self.core.take_subscriptions()
        if subscriptions or self.core.welcome is not None:
            self._subscribe(subscriptions)
        self._send()
        self.answers.update(self.core.take_answers())
        self.core.take_news()

    def _send(self) -> None:
        self._unsent.extend(self.core.take_sends())
        while self._unsent:
            frame = self._unsent[0]
            if not self._dealer.send(frame):
                if self.core.state == AWAY:
                    self._unsent.clear()
                return
            self._unsent.popleft()
            if frame[1:2] == b"\1" and self._world.chance(self._world.faults.hello_doubled):
                self._dealer.send(frame)

    def _subscribe(self, subscriptions: list[tuple[bool, bytes]]) -> None:
        if self.core.welcome is None or not (subscriptions or self._sub is not None):
            return
        if self._sub is None:
            self._sub = ClientSocket(self._world, self._port, "sub", self.wake, is_reachable=self._is_reachable)
        for subscribes, topic in subscriptions:
            if subscribes:
                self._topics[topic] = None
            else:
                self._topics.pop(topic, None)
            if self._sub.connection is self._subscribed:
                self._sub.send((b"\1" if subscribes else b"\0") + topic)
