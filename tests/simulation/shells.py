"""The two shells of the simulation: what zchat/sockets/broker.py and zchat/sockets/client.py do, on simulated sockets.

Rules of this file
1. Each takes its turns in the order of its model, and calls the core in that order and no other.
2. A process has its turn some time after something arrived, so that things pile up; a turn takes no time.
3. What a killed broker had not committed is lost; the append under way is kept whole or lost whole.

The log is log/memory.py behind a writer that takes its time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import count

from tests.simulation.history import Gap
from tests.simulation.network import BrokerSocket, ClientSocket, Connection, Port, World
from tests.simulation.pair import answer_read, log_facts
from zchat import wire
from zchat.core import Instant
from zchat.core.broker import BrokerCore, Read
from zchat.core.client import AWAY, CLOSED, READY, Answer, ClientCore
from zchat.core.publishing import Chunk
from zchat.errors import Closed, LogError
from zchat.log import Append, StoredBatch
from zchat.log.memory import MemoryLog
from zchat.settings import Settings

DRAINED_MESSAGES_MAX = 64  # the broker's own is 2000; small enough to be reached here
RECEIVED_MAX = 16  # of a client's turn; 256 in truth
BATCHES_QUEUED_MAX = 24  # per subscriber; 512 in truth
DISCONNECTED_WAIT_SECONDS = 0.02
CUT_OFF_WAIT_SECONDS = 0.2
PROBE_SECONDS = 30.0
POLL_SECONDS_MAX = 1.0
STOP_SECONDS = 5.0

Finished = Callable[[Instant], None]


class SimulatedLog:
    """A memory log with a writer: what was appended is kept later, or refused."""

    def __init__(self, world: World, number: int, begun_micros: int) -> None:
        self.memory = MemoryLog()
        self.memory.log_id = f"log-{number}"
        self.memory.secret = bytes([number]) * 32
        self.kept: list[StoredBatch] = []  # all that was ever committed, trimmed or not
        self.begun_micros = begun_micros  # no clock and no batch of another log was later
        self._world = world
        self._under_way: Append | None = None

    def append(self, append: Append, done: Callable[[LogError | None], None]) -> None:
        """Commit some time later, then tell some time after that."""
        world = self._world
        assert self._under_way is None, "one append at a time"
        self._under_way = append
        seconds = world.random.expovariate(1000.0 / world.faults.commit_mean_ms)
        if world.chance(world.faults.commit_stall):
            seconds += world.random.uniform(0.5, 5.0)
        world.after(seconds, lambda: self._commit(append, done))

    def before(self, micros: int) -> int:
        """The offset below all that is not older than that; the last one when nothing is as young."""
        for batch in self.kept:
            if batch.time >= micros:
                return batch.base - 1
        return self.memory.head()

    def gone(self) -> tuple[Gap, ...]:
        """What was trimmed."""
        return tuple(Gap(name, 1, room.trimmed) for name, room in self.memory._rooms.items() if room.trimmed)

    def killed(self) -> None:
        """Its process dies: the commit under way was done, or not."""
        append, self._under_way = self._under_way, None
        if append is not None and self._world.chance(0.5):
            self._world.counts["kept at a kill"] += 1
            self._keep(append)

    def _commit(self, append: Append, done: Callable[[LogError | None], None]) -> None:
        if self._under_way is not append:
            return  # the process died meanwhile
        world = self._world
        self._under_way = None
        error = None
        if world.chance(world.faults.commit_failure):
            world.counts["commits refused"] += 1
            error = LogError(world.random.choice(["log-full", "log-read-only"]), "simulated")
        else:
            self._keep(append)
        world.after(world.random.uniform(0.0, 0.001), lambda: done(error))

    def _keep(self, append: Append) -> None:
        self._world.note("commit", [(batch.base, batch.room, batch.records) for batch in append.batches])
        self.kept.extend(append.batches)
        self.memory.append(append, lambda error: None)


class SimulatedBroker:
    """One broker process."""

    def __init__(self, world: World, port: Port, log: SimulatedLog, settings: Settings, number: int) -> None:
        self.log = log
        self.is_alive = True
        self._world = world
        self._port = port
        self._router = BrokerSocket(self._wake)
        self._xpub = BrokerSocket(self._wake)
        port.sockets = {"dealer": self._router, "sub": self._xpub}
        self._known: dict[bytes, Connection] = {}  # that sent a frame
        self._closed: set[bytes] = set()  # the monitor said so
        self._ended: list[tuple[bytes, float]] = []
        self._cutting: list[tuple[float, bytes]] = []
        self._finished: deque[Finished] = deque()
        self._stopping: float | None = None
        self._probe_at = world.seconds + PROBE_SECONDS
        self._wake_at = 0.0
        session_ids = (f"s{number}-{at}" for at in count(1))
        self.core = BrokerCore(settings, log_facts(log.memory, settings), session_ids, 1, world.now)
        self._wake()

    # --- its life ---------------------------------------------------------------------------

    def kill(self) -> None:
        """As kill -9 does."""
        self._die()
        self.log.killed()

    def stop(self) -> None:
        """As SIGTERM does: it takes what has arrived, commits it, says goodbye."""
        self._stopping = self._world.seconds + STOP_SECONDS
        self._wake()

    def _die(self) -> None:
        self.is_alive = False
        if self._port.sockets is not None and self._port.sockets["dealer"] is self._router:
            self._port.sockets = None
        for socket in (self._router, self._xpub):
            for connection in list(socket.connections.values()):
                connection.cut(lingers=self._stopping is not None)

    # --- turns ------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._turn_at(self._world.seconds + self._world.turn_delay())

    def _turn_at(self, seconds: float) -> None:
        if self._wake_at > self._world.seconds and self._wake_at <= seconds:
            return  # it will have its turn earlier
        self._wake_at = seconds
        self._world.after(seconds - self._world.seconds, lambda: self._turn(seconds))

    def _turn(self, planned: float) -> None:
        if not self.is_alive or planned != self._wake_at:
            return
        self._wake_at = 0.0
        now = self._world.now
        self._read_monitor(now)
        self._read_subscriptions(now)
        more = self._drain(now)
        self._tell_ended(now, dry=not more)
        self._take_finished(now)
        self._cycle(now)
        if self._stopping is not None:
            if more or (self.core.is_committing and now.seconds < self._stopping):
                self._wake()
                return
            self.core.stopping()
            self._cycle(now)
            self._die()
            self.log.killed()
            return
        if now.seconds >= self._probe_at:
            self._probe_at = now.seconds + PROBE_SECONDS
            for connection in self.core.registry.connections():
                self._send(connection, wire.encode(wire.Ack([])), now)
        self._sleep(now, more)

    def _sleep(self, now: Instant, more: bool) -> None:
        if more or self._finished:
            self._wake()
            return
        until = now.seconds + POLL_SECONDS_MAX
        deadline = self.core.next_deadline()
        if deadline is not None:
            until = min(until, deadline)
        if self._cutting:
            until = min(until, self._cutting[0][0])
        if self._ended:
            until = min(until, now.seconds + DISCONNECTED_WAIT_SECONDS)
        self._turn_at(max(until, now.seconds) + 0.001)

    def _cycle(self, now: Instant) -> None:
        core = self.core
        deadline = core.next_deadline()
        if deadline is not None and deadline <= now.seconds:
            core.elapsed(now)
        append = core.take_append(now)
        if append is not None:
            self.log.append(append, self._committed)
        for topic, frame in core.take_broadcasts(now):
            self._broadcast(topic, frame)
        for connection, frame in core.take_replies():
            self._send(connection, frame, now)
        for read in core.take_reads():
            self._world.after(self._world.random.uniform(0.0, 0.01), lambda read=read: self._read(read))  # type: ignore[misc]
        for connection in core.take_cutoffs():
            self._cutting.append((now.seconds + CUT_OFF_WAIT_SECONDS, connection))
        while self._cutting and self._cutting[0][0] <= now.seconds:
            known = self._known.get(self._cutting.pop(0)[1])
            if known is not None:
                known.cut()

    def _committed(self, error: LogError | None) -> None:
        self._finish_later(lambda now: self.core.committed(error, now))

    def _finish_later(self, finished: Finished) -> None:
        if self.is_alive:
            self._finished.append(finished)
            self._wake()

    def _take_finished(self, now: Instant) -> None:
        while self._finished:
            self._finished.popleft()(now)

    # --- ROUTER -----------------------------------------------------------------------------

    def _read_monitor(self, now: Instant) -> None:
        while self._router.ended:
            name = self._router.ended.popleft().name
            if name in self._known:
                self._ended.append((name, now.seconds))
            else:
                self._closed.add(name)
        self._xpub.ended.clear()

    def _drain(self, now: Instant) -> bool:
        for _ in range(DRAINED_MESSAGES_MAX):
            received = self._router.receive()
            if received is None:
                return False
            connection, frame = received
            name = connection.name
            if name not in self._known:
                self._known[name] = connection
                self._read_monitor(now)
                if name in self._closed:  # it spoke and went
                    self._ended.append((name, now.seconds))
            self.core.received(name, frame, now)
        return True

    def _tell_ended(self, now: Instant, *, dry: bool) -> None:
        if not self._ended or not (dry or now.seconds - self._ended[0][1] > DISCONNECTED_WAIT_SECONDS):
            return
        ended, self._ended = self._ended, []
        for name, _ in ended:
            self._known.pop(name, None)
            self.core.disconnected(name, now)

    def _send(self, name: bytes, frame: bytes, now: Instant) -> None:
        connection = self._router.connections.get(name)
        if connection is None:  # EHOSTUNREACH
            self._ended.append((name, now.seconds))
        elif self._world.chance(self._world.faults.reply_loss):  # EAGAIN
            self._world.counts["replies lost"] += 1
        else:
            connection.to_client.send(frame)

    # --- XPUB -------------------------------------------------------------------------------

    def _read_subscriptions(self, now: Instant) -> None:
        for _ in range(DRAINED_MESSAGES_MAX):
            received = self._xpub.receive()
            if received is None:
                return
            connection, frame = received
            topic = frame[1:]
            if frame[0]:
                connection.granted[topic] = None
                if topic.startswith(wire.PRIVATE_TOPIC):
                    self.core.subscribed(topic, now)
            else:
                connection.granted.pop(topic, None)
        self._wake()

    def _broadcast(self, topic: bytes, frame: bytes) -> None:
        world = self._world
        for connection in self._xpub.connections.values():
            if not topic.startswith(tuple(connection.granted)):
                continue
            pipe = connection.to_client
            if not connection.dropping and world.chance(world.faults.pub_loss):
                connection.dropping = world.random.randint(1, 4)
            if connection.dropping or len(pipe.inbox) + len(pipe.under_way) >= BATCHES_QUEUED_MAX:
                connection.dropping = max(0, connection.dropping - 1)
                world.counts["broadcasts lost"] += 1
                continue
            pipe.send((topic, frame))

    # --- readers ----------------------------------------------------------------------------

    def _read(self, read: Read) -> None:
        """On a reader thread."""
        if not self.is_alive:
            return
        connection, request = read
        failed = self._world.chance(self._world.faults.read_failure)
        if isinstance(request, tuple):
            session, seq = request
            self._world.counts["repeats looked up"] += 1
            offset = 0 if failed else self.log.memory.find(session, seq)
            self._finish_later(lambda now: self.core.found(session, seq, offset))
            return
        if failed:
            frame = wire.encode(wire.Error("request", request.request, "log-failed", "simulated"))
        else:
            frame = answer_read(self.log.memory, request, self.core.settings.page_bytes_max)

        def answered(now: Instant) -> None:
            self.core.read_done(connection)
            self._send(connection, frame, now)

        self._finish_later(answered)


class SimulatedClient:
    """One client process: a core, its sockets, and the turns of its I/O thread."""

    def __init__(self, world: World, port: Port, user: str, number: int) -> None:
        self.core = ClientCore(user, {}, (f"{number}-{at}".encode() for at in count(1)))
        self.is_alive = True
        self.stalled_until = 0.0
        self.outbox: deque[Chunk] = deque()
        self.commands: deque[Finished] = deque()
        self.answers: dict[int, Answer] = {}  # to requests of the program
        self.deliver: Callable[[], None] = lambda: None
        self._world = world
        self._port = port
        self._wake_at = 0.0
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
            self._ending = self._world.seconds + 5.0
        else:
            self._ending = self._world.seconds
        self.wake()

    # --- turns ------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something arrived, or its program wants something."""
        self._turn_at(max(self._world.seconds + self._world.turn_delay(), self.stalled_until))

    def _turn_at(self, seconds: float) -> None:
        if self._wake_at > self._world.seconds and self._wake_at <= seconds:
            return
        self._wake_at = seconds
        self._world.after(seconds - self._world.seconds, lambda: self._turn(seconds))

    def _turn(self, planned: float) -> None:
        world = self._world
        if not self.is_alive or planned != self._wake_at:
            return
        self._wake_at = 0.0
        if world.seconds < self.stalled_until:
            self._turn_at(self.stalled_until)
            return
        now, core = world.now, self.core
        self._read_monitors()
        more = self._receive(now)
        while self.commands:
            self.commands.popleft()(now)
        while core.has_room and self.outbox:
            core.publish(self.outbox.popleft(), now)
        core.elapsed(now)
        self._carry_out(now)
        if self._ending is not None and (core.state == CLOSED or world.seconds >= self._ending):
            core.close(Closed())
            self.deliver()
            self.kill()
            return
        if more or self.commands or (self.outbox and core.has_room):
            self.wake()
        else:
            self._turn_at(world.seconds + (0.005 if self._unsent else POLL_SECONDS_MAX))

    def _read_monitors(self) -> None:
        core = self.core
        while self._dealer.events:
            self._unsent.clear()
            if self._dealer.events.popleft() == "up":
                core.connected()
            else:
                core.disconnected("the connection was lost")
        sub = self._sub
        if sub is None:
            return
        while sub.events:
            if sub.events.popleft() == "down":
                core.unsubscribed()
        if sub.connection is not None and sub.connection is not self._subscribed:
            self._subscribed = sub.connection  # libzmq does it, once the socket's thread touches it
            for topic in sorted(self._topics):
                sub.send(b"\1" + topic)

    def _receive(self, now: Instant) -> bool:
        for _ in range(RECEIVED_MAX):
            frame = self._dealer.receive()
            if frame is None:
                break
            assert isinstance(frame, bytes)
            self.core.received(frame, now)
        for _ in range(RECEIVED_MAX):
            broadcast = self._sub.receive() if self._sub is not None else None
            if broadcast is None:
                return False
            self.core.broadcast(broadcast[0], broadcast[1], now)  # type: ignore[arg-type]
        return True

    def _carry_out(self, now: Instant) -> None:
        core = self.core
        self.deliver()
        self._subscribe(core.take_subscriptions())
        self._unsent.extend(core.take_sends())
        while self._unsent:
            frame = self._unsent[0]
            if not self._dealer.send(frame):
                if core.state == AWAY:
                    self._unsent.clear()
                break
            self._unsent.popleft()
            if frame[1:2] == b"\1" and self._world.chance(self._world.faults.hello_doubled):
                self._dealer.send(frame)
        self.answers.update(core.take_answers())
        core.take_news()

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
