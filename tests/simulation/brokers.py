"""The broker's shell in the simulation: what zchat/sockets/broker.py does, on simulated sockets, and its log.

Rules of this file
1. It takes its turns in the order of its model, and calls the core in that order and no other.
2. What a killed broker had not committed is lost; the append under way is kept whole or lost whole.

The log is log/memory.py behind a writer that takes its time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count

from tests.simulation import lies
from tests.simulation.history import Gap
from tests.simulation.network import BrokerSocket, Connection, Port, World
from tests.simulation.pair import answer_read, copy_of, log_facts, numbered_log
from tests.simulation.process import Process
from zchat import wire
from zchat.address import Published
from zchat.core import Instant
from zchat.core.broker import BrokerCore, Lookup, Read
from zchat.errors import LogError
from zchat.log import Append, LogPage, Sliced, StoredBatch, whole
from zchat.settings import Settings

DRAINED_MESSAGES_MAX = 64  # the broker's own is 2000; small enough to be reached here
BATCHES_QUEUED_MAX = 24  # per subscriber; 400 in truth
DISCONNECTED_WAIT_SECONDS = 0.02
CUT_OFF_WAIT_SECONDS = 0.2
PROBE_SECONDS = 30.0
POLL_SECONDS_MAX = 1.0
STOP_SECONDS = 5.0
SILENCE_SECONDS = 2.0

Finished = Callable[[Instant], None]


class SimulatedLog:
    """A memory log with a writer: what was appended is kept later, or refused."""

    def __init__(self, world: World, number: int, begun_micros: int) -> None:
        self.name = f"log-{number}"  # a copy has one of its own
        self.memory = numbered_log(number)
        self.kept: list[StoredBatch] = []  # all that was ever committed, trimmed or not
        self.damaged: dict[int, StoredBatch] = {}  # by base: rows whose checksum is wrong
        self.told_damaged: dict[int, StoredBatch] = {}  # that the broker has lied about
        self.begun_micros = begun_micros  # no clock and no batch of another log was later
        self._world = world
        self._under_way: Append | None = None

    def restored(self, number: int, begun_micros: int) -> SimulatedLog:
        """An older copy in its place, under a name of its own."""
        log = SimulatedLog(self._world, number, begun_micros)
        log.memory, log.kept, log.damaged = copy_of(self.memory), list(self.kept), dict(self.damaged)
        log.told_damaged = dict(self.told_damaged)
        return log

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
        """What was trimmed, and what is damaged."""
        trimmed = [Gap(name, 1, room.trimmed) for name, room in self.memory._rooms.items() if room.trimmed]
        spoilt = {**self.damaged, **self.told_damaged}
        return (*trimmed, *(Gap(batch.room, base, _last(batch)) for base, batch in spoilt.items()))

    def lie_of(self, base: int) -> None:
        """That batch was sent in a PAGE as if it were damaged: a listener may have been told a gap."""
        self.told_damaged.update({batch.base: batch for batch in self.kept if batch.base == base})

    def read(self, patterns: list[str], after: int, until: int, limit: int, bytes_max: int) -> Sliced[LogPage]:
        """As the memory log does; a damaged row is an explicit gap."""
        page = yield from self.memory.read(patterns, after, until, limit, bytes_max)
        batches, gaps = [], list(page.gaps)
        for room, frame in page.batches:
            base = wire.decode_raw_batch(frame).base
            if base in self.damaged:
                gaps.append(wire.Gap(room, base, min(_last(self.damaged[base]), page.upto), "damaged"))
            else:
                batches.append((room, frame))
        return page._replace(batches=batches, gaps=gaps)

    def seek(self, patterns: list[str], last: int, since: int, presence: bool) -> Sliced[int]:
        """As the memory log does."""
        return self.memory.seek(patterns, last, since, presence)

    def head(self) -> int:
        """As the memory log does."""
        return self.memory.head()

    def killed(self) -> None:
        """Its process dies: the commit under way was done, or not."""
        append, self._under_way = self._under_way, None
        if append is None:
            return
        keeps = self._world.chance(0.5)
        self._world.counts["kept at a kill" if keeps else "lost at a kill"] += 1
        if keeps:
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


def _last(batch: StoredBatch) -> int:
    return batch.base + batch.records - 1


class SimulatedBroker(Process[set[str]]):
    """One broker process."""

    lies = False  # a sabotaged one

    def __init__(self, world: World, port: Port, log: SimulatedLog, settings: Settings, number: int) -> None:
        super().__init__(world)
        self.log = log
        self._port = port
        self._router = BrokerSocket(self.wake)
        self._xpub = BrokerSocket(self.wake)
        port.sockets = {"dealer": self._router, "sub": self._xpub}
        self._known: dict[bytes, Connection] = {}  # that sent a frame
        self._closed: set[bytes] = set()  # the monitor said so
        self._ended: list[tuple[bytes, float]] = []
        self._cutting: list[tuple[float, bytes]] = []
        self._finished: deque[Finished] = deque()
        self._stopping: float | None = None
        self._probe_at = world.seconds + PROBE_SECONDS
        self._more = False  # the last drain did not reach the end
        session_ids = (f"s{number}-{at}" for at in count(1))
        self.core = BrokerCore(
            settings, log_facts(log.memory, settings, f"{log.name}/{number}"), session_ids, Published(1), world.now
        )
        self.wake()

    # --- its life ---------------------------------------------------------------------------

    def kill(self) -> None:
        """As kill -9 does."""
        self._die()
        self.log.killed()

    def stall(self, seconds: float) -> None:
        """As SIGSTOP does, and SIGCONT later. Clients give up connections in which they hear nothing."""
        self.stalled_until = self._world.seconds + seconds
        if seconds > SILENCE_SECONDS:
            for socket in (self._router, self._xpub):
                for connection in list(socket.connections.values()):
                    self._world.after(SILENCE_SECONDS, partial(connection.cut, seconds - SILENCE_SECONDS))
        self.wake()

    def stop(self) -> None:
        """As SIGTERM does: it takes what has arrived, commits it, says goodbye."""
        self._stopping = self._world.seconds + STOP_SECONDS
        self.wake()

    def _die(self) -> None:
        self.is_alive = False
        if self._port.sockets is not None and self._port.sockets["dealer"] is self._router:
            self._port.sockets = None
        for socket in (self._router, self._xpub):
            for connection in list(socket.connections.values()):
                connection.cut(lingers=self._stopping is not None)

    # --- turns ------------------------------------------------------------------------------

    def poll(self) -> set[str]:
        """What can be read."""
        readable = {
            "monitor": self._router.ended,
            "xpub": self._xpub.is_readable,
            "router": self._more or self._router.is_readable,
            "finished": self._finished,
        }
        return {name for name, is_readable in readable.items() if is_readable}

    def act(self, polled: set[str]) -> float | None:
        """One turn of `Broker.run`."""
        now = self._world.now
        if "monitor" in polled:
            self._read_monitor(now)
        if "xpub" in polled:
            self._read_subscriptions(now)
        self._more = "router" in polled and self._drain(now)
        self._tell_ended(now, dry=not self._more)
        if "finished" in polled:
            self._take_finished(now)
        self._cycle(now)
        if self._stopping is not None:
            if self._more or (self.core.is_committing and now.seconds < self._stopping):
                return None
            self.core.stopping()
            self._cycle(now)
            self._die()
            self.log.killed()
            return None
        if now.seconds >= self._probe_at:
            self._probe_at = now.seconds + PROBE_SECONDS
            for connection in self.core.registry.connections():
                self._send(connection, wire.encode(wire.Ack([])), now)
        until = now.seconds + POLL_SECONDS_MAX
        deadline = self.core.next_deadline()
        if deadline is not None:
            until = min(until, deadline)
        if self._cutting:
            until = min(until, self._cutting[0][0])
        if self._ended:
            until = min(until, now.seconds + DISCONNECTED_WAIT_SECONDS)
        return until

    def _cycle(self, now: Instant) -> None:
        core = self.core
        deadline = core.next_deadline()
        if deadline is not None and deadline <= now.seconds:
            core.elapsed(now)
        append = core.take_append(now)
        if append is not None:
            self.append(append, now)
        for topic, frame in core.take_broadcasts(now):
            self._broadcast(topic, frame)
        while core.answer(()):
            pass
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

    def append(self, append: Append, now: Instant) -> None:
        """To the log; the core is told once it is kept."""
        self.log.append(append, lambda error: self._finish_later(lambda now: self.core.committed(error, now)))

    def _finish_later(self, finished: Finished) -> None:
        if self.is_alive:
            self._finished.append(finished)
            self.wake()

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
            self.receive(name, frame, now)
        return True

    def receive(self, name: bytes, frame: bytes, now: Instant) -> None:
        """A frame for the core."""
        session = self.core.registry.of(name)
        message = wire.decode_client(frame)
        if session is not None and isinstance(message, wire.Publish) and message.seq <= session.last_seq:
            self._world.counts["repeats"] += 1
        self.core.received(name, frame, now)

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
            self._world.note("reply", name, frame)
            self._look_at(frame)
            for said in lies.replies(self._world, frame, self.log.lie_of):
                connection.to_client.send(said)

    def _look_at(self, frame: bytes) -> None:
        """Nothing is told before it is true; and rare answers are counted."""
        reply = wire.decode_broker(frame)
        if isinstance(reply, wire.Ack):
            for _, first in reply.pairs:
                if first > self.log.memory.head() and not self.lies:
                    raise AssertionError(f"an ACK for {first} before its commit")
        elif isinstance(reply, wire.Welcome):
            self._world.counts["sessions resumed" if reply.resumed else "sessions begun"] += 1
        elif isinstance(reply, wire.HelloAgain):
            self._world.counts["hello asked for again"] += 1
        elif isinstance(reply, wire.Error):
            self._world.counts[f"refused {reply.code}"] += 1

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

    def _broadcast(self, topic: bytes, frame: bytes) -> None:
        world = self._world
        world.note("broadcast", topic, frame)
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
            pipe.send((topic, lies.broadcast(world, frame)))

    # --- readers ----------------------------------------------------------------------------

    def _read(self, read: Read) -> None:
        """On a reader thread."""
        if not self.is_alive:
            return
        request, took = read.request, self._world.random.uniform(0.0, 0.01)
        failed = self._world.chance(self._world.faults.read_failure)
        self._world.counts["reads failed"] += failed
        if isinstance(request, Lookup):
            session, why = request.session, "simulated" if failed else ""
            self._world.counts["repeats looked up"] += len(request.seqs)
            offsets = {seq: 0 if failed else whole(self.log.memory.find(session, seq)) for seq in request.seqs}

            def looked_up(_: Instant) -> None:
                if self.core.read_done(read, took):
                    for seq, offset in offsets.items():
                        self.core.found(session, seq, offset, why)

            self._finish_later(looked_up)
            return
        if failed:
            frame = wire.encode(wire.Error("request", request.request, "log-failed", "simulated"))
        else:
            frame = answer_read(self.log, request, self.core.settings.page_bytes_max)

        def answered(now: Instant) -> None:
            if self.core.read_done(read, took):
                self._send(read.connection, frame, now)

        self._finish_later(answered)
