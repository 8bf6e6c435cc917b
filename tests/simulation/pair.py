"""A broker core and client cores joined by lists: most protocol tests are five lines on it.

    pair = Pair("alice", "bob")
    alice, bob = pair.ends
    heard = bob.listen("general")
    alice.publish("general", b"hi")
    pair.run()
    assert bob.bodies(heard) == [b"hi"]

Rules of this file: nothing moves by itself. `run` carries everything until nothing is under way, `wait` lets
time pass and then runs. No faults by chance: what is to be lost is said by the test (`cut`, `drops`,
`holds_commits`, `holds_reads`, `restart`). The network with faults is network.py.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import count
from typing import Protocol

from zchat import wire
from zchat.address import Published
from zchat.core import Instant
from zchat.core.broker import BrokerCore, Lookup, Read
from zchat.core.channels import reply_to
from zchat.core.client import Answer, ClientCore, Request
from zchat.core.listener import Listener
from zchat.core.log import Append, LogFacts, LogPage, LogStart, May, Sliced, facts_of, whole
from zchat.core.ordering import Delivery, Mark, Notice, OrderedDelivery, Start
from zchat.core.publishing import Chunk
from zchat.core.reads import ReadRequest
from zchat.core.search import search
from zchat.core.stocking import StockRead
from zchat.errors import LogError
from zchat.log.memory import MemoryLog
from zchat.message import messages
from zchat.settings import Settings

BEGIN = Instant(1_000.0, 1_700_000_000_000_000)
PUBLISH_PORT = 5556
ROUNDS_MAX = 10_000  # of one `run`: more means that two cores talk for ever


class End:
    """One client core, and the lists between it and the broker."""

    def __init__(self, pair: Pair, user: str, number: int) -> None:
        self.core = ClientCore(user, {}, (f"nonce-{number}-{at}".encode() for at in count(1)))
        self.connection = b""  # routing id; empty while it is cut off
        self.to_broker: list[bytes] = []
        self.to_client: list[bytes] = []
        self.to_sub: list[tuple[bytes, bytes]] = []
        self.topics: set[bytes] = set()  # what the SUB is subscribed to, and says again after a cut
        self.outbox: deque[Chunk] = deque()
        self.delivered: dict[Listener, list[Delivery | Notice | Mark]] = {}
        self.answers: dict[int, Answer] = {}
        self._pair = pair

    # --- what a program does ----------------------------------------------------------------

    def publish(self, room: str, *records: wire.RecordOrBody, volatile: bool = False) -> Chunk:
        """One PUBLISH of these records, sent by the next `run`."""
        chunk = Chunk(room, wire.VOLATILE if volatile else 0)
        chunk.records.extend(records)
        self.outbox.append(chunk)
        return chunk

    def listen(self, *patterns: str, start: Start = Start(), presence: bool = False, joins: bool = True) -> Listener:  # noqa: B008
        """Subscribe as `Client.listen` does."""
        listener = Listener(list(patterns), OrderedDelivery(list(patterns), start, presence))
        self.delivered[listener] = []
        self.core.listen(listener, self._pair.now)
        if joins:
            self.core.join(listener.rooms, self._pair.now)
        return listener

    def unlisten(self, listener: Listener) -> None:
        """As `Subscription.close` does."""
        self.core.unlisten(listener, self._pair.now)
        self.core.part(listener.rooms, self._pair.now)

    def ask(self, request: Request) -> Answer:
        """Ask and run until it is answered."""
        number = self.core.ask(request, self._pair.now)
        self._pair.run()
        return self.answers.pop(number)

    # --- what it got ------------------------------------------------------------------------

    def bodies(self, listener: Listener) -> list[bytes]:
        """The bodies delivered so far, presence left out."""
        return [body for _, _, event, body in self.heard(listener) if event == "message"]

    def heard(self, listener: Listener) -> list[tuple[str, int, str, bytes]]:
        """(room, offset, event, body) of every record delivered so far."""
        return [
            (message.room, message.offset, message.event, message.body)
            for item in self.delivered[listener]
            if isinstance(item, Delivery)
            for message in messages(item.room, item.batch, item.first)
        ]

    def notices(self, listener: Listener) -> list[str]:
        """The kinds of the notices so far."""
        return [item.kind for item in self.delivered[listener] if isinstance(item, Notice)]

    # --- one turn of its I/O thread ---------------------------------------------------------

    def turn(self, now: Instant) -> bool:
        """In the order of `sockets/client.py`. Returns whether anything moved."""
        core = self.core
        replies, self.to_client = self.to_client, []
        batches, self.to_sub = self.to_sub, []
        for frame in replies:
            core.received(frame, now)
        for topic, frame in batches:
            core.broadcast(topic, frame, now)
        published = False
        while self.outbox and core.has_room:
            core.publish(self.outbox.popleft(), now)
            published = True
        core.elapsed(now)
        for listener, out in core.deliver(now):
            assert isinstance(listener, Listener)
            self.delivered[listener].extend(out)
        subscribed = core.welcome is not None and self._subscribe(core.take_subscriptions(), now)
        sends = core.take_sends()
        if self.connection:
            self.to_broker.extend(sends)
        self.answers.update(core.take_answers())
        core.take_news()
        return bool(replies or batches or published or subscribed or (sends and self.connection))

    def _subscribe(self, subscriptions: list[tuple[bool, bytes]], now: Instant) -> bool:
        for subscribes, topic in subscriptions:
            if not subscribes:
                self.topics.discard(topic)
            else:
                self.topics.add(topic)
                if self.connection and topic.startswith(wire.PRIVATE_TOPIC):
                    self._pair.core.subscribed(topic, now)
                    self._pair.broadcast(now)
        return bool(subscriptions)


class Pair:
    """One broker core and the ends of its clients."""

    def __init__(self, *users: str, settings: Settings | None = None, log: MemoryLog | None = None) -> None:
        self.now = BEGIN
        self.settings = settings or Settings()
        self.ends: list[End] = []
        self.drops: Callable[[End, bytes, bytes], bool] = lambda end, topic, frame: False  # what PUB loses
        self.drops_reply: Callable[[End, bytes], bool] = lambda end, frame: False  # what its full queue loses
        self.holds_reads = False  # reads wait, and are answered by `answer`
        self.reads: list[Read] = []  # those that wait
        self.holds_commits = False  # appends wait for `commit`
        self.appended: list[Append] = []  # those that wait
        self._numbers = count(1)
        self._session_ids = (f"session-{number}" for number in count(1))
        self._starts = count(1)
        self.log = log or numbered_log(1)
        self.core = self._start()
        for user in users:
            self.connect(user)
        self.run()

    # --- what happens -----------------------------------------------------------------------

    def connect(self, user: str) -> End:
        """A new client; its hello is under way."""
        end = End(self, user, next(self._numbers))
        self.ends.append(end)
        self.reconnect(end)
        return end

    def run(self) -> None:
        """Carry everything until nothing is under way."""
        for _ in range(ROUNDS_MAX):
            moved = [end.turn(self.now) for end in self.ends]
            if not (self._cycle() or any(moved)):
                return
        raise AssertionError("the cores never come to rest")

    def wait(self, seconds: float) -> None:
        """Let time pass, in steps as small as a client's sleep, and run after each."""
        until = self.now.seconds + seconds
        while self.now.seconds < until:
            step = min(1.0, until - self.now.seconds)
            self.now = Instant(self.now.seconds + step, self.now.micros + round(step * 1e6))
            self.run()

    def cut(self, end: End, *, told: bool = True) -> None:
        """Both connections of a client break, and what is under way in them is lost. `told`: the broker sees it."""
        connection, end.connection = end.connection, b""
        for under_way in (end.to_broker, end.to_client, end.to_sub):
            under_way.clear()
        if connection:
            end.core.disconnected("cut")
            end.core.unsubscribed(self.now)
            if told:
                self.core.disconnected(connection, self.now)

    def cut_sub(self, end: End) -> None:
        """The SUB's connection breaks and is back at once: libzmq subscribes again, in byte order."""
        end.to_sub.clear()
        end.core.unsubscribed(self.now)
        self._subscribe_again(end)

    def reconnect(self, end: End) -> None:
        """Both connections are up."""
        end.connection = f"connection-{next(self._numbers)}".encode()
        end.core.connected()
        self._subscribe_again(end)

    def end(self, end: End) -> None:
        """A client's process dies."""
        self.cut(end)
        self.ends.remove(end)

    def restart(self, log: MemoryLog | None = None, *, reconnects: bool = True) -> None:
        """The broker dies and starts on the same log or on another; what was not committed is lost."""
        for end in self.ends:
            self.cut(end, told=False)
        self.appended.clear()
        self.log = log or self.log
        self.core = self._start()
        if reconnects:
            for end in self.ends:
                self.reconnect(end)

    def commit(self, error: LogError | None = None) -> None:
        """The oldest append that waits is kept, or none of it."""
        append = self.appended.pop(0)
        if error is None:
            self.log.append(append, _kept)
        self.core.committed(error, self.now)

    def broadcast(self, now: Instant) -> bool:
        """Give every subscriber what the core broadcasts."""
        broadcasts = self.core.take_broadcasts(now)
        for topic, frame in broadcasts:
            for end in self.ends:
                wanted = end.connection and any(topic.startswith(prefix) for prefix in end.topics)
                if wanted and not self.drops(end, topic, frame):
                    end.to_sub.append((topic, frame))
        direct, ends = self.core.take_direct(), {end.connection: end for end in self.ends}
        for _, said, endpoints in direct:
            for connection, frame in (reply_to(endpoint, said) for endpoint in endpoints):
                if connection in ends and not self.drops_reply(ends[connection], frame):
                    ends[connection].to_client.append(frame)
        return bool(broadcasts or direct)

    # --- one cycle of the broker ------------------------------------------------------------

    def _cycle(self) -> bool:
        """In the order of `core/broker_loop.py`. Returns whether anything moved."""
        core, now = self.core, self.now
        moved = False
        for end in self.ends:
            frames, end.to_broker = end.to_broker, []
            for frame in frames:
                core.received(end.connection, frame, now)
            moved |= bool(frames)
        deadline = core.next_deadline()
        if deadline is not None and deadline <= now.seconds:
            core.elapsed(now)
            moved = True
        append = core.take_append(now)
        if append is not None:
            moved = True
            self.appended.append(append)
            if not self.holds_commits:
                self.commit()
        moved |= self.broadcast(now)
        moved |= self._reply()
        reads = core.take_reads()
        self.reads.extend(reads)
        moved |= bool(reads)
        if not self.holds_reads:
            self.answer()
        for connection in core.take_cutoffs():
            for end in self.ends:
                if end.connection == connection:
                    self._reply()
                    end.turn(now)
                    self.cut(end)
        return moved

    def _reply(self) -> bool:
        while self.core.answer(()):
            pass
        replies = self.core.take_replies()
        ends = {end.connection: end for end in self.ends}
        for connection, frame in replies:
            if connection in ends and not self.drops_reply(ends[connection], frame):
                ends[connection].to_client.append(frame)
        return bool(replies)

    def answer(self) -> None:
        """All reads that wait are answered."""
        while self.reads:
            reads, self.reads = self.reads, []
            for read in reads:
                self._read(read)
            self.reads.extend(self.core.take_reads())

    def _read(self, read: Read) -> None:
        if not self.core.read_done(read, 0.0):
            return
        request = read.request
        if isinstance(request, Lookup):
            for seq in request.seqs:
                self.core.found(request.session, seq, whole(self.log.find(request.session, seq)))
            return
        assert not isinstance(request, StockRead), "of a group: they are not read here"
        for end in self.ends:
            if end.connection == read.connection:
                end.to_client.append(answer_read(self.log, request, self.settings.page_bytes_max))

    def _start(self) -> BrokerCore:
        facts = log_facts(self.log, self.settings, f"start-{next(self._starts)}")
        return BrokerCore(self.settings, facts, self._session_ids, Published(PUBLISH_PORT), self.now)

    def _subscribe_again(self, end: End) -> None:
        for topic in sorted(end.topics):
            if topic.startswith(wire.PRIVATE_TOPIC):
                self.core.subscribed(topic, self.now)
        self.broadcast(self.now)


def numbered_log(number: int) -> MemoryLog:
    """An empty log whose name and secret follow from a number, not from chance."""
    log = MemoryLog()
    log.log_id = f"log-{number}"
    log.secret = bytes([number % 256]) * 32
    log._starts.clear()
    return log


def copy_of(log: MemoryLog) -> MemoryLog:
    """As a copy of its folder has it."""
    return deepcopy(log, {id(log._lock): threading.Lock()})


def log_facts(log: MemoryLog, settings: Settings, start: str) -> LogFacts:
    """As a broker gathers them at start, from a log that is opened then."""
    log._starts = [*log._starts, LogStart(start, log.head())][-wire.STARTS_MAX :]
    return facts_of(log, settings.users_seen_max)


class Readable(Protocol):
    """What an answer is read from."""

    def read(
        self, patterns: list[str], after: int, until: int, limit: int, bytes_max: int, may: May | None = None
    ) -> Sliced[LogPage]:
        """See `zchat.core.log.Log`."""

    def latest(
        self, patterns: list[str], after: int, until: int, count: int, bytes_max: int, may: May | None = None
    ) -> Sliced[LogPage]:
        """See `zchat.core.log.Log`."""

    def seek(self, patterns: list[str], last: int, since: int, presence: bool, may: May | None = None) -> Sliced[int]:
        """See `zchat.core.log.Log`."""

    def head(self) -> int:
        """See `zchat.core.log.Log`."""


def answer_read(log: Readable, request: ReadRequest, page_bytes_max: int) -> bytes:
    """As `core/read_worker.py` answers."""
    if isinstance(request, wire.Seek):
        after = whole(log.seek(request.patterns, request.last, request.since, request.presence))
        return wire.encode(wire.Position(request.request, after, log.head()))
    if isinstance(request, wire.Search):
        return wire.encode(whole(search(log, None, request, log.head(), page_bytes_max)))
    if isinstance(request, wire.Latest):
        page = whole(log.latest(request.patterns, request.after, request.until, request.count, page_bytes_max))
    else:
        page = whole(log.read(request.patterns, request.after, request.until, request.limit, page_bytes_max))
    batches = [(room, wire.raw(frame)) for room, frame in page.batches]
    return wire.encode(wire.Page(request.request, batches, page.upto, page.more, page.gaps))


def _kept(error: LogError | None) -> None:
    assert error is None


def numbered(prefix: str) -> Iterator[bytes]:
    """Endless distinct bodies."""
    return (f"{prefix}-{number}".encode() for number in count(1))
