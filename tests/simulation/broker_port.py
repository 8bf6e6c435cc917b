"""The broker's port that is made of the simulator's network: see `zchat.core.broker_port.BrokerPort`.

Rules of this file
1. What libzmq and the kernel do is here, and nothing of what the broker's loop does.
2. Each look at the clock in a turn finds that some time has passed: a turn that takes much takes long.
3. A loop that breaks the port's rules, and tells an end before what came before it, is stopped by an assertion.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator

from tests.simulation import lies
from tests.simulation.network import BrokerSocket, Connection, Port, World
from zchat import wire
from zchat.core import Instant
from zchat.core.broker_port import ENDS, FRAMES, SUBSCRIPTIONS, WOKEN
from zchat.core.channels import reply_to
from zchat.core.recipients import Addressed

BATCHES_QUEUED_MAX = 24  # per subscriber; 400 in truth
CUT_OFF_WAIT_SECONDS = 0.2
LOOK_SECONDS = 1.0
STEP_SECONDS = 0.002  # that pass between two looks at the clock, at most


class SimulatedPort:
    """One broker's two sockets."""

    def __init__(self, world: World, port: Port, wake: Callable[[], None], told_damaged: Callable[[int], None]) -> None:
        """`wake` has the broker take a turn; `told_damaged` is told which batch it lied about."""
        self.ends: dict[bytes, float] = {}
        self.full: Container[bytes] = ()
        self.is_closed = False
        self.spent = 0.0  # seconds of this turn
        self._world = world
        self._wake_process = wake
        self._told_damaged = told_damaged
        self.router, self.xpub = BrokerSocket(wake), BrokerSocket(wake)
        port.sockets = {"dealer": self.router, "sub": self.xpub}
        self._known: dict[bytes, Connection] = {}  # that sent a frame
        self._greeted: set[bytes] = set()
        self._closed: set[bytes] = set()  # the monitor said so, and nothing had come of it yet
        self._cutting: list[tuple[float, bytes]] = []
        self.refusals: list[tuple[bytes, str]] = []  # nobody subscribes to too much here
        self._is_woken = False

    # --- time and threads -------------------------------------------------------------------

    def now(self) -> Instant:
        """Of the world."""
        return self._world.now

    def seconds(self) -> float:
        """Later than the last time."""
        self.spent += self._world.random.uniform(0.0, STEP_SECONDS)
        return self._world.seconds + self.spent

    def poll(self, seconds: float, *, receives: bool, is_alone: bool = False) -> int:
        """It never sleeps: the process has its turn when something arrives, or when `seconds` have passed."""
        found = ENDS if self.router.ended or self.xpub.ended else 0
        found |= SUBSCRIPTIONS if self.xpub.is_readable else 0
        found |= WOKEN if self._is_woken else 0
        return found | FRAMES if receives and self.router.is_readable else found

    def wake(self) -> None:
        """The process has a turn."""
        if not self.is_closed:
            self._is_woken = True
            self._wake_process()

    def let_others(self) -> None:
        """There are no processors here."""

    def woken(self) -> None:
        """It had it."""
        self._is_woken = False

    def work(self, job: Callable[[], None]) -> None:
        """Some time later."""
        self._world.after(self._world.random.uniform(0.0, 0.01), lambda: None if self.is_closed else job())

    def due(self, now: Instant) -> float:
        """At least once a second."""
        return min(now.seconds + LOOK_SECONDS, self._cutting[0][0] if self._cutting else now.seconds + LOOK_SECONDS)

    def elapsed(self, now: Instant, *, dry: bool) -> None:
        """End the connections that are to be."""
        while self._cutting and self._cutting[0][0] <= now.seconds:
            known = self._known.get(self._cutting.pop(0)[1])
            if known is not None:
                known.cut()

    def take_met(self) -> dict[tuple[str, str], int]:
        """Nobody is cut off for a limit here."""
        return {}

    def flushed(self) -> None:
        """What was sent is with the kernel: `close` leaves it there."""

    def close(self, *, lingers: bool) -> None:
        """Its process has ended. `lingers`: in good order."""
        self.is_closed = True
        for socket in (self.router, self.xpub):
            for connection in list(socket.connections.values()):
                connection.cut(lingers=lingers)

    # --- ROUTER -----------------------------------------------------------------------------

    def read_ends(self, now: Instant) -> None:
        """What the monitors say."""
        while self.router.ended:
            name = self.router.ended.popleft().name
            if name in self._known:
                self.ends.setdefault(name, now.seconds)
            else:
                self._closed.add(name)
        self.xpub.ended.clear()

    def received(self, now: Instant) -> Iterator[tuple[bytes, bytes | None, int, str | None]]:
        """One frame of each connection in turn."""
        while (received := self.router.receive()) is not None:
            connection, frame = received
            name = connection.name
            if name not in self._known:
                self._known[name] = connection
                self.read_ends(now)
                if name in self._closed:  # it spoke and went
                    self._closed.discard(name)
                    self.ends.setdefault(name, now.seconds)
            if any(name == cut for _, cut in self._cutting):
                yield name, None, 0, None
            else:
                yield name, frame, len(frame), None if name in self._greeted else "127.0.0.1"

    def key_of(self, connection: bytes) -> str:
        """The simulated broker has no keys."""
        return ""

    def admit(self, admits: Callable[[str, float], str], now: Instant) -> None:
        """Nor subscribers that have one."""

    def spoke(self, connection: bytes, ttl_ms: int | None) -> None:
        """Whether it has said HELLO."""
        if ttl_ms is not None:
            self._greeted.add(connection)

    def forget(self, connection: bytes, now: Instant, *, dry: bool) -> None:
        """Nothing more of it is given."""
        del self.ends[connection]
        self._greeted.discard(connection)
        known = self._known.pop(connection, None)
        if known is None:
            return
        left = known.to_broker.inbox
        assert not (dry and left and not known.is_open), f"{connection!r} had {len(left)} frames left at its end"
        if left:
            self._world.counts["passed over"] += 1
            self.router.pass_over(known)

    def cut_off(self, connection: bytes, now: Instant) -> None:
        """Once what it was told is out."""
        self._cutting.append((now.seconds + CUT_OFF_WAIT_SECONDS, connection))

    def send(self, replies: Iterable[tuple[bytes, bytes]], now: Instant) -> None:
        """To who is there and reads."""
        world = self._world
        for name, frame in replies:
            connection = self.router.connections.get(name)
            if connection is None:  # EHOSTUNREACH
                self.ends.setdefault(name, now.seconds)
            elif world.chance(world.faults.reply_loss):  # EAGAIN
                world.counts["replies lost"] += 1
            else:
                world.note("reply", name, frame)
                self._count(frame)
                for said in lies.replies(world, frame, self._told_damaged):
                    connection.to_client.send(said)

    def deliver(self, direct: Iterable[Addressed], now: Instant, *, patient: bool) -> set[bytes]:
        """To who is there; what is too much for one is dropped."""
        world = self._world
        for _, said, endpoints in direct:
            for endpoint in endpoints:
                name, frame = reply_to(endpoint, said)
                connection = self.router.connections.get(name)
                if connection is None:  # EHOSTUNREACH
                    self.ends.setdefault(name, now.seconds)
                elif world.chance(world.faults.pub_loss):
                    world.counts["direct batches lost"] += 1
                else:
                    world.note("direct", name, frame)
                    world.counts["direct batches"] += 1
                    connection.to_client.send(frame)
        return set()

    def _count(self, frame: bytes) -> None:
        """Rare answers are counted."""
        reply, counts = unwrapped(frame), self._world.counts
        if isinstance(reply, wire.Welcome):
            counts["sessions resumed" if reply.resumed else "sessions begun"] += 1
        elif isinstance(reply, wire.HelloAgain):
            counts["hello asked for again"] += 1
        elif isinstance(reply, wire.Error):
            counts[f"refused {reply.code}"] += 1

    # --- XPUB -------------------------------------------------------------------------------

    def granted(self, now: Instant) -> Iterator[bytes]:
        """One at a time."""
        while (received := self.xpub.receive()) is not None:
            connection, frame = received
            topic = frame[1:]
            if frame[0]:
                connection.granted[topic] = None
                yield topic
            else:
                connection.granted.pop(topic, None)
                yield b""

    def broadcast(self, broadcasts: Iterable[tuple[bytes, bytes]], *, patient: bool) -> set[bytes]:
        """To who has subscribed; what is too much for a queue is dropped."""
        for topic, frame in broadcasts:
            self._broadcast(topic, frame)
        return set()

    def _broadcast(self, topic: bytes, frame: bytes) -> None:
        world = self._world
        world.note("broadcast", topic, frame)
        for connection in self.xpub.connections.values():
            if not topic.startswith(tuple(connection.granted)):
                continue
            pipe = connection.to_client
            if not connection.dropping and world.chance(world.faults.pub_loss):
                connection.dropping = world.random.randint(1, 4)
            if connection.dropping or len(pipe.inbox) + len(pipe.under_way) >= BATCHES_QUEUED_MAX:
                connection.dropping = max(0, connection.dropping - 1)
                world.counts["broadcasts lost"] += 1
                continue
            pipe.send((topic, lies.broadcast(world, frame)))


def unwrapped(frame: bytes) -> wire.BrokerMessage:
    """What is said to a session, on whatever channel."""
    message = wire.decode_broker(frame)
    return wire.decode_broker(bytes(message.message)) if isinstance(message, wire.For) else message
