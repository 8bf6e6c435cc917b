"""One run from one seed: brokers, logs and programs, what goes wrong, the calm after it, and the verdict.

    random phase: publish, listen, come, go, break …  ->  calm: no faults, all must converge  ->  the checker

Rules of this file
1. Each kind of step is a method, so that Hypothesis can take the same steps as the seeds do.
2. In the calm phase nothing new happens: whatever was not repaired by then is an anomaly.

A failure prints its seed; `python -m tests.simulation.run --seed N` replays it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from itertools import chain, count
from random import Random
from typing import NamedTuple

from tests.core.presence import who
from tests.simulation.brokers import SimulatedBroker
from tests.simulation.checker import INVALID, Verdict, check
from tests.simulation.history import (
    ACKED,
    MESSAGE,
    REFUSED,
    UNKNOWN,
    Begun,
    History,
    Item,
    Listening,
    Log,
    Record,
    Sent,
    Volatile,
)
from tests.simulation.logs import SimulatedLog
from tests.simulation.network import Faults, Port, World
from tests.simulation.programs import Hearing, Program, log_of, record_of
from zchat import wire
from zchat.core.client import READY
from zchat.core.engine import Engine
from zchat.core.log import RetentionRule
from zchat.core.ordering import LIVE, OrderedDelivery, Start
from zchat.core.publishing import IN_FLIGHT_FRAMES_MAX
from zchat.core.questions import EVERYTHING
from zchat.core.rooms import Feed
from zchat.core.session import LIVE as SESSION_LIVE
from zchat.message import messages
from zchat.names import inbox, room_of, user_key
from zchat.settings import Settings

ROOMS = ("a", "a.b", "a.c", "b", "b.x.y", "c")
OWN = "@"  # stands for the inbox of who listens
PATTERNS = (["a"], ["b"], ["a.b"], ["a.*"], ["**"], ["a.**", "b"], ["b.x.y", "c"], ["a", "b"], [OWN], ["a.**", OWN])
CURSORS = {"one": ("a",), "some": ("a.**", "b"), "own": ("b", OWN)}  # name -> patterns
USERS = ("ann", "bob", "eve")
INBOXES = tuple(inbox(user) for user in USERS)
PROGRAMS_MAX = 7
HEARINGS_MAX = 4  # of one program
EXCUSES = ("reads failed", "commits refused", "trims")  # for a stored publish that has no ACK in the end
CALM_SECONDS = 50.0  # longer than the clients take to compare heads
PATIENCE_SECONDS = 200.0


class Outcome(NamedTuple):
    """What a run ended with."""

    seed: int
    verdict: Verdict
    unsettled: list[str]
    counts: dict[str, int]
    trace: str
    options: str = ""  # of the command that runs it

    @property
    def is_good(self) -> bool:
        """Whether every promise was kept and everything converged."""
        return self.verdict.answer != INVALID and not self.unsettled

    def __str__(self) -> str:
        """What is wrong, and how to see it again."""
        lines = [f"seed {self.seed}: {self.verdict}", *(f"  unsettled: {each}" for each in self.unsettled)]
        return "\n".join([*lines, f"replay: python -m tests.simulation.run {self.options}--seed {self.seed}"])


class Simulation:
    """The world with its broker, logs and programs."""

    every_room: tuple[str, ...] = (*ROOMS, *INBOXES)
    options = ""  # see Outcome

    def __init__(
        self,
        seed: int,
        faults: Faults | None = None,
        settings: Settings | None = None,
        *,
        broker_type: type[SimulatedBroker] = SimulatedBroker,
        ordering_type: type[OrderedDelivery] = OrderedDelivery,
        engine_type: type[Engine] = Engine,
    ) -> None:
        self.world = World(seed, faults)
        self._broker_type = broker_type  # see sabotage.py
        self._ordering_type = ordering_type
        self._engine_type = engine_type
        self.seed = seed
        self.settings = settings or Settings(restart_grace_seconds=6.0, page_bytes_max=700, batch_bytes_max=400)
        self.port = Port()
        self.logs: dict[str, SimulatedLog] = {}
        self.programs: list[Program] = []
        self._broker_numbers = count(1)
        self._program_numbers = count(1)
        self._copy: SimulatedLog | None = None
        self._volatile: dict[str, list[Volatile]] = {}  # room -> as they were broadcast
        self.log = self._new_log()
        self.broker = self._start_broker()
        self._away: list[Program] = []

    def new_program(self) -> Program:
        """One more."""
        user, number = self.world.random.choice(USERS), next(self._program_numbers)
        types = self._ordering_type, self._engine_type
        program = Program(self.world, self.port, self.logs, user, number, *types)
        self.programs.append(program)
        return program

    # --- steps: programs --------------------------------------------------------------------

    def step_client_start(self) -> None:
        """A program begins."""
        if len(self.alive) < PROGRAMS_MAX:
            self.new_program()

    def step_session(self) -> None:
        """A program begins that has a session over another one's connection."""
        beside = self._someone()
        if beside is not None and len(self.alive) < PROGRAMS_MAX and beside.client.core.state == READY:
            user, number = self.world.random.choice(USERS), next(self._program_numbers)
            program = Program(
                self.world, self.port, self.logs, user, number, self._ordering_type, self._engine_type, beside
            )
            self.world.counts["sessions beside others"] += 1
            self.programs.append(program)

    def step_publish(self) -> None:
        """A few records."""
        program, random = self._someone(), self.world.random
        if program is not None:
            for _ in range(random.choice((1, 1, 1, 2, 5))):
                room = random.choice(INBOXES if random.random() < 0.2 else ROOMS)
                program.publish(room, random.choice((1, 1, 2, 4)), random.random() < 0.15)

    def step_listen(self) -> None:
        """From anywhere."""
        program, random = self._someone(), self.world.random
        if program is None or program.client.core.welcome is None:
            return
        if sum(not hearing.is_over for hearing in program.hearings) >= HEARINGS_MAX:
            return
        head = self._head_of(program)
        patterns = self.patterns_of(program, random.choice(PATTERNS))
        program.listen(patterns, self._somewhere(head[1]), random.random() < 0.5, head)

    def step_resume(self) -> None:
        """On from a cursor that no program that runs goes on from."""
        program = self._someone()
        if program is None or program.client.core.welcome is None:
            return
        cursor = self.world.random.choice(sorted(CURSORS))
        if not any(cursor in other.cursors for other in self.alive if other.user == program.user):
            head = self._head_of(program)
            program.listen(self.patterns_of(program, CURSORS[cursor]), self._somewhere(head[1]), False, head, cursor)

    def step_history(self) -> None:
        """Read what is stored."""
        program, random = self._someone(), self.world.random
        if program is None or program.client.core.welcome is None:
            return
        start = Start(after=random.randint(0, self._head_of(program)[1]) if random.random() < 0.5 else 0)
        patterns = self.patterns_of(program, random.choice(PATTERNS))
        program.read(patterns, start, random.choice((1, 5, wire.OFFSET_MAX, wire.OFFSET_MAX)))

    def step_unlisten(self) -> None:
        """One listener less."""
        hearing = self._some_hearing()
        if hearing is not None:
            hearing[0].unlisten(hearing[1])

    def step_join(self) -> None:
        """A room without listening, or out of it."""
        program = self._someone()
        if program is None or program.client.core.welcome is None:
            return
        room = self.world.random.choice((*self.rooms_of(program.user), inbox(program.user)))
        if program.joined[room] > 0:
            program.part(room)
        else:
            program.join(room)

    def step_client_kill(self) -> None:
        """A program dies."""
        program = self._someone()
        if program is not None:
            program.kill()

    def step_client_close(self) -> None:
        """A program ends."""
        program = self._someone()
        if program is not None:
            program.close()

    def step_client_away(self) -> None:
        """Its network is gone for a while, perhaps for longer than the grace time."""
        program = self._someone()
        if program is None or program in self._away:
            return
        seconds = self.world.random.choice((0.5, 2.0, 4.0, 9.0))
        self._away.append(program)
        self._reach(program, False)
        self.world.after(seconds, lambda: self._come_back(program))

    def step_listener_stall(self) -> None:
        """Its process stands still."""
        program = self._someone()
        if program is not None:
            program.client.stalled_until = self.world.seconds + self.world.random.uniform(0.5, 5.0)

    def step_consumer_pause(self) -> None:
        """It takes no more than it has, or goes on."""
        hearing = self._some_hearing()
        if hearing is not None:
            hearing[0].pause(hearing[1], not hearing[1].paused)

    # --- steps: the network -----------------------------------------------------------------

    def step_connection_reset(self) -> None:
        """One connection breaks."""
        connections = [socket.connection for program in self.alive for socket in program.client.sockets]
        found = [connection for connection in connections if connection is not None]
        if found:
            self.world.random.choice(found).cut()

    def step_connection_frozen(self) -> None:
        """Nothing passes; then all of it does, or it is given up, and what was in it arrives late."""
        program = self._someone()
        if program is None:
            return
        random = self.world.random
        for socket in program.client.sockets:
            connection = socket.connection
            if connection is None:
                continue
            seconds = random.uniform(0.1, 3.0)
            connection.freeze(seconds)
            if random.random() < 0.7:
                gives_up = random.uniform(0.0, seconds)
                late = random.uniform(0.0, 3.0)
                self.world.after(gives_up, lambda connection=connection, late=late: connection.cut(late))  # type: ignore[misc]

    # --- steps: the broker ------------------------------------------------------------------

    def step_broker_kill(self) -> None:
        """Killed with -9; it comes back."""
        if self.broker.is_alive:
            self.world.counts["broker kills"] += 1
            self.broker.kill()
            self._start_later()

    def step_broker_stop(self) -> None:
        """Stopped in good order; it comes back."""
        if self.broker.is_alive:
            self.broker.stop()
            self._start_later()

    def step_broker_stall(self) -> None:
        """Its process stands still."""
        if self.broker.is_alive:
            seconds = self.world.random.choice((0.3, 1.0, 4.0))
            self.broker.stall(seconds)
            self.port.stalled_until = self.world.seconds + seconds

    def step_damage(self) -> None:
        """A row of the log changes on disk."""
        if self.log.kept:
            batch = self.world.random.choice(self.log.kept)
            self.log.damaged[batch.base] = batch

    def step_other_log(self) -> None:
        """Killed, and its log is gone."""
        if self.broker.is_alive:
            self.broker.kill()
            self.log = self._new_log()
            self._start_later()

    def step_older_copy(self) -> None:
        """A copy of the log is made; or killed, and the copy is in the place of the log."""
        if self._copy is None:
            self._copy = self.log.restored(0, 0)
        elif self.broker.is_alive:
            self.world.counts["older copies"] += 1
            self.broker.kill()
            self.log, self._copy = self._new_log(self._copy), None
            self._start_later()

    def step_trim(self) -> None:
        """Old records go."""
        self.log.trim([RetentionRule("**", records=self.world.random.randint(1, 30))], self.world.now.micros)

    def step_clock_jump(self) -> None:
        """The wall clock is set."""
        self.world.counts["clock jumps"] += 1
        self.world.wall_shift += self.world.random.choice((-3600, -5, 5, 3600)) * 1_000_000

    # --- running ----------------------------------------------------------------------------

    def run(self, steps: int) -> None:
        """The random phase."""
        kinds, weights = self._weights()
        for _ in range(2):
            self.step_client_start()
        self.world.run(0.1)
        for _ in range(steps):
            self.world.run(self.world.random.expovariate(25.0))
            (kind,) = self.world.random.choices(kinds, weights)
            self.world.note("step", kind)
            self._step(kind)()

    def calm(self) -> list[str]:
        """No more faults. Returns what is not settled in the end."""
        world = self.world
        world.faults = Faults()
        for program in self.alive:
            self._reach(program, True)
            program.client.stalled_until = 0.0
            program.client.wake()
            for hearing in program.hearings:
                if hearing.paused:
                    program.pause(hearing, False)
        world.run(CALM_SECONDS)
        until = world.seconds + PATIENCE_SECONDS
        while (unsettled := self.unsettled()) and world.seconds < until:
            world.run(5.0)
        return unsettled

    def finish(self) -> Outcome:
        """Calm down, check everything."""
        unsettled = self.calm()
        verdict = check(self.history())
        return Outcome(self.seed, verdict, unsettled, dict(self.world.counts), self.world.trace, self.options)

    def unsettled(self) -> list[str]:
        """What is still outstanding, or not as it should be."""
        found = []
        broker = self.broker
        if not broker.is_alive:
            return ["no broker"]
        if broker.core.is_committing or broker.core.gathered_bytes:
            found.append("the broker has something to commit")
        for program in self.alive:
            core = program.client.core
            if core.state != READY or not program.client.is_idle:
                found.append(f"{program.name} is {core.state}, idle: {program.client.is_idle}")
            unacked, requests = list(core._publishing._unacked), list(core._requests)
            if unacked or requests:
                found.append(f"{program.name} waits for {unacked} {requests}")
            if program.running:
                found.append(f"{program.name} has steps to take")
            for hearing in program.hearings:
                ordering = hearing.listener.ordering
                if not hearing.is_over and (told := self._cursor_trouble(program, hearing)):
                    found.append(told)
                if not hearing.is_over and (ordering.state != LIVE or not ordering.is_synced or hearing.log is None):
                    found.append(
                        f"{hearing.name} is {ordering.state}, synced: {ordering.is_synced}, log: {hearing.log}"
                    )
        counts = self.world.counts
        if len(self.logs) == 1 and not any(counts[excuse] for excuse in EXCUSES):
            for program in self.alive:
                unknown = [sent.number for sent in program.sent() if sent.outcome != ACKED and not sent.volatile]
                if unknown:
                    found.append(f"{program.name} has no ACK for {unknown}")
        members, there = self._members(), self._there()
        for room in sorted(members.keys() | there.keys()):
            if members.get(room, set()) != there.get(room, set()):
                found.append(f"who {room}: {members.get(room)}, and there are {there.get(room)}")
        return found

    def _cursor_trouble(self, program: Program, hearing: Hearing) -> str:
        """Why its cursor, or what the broker knows of it, is not where it is."""
        listener, session = hearing.listener, program.client.core.welcome
        lags = {m.session: m.lag for part in self.broker.core._questions.who("", True, EVERYTHING) for m in part}
        if session is not None and lags.get(session.session, 0) > 0:
            return f"{program.name} lags by {lags[session.session]}"
        progress = listener.progress
        log, wanted = progress.wanted
        if not progress.cursor or log != listener.ordering.logs or not wanted:
            return ""
        keys = {(row.user, row.name): row.offset for row in self.log.memory.cursors()}
        stored = keys.get((user_key(program.user), progress.cursor))
        return (
            "" if stored == progress.wanted[1] else f"{hearing.name}'s cursor is at {stored}, not {progress.wanted[1]}"
        )

    def wrong(self) -> list[str]:
        """What must hold at any time and does not."""
        found = [str(anomaly) for anomaly in check(self.history(ended=False)).anomalies]
        broker = self.broker
        if broker.is_alive:
            head, sessions = self.log.memory.head(), [*broker.core.registry._sessions.values()]
            if broker.core.head > head:
                found.append(f"the broker's head is {broker.core.head}, its log's {head}")
            for session in sessions:
                if (session.state == SESSION_LIVE) != bool(session.connection):
                    found.append(f"session {session.id} is {session.state} on {session.connection!r}")
                found.extend(
                    f"session {session.id} is in {room}, who does not say so"
                    for room in session.rooms
                    if session.id not in {member.session for member in who(broker.core.registry, room)}
                )
        for program in self.alive:
            if len(program.client.core._publishing._unacked) > IN_FLIGHT_FRAMES_MAX:
                found.append(f"{program.name} has too much in flight")
        return found

    @property
    def alive(self) -> list[Program]:
        """Programs that run."""
        return [program for program in self.programs if program.client.is_alive]

    # --- history ----------------------------------------------------------------------------

    def history(self, *, ended: bool = True) -> History:
        """Of all that happened so far; in the end nothing is outstanding any more."""
        sent: Iterator[Sent] = chain((sent for program in self.programs for sent in program.sent()), self.more_sent())
        if self.world.counts[
            "older copies"
        ]:  # what the log that is gone had is refused by the copy, and nobody can know
            sent = iter([each._replace(outcome=UNKNOWN) if each.outcome == REFUSED else each for each in sent])
        logs = (self._history_of_log(log, ended) for log in self.logs.values())
        listeners = (
            self._history_of(program, hearing, ended)
            for program in self.programs
            for hearing in program.hearings
            if hearing.log is not None
        )
        readings = (
            Listening(reading.name, self.heard_by(program, reading.patterns), False, reading.items, False)
            for program in self.programs
            for reading in program.readings
        )
        return History(sent, logs, chain(listeners, readings), self._volatile)

    def more_sent(self) -> Iterator[Sent]:
        """What comes into the logs by other ways: see tasked.py."""
        return iter(())

    # --- rights: see ruled.py ---------------------------------------------------------------

    def patterns_of(self, program: Program, patterns: Sequence[str]) -> list[str]:
        """What it listens to."""
        return [inbox(program.user) if pattern == OWN else pattern for pattern in patterns]

    def rooms_of(self, user: str) -> Sequence[str]:
        """Rooms that the user may read."""
        return ROOMS

    def heard_by(self, program: Program, patterns: Sequence[str]) -> tuple[str, ...]:
        """What it is owed where it listens to these."""
        return tuple(patterns)

    def _history_of_log(self, log: SimulatedLog, ended: bool) -> Log:
        members = self._members() if ended and log is self.log else None
        crowded = frozenset(self.every_room if self.settings.crowd_members < PROGRAMS_MAX else ())
        return Log(log.name, records_of(log), log.gone(), members, crowded)

    def _history_of(self, program: Program, hearing: Hearing, ended: bool) -> Listening:
        complete = ended and program.client.is_alive and not hearing.is_over and not program.is_closing
        return Listening(
            hearing.name,
            self.heard_by(program, hearing.listener.patterns),
            hearing.presence,
            self._items(hearing),
            complete,
        )

    def _items(self, hearing: Hearing) -> Iterator[Item]:
        for item in hearing.items:
            if isinstance(item, Begun) and item.after < 0:
                yield item._replace(after=self.logs[item.log].before(1 - item.after))
            else:
                yield item

    # --- parts ------------------------------------------------------------------------------

    def _weights(self) -> tuple[list[str], list[float]]:
        weights = {"publish": 6.0, "listen": 0.6, "resume": 0.4, "history": 0.3, "join": 0.3, "session": 0.3}
        weights.update({field.name: getattr(self.world.faults, field.name) for field in fields(Faults)})
        kinds = [kind for kind in weights if hasattr(self, f"step_{kind}") and weights[kind] > 0.0]
        return kinds, [weights[kind] for kind in kinds]

    def _step(self, kind: str) -> Callable[[], None]:
        step: Callable[[], None] = getattr(self, f"step_{kind}")
        return step

    def _head_of(self, program: Program) -> tuple[str, int]:
        """The log that the program knows, and how far its broker has told of it."""
        welcome = program.client.core.welcome
        assert welcome is not None, "it was connected"
        name = log_of(welcome)
        head = self.logs[name].memory.head()
        return name, min(head, self.broker.core.head) if self.broker.is_alive else head

    def _somewhere(self, head: int) -> Start:
        """Where a listener begins."""
        random = self.world.random
        match random.randint(0, 4):
            case 0:
                return Start(after=random.randint(0, head))
            case 1:
                return Start(last=random.randint(1, 12))
            case 2:
                return Start(since=self.world.now.micros - random.randint(0, 10_000_000))
        return Start()

    def _someone(self) -> Program | None:
        found = [program for program in self.alive if not program.is_closing]
        return self.world.random.choice(found) if found else None

    def _some_hearing(self) -> tuple[Program, Hearing] | None:
        found = [
            (program, hearing)
            for program in self.alive
            for hearing in program.hearings
            if hearing.is_open and not hearing.is_over and not program.is_closing
        ]
        return self.world.random.choice(found) if found else None

    def _reach(self, program: Program, reachable: bool) -> None:
        program.client.is_reachable = reachable

    def _come_back(self, program: Program) -> None:
        if program in self._away:
            self._away.remove(program)
            self._reach(program, True)

    def _new_log(self, copy: SimulatedLog | None = None) -> SimulatedLog:
        latest = max((log.memory.last_time() for log in self.logs.values()), default=0)
        begun, number = max(latest, self.world.micros_max), len(self.logs) + 1
        log = SimulatedLog(self.world, number, begun) if copy is None else copy.restored(number, begun)
        self.logs[log.name] = log
        return log

    def _start_broker(self) -> SimulatedBroker:
        number = next(self._broker_numbers)
        broker = self._broker_type(self.world, self.port, self.log, self.settings, number)
        core, broadcast = broker.core, broker.core._broadcast

        def noted(feed: Feed, frame: bytes) -> None:
            self._note_volatile(number, feed.topic, frame)
            broadcast(feed, frame)

        core._broadcast = noted  # type: ignore[method-assign]
        return broker

    def _note_volatile(self, broker: int, topic: bytes, frame: bytes) -> None:
        """What is broadcast, for the checker: counted by itself."""
        if frame[1:2] != bytes([wire.VOLATILE_MESSAGES]):
            return
        for message in messages(room_of(topic), wire.decode_batch(frame), 0):
            writer, number, _ = message.body.decode().split(":")
            self._volatile.setdefault(message.room, []).append(Volatile(broker, writer, int(number)))

    def _start_later(self) -> None:
        def start() -> None:
            if self.broker.is_alive:  # it still takes its leave
                self.world.after(0.5, start)
            else:
                self.port.stalled_until = 0.0
                self.broker = self._start_broker()

        self.world.after(self.world.random.choice((0.05, 0.3, 1.0, 4.0)), start)

    def _members(self) -> dict[str, set[str]]:
        registry = self.broker.core.registry
        rooms = [room for room in self.every_room if registry.members(room)]
        return {room: {member.session for member in who(registry, room)} for room in rooms}

    def _there(self) -> dict[str, set[str]]:
        there: dict[str, set[str]] = {}
        for program in self.alive:
            for room in program.rooms:
                welcome = program.client.core.welcome
                there.setdefault(room, set()).add(welcome.session if welcome else "?")
        return there


def records_of(log: SimulatedLog) -> Iterator[Record]:
    """Everything that a log ever kept."""
    for stored in log.kept:
        batch = wire.decode_batch(stored.frame)
        offset = batch.base
        for entry in batch.entries:
            for record in entry.records:
                event, body = (MESSAGE, record) if isinstance(record, bytes) else (record.event, record.body)
                yield record_of(stored.room, offset, event, body, entry.session)
                offset += 1


def drawn_faults(seed: int) -> Faults:
    """A swarm: each seed has some of the faults, in a strength of its own."""
    random = Random(seed)
    faults = Faults(delay_mean_ms=random.choice((0.2, 1.0, 20.0)), commit_mean_ms=random.choice((0.3, 2.0, 30.0)))
    share = random.choice((0.2, 0.5, 0.5, 0.9))
    for name, strengths in STRENGTHS.items():
        if random.random() < share:
            setattr(faults, name, random.choice(strengths))
    faults.client_start = random.choice((0.2, 0.5))
    if random.random() < LIARS:
        for name, strengths in LIES.items():
            setattr(faults, name, random.choice((0.0, *strengths)))
    return faults


STRENGTHS: dict[str, tuple[float, ...]] = {
    "pub_loss": (0.02, 0.2),
    "reply_loss": (0.02, 0.2),
    "hello_doubled": (0.3,),
    "commit_failure": (0.02, 0.2),
    "commit_stall": (0.01, 0.05),
    "read_failure": (0.05, 0.3),
    "turn_held": (0.02, 0.1),
    "turn_late": (0.02, 0.1),
    "connection_reset": (0.1, 0.6),
    "connection_frozen": (0.1, 0.4),
    "broker_kill": (0.05, 0.2),
    "broker_stop": (0.05,),
    "broker_stall": (0.05, 0.2),
    "other_log": (0.03,),
    "older_copy": (0.06, 0.2),
    "trim": (0.1,),
    "damage": (0.1,),
    "clock_jump": (0.1,),
    "client_kill": (0.05, 0.2),
    "client_close": (0.1,),
    "client_away": (0.1, 0.3),
    "listener_stall": (0.1, 0.3),
    "consumer_pause": (0.2,),
    "unlisten": (0.1, 0.4),
}
"""What each fault may be drawn as."""

LIARS = 0.4  # of the seeds have a broker that lies
LIES: dict[str, tuple[float, ...]] = {
    "lie_kind": (0.05, 0.3),
    "lie_page": (0.05, 0.3),
    "lie_damage": (0.02, 0.2),
    "lie_hello_again": (0.005, 0.05),
}
"""The same of its lies."""


def drawn_settings(seed: int) -> Settings:
    """Small bounds, so that each is reached."""
    random = Random(seed)
    return Settings(
        restart_grace_seconds=random.choice((2.0, 6.0)),
        grace_seconds=random.choice((0.5, 3.0)),
        crowd_members=random.choice((1_000, 1_000, 2)),
        page_bytes_max=random.choice((300, 700, 100_000)),
        batch_bytes_max=random.choice((100, 400, 100_000)),
        connection_reads_max=random.choice((2, 32)),
        watermark_first_seconds=random.choice((0.3, 1.0)),
    )


def simulate(
    seed: int,
    steps: int = 300,
    *,
    broker_type: type[SimulatedBroker] = SimulatedBroker,
    ordering_type: type[OrderedDelivery] = OrderedDelivery,
    engine_type: type[Engine] = Engine,
) -> Outcome:
    """One whole run."""
    simulation = Simulation(
        seed,
        drawn_faults(seed),
        drawn_settings(seed),
        broker_type=broker_type,
        ordering_type=ordering_type,
        engine_type=engine_type,
    )
    simulation.run(steps)
    return simulation.finish()
