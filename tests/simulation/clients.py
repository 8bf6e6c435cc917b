"""The client in the simulation: the shipped engine and outbox, on simulated sockets.

Rules of this file: what a client does is the engine's; here is only what ZeroMQ's sockets would do, and time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from math import inf

from tests.simulation.network import ClientSocket, Connection, Port, World
from tests.simulation.process import Process
from zchat import address, wire
from zchat.address import Address
from zchat.core import Instant
from zchat.core.client import CLOSED, READY, Answer, ClientCore
from zchat.core.client_session import SessionCore
from zchat.core.engine import Engine
from zchat.core.lines import SessionLine
from zchat.core.listening import Listening
from zchat.core.ordering import LIVE
from zchat.core.port import BATCHES, CHANGES, REPLIES, SUB_CHANGES
from zchat.core.timeline import Break
from zchat.errors import Closed, Refused, TimedOut, ZchatError
from zchat.sockets.clock import Deadline
from zchat.sockets.outbox import Outbox
from zchat.sockets.publication import Publication

HELLO = b"\1"
WATERMARK = wire.encode(wire.Watermark(0))[1]
RECEIVED_MAX = 16  # of a turn; 256 in truth
CLOSE_SECONDS = 5.0
ADDRESS = address.parse("tcp://127.0.0.1:5555")


class SimulatedPort:
    """See `zchat.core.port.Port`: a DEALER and a SUB, which connect again by themselves."""

    due = inf
    number = ADDRESS.host
    seen = ""
    refusal = None
    place = ("", "")

    def __init__(self, world: World, port: Port, wake: Callable[[], None], listening: Listening) -> None:
        self.sub: ClientSocket | None = None
        self.is_reachable = True
        self._world = world
        self._port = port
        self._wake = wake
        self._listening = listening
        self._unsent: deque[bytes] = deque()
        self._polled: Connection | None = None  # the DEALER's, as the poll had it
        self._greeted: Connection | None = None  # the DEALER's that HELLO was sent on
        self._topics: dict[bytes, None] = {}
        self._subscribed: Connection | None = None  # the SUB's connection that knows the topics
        self.dealer = ClientSocket(world, port, "dealer", wake)

    @property
    def sockets(self) -> list[ClientSocket]:
        """That it has."""
        return [self.dealer] if self.sub is None else [self.dealer, self.sub]

    def now(self) -> Instant:
        """The world's clocks."""
        return self._world.now

    def look(self) -> int:
        """What is there now: nobody sleeps here, time passes in the world."""
        dealer, sub = self.dealer, self.sub
        self._polled = dealer.connection
        found = CHANGES if dealer.events else 0
        found |= REPLIES if dealer.is_readable else 0
        found |= SUB_CHANGES if sub is not None and sub.events else 0
        found |= BATCHES if sub is not None and sub.is_readable else 0
        return found

    def changes(self, seconds: float) -> Iterator[bool]:
        """Of the DEALER's connection."""
        while self.dealer.events:
            self._unsent.clear()
            yield self.dealer.events.popleft() == "up"

    def is_unsubscribed(self, seconds: float) -> bool:
        """Whether the SUB's connection went down."""
        assert self.sub is not None, "its monitor said something"
        events = list(self.sub.events)
        self.sub.events.clear()
        return "down" in events

    def batches(self) -> Iterator[tuple[bytes, bytes]]:
        """What can be read."""
        assert self.sub is not None, "it can be read"
        self._attach()
        for _ in range(RECEIVED_MAX):
            broadcast = self.sub.receive()
            if broadcast is None:
                return
            assert isinstance(broadcast, tuple)
            orderings = [listener.ordering for listener in self._listening.listeners]
            live = [ordering for ordering in orderings if ordering.state == LIVE]
            yield broadcast
            if broadcast[1][1] == WATERMARK:
                self._world.counts["losses told by a watermark"] += sum(ordering.state != LIVE for ordering in live)

    def hold_batches(self, hold: bool) -> None:
        """No consumer of the simulation is behind."""
        raise NotImplementedError

    def replies(self) -> Iterator[bytes]:
        """What can be read."""
        for _ in range(RECEIVED_MAX):
            frame = self.dealer.receive()
            if frame is None:
                return
            assert isinstance(frame, bytes)
            yield frame

    @property
    def is_full(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._unsent)

    def send(self, frames: Iterable[bytes], *, away: bool) -> None:
        """As a DEALER does that keeps nothing for a broker that is away."""
        self._unsent.extend(frames)
        while self._unsent:
            frame = self._unsent[0]
            self._check(frame)
            if not self.dealer.send(frame):
                if away:
                    self._unsent.clear()
                return
            self._unsent.popleft()
            if frame[1:2] == HELLO and self._world.chance(self._world.faults.hello_doubled):
                self.dealer.send(frame)

    def subscribe(self, publisher: Address, subscriptions: list[tuple[bool, bytes]]) -> None:
        """The SUB is made with the first one."""
        if self.sub is None:
            if not subscriptions:
                return
            self.sub = ClientSocket(self._world, self._port, "sub", self._wake, is_reachable=self.is_reachable)
        for subscribes, topic in subscriptions:
            if subscribes:
                self._topics[topic] = None
            else:
                self._topics.pop(topic, None)
            if self.sub.connection is self._subscribed:
                self.sub.send((b"\1" if subscribes else b"\0") + topic)
        self._attach()

    def hurry(self, seconds: float) -> None:
        """It connects when it does."""

    def refuse(self, seconds: float) -> None:
        """Cut the SUB's connection; another one follows."""
        self._world.counts["strangers refused"] += 1
        if self.sub is not None and self.sub.connection is not None:
            self.sub.connection.cut()

    def proved(self) -> None:
        """It knows no other broker."""

    def go_on(self, seconds: float) -> None:
        """Time has passed: libzmq does what it does when its thread touches it."""
        self._attach()

    def _check(self, frame: bytes) -> None:
        """Nothing is said before HELLO on a connection that the engine can know of."""
        connection = self.dealer.connection
        if frame[1:2] == HELLO:
            self._greeted = connection
        elif connection is not None and connection is self._polled and connection is not self._greeted:
            raise AssertionError(f"{frame.hex()} was said before HELLO")

    def _attach(self) -> None:
        """libzmq subscribes again on a new connection, in byte order, once the socket's thread touches it."""
        if self.sub is not None and self.sub.connection is not None and self.sub.connection is not self._subscribed:
            self._subscribed = self.sub.connection
            for topic in sorted(self._topics):
                self.sub.send(b"\1" + topic)


class NobodyWaits:
    """No call of a program waits here: see `zchat.sockets.outbox.RoomWaiter`."""

    def room_deadline(self) -> Deadline:
        """Its outbox is never full."""
        raise NotImplementedError

    def late(self, deadline: Deadline) -> TimedOut:
        """Never."""
        raise NotImplementedError

    def told(self, error: Exception) -> None:
        """A program asked after an outcome."""


class HeardCore(ClientCore):
    """The shipped core, which remembers whose log its listeners were told of: one that leaves tells them no more."""

    heard: wire.Welcome | None = None

    def _break_of(self, welcome: wire.Welcome) -> Break | None:
        self.heard = welcome
        return super()._break_of(welcome)


class SimulatedClient(Process[int]):
    """One client process: an engine and its port, and the turns of its I/O thread."""

    def __init__(self, world: World, port: Port, user: str, number: int, engine_type: type[Engine] = Engine) -> None:
        super().__init__(world)
        self.core = HeardCore(user, {}, (f"{number}-{at}".encode() for at in count(1)))
        self.answers: dict[int, Answer] = {}  # to requests of the program
        self.told: Callable[[], None] = lambda: None  # a turn is over
        self._ending: float | None = None  # said bye; by then it ends anyway
        self._port = SimulatedPort(world, port, self.wake, self.core.listening)
        self.outbox = Outbox(lambda: self.engine.wake(), NobodyWaits(), Publication)
        self.engine = engine_type(self.core, ADDRESS, self._port, self.outbox, self)
        self.sessions: list[SimulatedSession] = []  # on channels of its connection
        self.died_at = inf
        self.wake()

    def session(self, user: str) -> SimulatedSession:
        """As `Client.session`."""
        self.sessions.append(SimulatedSession(self, user))
        return self.sessions[-1]

    @property
    def sockets(self) -> list[ClientSocket]:
        """That it has."""
        return self._port.sockets

    @property
    def is_reachable(self) -> bool:
        """Whether the network has it."""
        return self._port.is_reachable

    @is_reachable.setter
    def is_reachable(self, reachable: bool) -> None:
        self._port.is_reachable = reachable
        for socket in self.sockets:
            socket.is_reachable = reachable
            if not reachable and socket.connection is not None:
                socket.connection.cut(self._world.random.uniform(0.0, 2.0))

    @property
    def heard(self) -> wire.Welcome | None:
        """What tells of the log that is listened to."""
        return self.core.heard

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits in it to be sent."""
        return not (self.outbox.chunks or self._port.is_full)

    # --- its life ---------------------------------------------------------------------------

    def kill(self) -> None:
        """As kill -9 does."""
        self.is_alive, self.died_at = False, self._world.seconds
        for socket in self.sockets:
            socket.close(lingers=self._ending is not None)

    def close(self) -> None:
        """As `Client.close`: bye, then wait for its answer, but not for ever."""
        if self.core.state == READY:
            self.engine.later(lambda core, now: core.bye())
            self._ending = self._world.seconds + CLOSE_SECONDS
        else:
            self._ending = self._world.seconds
            self.wake()

    # --- turns ------------------------------------------------------------------------------

    def poll(self) -> int:
        """What can be read."""
        return self._port.look()

    def act(self, polled: int) -> float | None:
        """One turn."""
        self.engine.turn(polled)
        assert self.engine.failure is None, "no broker refuses it"
        if self._ending is not None and (self.core.state == CLOSED or self._world.seconds >= self._ending):
            self.engine.close(Closed())
            self._tell()
            self.kill()
            return None
        self._tell()
        return self._world.seconds + self.engine.rest()

    def _tell(self) -> None:
        self.told()
        for session in self.sessions:
            session.told()

    # --- what its engine tells --------------------------------------------------------------

    def there(self) -> None:
        """The broker is there."""

    def lost(self) -> None:
        """It is away."""

    def news(self, refused: list[Refused], answers: list[tuple[int, Answer]]) -> None:
        """What it asked was answered."""
        self.answers.update(answers)


class SimulatedSession:
    """Another session of a client's process: what a program has of a client, over the same connection."""

    def __init__(self, process: SimulatedClient, user: str) -> None:
        self.answers: dict[int, Answer] = {}  # to requests of the program
        self.told: Callable[[], None] = lambda: None  # a turn is over
        self._ended_at = inf
        self._process = process
        self.core = process.core.sessions.open(user)
        self.outbox = Outbox(lambda: process.engine.wake(), NobodyWaits(), Publication, self._has_some)
        self.engine = self
        self.consumers = process.engine.consumers
        self._line = SessionLine(self.core, self.outbox, self)
        process.engine.lines.add(self._line)
        process.core.sessions.touch(self.core)
        process.wake()

    def later(self, command: Callable[[SessionCore, Instant], object]) -> None:
        """As its engine does, for this session."""

        def carry_out(own: ClientCore, now: Instant) -> None:
            command(self.core, now)
            own.sessions.touch(self.core)

        self._process.engine.later(carry_out)

    @property
    def heard(self) -> wire.Welcome | None:
        """What tells of the log that is listened to: the connection's."""
        return self._process.core.heard

    # --- as its process ---------------------------------------------------------------------

    @property
    def sockets(self) -> list[ClientSocket]:
        """That its process has."""
        return self._process.sockets

    @property
    def is_alive(self) -> bool:
        """Whether it goes on."""
        return self._process.is_alive and self._ended_at == inf

    @property
    def died_at(self) -> float:
        """When it ended, if it has."""
        return min(self._process.died_at, self._ended_at)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits in it to be sent."""
        return not self.outbox.chunks

    @property
    def is_reachable(self) -> bool:
        """Whether the network has its process."""
        return self._process.is_reachable

    @is_reachable.setter
    def is_reachable(self, reachable: bool) -> None:
        self._process.is_reachable = reachable

    @property
    def stalled_until(self) -> float:
        """Its process stands still."""
        return self._process.stalled_until

    @stalled_until.setter
    def stalled_until(self, seconds: float) -> None:
        self._process.stalled_until = seconds

    def wake(self) -> None:
        """Its process has a turn."""
        self._process.wake()

    def session(self, user: str) -> SimulatedSession:
        """Another one over the same connection."""
        return self._process.session(user)

    def kill(self) -> None:
        """As kill -9 does, of all in its process."""
        self._process.kill()

    def close(self) -> None:
        """As `Client.close` of a session: bye, then wait for its answer, but not for ever."""
        seconds = CLOSE_SECONDS if self.core.state == READY else 0.0
        if seconds:
            self.later(lambda core, now: core.bye())
        self._process._world.after(seconds, lambda: self.later(lambda core, now: self._end()))

    # --- what its engine tells --------------------------------------------------------------

    def there(self) -> None:
        """The broker is there."""

    def lost(self) -> None:
        """It is away."""

    def news(self, refused: list[Refused], answers: list[tuple[int, Answer]]) -> None:
        """What it asked was answered."""
        self.answers.update(answers)

    def ended(self, error: ZchatError, unsettled: int) -> None:
        """It goes on no more."""
        assert isinstance(error, Closed), "no broker refuses it"
        self._ended_at = self._process._world.seconds

    def forked(self) -> None:
        """There are no processes here."""

    # --- parts ------------------------------------------------------------------------------

    def _end(self) -> None:
        self._process.engine.lines.end(self._line, Closed())

    def _has_some(self) -> None:
        self._process.engine.lines.has_some(self._line)
        self.outbox.is_waiting = self._process.engine.is_resting
