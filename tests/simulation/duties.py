"""What programs of the simulation do besides talking: work in groups, serve and ask, and have messages sent later.

Rules of this file
1. Each is a face, as programs.py is: it carries out the core's steps. What a consumer of jobs does is the shipped
   `JobIntake`.
2. A program may be good at it, or not: it takes long, says no, forgets to say what became of a job, fails a request.
3. What it was told becomes history, for tasks.py.
"""

from __future__ import annotations

from math import inf
from queue import Empty

from tests.simulation.history import REFUSED, UNKNOWN, Sent, digest
from tests.simulation.programs import Program, Running
from tests.simulation.tasks import Asked, Taken
from zchat import wire
from zchat.core import Instant
from zchat.core.answers import AllReplies, given
from zchat.core.client import CLOSED, READY
from zchat.core.client_session import SessionCore
from zchat.core.deliveries import Start
from zchat.core.group_opening import GroupBounds, GroupOpening
from zchat.core.steps import Ask, CallServers, ServeNoMore, ServeRoom, Steps, done
from zchat.core.working import GroupWorker, Receiver
from zchat.errors import Closed, Refused, ZchatError
from zchat.message import Job
from zchat.sockets.incoming import Incoming
from zchat.sockets.job_intake import JobIntake
from zchat.wire.records import RecordOrBody
from zchat.work import call_of, replies_of, said_of, served_of

AGAIN_SECONDS = 0.4  # what failed is tried again
FAILED = "on purpose"


def open_record(room: str, record: RecordOrBody, size: int) -> tuple[RecordOrBody, int]:
    """No room is sealed here."""
    return record, size


class Link:
    """What a consumer of jobs needs of a client: see `zchat.sockets.link.Link`."""

    broke = None
    broker_time = 0
    opens = None

    def __init__(self, program: Program) -> None:
        self._program = program
        self.user = program.user
        self.later = program.client.engine.later

    @property
    def state(self) -> str:
        """Of its session."""
        return self._program.client.core.state

    @property
    def is_ready(self) -> bool:
        """Whether the broker is there."""
        return self.state == READY


class Holding:
    """One job in the hand of a member."""

    def __init__(self, member: Member, job: Job) -> None:
        self.member = member
        self.offset, self.deliveries = job.offset, job.deliveries
        self.begin, self.end = 0.0, inf  # since the broker handed it out
        self.session = ""  # to which it was handed
        self.is_done = self.is_settled = self.is_forgotten = False

    def ends(self, seconds: float) -> None:
        """Another one may have it from then on."""
        self.end = min(self.end, seconds)

    def taken(self) -> Taken:
        """For the checker."""
        who = f"{self.member.program.name} {self.session}"
        return Taken(self.offset, self.deliveries, self.begin, self.end, self.is_done, self.is_forgotten, who)


class Member:
    """Takes part in a group, one job after the other."""

    def __init__(self, program: Program, room: str, group: str, bounds: GroupBounds, *, is_good: bool) -> None:
        self.program = program
        self.room = room
        self.group = group
        self.bounds = bounds
        self.is_good = is_good  # does each job, and says so
        self.is_over = False
        self.sessions: set[str] = set()  # that it had
        self.holdings: list[Holding] = []
        self.settled: dict[int, float] = {}  # offset -> when it said last what became of it, however often it has it
        self.worker: GroupWorker | None = None
        self._intake: JobIntake | None = None
        self._opening: Running | None = None
        self._is_busy = False
        program.after_turn.append(self._look)
        self._open()

    @property
    def is_there(self) -> bool:
        """Whether it goes on."""
        return self.program.client.is_alive and not self.program.is_closing and not self.is_over

    def leave(self) -> None:
        """As `Subscription.close`; or it is over before it began."""
        self.is_over = True
        if self._opening is not None:
            self.program.drop(self._opening)
        if self.worker is not None:
            self._close(self.worker)

    # --- parts ------------------------------------------------------------------------------

    def _open(self) -> None:
        if not self.is_there:
            return
        core = self.program.client.core
        if core.state != READY:
            self.program.world.after(AGAIN_SECONDS, self._open)
            return
        opening = GroupOpening(self.room, self.group, Start(after=0), self.bounds, joins=True)
        number = core.working.next_number()
        self._opening = self.program.run(opening.steps(number), lambda worker: None, self._failed, self._listen)

    def _listen(self, worker: Receiver) -> None:
        assert isinstance(worker, GroupWorker), "it is of a group"
        incoming = Incoming(lambda paused: None, lambda: None)
        self.worker = worker
        self._intake = JobIntake(Link(self.program), worker, incoming, follows=False)  # type: ignore[arg-type]
        self.program.client.engine.consumers[worker] = incoming

    def _failed(self, error: ZchatError) -> None:
        self.program.world.counts["members refused"] += 1
        if self.worker is not None:
            self._close(self.worker)
        self.worker = self._intake = None
        self.program.world.after(AGAIN_SECONDS, self._open)

    def _close(self, worker: GroupWorker) -> None:
        assert self._intake is not None, "it listens"
        steps = self._intake.close(counts=True)
        for holding in self.holdings:  # it goes back, as if it had never been handed out
            if not holding.is_settled:
                holding.ends(self.program.world.seconds)
                holding.is_forgotten = True
        if steps is None:
            self._forget(worker)
        else:
            self.program.run(steps, lambda _: self._forget(worker), lambda _: self._forget(worker))

    def _forget(self, worker: GroupWorker) -> None:
        def end(core: SessionCore, now: Instant) -> None:
            core.unlisten(worker, now)
            self.program.client.engine.consumers.pop(worker, None)
            if worker.is_joined:
                self.program.wanted.subtract(worker.rooms)
                core.part(worker.rooms, now)

        self.program.client.engine.later(end)

    def _look(self) -> None:
        """A turn is over."""
        welcome = self.program.client.core.welcome
        if welcome is not None:
            self.sessions.add(welcome.session)
        intake = self._intake
        if intake is not None and not self._is_busy and (intake.buffer or intake.incoming.has_some()):
            self._is_busy = True
            self.program.world.after(self.program.world.random.uniform(0.0, 0.02), self._work)

    def _work(self) -> None:
        intake, world = self._intake, self.program.world
        if intake is None or not self.is_there:
            return
        if self.program.client.stalled_until > world.seconds:  # its process stands still
            world.after(self.program.client.stalled_until - world.seconds, self._work)
            return
        intake.asks()
        while not intake.buffer:
            try:
                intake.take(intake.incoming.take())
            except Empty:
                self._is_busy = False
                return
        job = intake.buffer.popleft()
        assert isinstance(job, Job), "it is of a group"
        holding = Holding(self, job)
        self.holdings.append(holding)
        self.taken(holding)
        self._do(job, holding)

    def taken(self, holding: Holding) -> None:
        """Who watches looks where it comes from."""

    def _do(self, job: Job, holding: Holding) -> None:
        world = self.program.world
        draw = world.random.random()
        if self.is_good or draw < 0.75:
            world.after(world.random.expovariate(20.0), lambda: self._settle(job, holding, None))
        elif draw < 0.85:
            delay = world.random.choice((0.0, 0.0, 1.0))
            world.after(world.random.expovariate(20.0), lambda: self._settle(job, holding, delay))
        elif draw < 0.95:  # too late
            wait = self.bounds.ack_wait / 1000 * world.random.uniform(0.9, 1.5)
            world.after(wait, lambda: self._settle(job, holding, None))
        else:  # it forgets
            world.counts["jobs forgotten"] += 1
            self._work()

    def _settle(self, job: Job, holding: Holding, delay: float | None) -> None:
        client, world = self.program.client, self.program.world
        if not self.is_there:
            return
        if client.stalled_until > world.seconds:
            world.after(client.stalled_until - world.seconds, lambda: self._settle(job, holding, delay))
            return
        try:
            if delay is None:
                job.ack()
            else:
                job.nack(delay)
        except Closed:  # it was refused to take part meanwhile
            return
        holding.is_done |= delay is None
        self.settled[job.offset] = world.seconds
        for other in self.holdings:
            if other.offset == job.offset:
                other.ends(world.seconds)
        holding.is_settled = True
        holding.ends(world.seconds)
        self._work()


class Server:
    """Serves a room: the reply is what was said, turned round."""

    def __init__(self, program: Program, room: str, handled: list[bytes], *, is_good: bool) -> None:
        self.program = program
        self.is_good = is_good
        self.is_over = False
        self._room = room
        self._handled = handled
        world, core = program.world, program.client.core
        group = world.random.choice((None, "left", "right"))
        number = core.calling.next_number()
        self._server = served_of(number, room, group, world.random.choice((1, 4)), self._put)
        self._opening = program.run(done(ServeRoom(self._server)), lambda _: None, self._failed)

    @property
    def is_there(self) -> bool:
        """Whether it goes on."""
        return self.program.client.is_alive and not self.program.is_closing and not self.is_over

    def leave(self) -> None:
        """As `Service.close`; or it is over before it began."""
        self.is_over = True
        self.program.drop(self._opening)
        self.program.run(done(ServeNoMore(self._server)), lambda _: None, lambda error: None)

    def _failed(self, error: ZchatError) -> None:
        self.is_over = True

    def _put(self, called: wire.Called | None) -> None:
        if called is None:
            return
        record: RecordOrBody = wire.decode_record(called.record)
        body, world = record if isinstance(record, bytes) else record.body, self.program.world
        self._handled.append(body)
        is_slow = not self.is_good and world.chance(0.1)
        seconds = world.random.uniform(1.0, 3.0) if is_slow else world.random.expovariate(50.0)
        world.after(seconds, lambda: self._do(called, body))

    def _do(self, called: wire.Called, body: bytes) -> None:
        client, world = self.program.client, self.program.world
        if not client.is_alive or client.core.state == CLOSED:
            return
        if client.stalled_until > world.seconds:
            world.after(client.stalled_until - world.seconds, lambda: self._do(called, body))
            return
        error = FAILED if body.startswith(b"fail") else ""
        reply = said_of(b"" if error else body[::-1], self._room, open_record)
        client.engine.later(lambda core, now: core.calling.reply(core, called, reply, error))


class Asker:
    """One request."""

    def __init__(self, program: Program, room: str, body: bytes, timeout: float, replies: int, *, retry: bool) -> None:
        self.program = program
        self.body = body
        self.timeout = timeout
        self.may_be_done_twice = retry or replies > 1
        self.seconds: float | None = None
        self.error = ""
        self.is_right = False
        self._began = program.world.seconds
        self._call = call_of(room, body, "message", None, timeout, replies, retry, open_record)
        self._running = program.run(self._steps(), self._done, self._failed)
        program.world.after(timeout, self._late)

    def asked(self, handled: list[bytes]) -> Asked:
        """For the checker."""
        times, what = handled.count(self.body), self.body.decode()
        return Asked(what, self.timeout, self.seconds, self.error, self.is_right, times, self.may_be_done_twice)

    def _steps(self) -> Steps[list[wire.Replied]]:
        return given((yield CallServers(self._call)), AllReplies).replies

    def _done(self, replies: list[wire.Replied]) -> None:
        try:
            came = [message.body for message in replies_of(self._call, replies, None)]
        except ZchatError as error:
            self._failed(error)
        else:
            self._end("", is_right=all(body == self.body[::-1] for body in came))

    def _failed(self, error: ZchatError) -> None:
        code = error.code if isinstance(error, Refused) else type(error).__name__
        is_meant = code == "server-failed" and (self.body.startswith(b"fail") or "gone" in str(error))
        self._end("" if is_meant else code, is_right=is_meant)

    def _late(self) -> None:
        """Nobody waits for it any more."""
        if self.seconds is not None:
            return

        def forget(core: SessionCore, now: Instant) -> None:
            came = core.calling.forget(core, self._call.request)
            self.program.drop(self._running)
            if self.seconds is None and came:
                self._done(came)
            elif self.seconds is None:
                self._end("timed-out", is_right=False)
                self.seconds = self.timeout  # a process that stands still forgets it later

        self.program.client.engine.later(forget)

    def _end(self, error: str, *, is_right: bool) -> None:
        if self.seconds is None:
            self.seconds, self.error, self.is_right = self.program.world.seconds - self._began, error, is_right


class Plan:
    """One message that is to be sent later, and perhaps taken back."""

    def __init__(self, program: Program, number: int, room: str, seconds: float, *, by_delay: bool) -> None:
        world = program.world
        self.program = program
        self.room = room
        self.id = f"{program.name}x{number}"
        self.writer = f"{program.name}~later{number}"
        self.body = f"{self.writer}:1:{'x' * world.random.randint(0, 20)}".encode()
        self.by_delay = by_delay
        self.asked_at = world.seconds
        self.due = world.now.micros + round(seconds * 1e6)  # of its clock, or the broker's
        self.seconds = seconds
        self.outcome = UNKNOWN
        self.confirmed_at = self.cancel_asked = self.cancelled = inf
        records = wire.raw(wire.encode_records([self.body]))
        due, delay = (0, round(seconds * 1e6)) if by_delay else (self.due, 0)
        self._message = wire.Schedule(0, self.id, room, records, due, delay)
        program.run(done(Ask(self._message)), self._done, self._failed)

    def cancel(self) -> None:
        """Take it back."""
        self.cancel_asked = min(self.cancel_asked, self.program.world.seconds)

        def cancelled(_: None) -> None:
            self.cancelled = min(self.cancelled, self.program.world.seconds)
            self.program.world.counts["schedules taken back"] += 1

        self.program.run(done(Ask(wire.Cancel(0, self.id))), cancelled, lambda error: None)

    def sent(self) -> Sent:
        """For the checker: it comes into the log by itself."""
        return Sent(self.writer, 1, self.room, digest(self.body), self.outcome)

    def _done(self, _: None) -> None:
        self.confirmed_at = self.program.world.seconds

    def _failed(self, error: ZchatError) -> None:
        if isinstance(error, Refused) and error.definite:
            self.outcome = REFUSED
