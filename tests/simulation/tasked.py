"""The simulation with tasks: groups that share jobs, rooms that are served, and messages that are sent later.

    members, servers, askers, planners (duties.py)  ─►  what they were told, and what brokers said (BrokerWatch)
                                                    ─►  tasks.py, beside the checker of all else

Rules of this file
1. All that goes wrong in the other seeds goes wrong here, but for lies, and logs that are lost or go back: what a group
   has done in a log that is gone, nobody can say.
2. In the calm phase there is a good member for each group and a good server: then all is done in the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, count
from math import inf
from typing import Any

from tests.simulation.brokers import SimulatedBroker
from tests.simulation.checker import INVALID, Anomaly
from tests.simulation.duties import Asker, Holding, Member, Plan, Server
from tests.simulation.history import MESSAGE, UNKNOWN, Sent, digest
from tests.simulation.network import Faults, World
from tests.simulation.programs import Program
from tests.simulation.simulation import LIES, Outcome, Simulation, drawn_faults, drawn_settings, records_of
from tests.simulation.tasks import (
    DeadLetter,
    Given,
    Later,
    Listed,
    Promised,
    Started,
    dead_letters,
    handing_out,
    jobs,
    later,
    lists,
    requests,
)
from zchat import wire
from zchat.core import Instant
from zchat.core.channels import Endpoint
from zchat.core.client import READY
from zchat.core.group import DYING, WorkGroup
from zchat.core.group_member import GroupMember
from zchat.core.group_opening import GroupBounds
from zchat.core.session import Session
from zchat.core.steps import all_scheduled
from zchat.names import DEAD

JOBS = "jobs"
MOST = {"crew": 3, "log": 0}  # group -> how often a job is handed out at most
SERVED = "up"
LATER = "later"
WEIGHTS = {
    "jobs": 3.0,
    "member": 0.4,
    "member_leave": 0.1,
    "serve": 0.3,
    "serve_no_more": 0.1,
    "request": 2.0,
    "schedule": 1.0,
    "cancel": 0.4,
    "scheduled": 0.3,
}
DUE_SECONDS_MAX = 12.0
SLACK_SECONDS = 10.0  # a process that stands still looks at no clock


class BrokerWatch:
    """What one broker after the other says to members of groups, and what it is told of them."""

    def __init__(self, world: World, members: list[Member]) -> None:
        self.events: list[Given | Promised | Started] = []
        self._world = world
        self._members = members
        self._given: dict[tuple[str, int, int, int], float] = {}  # session, member, offset, deliveries -> when
        self._once_more: set[tuple[str, int, int, int]] = set()  # that a broker before had handed out, and forgot
        self._gone: dict[str, float] = {}  # session -> when
        self._claimed: set[tuple[str, int]] = set()  # since the broker's start
        self._broker: SimulatedBroker | None = None
        self._began = 0.0  # when that was started,
        self._known: list[tuple[float, Started]] = []  # and what each one knew when it was
        self._grace_over_at, self._in_time = inf, set[tuple[str, int]]()  # who had come back by then

    def starts(self, broker: SimulatedBroker, grace: float) -> None:
        """Watch it."""
        self._broker, groups = broker, broker.core.groups
        rows = {row.name: row for row in broker.log.memory.groups()}
        pending = {
            name: {offset: n for first, last, n in row.pending for offset in range(first, last + 1)}
            for name, row in rows.items()
        }
        started = Started({name: (row.upto, pending[name]) for name, row in rows.items()})
        self.events.append(started)
        self._claimed.clear()
        self._grace_over_at, self._in_time = inf, set()
        began = self._world.seconds
        self._began = began
        self._known.append((began, started))
        for holding in [each for member in self._members for each in member.holdings]:
            self._look_back(holding, began, started)
        self._world.after(grace, lambda: self._grace_over(broker, began))
        settling: dict[tuple[Endpoint, int], list[Promised]] = {}
        join, settle, left, deliver = groups.join, groups.settle, groups.left, groups._handing_out._deliver
        reply = broker.core.replies.reply

        def joined(session: Session, message: wire.JoinGroup, head: int, at: Instant) -> None:
            join(session, message, head, at)
            self._claimed.add((session.id, message.member))

        def settled(session: Session, message: wire.Settle, at: Instant) -> None:
            settling[session.connection, message.request] = [
                Promised(group.name, max(first, run.first), min(last, run.last))
                for group, member in groups._members.get(session.id, [])
                if member.number == message.member
                for first, last in message.acks
                for run in group._within(first, last)  # what is not pending is passed over
                if run.state != DYING
            ]
            settle(session, message, at)

        def has_left(session: Session, reason: str, at: Instant) -> None:
            self._gone[session.id] = self._world.seconds
            for holding in self._open():
                if holding.session == session.id:
                    holding.ends(self._world.seconds)
            left(session, reason, at)

        def delivered(group: WorkGroup, member: GroupMember, runs: list[Any]) -> None:
            for deliveries, raw in runs:
                batch = wire.decode_batch(raw)
                last = batch.base + sum(len(entry.records) for entry in batch.entries) - 1
                self.events.append(Given(group.name, batch.base, last, deliveries, self._world.seconds))
                self._world.counts["jobs handed out"] += last - batch.base + 1
                self._world.counts["jobs handed out again"] += (last - batch.base + 1) * (deliveries > 1)
                for offset in range(batch.base, last + 1):
                    job = member.session.id, member.number, offset, deliveries
                    if self._given.get(job, began) < began:
                        self._once_more.add(job)
                    self._given[job] = self._world.seconds
            deliver(group, member, runs)

        def replied(endpoint: Endpoint, message: wire.BrokerMessage) -> None:
            if isinstance(message, wire.Done):
                self.events.extend(settling.pop((endpoint, message.request), ()))
            reply(endpoint, message)

        vars(groups).update(join=joined, settle=settled, left=has_left)
        vars(groups._handing_out)["_deliver"] = delivered
        vars(broker.core.replies)["reply"] = replied

    def taken(self, holding: Holding) -> None:
        """A member has a job in its hand: until when nobody else may have it is known by whom it was handed to."""
        member = holding.member
        assert member.worker is not None, "it has a job"
        job = member.worker.number, holding.offset, holding.deliveries
        given = [(self._given[session, *job], session) for session in member.sessions if (session, *job) in self._given]
        assert given, "it was handed to somebody else"
        when, holding.session = max(given)
        holding.begin = when
        if member.settled.get(holding.offset, 0.0) > when:
            holding.ends(member.settled[holding.offset])
        if when < self._began:  # it was in its queue
            for began, started in self._known:
                if began > when:
                    self._look_back(holding, began, started)
            if (holding.session, member.worker.number) not in self._in_time:
                holding.ends(self._grace_over_at)
        if (holding.session, *job) in self._once_more:
            for before in member.holdings:
                if before is not holding and (before.offset, before.deliveries) == job[1:]:
                    before.is_forgotten = True
        holding.ends(when + member.bounds.ack_wait / 1000)
        holding.ends(self._gone.get(holding.session, inf))

    # --- parts ------------------------------------------------------------------------------

    def _look_back(self, holding: Holding, began: float, started: Started) -> None:
        """A broker that was killed may have handed it out without having written that down."""
        upto, pending = started.groups.get(holding.member.group, (0, {}))
        is_done = holding.offset <= upto and holding.offset not in pending
        if pending.get(holding.offset, 0) < holding.deliveries and not is_done and not holding.is_forgotten:
            holding.ends(began)
            holding.is_forgotten = True
            self._world.counts["jobs handed out and forgotten"] += 1

    def _open(self) -> Iterator[Holding]:
        now = self._world.seconds
        return (each for member in self._members for each in member.holdings if each.end > now)

    def _grace_over(self, broker: SimulatedBroker, began: float) -> None:
        """Who has not come back has what it had before no more."""
        if self._broker is not broker:
            return
        self._grace_over_at, self._in_time = self._world.seconds, set(self._claimed)
        for holding in self._open():
            worker, welcome = holding.member.worker, holding.member.program.client.core.welcome
            session = welcome.session if welcome is not None else ""
            if holding.begin < began and (worker is None or (session, worker.number) not in self._claimed):
                holding.ends(self._world.seconds)


class TaskedSimulation(Simulation):
    """The world, with tasks."""

    options = "--tasks "
    every_room = (*Simulation.every_room, JOBS)

    def __init__(self, seed: int, broker_type: type[SimulatedBroker] = SimulatedBroker, **types: Any) -> None:
        self.members: list[Member] = []
        self.servers: list[Server] = []
        self.askers: list[Asker] = []
        self.plans: list[Plan] = []
        self.listed: list[Listed] = []
        self.handled: list[bytes] = []
        self.is_calm = False
        self.watch: BrokerWatch | None = None
        self._numbers = count(1)
        super().__init__(seed, drawn_tasked_faults(seed), drawn_settings(seed), broker_type=broker_type, **types)

    # --- steps ------------------------------------------------------------------------------

    def step_jobs(self) -> None:
        """Some to do."""
        program = self._someone()
        if program is not None:
            program.publish(JOBS, self.world.random.choice((1, 1, 3, 6)), False)

    def step_member(self) -> None:
        """Somebody takes part in a group, perhaps for the second time."""
        program = self._connected()
        if program is not None and sum(member.is_there for member in self.members) < 5:
            self._take_part(program, self.world.random.choice(sorted(MOST)), is_good=self.world.random.random() < 0.4)

    def step_member_leave(self) -> None:
        """… and no more."""
        found = [member for member in self.members if member.is_there]
        if found:
            self.world.random.choice(found).leave()

    def step_serve(self) -> None:
        """Somebody answers."""
        program = self._connected()
        if program is not None and sum(server.is_there for server in self.servers) < 4:
            self.servers.append(Server(program, SERVED, self.handled, is_good=self.world.random.random() < 0.5))

    def step_serve_no_more(self) -> None:
        """… and no more."""
        found = [server for server in self.servers if server.is_there]
        if found:
            self.world.random.choice(found).leave()

    def step_request(self) -> None:
        """Somebody asks."""
        program, random = self._connected(), self.world.random
        if program is not None:
            replies = random.choice((1, 1, 1, 2, 3))
            self._ask(program, random.choice((0.3, 2.0)), replies, retry=random.random() < 0.4)

    def step_schedule(self) -> None:
        """A message for later."""
        program, random = self._connected(), self.world.random
        if program is not None:
            seconds = random.uniform(0.0, DUE_SECONDS_MAX)
            by_delay = random.random() < 0.5
            self.plans.append(Plan(program, next(self._numbers), LATER, seconds, by_delay=by_delay))

    def step_cancel(self) -> None:
        """… that is taken back, by who comes to it."""
        random = self.world.random
        found = [plan for plan in self.plans if plan.program.client.is_alive and not plan.program.is_closing]
        if found:
            random.choice(found[-8:]).cancel()

    def step_scheduled(self) -> None:
        """What is there to be sent?"""
        program = self._connected()
        if program is None:
            return
        begin, micros, plans = self.world.seconds, self.world.micros_max, list(self.plans)
        user = program.user

        def done(found: list[wire.ScheduledMessage]) -> None:
            names = frozenset(each.id for each in found)
            wanted = frozenset(
                plan.id
                for plan in plans
                if plan.program.user == user and plan.confirmed_at < begin and self._waits(plan)
            )
            assert micros <= self.world.micros_max
            self.listed.append(Listed(begin, names, wanted))
            self.world.counts["schedules listed"] += len(names)

        program.run(all_scheduled(), done, lambda error: None)

    # --- the end ----------------------------------------------------------------------------

    def calm(self) -> list[str]:
        """Somebody is there for all that is left."""
        self.is_calm = True
        self.world.faults = Faults()
        self.world.wall_shift += max(0, self.world.micros_max - self.world.now.micros)  # what is due is due soon
        program = self.new_program()
        for group in MOST:
            self._take_part(program, group, is_good=True)
        unsettled = super().calm()
        server = Server(program, SERVED, self.handled, is_good=True)
        self.world.run(5.0)
        asked = []
        for _ in range(3):
            asked.append(self._ask(program, 5.0, 1, retry=False))
            self.world.run(6.0)
        if not server.is_there or any(each.error or not each.is_right for each in asked):
            unsettled.append(f"requests in the end: {[(each.body, each.error) for each in asked]}")
        return unsettled

    def unsettled(self) -> list[str]:
        """Also what is not done, and not sent."""
        found = super().unsettled()
        if not self.broker.is_alive:
            return found
        rooms = self.broker.core.groups
        for part in rooms.listed("", "", lambda room: True):
            found += [f"group {each.name}: {each}" for each in part if each.low < each.last or each.out or each.waiting]
        waiting = self.broker.core._schedule._due
        return [*found, f"{len(waiting)} are scheduled"] if waiting else found

    def finish(self) -> Outcome:
        """Calm down, check everything."""
        outcome = super().finish()
        anomalies = self.wrong_tasks()
        outcome = outcome._replace(counts=dict(self.world.counts))
        if not anomalies:
            return outcome
        verdict = outcome.verdict
        verdict = verdict._replace(answer=INVALID, anomalies=[*verdict.anomalies, *anomalies])
        return outcome._replace(verdict=verdict)

    def wrong_tasks(self) -> list[Anomaly]:
        """What was promised of tasks, and is not so."""
        log, counts = self.log, self.world.counts
        records = [record for record in records_of(log) if record.event == MESSAGE]
        gone = log.gone()
        kept = {
            record.offset
            for record in records
            if record.room == JOBS
            and not any(gap.room == JOBS and gap.first <= record.offset <= gap.last for gap in gone)
        }
        letters = list(self._dead_letters())
        found: list[Anomaly] = []
        for group, most in MOST.items():
            holdings = [each for member in self.members if member.group == group for each in member.holdings]
            for each in holdings:
                if not each.member.program.client.is_alive:
                    each.ends(each.member.program.died_at)
            dead = {letter.offset for letter in letters if letter.group == group}
            counts[f"jobs done by {group}"] += sum(each.is_done for each in holdings)
            counts["dead letters"] += len(dead)
            is_there = any(member.group == group for member in self.members)
            found += jobs(kept - dead if is_there else set(), [each.taken() for each in holdings])
            found += [] if most else [Anomaly("early_dead", group, str(each)) for each in dead]
        assert self.watch is not None, "a broker was started"
        found += handing_out(self.watch.events, MOST) + dead_letters(letters, MOST)
        asked = [each for each in self.askers if each.program.client.is_alive and not each.program.is_closing]
        counts.update(f"requests: {each.error or 'replied'}" for each in asked)
        found += requests([each.asked(self.handled) for each in asked], SLACK_SECONDS)
        plans = [self._later(plan) for plan in self.plans]
        counts["schedules sent"] += sum(len(plan.sent) for plan in plans)
        return found + later(plans) + lists(self.listed, plans)

    def more_sent(self) -> Iterator[Sent]:
        """What is sent later, and dead letters."""
        letters = (
            Sent(f"{program.name}~{each.number}", 1, JOBS + DEAD, digest(each.body), UNKNOWN)
            for program in self.programs
            for each in program.written
            if each.room == JOBS
        )
        return chain((plan.sent() for plan in self.plans), letters)

    # --- parts ------------------------------------------------------------------------------

    def _take_part(self, program: Program, group: str, *, is_good: bool) -> None:
        random = self.world.random
        ack_wait = 30_000 if is_good else random.choice((1_000, 3_000, 30_000))
        bounds = GroupBounds(random.choice((1, 3, 8)), ack_wait, MOST[group])
        member = Member(program, JOBS, group, bounds, is_good=is_good)
        member.taken = self._taken  # type: ignore[method-assign]
        self.members.append(member)

    def _taken(self, holding: Holding) -> None:
        assert self.watch is not None, "a broker was started"
        self.watch.taken(holding)

    def _ask(self, program: Program, timeout: float, replies: int, *, retry: bool) -> Asker:
        kind = "fail" if not self.is_calm and self.world.random.random() < 0.1 else "ask"
        body = f"{kind} {program.name} {next(self._numbers)}".encode()
        self.askers.append(Asker(program, SERVED, body, timeout, replies, retry=retry))
        return self.askers[-1]

    def _waits(self, plan: Plan) -> bool:
        """Whether a broker that is asked now has to know it as not sent yet."""
        if plan.cancel_asked < inf or plan.due <= self.world.micros_max:
            return False
        return not plan.by_delay or not self.world.counts["clock jumps"]

    def _later(self, plan: Plan) -> Later:
        log, body = self.log, plan.body
        sent = [
            (log.kept_at[batch.base], batch.time)
            for batch in log.kept
            if batch.room == LATER
            for entry in wire.decode_batch(batch.frame).entries
            for record in entry.records
            if record == body
        ]
        is_early = not self.world.counts["clock jumps"] and any(micros < plan.due for _, micros in sent)
        due = inf if is_early else plan.asked_at
        times = tuple(seconds for seconds, _ in sent)
        # A SCHEDULE that is still on its way may come behind the CANCEL.
        cancelled = plan.cancelled if plan.confirmed_at <= plan.cancel_asked else inf
        return Later(plan.id, plan.confirmed_at < inf, due, times, plan.cancel_asked, cancelled)

    def _dead_letters(self) -> Iterator[DeadLetter]:
        for batch in self.log.kept:
            if batch.room == JOBS + DEAD:
                for entry in wire.decode_batch(batch.frame).entries:
                    for record in entry.records:
                        assert isinstance(record, wire.Record) and record.headers, "a dead letter has headers"
                        told = record.headers
                        yield DeadLetter(told["dead-group"], int(told["dead-offset"]), int(told["dead-deliveries"]))

    def _connected(self) -> Program | None:
        program = self._someone()
        return program if program is not None and program.client.core.state == READY else None

    def _start_broker(self) -> SimulatedBroker:
        broker = super()._start_broker()
        if self.watch is None:
            self.watch = BrokerWatch(self.world, self.members)
        self.watch.starts(broker, self.settings.restart_grace_seconds)
        return broker

    def _weights(self) -> tuple[list[str], list[float]]:
        kinds, weights = super()._weights()
        return [*kinds, *WEIGHTS], [*weights, *WEIGHTS.values()]


def drawn_tasked_faults(seed: int) -> Faults:
    """As of the other seeds, but for what makes another log, and lies."""
    return replace(drawn_faults(seed), other_log=0.0, older_copy=0.0, **dict.fromkeys(LIES, 0.0))


def simulate_tasked(
    seed: int, steps: int = 300, broker_type: type[SimulatedBroker] = SimulatedBroker, **types: Any
) -> Outcome:
    """One whole run."""
    simulation = TaskedSimulation(seed, broker_type, **types)
    simulation.run(steps)
    return simulation.finish()
