"""A clock, connections and sockets that follow from one seed: what libzmq and TCP do, and nothing else.

Rules of this file
1. Everything that is left to chance comes from `World.random`; no wall clock, no thread, no hash order.
2. A connection keeps what it carries in order until it is cut; a cut loses a suffix of what is under way in
   each direction. Either end learns of it beside the messages, from a monitor, never between them.
3. What has arrived at a socket stays readable after its connection is gone, and a socket reads its
   connections in turn: so what an old connection left may be read after what a new one brought.

What each end does with it: broker_port.py, clients.py. What programs do, and what goes wrong when: simulation.py.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Generic, TypeVar

from zchat.core import Instant

T = TypeVar("T")

BEGIN_SECONDS = 1_000.0
BEGIN_MICROS = 1_700_000_000_000_000
RECONNECT_SECONDS_MIN, RECONNECT_SECONDS_MAX = 0.1, 5.0


@dataclass
class Faults:
    """What goes wrong, each a number that can be changed while the world runs; 0 is never."""

    # Always there, larger when times are bad.
    delay_mean_ms: float = 0.5  # of a frame on its way
    commit_mean_ms: float = 1.0
    # Chances, of each such event.
    pub_loss: float = 0.0  # a burst of broadcasts to one subscriber is dropped, as at its high-water mark
    reply_loss: float = 0.0  # a reply is dropped: the peer's queue is full
    hello_doubled: float = 0.0  # a HELLO is sent twice
    lie_kind: float = 0.0  # the broker answers something else than it was asked,
    lie_page: float = 0.0  # … with a page that cannot be,
    lie_damage: float = 0.0  # … or broadcasts, what makes no sense,
    lie_hello_again: float = 0.0  # … and asks for HELLO many times
    commit_failure: float = 0.0  # the log is full
    commit_stall: float = 0.0  # a commit takes seconds
    read_failure: float = 0.0
    turn_late: float = 0.0  # a broker or client is busy, or does not get the processor
    turn_held: float = 0.0  # … between what its poll says and what it does about that
    # Weights, beside the 6 of publishing, of what happens next.
    connection_reset: float = 0.0
    connection_frozen: float = 0.0  # nothing passes for a while, then it is given up; what it held arrives late
    broker_kill: float = 0.0
    broker_stop: float = 0.0
    broker_stall: float = 0.0
    other_log: float = 0.0  # … and it comes back with an empty log
    older_copy: float = 0.0  # a copy of its log is made, or … with the copy that was made last
    trim: float = 0.0
    damage: float = 0.0  # of a row
    clock_jump: float = 0.0
    client_kill: float = 0.0
    client_close: float = 0.0
    client_away: float = 0.0  # longer than the grace time
    client_start: float = 0.0
    listener_stall: float = 0.0  # its process stands still
    consumer_pause: float = 0.0  # it takes no more than it has
    unlisten: float = 0.0


class World:
    """Time, chance, and the trace of all that happened."""

    def __init__(self, seed: int, faults: Faults | None = None) -> None:
        self.random = Random(seed)
        self.faults = faults or Faults()
        self.seconds = BEGIN_SECONDS
        self.wall_shift = 0  # microseconds that the wall clock was set by
        self.micros_max = 0  # the latest wall clock ever read
        self.counts: Counter[str] = Counter()  # rare outcomes
        self.steps = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._ties = count()
        self._trace = blake2b(digest_size=16)

    @property
    def now(self) -> Instant:
        """Both clocks."""
        micros = BEGIN_MICROS + round((self.seconds - BEGIN_SECONDS) * 1e6) + self.wall_shift
        self.micros_max = max(self.micros_max, micros)
        return Instant(self.seconds, micros)

    @property
    def trace(self) -> str:
        """A digest of all that was noted."""
        return self._trace.hexdigest()

    def note(self, *what: object) -> None:
        """One line of the trace."""
        self._trace.update(f"{self.seconds:.6f} {what}\n".encode())

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do it then."""
        heappush(self._events, (self.seconds + seconds, next(self._ties), action))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.seconds + seconds
        while self._events and self._events[0][0] <= until:
            self.seconds, _, action = heappop(self._events)
            self.steps += 1
            action()
        self.seconds = until

    def chance(self, probability: float) -> bool:
        """Whether it happens."""
        return probability > 0.0 and self.random.random() < probability

    def delay(self) -> float:
        """Of one frame, in seconds."""
        return self.random.expovariate(1000.0 / self.faults.delay_mean_ms)

    def turn_delay(self) -> float:
        """Until a process takes its turn."""
        if self.chance(self.faults.turn_late):
            return self.random.uniform(0.0, 0.4)
        return self.random.uniform(0.0, 0.0005)


@dataclass(eq=False)
class Pipe(Generic[T]):
    """One direction of a connection."""

    world: World
    arrived: Callable[[], None]
    inbox: deque[T] = field(default_factory=deque)  # arrived, not read; stays when the connection is gone
    under_way: deque[T] = field(default_factory=deque)
    is_cut: bool = False
    frozen_until: float = 0.0
    _last: float = 0.0

    def send(self, item: T) -> None:
        """In order; into the void once it is cut."""
        if self.is_cut:
            return
        self.under_way.append(item)
        self._last = max(self._last, self.world.seconds + self.world.delay())
        self.world.after(self._last - self.world.seconds, self._arrive)

    def cut(self, late: float = 0.0, *, lingers: bool = False) -> None:
        """Lose a suffix of what is under way (nothing, when the sender lingers); the rest arrives now, or late."""
        self.is_cut = True
        keep = len(self.under_way) if lingers else self.world.random.randint(0, len(self.under_way))
        kept = [self.under_way.popleft() for _ in range(keep)]
        self.under_way.clear()
        self.world.after(late, lambda: self._leave(kept))

    def _arrive(self) -> None:
        if self.is_cut or not self.under_way:
            return
        if self.frozen_until > self.world.seconds:
            self.world.after(self.frozen_until - self.world.seconds, self._arrive)
            return
        self.inbox.append(self.under_way.popleft())
        self.arrived()

    def _leave(self, kept: list[T]) -> None:
        self.inbox.extend(kept)
        if kept:
            self.arrived()


Broadcast = tuple[bytes, bytes]  # topic, frame


class Connection:
    """One TCP connection between a client's socket and one of the broker's."""

    def __init__(self, name: bytes, client: ClientSocket, broker: BrokerSocket) -> None:
        self.name = name  # the routing id
        self.client = client
        self.broker = broker
        world = client.world
        self.to_broker: Pipe[bytes] = Pipe(world, lambda: broker.arrived(self))
        self.to_client: Pipe[bytes | Broadcast] = Pipe(world, client.wake)
        self.granted: dict[bytes, None] = {}  # topics, on the XPUB
        self.dropping = 0  # broadcasts that are dropped next, as its queue is full
        self.is_open = True  # as the broker's libzmq knows it
        self._world = world

    def freeze(self, seconds: float) -> None:
        """Nothing passes for so long."""
        self.to_broker.frozen_until = self.to_client.frozen_until = self._world.seconds + seconds

    def cut(self, late: float = 0.0, *, lingers: bool = False) -> None:
        """It breaks. `late`: the client's kernel goes on sending, and the broker hears the rest so much later."""
        if self.to_client.is_cut:
            return
        self.to_client.cut(lingers=lingers)
        self.to_broker.cut(late, lingers=lingers)
        self._world.after(self._world.delay(), lambda: self.client.lost(self))
        self._world.after(late + self._world.delay(), lambda: self.broker.lost(self))


class BrokerSocket:
    """ROUTER or XPUB: its connections, read in turn."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.connections: dict[bytes, Connection] = {}  # that are open
        self.ended: deque[Connection] = deque()  # for the monitor
        self._wake = wake
        self._ready: deque[Connection] = deque()  # that have something to be read

    def arrived(self, connection: Connection) -> None:
        """It has something to be read."""
        if connection not in self._ready:
            self._ready.append(connection)
        self._wake()

    @property
    def is_readable(self) -> bool:
        """Whether something can be read."""
        return bool(self._ready)

    def receive(self) -> tuple[Connection, bytes] | None:
        """The next frame: one of each connection in turn."""
        if not self._ready:
            return None
        connection = self._ready.popleft()
        frame = connection.to_broker.inbox.popleft()
        if connection.to_broker.inbox:
            self._ready.append(connection)
        return connection, frame

    def pass_over(self, connection: Connection) -> None:
        """What it has left is never read."""
        connection.to_broker.inbox.clear()
        if connection in self._ready:
            self._ready.remove(connection)

    def lost(self, connection: Connection) -> None:
        """Its end: libzmq knows it now, the monitor tells it later."""
        connection.is_open = False
        self.connections.pop(connection.name, None)
        self.ended.append(connection)
        self._wake()


class ClientSocket:
    """DEALER or SUB: it connects again by itself, for ever, until it is closed."""

    def __init__(
        self, world: World, port: Port, kind: str, wake: Callable[[], None], *, is_reachable: bool = True
    ) -> None:
        self.world = world
        self.kind = kind
        self.wake = wake
        self.connection: Connection | None = None
        self.events: deque[str] = deque()  # of the monitor: "up" or "down"
        self.is_reachable = is_reachable
        self._port = port
        self._pipes: deque[Pipe[bytes | Broadcast]] = deque()  # of all connections that may have something to be read
        self._wait = RECONNECT_SECONDS_MIN
        self._closed = False
        self.connect()

    def connect(self) -> None:
        """Try, and go on trying."""
        if self._closed or self.connection is not None:
            return
        connection = self._port.accept(self)
        if connection is None:
            wait, self._wait = self._wait, min(2 * self._wait, RECONNECT_SECONDS_MAX)
            self.world.after(wait * self.world.random.uniform(1.0, 1.2), self.connect)
            return
        self.connection = connection
        self._wait = RECONNECT_SECONDS_MIN
        if self.kind == "sub":  # it is disconnected before it connects again, and libzmq drops what it still had
            self._pipes.clear()
        self._pipes.append(connection.to_client)
        self._notice("up")

    def send(self, frame: bytes) -> bool:
        """False where libzmq says EAGAIN: nobody is there."""
        if self.connection is None:
            return False
        self.connection.to_broker.send(frame)
        return True

    @property
    def is_readable(self) -> bool:
        """Whether something can be read."""
        return any(pipe.inbox for pipe in self._pipes)

    def receive(self) -> bytes | Broadcast | None:
        """The next message: one of each connection in turn."""
        for _ in range(len(self._pipes)):
            pipe = self._pipes.popleft()
            if not pipe.is_cut or pipe.inbox:
                self._pipes.append(pipe)
            if pipe.inbox:
                return pipe.inbox.popleft()
        return None

    def lost(self, connection: Connection) -> None:
        """Its connection is gone."""
        if self._closed or self.connection is not connection:
            return
        self.connection = None
        self._notice("down")
        self.world.after(self._wait * self.world.random.uniform(1.0, 1.2), self.connect)

    def close(self, *, lingers: bool) -> None:
        """For good. What it handed to the kernel may arrive."""
        self._closed = True
        if self.connection is not None:
            self.connection.cut(lingers=lingers)

    def _notice(self, event: str) -> None:
        self.events.append(event)
        self.wake()


class Port:
    """Where clients connect to: the broker that listens there, if any does."""

    def __init__(self) -> None:
        self.sockets: dict[str, BrokerSocket] | None = None  # by the kind of client socket: "dealer", "sub"
        self.stalled_until = 0.0  # the kernel accepts, nobody shakes hands
        self._names = count(1)

    def accept(self, client: ClientSocket) -> Connection | None:
        """A connection, when somebody listens."""
        if self.sockets is None or not client.is_reachable or client.world.seconds < self.stalled_until:
            return None
        socket = self.sockets[client.kind]
        connection = Connection(f"{client.kind}-{next(self._names)}".encode(), client, socket)
        socket.connections[connection.name] = connection
        return connection
