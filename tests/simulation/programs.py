"""Programs of the simulation: one client process each, which publishes, listens, comes and goes, and what it saw.

Rules of this file
1. A program is a face as zchat/client.py and zchat/subscription.py are: it carries out the core's steps, without a
   thread, and decides nothing.
2. What it was told becomes history; it looks at no state of a core but what its face looks at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from tests.simulation.clients import SimulatedClient, SimulatedSession
from tests.simulation.history import (
    ACKED,
    MESSAGE,
    REFUSED,
    UNKNOWN,
    Begun,
    Continued,
    Gap,
    Item,
    Lost,
    Reached,
    Record,
    Sent,
    digest,
)
from tests.simulation.logs import SimulatedLog
from tests.simulation.network import Port, World
from zchat import wire
from zchat.core import Instant
from zchat.core.answers import Answer
from zchat.core.client_session import READY, SessionCore
from zchat.core.engine import Engine
from zchat.core.history import History
from zchat.core.listener import Listener
from zchat.core.opening import Opening
from zchat.core.ordering import NEW, SEEKING, Delivery, Mark, Notice, OrderedDelivery, Start
from zchat.core.steps import Ask, BecomeMember, Listen, Step, Steps, begin
from zchat.core.working import Receiver
from zchat.errors import Closed, Refused, ZchatError
from zchat.message import messages
from zchat.names import DEAD
from zchat.sockets.publication import Publication

T = TypeVar("T")


class Written(NamedTuple):
    """One message on its way."""

    number: int
    room: str
    body: bytes
    publication: Publication
    volatile: bool


class Hearing:
    """One subscription of a program."""

    def __init__(self, program: Program, name: str, listener: Listener, start: Start, presence: bool) -> None:
        self.name = name
        self.listener = listener
        self.start = start
        self.presence = presence
        self.items: list[Item] = []
        self.log: SimulatedLog | None = None  # that its offsets are of; None until it has begun
        self.is_open = False  # `listen` has returned
        self.is_over = False  # unsubscribed, or refused
        self.asked_log = ""
        self.head = ("", 0)  # the log, and how far it was when the program asked
        self.paused = False
        self._untaken: list[Delivery | Notice | Mark] = []  # until it is open, nobody takes what has come
        self._wanted = (0, 0)  # where its cursor was to be last
        self._seeks = start.since is not None
        self._program = program

    def begin(self, log: SimulatedLog, head: int, logs: dict[str, SimulatedLog]) -> None:
        """`listen` returns: from here on nothing is missed."""
        self.log = log
        start = self.start
        if log.name != self.asked_log:  # the broker has another one meanwhile, in which that offset means nothing
            is_copy = self.asked_log in logs and logs[self.asked_log].memory.log_id == log.memory.log_id
            after = head if start.after is None else start.after if is_copy else 0
            self.items.append(Begun(log.name, after))
        elif start.after is not None:
            self.items.append(Begun(log.name, start.after, start.after))
        elif start.since is not None:
            self.items.append(Begun(log.name, min(head, log.before(start.since))))
        else:
            is_live = start == Start() and self.head[0] == log.name
            self.items.append(Begun(log.name, head, self.head[1] if is_live else 0))

    def go_on(self, log: SimulatedLog, after: int | None = None) -> None:
        """The broker has another log; a listener is owed what is younger than all that it can have seen before.
        Or it has an older copy: owed is what is above that offset."""
        if log is not self.log and after is not None:
            self.log = log
            self.items.append(Begun(log.name, after))
        elif log is not self.log:
            self.log = log
            self._seeks = True
            self.items.append(Begun(log.name, -log.begun_micros))  # an offset once the log has ended

    def continue_in(self, log: SimulatedLog) -> None:
        """The broker has an older copy, and nothing was told: it knows of nothing that is not in it."""
        if log is not self.log and self.log is not None and log.memory.log_id == self.log.memory.log_id:
            self.log = log
            self.items.append(Continued(log.name))

    waiting = 0  # it takes all at once

    def put(self, items: list[Delivery | Notice | Mark]) -> None:
        """What the engine delivers."""
        self._program.begin(self)
        self.take(items, self._program.logs, log_of(self._program.client.heard))

    def end(self) -> None:
        """The client has ended: nothing more comes."""

    def forked(self) -> None:
        """There are no processes here."""

    def take(self, out: list[Delivery | Notice | Mark], logs: dict[str, SimulatedLog], name: str) -> None:
        """What its ordering delivers."""
        if self.is_over:
            return
        self._program.world.note(self.name, out)
        if self.log is not None and self._seeks and self.listener.ordering.state not in (NEW, SEEKING):
            self._seeks = False
            self.items.extend(self.log.gone())  # where a time is in what was trimmed, nobody knows
        for item in out:
            self._take(item)
            if isinstance(item, Delivery):
                self.items.extend(records_of(item))
            elif isinstance(item, Mark):
                self.items.append(Reached(item.offset))
            else:
                self._program.world.counts[
                    f"notice {item.kind} {item.reason if item.kind == 'gap' else ''}".strip()
                ] += 1
                if item.kind == "gap" and item.reason == "log":
                    self.go_on(logs[name], item.offset - 1 if item.last else None)
                elif item.reason == "volatile":
                    self.items.append(Lost(item.room, item.records))
                elif item.kind == "gap":
                    self.items.append(Gap(item.room, item.offset, item.last))
        self._take(None)

    def opened(self) -> None:
        """`listen` returns."""
        self.is_open = True
        for item in self._untaken:
            self.listener.progress.asks()
            self.listener.progress.take(item)
        self._take(None)

    def _take(self, item: Delivery | Notice | Mark | None) -> None:
        """It asks for the next one: so its cursor moves, and nothing below it may be missing."""
        progress = self.listener.progress
        if not self.is_open:
            self._untaken += [item] if item is not None else []
            return
        progress.asks()
        if progress.cursor and progress.wanted != self._wanted and progress.wanted[0] == self.listener.ordering.logs:
            self._wanted = progress.wanted
            self.items.append(Reached(self._wanted[1]))
        if item is not None:
            progress.take(item)


class Reading:
    """What one program reads of history."""

    def __init__(self, program: Program, name: str, patterns: list[str], start: Start, limit: int) -> None:
        self.name = name
        self.patterns = patterns
        self.items: list[Item] = []
        self._program = program
        self._start = start
        self._is_limited = limit < wire.OFFSET_MAX
        self._history = History(patterns, start, False, limit)
        self._log: SimulatedLog | None = None
        self._has_changed = False

    def steps(self) -> Steps[None]:
        """As `Client.history`."""
        history, upto = self._history, 0
        while history.request is not None:
            if isinstance(history.request, wire.Fetch):
                upto = history.request.until
            asked = self._program.client.core.welcome
            answer = yield Ask(history.request)
            welcome = self._program.client.core.welcome
            assert asked is not None and welcome is not None, "it was connected"
            self._take(history.take(answer, asked, welcome), self._program.logs[log_of(welcome)])
        if not self._is_limited and upto and not self._has_changed:
            self.items.append(Reached(upto))
        self._program.world.counts["histories read"] += 1

    def _take(self, found: list[Delivery | Notice], log: SimulatedLog) -> None:
        if log is not self._log:
            self._has_changed = self._log is not None  # a log that went back may end before
            after = self._start.after or 0
            self.items.append(Continued(log.name) if self._log else Begun(log.name, after, after))
            self._log = log
        for item in found:
            if isinstance(item, Delivery):
                self.items.extend(records_of(item))
            else:
                self.items.append(Gap(item.room, item.offset, item.last))


class Running:
    """Steps that are under way."""

    def __init__(
        self,
        steps: Steps[T],
        done: Callable[[T], None],
        failed: Callable[[ZchatError], None],
        listen: Callable[[Receiver], None] | None,
    ) -> None:
        self.steps: Steps[Any] = steps
        self.done: Callable[[Any], None] = done
        self.failed = failed
        self.listen = listen or (lambda receiver: None)
        self.step: Step | None = None
        self.is_dropped = False
        self.number = 0  # of the request that it waits for,
        self.listener: Listener | None = None  # or the listener


class Program:
    """One client process and the program in it."""

    def __init__(
        self,
        world: World,
        port: Port,
        logs: dict[str, SimulatedLog],
        user: str,
        number: int,
        ordering_type: type[OrderedDelivery] = OrderedDelivery,  # see sabotage.py
        engine_type: type[Engine] = Engine,
        beside: Program | None = None,
    ) -> None:
        """`beside`: it has a session over the connection of that one's process; None: a process of its own."""
        self.world = world
        self.name = f"p{number}"
        self.user = user
        self._ordering_type = ordering_type
        self.client: SimulatedClient | SimulatedSession = (
            SimulatedClient(world, port, user, number, engine_type) if beside is None else beside.client.session(user)
        )
        self.client.told = self._told
        self.written: list[Written] = []
        self.hearings: list[Hearing] = []
        self.wanted: Counter[str] = Counter()  # rooms that it is to be in
        self.joined: Counter[str] = Counter()  # without listening
        self.readings: list[Reading] = []
        self.asked: dict[int, str] = {}  # JOIN of its own -> room
        self.cursors: set[str] = set()  # that it goes on from
        self.running: list[Running] = []
        self.after_turn: list[Callable[[], None]] = []  # what else it is to do then
        self.is_closing = False
        self.logs = logs

    # --- what it does -----------------------------------------------------------------------

    def publish(self, room: str, records: int, volatile: bool) -> None:
        """So many messages at once."""
        for _ in range(records):
            number = len(self.written) + 1
            body = f"{self.name}:{number}:{'x' * self.world.random.randint(0, 20)}".encode()
            record = body if number % 3 else wire.Record(body)
            publication = self.client.outbox.add(room, record, len(body), volatile)
            self.written.append(Written(number, room, body, publication, volatile))

    def listen(
        self, patterns: list[str], start: Start, presence: bool, head: tuple[str, int], cursor: str = ""
    ) -> None:
        """As `Client.listen`; it returns when `Hearing.is_open`. `head`: which log is how far now."""
        opening = Opening(patterns, start, presence, cursor, ordering=self._ordering_type)
        welcome = self.client.core.welcome
        assert welcome is not None, "it was connected"
        asked_log = log_of(welcome)
        opened: list[Hearing] = []
        if cursor:
            self.cursors.add(cursor)

        def listen(listener: Receiver) -> None:
            assert isinstance(listener, Listener), "it is of no group"
            hearing = Hearing(self, f"{self.name}/{len(self.hearings) + 1}", listener, opening.start, presence)
            hearing.head, hearing.asked_log = head, asked_log
            self.client.engine.consumers[listener] = hearing
            self.hearings.append(hearing)
            opened.append(hearing)

        def done(listener: Listener) -> None:
            (hearing,) = opened
            hearing.opened()
            if opening.start.after is not None and cursor:
                self.world.counts["cursors found"] += 1

        def failed(error: ZchatError) -> None:
            self.cursors.discard(cursor)
            for hearing in opened:
                self._leave(hearing)

        self.run(opening.steps(welcome), done, failed, listen)

    def unlisten(self, hearing: Hearing) -> None:
        """As `Subscription.close`."""
        hearing.is_over = True
        listener, progress = hearing.listener, hearing.listener.progress

        def done(_: None) -> None:
            self.world.counts["cursors stored at the end"] += 1
            hearing.items.append(Reached(progress.wanted[1]))
            self._leave(hearing)

        is_to_be_stored = progress.end(None, listener.ordering.logs)
        if is_to_be_stored and self.client.core.state == READY:
            self.run(progress.last_commit(listener.log_id), done, lambda error: self._leave(hearing))
        else:
            self._leave(hearing)

    def read(self, patterns: list[str], start: Start, limit: int) -> None:
        """As `Client.history`."""
        reading = Reading(self, f"{self.name} reads {len(self.readings) + 1}", patterns, start, limit)
        self.readings.append(reading)
        self.run(reading.steps(), lambda _: None, lambda error: None)

    def join(self, room: str) -> None:
        """Without listening."""
        self.joined[room] += 1

        def join(core: SessionCore, now: Instant) -> None:
            self.wanted[room] += 1
            number = core.join({room}, now)
            if number:
                self.asked[number] = room

        self.client.engine.later(join)

    def part(self, room: str) -> None:
        """Take a join back."""
        self.joined[room] -= 1

        def part(core: SessionCore, now: Instant) -> None:
            self.wanted[room] -= 1
            core.part({room}, now)

        self.client.engine.later(part)

    def pause(self, hearing: Hearing, paused: bool) -> None:
        """As `Subscription.put` does when its queue is full, and `_take` when it is not any more."""
        hearing.paused = paused
        self.client.engine.later(lambda core, now: core.paused(hearing.listener, paused))

    def close(self) -> None:
        """As `Client.close`."""
        self.is_closing = True
        self.client.close()

    def kill(self) -> None:
        """As kill -9."""
        self.client.kill()

    @property
    def died_at(self) -> float:
        """When its process ended, if it has."""
        return self.client.died_at

    @property
    def rooms(self) -> list[str]:
        """That it is to be in."""
        return [room for room, times in self.wanted.items() if times > 0]

    # --- what it sees -----------------------------------------------------------------------

    def begin(self, hearing: Hearing) -> None:
        """`listen` returns, once it may."""
        if hearing.log is None and not hearing.is_over and hearing.listener.ordering.is_begun:
            name = log_of(self.client.heard)
            hearing.begin(self.logs[name], self.logs[name].memory.head(), self.logs)

    def _told(self) -> None:
        """A turn is over."""
        name = log_of(self.client.heard)
        for hearing in self.hearings:
            self.begin(hearing)
        for hearing in self.hearings:
            if hearing.log is None or hearing.is_over or not self.client.is_alive:
                continue  # one that has ended goes on in no other log, though its connection does
            if hearing.listener.ordering.state == NEW:
                hearing.go_on(self.logs[name])  # once more another one, before it had begun in the last
            else:
                hearing.continue_in(self.logs[name])
        for running in list(self.running):
            answer = self.client.answers.pop(running.number, None) if running.number else None
            if running.listener is not None and running.listener.ordering.is_begun:
                answer = wire.Done(0)
            if answer is not None:
                self.running.remove(running)
                if isinstance(running.step, BecomeMember) and isinstance(answer, wire.Error):
                    self.world.counts["joins refused"] += (
                        1  # the log's trouble: it listens all the same, and is in later
                    )
                self.client.engine.later(partial(self._go_on, running, answer))
        for number in [number for number in self.asked if number in self.client.answers]:
            room = self.asked.pop(number)
            if isinstance(self.client.answers.pop(number), wire.Error) and self.joined[room] > 0:
                self.part(room)
        for look in list(self.after_turn):
            look()

    def _leave(self, hearing: Hearing) -> None:
        hearing.is_over = True
        listener = hearing.listener

        def end(core: SessionCore, now: Instant) -> None:
            self.cursors.discard(listener.progress.cursor)
            core.unlisten(listener, now)
            self.client.engine.consumers.pop(listener, None)
            if listener.is_joined:
                self.wanted.subtract(listener.rooms)
                core.part(listener.rooms, now)

        self.client.engine.later(end)

    def run(
        self,
        steps: Steps[T],
        done: Callable[[T], None],
        failed: Callable[[ZchatError], None],
        listen: Callable[[Receiver], None] | None = None,
    ) -> Running:
        """Carry them out, and tell what comes of it."""
        running = Running(steps, done, failed, listen)
        self.client.engine.later(partial(self._go_on, running, None))
        return running

    def drop(self, running: Running) -> None:
        """Nobody waits for them any more."""
        running.is_dropped = True
        if running in self.running:
            self.running.remove(running)

    def _go_on(self, running: Running, answer: Answer | None, core: SessionCore, now: Instant) -> None:
        try:
            step = next(running.steps) if answer is None else running.steps.send(answer)
            while not self._begun(running, step, core, now):
                step = running.steps.send(wire.Done(0))
        except StopIteration as end:
            running.done(end.value)
        except ZchatError as error:
            running.failed(error)
        else:
            if not running.is_dropped:
                self.running.append(running)

    def _begun(self, running: Running, step: Step, core: SessionCore, now: Instant) -> bool:
        """Whether the step has begun, and is not done yet."""
        running.step, running.listener = step, None
        if isinstance(step, Listen):
            running.listener = step.listener if isinstance(step.listener, Listener) else None
            running.listen(step.listener)
        elif isinstance(step, BecomeMember):
            self.wanted.update(step.rooms)
        running.number = begin(step, core, now)
        return bool(running.number or running.listener)

    # --- history ----------------------------------------------------------------------------

    def sent(self) -> Iterator[Sent]:
        """Its messages as it knows them in the end."""
        for written in self.written:
            outcome, offset = UNKNOWN, 0
            try:
                if written.publication.done():
                    outcome, offset = ACKED, written.publication.result()
            except Refused as error:
                outcome = REFUSED if error.definite else UNKNOWN
            except Closed:
                pass
            yield Sent(self.name, written.number, written.room, digest(written.body), outcome, offset, written.volatile)


def log_of(welcome: wire.Welcome | None) -> str:
    """The simulator's name for the log of that broker."""
    return welcome.starts[-1][0].partition("/")[0] if welcome is not None else ""


def records_of(delivery: Delivery) -> Iterator[Record]:
    """As the checker knows them."""
    found = messages(delivery.room, delivery.batch, delivery.first)
    for message in islice(found, delivery.last - delivery.first + 1) if delivery.last else found:
        yield record_of(message.room, message.offset, message.event, message.body, message.session)


def record_of(room: str, offset: int, event: str, body: bytes, session: str) -> Record:
    """As the checker knows it: a message's body names its writer."""
    if event != MESSAGE:
        return Record(room, offset, event, session)
    writer, number, _ = body.decode().split(":")
    if room.endswith(DEAD):  # it is a message of its own
        return Record(room, offset, event, f"{writer}~{number}", 1, digest(body))
    return Record(room, offset, event, writer, int(number), digest(body))
