"""The broker's loop on a log in memory: clients say anything on some connections, and things happen to it meanwhile.

    [[1, 0], [0, [1, 1, "fuzz-0"]], [0, [2, 1, "fuzz.0", 0, [h'x']]], 0, [1, h'93…'], [h'ff01'], 3]
     a form   a connection and what it says                           ^ ^ bytes       ^ a subscription
                                                          something happens

What must hold: nothing raises; the loop comes to rest; nobody is sent what was said to the inbox of the honest client
beside it, or to a room that is its alone, and none of it is broadcast; that one is answered whatever the others did.

Rules of this file
1. An input is an array of steps, and any bytes are one: what cannot be read is passed over.
2. Limits are low, so that they are met.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from random import Random
from typing import Any

import msgspec

from fuzzing import messages
from zchat import wire
from zchat.address import Published
from zchat.core import Instant
from zchat.core.broker import BrokerCore
from zchat.core.broker_loop import BrokerLoop
from zchat.core.broker_port import ENDS, FRAMES, SUBSCRIPTIONS, WOKEN
from zchat.core.channels import reply_to
from zchat.core.log import Append, facts_of
from zchat.core.recipients import Addressed
from zchat.core.rights import HISTORY, READ, VERBS, WRITE, Rights, RoomRule, Rules
from zchat.errors import LogError
from zchat.log.memory import MemoryLog
from zchat.settings import RetentionRule, Settings

VAULT = "vault"  # a room of the warden alone
WARDEN, WARDEN_ROOM, SECRET = b"warden", "@warden", b"only the warden reads this"
CONNECTIONS = 4
STEPS_MAX = 200
TURNS_MAX = 2_000  # until it rests
STEP_SECONDS = 0.01
TIGHT = Settings(
    session_rooms_max=6,
    in_flight_max=6,
    user_cursors_max=2,
    connection_reads_max=4,
    connection_questions_max=4,
    connection_joins_max=30,
    connection_sessions_max=6,
    connection_channels_max=4,
    page_bytes_max=300,
    batch_bytes_max=200,
    publish_records_max=5,
    record_bytes_max=500,
    publish_bytes_max=1_000,
    rooms_max=20,
    cursors_max=4,
    groups_max=4,
    group_members_max=6,
    scheduled_max=4,
    calls_max=6,
    session_calls_max=3,
    servers_max=6,
    gone_sessions_max=5,
    crowd_members=2,
    grace_seconds=0.5,
    session_kept_seconds=3.0,
    watermark_first_seconds=0.2,
    retention=(RetentionRule("fuzz.1", records=3), RetentionRule("fuzz.**", bytes=2_000)),
    trim_seconds=0.5,
)
ORIGINS = ("192.0.2.1", "192.0.2.2", "2001:db8::1", "127.0.0.1")
_ITS_OWN = RoomRule(VAULT, dict.fromkeys(VERBS, ("warden",)))
RULES = (  # the one that hold at first, and those that hold when they were changed
    Rules(True, (_ITS_OWN, RoomRule("fuzz.2", {READ: ("fuzz-1",), WRITE: ("fuzz-0", "fuzz-1")}))),
    Rules(False, (_ITS_OWN, RoomRule("fuzz.*", {READ: ("fuzz-*",), WRITE: ("fuzz-1",), HISTORY: ("fuzz-2",)}))),
)


class FailingLog(MemoryLog):
    """One that keeps nothing while its disk is full."""

    def __init__(self) -> None:
        super().__init__()
        self.is_full = False

    def append(self, append: Append, done: Callable[[LogError | None], None]) -> None:
        if self.is_full:
            done(LogError("log-full", "the disk is full"))
        else:
            super().append(append, done)

    def append_now(self, append: Append) -> bool:
        if self.is_full:
            raise LogError("log-full", "the disk is full")
        return super().append_now(append)


class FuzzPort:
    """The broker's port: what it is given comes, what it is told to send is kept."""

    def __init__(self) -> None:
        self.ends: dict[bytes, float] = {}
        self.refusals: list[tuple[bytes, str]] = []
        self.full: Container[bytes] = ()
        self.sent: list[tuple[bytes, bytes]] = []
        self.published: list[tuple[bytes, bytes]] = []
        self.frames: deque[tuple[bytes, bytes]] = deque()
        self.topics: deque[bytes] = deque()
        self.seconds_now = 1_000.0
        self._jobs: deque[Callable[[], None]] = deque()
        self._greeted: set[bytes] = set()
        self._is_woken = False

    def now(self) -> Instant:
        return Instant(self.seconds_now, 1_700_000_000_000_000 + round(self.seconds_now * 1e6))

    def seconds(self) -> float:
        return self.seconds_now

    def poll(self, seconds: float, *, receives: bool, is_alone: bool = False) -> int:
        while self._jobs:
            self._jobs.popleft()()
        found = (ENDS if self.ends else 0) | (SUBSCRIPTIONS if self.topics else 0) | (WOKEN if self._is_woken else 0)
        return found | (FRAMES if self.frames and receives else 0)

    def wake(self) -> None:
        self._is_woken = True

    def let_others(self) -> None:
        pass

    def woken(self) -> None:
        self._is_woken = False

    def work(self, job: Callable[[], None]) -> None:
        self._jobs.append(job)

    def due(self, now: Instant) -> float:
        return now.seconds + 1.0

    def elapsed(self, now: Instant, *, dry: bool) -> None:
        pass

    def read_ends(self, now: Instant) -> None:
        pass

    def received(self, now: Instant) -> Iterator[tuple[bytes, bytes | None, int, str | None]]:
        while self.frames:
            connection, frame = self.frames.popleft()
            yield connection, frame, len(frame), None if connection in self._greeted else origin(connection)

    def key_of(self, connection: bytes) -> str:
        """It has no keys."""
        return ""

    def admit(self, admits: Callable[[str, float], str], now: Instant) -> None:
        """Nor subscribers that have one."""

    def spoke(self, connection: bytes, ttl_ms: int | None) -> None:
        if ttl_ms is not None:
            self._greeted.add(connection)

    def forget(self, connection: bytes, now: Instant, *, dry: bool) -> None:
        del self.ends[connection]
        self._greeted.discard(connection)

    def send(self, replies: Iterable[tuple[bytes, bytes]], now: Instant) -> None:
        self.sent += replies

    def deliver(self, direct: Iterable[Addressed], now: Instant, *, patient: bool) -> set[bytes]:
        for _, said, endpoints in direct:
            self.sent += (reply_to(endpoint, said) for endpoint in endpoints)
        return set()

    def cut_off(self, connection: bytes, now: Instant) -> None:
        if connection != WARDEN:
            self.ends.setdefault(connection, now.seconds)

    def take_met(self) -> dict[tuple[str, str], int]:
        return {}

    def flushed(self) -> None:
        pass

    def granted(self, now: Instant) -> Iterator[bytes]:
        while self.topics:
            yield self.topics.popleft()

    def broadcast(self, broadcasts: Iterable[tuple[bytes, bytes]], *, patient: bool) -> set[bytes]:
        self.published += broadcasts
        return set()


class Bench:
    """One broker, its honest client, and what is done to it."""

    def __init__(self) -> None:
        self._log = FailingLog()
        self._lives = self._seq = self._request = 0
        self._names = (f"s{number}" for number in range(1 << 30))
        self._welcomes: list[wire.Welcome] = []
        self.port = FuzzPort()
        self._rights = Rights(RULES[0])
        self._rules: list[Rules] = []  # that come into force
        self._begin()

    def do(self, step: Any) -> None:
        """One step."""
        port = self.port
        port.seconds_now += STEP_SECONDS
        match step:
            case bool():
                pass
            case int():
                HAPPENINGS[step % len(HAPPENINGS)](self, step)
            case [int() as number, bytes() as frame]:
                port.frames.append((connection(number), frame))
            case [int() as number, list() as message]:
                port.frames.append((connection(number), messages.written(self._with_token(message))))
            case [bytes() as topic]:
                port.topics.append(topic)
        self._rest()

    def check(self) -> None:
        """The honest client is there, and nobody else has what is its own."""
        self._log.is_full = False
        self._rest()
        for room in (WARDEN_ROOM, VAULT):
            self._check_answers(room)
        for connection, frame in self.port.sent:
            assert connection == WARDEN or SECRET not in frame, f"{connection!r} was sent what is another's"
        for topic, frame in self.port.published:
            assert SECRET not in frame, f"what is the warden's was broadcast: {topic!r}"

    def _check_answers(self, room: str) -> None:
        self._seq += 1
        body = b"%s %d" % (SECRET, self._seq)
        published = [messages.PUBLISH, self._seq, room, 0, [body]]
        assert any(type(reply) is wire.Ack for reply in self._ask(published)), f"{room}: it was not acked"
        self._request += 1
        pages = [each for each in self._ask([5, self._request, [room], 0, 0, 0]) if type(each) is wire.Page]
        assert pages and pages[0].request == self._request, "the honest client's question was not answered"
        assert pages[0].more or body in wire.encode(pages[0]), "the answer is not what was asked for"

    # --- what happens -----------------------------------------------------------------------

    def rules_change(self, step: int) -> None:
        """Others hold, once it is looked."""
        self._rules = [RULES[step // len(HAPPENINGS) % 2]]

    def time_passes(self, step: int) -> None:
        """Some of it."""
        self.port.seconds_now += (0.05, 0.6, 3.5, 61.0)[step // len(HAPPENINGS) % 4]

    def one_goes(self, step: int) -> None:
        """Its connection ends."""
        name = connection(step // len(HAPPENINGS))
        self.port.ends.setdefault(name, self.port.seconds_now)

    def disk_fills(self, step: int) -> None:
        """Or is free again."""
        self._log.is_full = not self._log.is_full

    def starts_anew(self, step: int) -> None:
        """The broker dies and is started on its log."""
        if not self._log.is_full:
            self._begin()

    def one_reads_slowly(self, step: int) -> None:
        """Or does no more."""
        self.port.full = () if self.port.full else {connection(step // len(HAPPENINGS))}

    # --- inside -----------------------------------------------------------------------------

    def _begin(self) -> None:
        self.port.frames.clear()
        self.port.ends.clear()
        facts = facts_of(self._log, TIGHT.users_seen_max)
        core = BrokerCore(TIGHT, facts, self._names, Published(5556, "there", 5555), self.port.now(), self._rights)
        changed = lambda: self._rules.pop() if self._rules else None  # noqa: E731
        self._loop = BrokerLoop(core, self._log, self.port, lambda line: None, None, changed)
        self._lives += 1
        [welcome] = [
            each for each in self._ask([1, 1, "warden", "", b"", {}, self._lives]) if type(each) is wire.Welcome
        ]
        assert not welcome.resumed
        self._seq = 0
        self._ask([26, 1, [b"@warden\0"]])

    def _ask(self, message: list[Any]) -> list[wire.BrokerMessage]:
        """What the honest client is told then."""
        before = len(self.port.sent)
        self.port.frames.append((WARDEN, messages.encode(message)))
        self._rest()
        return [wire.decode_broker(frame) for name, frame in self.port.sent[before:] if name == WARDEN]

    def _rest(self) -> None:
        loop, port = self._loop, self.port
        before = len(port.sent)
        for _ in range(TURNS_MAX):
            seconds = loop.rest()
            found = port.poll(seconds, receives=loop.receives)
            if not found and seconds > 0.0:
                break
            loop.turn(found)
        else:
            raise AssertionError("the loop does not come to rest")
        assert not loop.is_over, "the broker ended"
        for _, frame in port.sent[before:]:
            if type(told := wire.decode_broker(frame)) is wire.Welcome:
                self._welcomes.append(told)

    def _with_token(self, message: list[Any]) -> list[Any]:
        """A HELLO whose session is a number goes on with the session of that welcome, as far as there was one."""
        if len(message) > 4 and message[0] == messages.HELLO and type(message[3]) is int and self._welcomes:
            welcome = self._welcomes[message[3] % len(self._welcomes)]
            if welcome.session != "s0":
                return [*message[:3], welcome.session, welcome.token, *message[5:]]
        return message


HAPPENINGS: tuple[Callable[[Bench, int], None], ...] = (
    Bench.time_passes,
    Bench.time_passes,
    Bench.one_goes,
    Bench.rules_change,
    Bench.disk_fills,
    Bench.one_reads_slowly,
    Bench.starts_anew,
)


def connection(number: int) -> bytes:
    """One of the strangers'."""
    return b"peer %d" % (number % CONNECTIONS)


def origin(connection: bytes) -> str:
    """Where it comes from."""
    return "198.51.100.1" if connection == WARDEN else ORIGINS[connection[-1] % len(ORIGINS)]


def seeds() -> list[bytes]:
    """Inputs to begin with: each message alone behind a HELLO, and some longer courses."""
    greeting = [[number, messages.hello(f"fuzz-{number}")] for number in range(3)]
    alone = [messages.encode([*greeting, [0, example], 0]) for example in messages.examples()]
    return alone + [drawn(Random(number)) for number in range(40)]


def drawn(draw: Random) -> bytes:
    """A course of plausible messages."""
    steps: list[Any] = [[number, messages.hello(f"fuzz-{number}")] for number in range(3)]
    return messages.written(steps + [_step(draw, number) for number in range(1, draw.randrange(5, 40))])


def give(data: bytes) -> None:
    """Raises when the broker does what it must not."""
    if b"warden" in data.lower():
        return  # who says so is the warden, on an open broker
    try:
        steps = msgspec.msgpack.decode(data)
    except (ValueError, RecursionError):
        return
    bench = Bench()
    for step in steps[:STEPS_MAX] if isinstance(steps, list) else ():
        bench.do(step)
    bench.check()


def mutated(data: bytes, size_max: int, draw: Any, mutate: Callable[[bytes, int], bytes]) -> bytes:
    """Another course made of one."""
    try:
        steps = msgspec.msgpack.decode(data)
    except (ValueError, RecursionError):
        return drawn(draw)[:size_max]
    if not isinstance(steps, list) or not steps:
        return drawn(draw)[:size_max]
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        at, how = draw.randrange(len(steps)), draw.randrange(8)
        if how < 3:
            steps.insert(at + 1, _step(draw, draw.choice((len(steps), draw.randrange(1, 60)))))
        elif how < 5 and isinstance(steps[at], list) and len(steps[at]) == 2:
            who, message = steps[at]
            if isinstance(message, bytes):
                message = mutate(message, len(message) + 100)
            steps[at] = [who, messages.changed(message, draw)]
        elif how == 5 and len(steps) > 1:
            del steps[at]
        elif how == 6:
            steps.append(steps[at])
        else:
            other = draw.randrange(len(steps))
            steps[at], steps[other] = steps[other], steps[at]
    return messages.written(steps[:STEPS_MAX])[:size_max]


def _step(draw: Random, number: int) -> Any:
    how = draw.random()
    if how < 0.12:
        return draw.randrange(100)
    if how < 0.15:
        return [draw.choice((b"\xff" + bytes([number % 256]), b"#fuzz.0\0", b""))]
    message = messages.plausible(draw, number)
    if message[0] == messages.HELLO and draw.random() < 0.5:
        message[3] = draw.randrange(8)  # go on with a session
    if how < 0.25:
        message = messages.changed(message, draw)
    return [draw.randrange(CONNECTIONS), message]
