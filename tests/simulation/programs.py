"""Programs of the simulation: one client process each, which publishes, listens, comes and goes, and what it saw.

Rules of this file
1. A program does what zchat/client.py and zchat/subscription.py do, in that order, without a thread.
2. What it was told becomes history; it looks at no state of a core but what its face looks at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from tests.simulation.brokers import SimulatedLog
from tests.simulation.clients import SimulatedClient
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
from tests.simulation.network import Port, World
from zchat import wire
from zchat.core import Instant
from zchat.core.chain import NEW, SEEKING, Chain, Delivery, Mark, Notice, Start
from zchat.core.client import ClientCore
from zchat.core.engine import Engine
from zchat.core.listening import Listener
from zchat.errors import Closed, Refused
from zchat.message import messages
from zchat.names import is_pattern
from zchat.sockets.outbox import Publication


class Written(NamedTuple):
    """One message on its way."""

    number: int
    room: str
    body: bytes
    publication: Publication
    volatile: bool


class Resuming(NamedTuple):
    """A cursor that is to be gone on from."""

    cursor: str
    patterns: list[str]
    head: tuple[str, int]
    after: int


class Hearing:
    """One subscription of a program."""

    def __init__(self, program: Program, name: str, listener: Listener, start: Start, presence: bool) -> None:
        self.name = name
        self.listener = listener
        listener.keep = listener.kept = (0, start.after or 0)
        self.start = start
        self.presence = presence
        self.items: list[Item] = []
        self.log: SimulatedLog | None = None  # that its offsets are of; None until it has begun
        self.join_number = 0  # JOIN is under way
        self.is_joined = False
        self.is_over = False  # unsubscribed, or refused
        self.asked_log = ""
        self.head = ("", 0)  # the log, and how far it was when the program asked
        self.paused = False
        self._one_room = len(listener.patterns) == 1 and not is_pattern(listener.patterns[0])
        self._logs_told = 0
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

    def put(self, items: list[Delivery | Notice | Mark]) -> None:
        """What the engine hands on."""
        self._program.begin(self)
        self.take(items, self._program.logs, log_of(self._program.client.core.welcome))

    def end(self) -> None:
        """The client has ended: nothing more comes."""

    def forked(self) -> None:
        """There are no processes here."""

    def take(self, out: list[Delivery | Notice | Mark], logs: dict[str, SimulatedLog], name: str) -> None:
        """What its chain hands on."""
        self._program.world.note(self.name, out)
        if self.log is not None and self._seeks and self.listener.chain.state not in (NEW, SEEKING):
            self._seeks = False
            self.items.extend(self.log.gone())  # where a time is in what was trimmed, nobody knows
        for item in out:
            if isinstance(item, Delivery):
                self._reached(item)
                self.items.extend(
                    record_of(message.room, message.offset, message.event, message.body, message.session)
                    for message in messages(item.room, item.batch, item.first)
                )
            elif isinstance(item, Mark):
                self.items.append(Reached(item.offset))
                self.listener.keep = (self._logs_told, item.offset)
            else:
                self._program.world.counts[
                    f"notice {item.kind} {item.reason if item.kind == 'gap' else ''}".strip()
                ] += 1
                if item.kind == "gap" and item.reason == "log":
                    self._logs_told += 1
                    self.go_on(logs[name], item.offset - 1 if item.last else None)
                elif item.reason == "volatile":
                    self.items.append(Lost(item.room, item.records))
                elif item.kind == "gap":
                    self.items.append(Gap(item.room, item.offset, item.last))

    def _reached(self, delivery: Delivery) -> None:
        """As `Subscription`: a cursor over one room follows what was handed over, others follow the marks."""
        if delivery.last:
            self.listener.at = (self._logs_told, delivery.last)
            if self._one_room:
                self.listener.keep = self.listener.at


class Program:
    """One client process and the program in it."""

    def __init__(
        self,
        world: World,
        port: Port,
        logs: dict[str, SimulatedLog],
        user: str,
        number: int,
        chain_type: type[Chain] = Chain,  # see sabotage.py
        engine_type: type[Engine] = Engine,
    ) -> None:
        self.world = world
        self.name = f"p{number}"
        self.user = user
        self._chain_type = chain_type
        self.client = SimulatedClient(world, port, user, number, engine_type)
        self.client.told = self._told
        self.written: list[Written] = []
        self.hearings: list[Hearing] = []
        self.wanted: Counter[str] = Counter()  # rooms that it is to be in
        self.joined: Counter[str] = Counter()  # without listening
        self.asked: dict[int, str] = {}  # JOIN of its own -> room
        self.cursors: set[str] = set()  # that it goes on from
        self._resuming: dict[int, Resuming] = {}  # by the request that it waits for
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
        self, patterns: list[str], start: Start, presence: bool, marks: bool, head: tuple[str, int], cursor: str = ""
    ) -> Hearing:
        """As `Client.listen`; it returns when `Hearing.log` is set. `head`: which log is how far now."""
        listener = Listener(patterns, self._chain_type(patterns, start, presence, marks=marks), cursor)
        hearing = Hearing(self, f"{self.name}/{len(self.hearings) + 1}", listener, start, presence)
        hearing.head = head
        self.hearings.append(hearing)

        def begin(core: ClientCore, now: Instant) -> None:
            hearing.asked_log = log_of(core.welcome)
            self.client.engine.consumers[listener] = hearing
            core.listen(listener, now)

        self.client.engine.later(begin)
        return hearing

    def resume(self, cursor: str, patterns: list[str], head: tuple[str, int]) -> None:
        """As `Client.listen(resume=…)`: where that cursor is, or live the first time."""

        self.cursors.add(cursor)
        self._ask(wire.Cursors(0), Resuming(cursor, patterns, head, 0))

    def unlisten(self, hearing: Hearing) -> None:
        """As `Subscription.close`."""
        hearing.is_over = True

        def end(core: ClientCore, now: Instant) -> None:
            core.unlisten(hearing.listener, now)
            self.client.engine.consumers.pop(hearing.listener, None)
            if hearing.is_joined:
                self.wanted.subtract(hearing.listener.rooms)
                core.part(hearing.listener.rooms, now)

        self.client.engine.later(end)

    def join(self, room: str) -> None:
        """Without listening."""
        self.joined[room] += 1

        def join(core: ClientCore, now: Instant) -> None:
            self.wanted[room] += 1
            number = core.join({room}, now)
            if number:
                self.asked[number] = room

        self.client.engine.later(join)

    def part(self, room: str) -> None:
        """Take a join back."""
        self.joined[room] -= 1

        def part(core: ClientCore, now: Instant) -> None:
            self.wanted[room] -= 1
            core.part({room}, now)

        self.client.engine.later(part)

    def pause(self, hearing: Hearing, paused: bool) -> None:
        """As `Subscription.put` does when its queue is full, and `_take` when it is not any more."""
        hearing.paused = paused
        self.client.engine.later(lambda core, now: hearing.listener.chain.paused(paused))

    def close(self) -> None:
        """As `Client.close`."""
        self.is_closing = True
        self.client.close()

    def kill(self) -> None:
        """As kill -9."""
        self.client.kill()

    @property
    def rooms(self) -> list[str]:
        """That it is to be in."""
        return [room for room, times in self.wanted.items() if times > 0]

    # --- what it sees -----------------------------------------------------------------------

    def begin(self, hearing: Hearing) -> None:
        """`listen` returns, once it may."""
        if hearing.log is None and not hearing.is_over and hearing.listener.chain.is_begun:
            name = log_of(self.client.core.welcome)
            hearing.begin(self.logs[name], self.logs[name].memory.head(), self.logs)
            self.client.engine.later(partial(self._join, hearing))

    def _told(self) -> None:
        """A turn is over."""
        name = log_of(self.client.core.welcome)
        for hearing in self.hearings:
            self.begin(hearing)
        for hearing in self.hearings:
            if hearing.log is not None and hearing.listener.chain.state == NEW:
                hearing.go_on(self.logs[name])  # once more another one, before it had begun in the last
            elif hearing.log is not None and not hearing.is_over:
                hearing.continue_in(self.logs[name])
        for hearing in self.hearings:
            answer = self.client.answers.pop(hearing.join_number, None) if hearing.join_number else None
            if answer is not None:
                hearing.join_number = 0
                if isinstance(answer, wire.Error):  # the log's trouble: it listens all the same, and is in later
                    self.world.counts["joins refused"] += 1
        self._go_on()
        for number in [number for number in self.asked if number in self.client.answers]:
            room = self.asked.pop(number)
            if isinstance(self.client.answers.pop(number), wire.Error) and self.joined[room] > 0:
                self.part(room)

    def _join(self, hearing: Hearing, core: ClientCore, now: Instant) -> None:
        if not hearing.is_over:
            hearing.is_joined = True
            self.wanted.update(hearing.listener.rooms)
            hearing.join_number = core.join(hearing.listener.rooms, now)

    def _ask(self, request: wire.Cursors | wire.Seek | wire.SetCursor, resuming: Resuming) -> None:
        def ask(core: ClientCore, now: Instant) -> None:
            self._resuming[core.ask(request, now)] = resuming

        self.client.engine.later(ask)

    def _go_on(self) -> None:
        """The next step of those that resume a cursor: CURSORS, and the first time SEEK and SET_CURSOR."""
        core = self.client.core
        for number in [number for number in self._resuming if number in self.client.answers]:
            resuming = self._resuming.pop(number)
            name, patterns, _, after = resuming
            match self.client.answers.pop(number):
                case wire.CursorsAre() as answer:
                    kept = [cursor.offset for cursor in answer.cursors if cursor.name == name]
                    if kept:
                        self.world.counts["cursors found"] += 1
                        self._listen_after(resuming._replace(after=kept[0]))
                    else:
                        self._ask(wire.Seek(0, patterns), resuming)
                case wire.Position() as answer:
                    if core.welcome is not None:
                        cursor = wire.SetCursor(0, name, core.welcome.log_id, answer.head)
                        self._ask(cursor, resuming._replace(after=answer.head))
                case wire.Done():
                    self._listen_after(resuming._replace(after=after))
                case _:
                    self.cursors.discard(name)  # refused: not this time

    def _listen_after(self, resuming: Resuming) -> None:
        name, patterns, head, after = resuming
        marks = len(patterns) > 1 or is_pattern(patterns[0])
        self.listen(patterns, Start(after=after), False, marks, head, name)

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


def record_of(room: str, offset: int, event: str, body: bytes, session: str) -> Record:
    """As the checker knows it: a message's body names its writer."""
    if event != MESSAGE:
        return Record(room, offset, event, session)
    writer, number, _ = body.decode().split(":")
    return Record(room, offset, event, writer, int(number), digest(body))
