"""A client's core under a broker that sends anything: no error but the callers', no loop, and bounded memory.

The machine feeds frames that are random, mutated, or well-formed lies about what was asked, in every state. In the end
an honest broker with another log takes over, and each listener must be live again.
"""

from __future__ import annotations

from collections import Counter
from itertools import count
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.test_wire import ANY_BROKER_MESSAGE, struct_of
from zchat import wire
from zchat.core import Instant
from zchat.core.client import CLOSED, READY, Answer, ClientCore
from zchat.core.held import HELD_BYTES_MAX
from zchat.core.listener import Listener
from zchat.core.ordering import HIGH_WATERMARKS_MAX, LIVE, Delivery, Notice, OrderedDelivery, Start
from zchat.core.publishing import IN_FLIGHT_FRAMES_MAX, Chunk
from zchat.core.routes import TOPICS_CACHED_MAX
from zchat.core.telling import GAPS_HELD_MAX
from zchat.errors import WireError, ZchatError
from zchat.names import matcher, topic

NOON = 1_700_000_000_000_000
ROOMS = ("a", "b.x", "b.y", "c")
PATTERNS = (["a"], ["b.*"], ["**"], ["a", "b.x"], ["@ann"], ["a", "@ann"])
STARTS = (Start(), Start(after=0), Start(after=30), Start(last=3), Start(since=NOON))
OFFSETS = st.one_of(st.integers(0, 60), st.sampled_from([0, 1, 40, 1 << 40, wire.OFFSET_MAX - 1, wire.OFFSET_MAX]))
ROOM = st.sampled_from([*ROOMS, "", "x" * 200, "A B", "@ann"])
REQUESTS = st.sampled_from([
    wire.Who(0), wire.Rooms(0), wire.Cursors(0), wire.Seek(0, ["a"]), wire.Fetch(0, ["a"], 0, 9), wire.Heads(0, ["a"])
])  # fmt: skip
SENDS_MAX = 2 * IN_FLIGHT_FRAMES_MAX + 60  # of one input: all that is unacked and all that was asked
WELCOME = wire.Welcome(wire.VERSION, "s1", b"token", True, "log", 40, 5556, {}, NOON)


@st.composite
def batches(draw: st.DrawFn) -> wire.Batch:
    record: st.SearchStrategy[wire.RecordOrBody] = st.sampled_from([b"x", wire.Record(b"y", "join")])
    records = draw(st.lists(record, max_size=3))
    entries = draw(st.sampled_from([[], [wire.Entry("eve", "s9", 1, records)]]))
    kind = draw(st.sampled_from([0, 0, 0, 1, 2, 9]))
    return wire.Batch(kind, draw(OFFSETS), draw(OFFSETS), draw(st.integers(0, wire.OFFSET_MAX)), entries)


@st.composite
def pages(draw: st.DrawFn) -> wire.Page:
    found = [(draw(ROOM), msgspec.Raw(wire.encode(batch))) for batch in draw(st.lists(batches(), max_size=3))]
    gaps = draw(st.lists(st.builds(wire.Gap, ROOM, OFFSETS, OFFSETS, st.text(max_size=5)), max_size=3))
    return wire.Page(0, found, draw(OFFSETS), draw(st.booleans()), gaps)


ANSWERS = st.one_of(
    pages(),
    st.builds(wire.Position, st.just(0), OFFSETS, OFFSETS),
    st.builds(wire.HeadsAre, st.just(0), OFFSETS, st.lists(st.tuples(ROOM, OFFSETS), max_size=4)),
    st.just(wire.Done(0)),
    st.sampled_from([wire.Error("request", 0, code, "no") for code in ("busy", "denied", "log-failed", "of-tomorrow")]),
    st.just(wire.Present(0, [])),
)


class AnyBroker(RuleBasedStateMachine):
    """One client and whatever its broker does."""

    @initialize(patterns=st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3), data=st.data())
    def begin(self, patterns: list[list[str]], data: st.DataObject) -> None:
        self.now = Instant(1_000.0, NOON)
        self.core = ClientCore("ann", {}, (b"n%d" % number for number in count(1)))
        self.nonce = b""
        self.listeners: list[Listener] = []
        self.asked: set[int] = set()  # by the program
        self.frames: list[bytes] = [wire.encode(WELCOME)]  # well-formed ones, to be mutated
        self.told: Counter[str] = Counter()
        self.core.connected()
        self.core.received(wire.encode(WELCOME), self.now)
        for each in patterns:
            listener = Listener(each, OrderedDelivery(each, data.draw(st.sampled_from(STARTS)), False, marks=True))
            self.core.listen(listener, self.now)
            self.listeners.append(listener)
        self.take()

    def take(self) -> None:
        """As the shell does after each input."""
        for listener, out in self.core.deliver(self.now):
            assert listener in self.listeners
            for item in out:
                self.told[type(item).__name__] += 1
                assert not isinstance(item, Delivery) or matcher(listener.patterns)(item.room)
                assert not isinstance(item, Notice) or len(item.reason) < 2_000
        for subscribes, name in self.core.take_subscriptions():
            if subscribes and name.startswith(wire.PRIVATE_TOPIC):
                self.nonce = name[1:]
        sends = self.core.take_sends()
        assert len(sends) <= SENDS_MAX
        for frame in sends:
            self.told[type(wire.decode_client(frame)).__name__] += 1
        for number, answer in self.core.take_answers():
            assert number == 0 or number in self.asked, "nobody asked for it"
            assert isinstance(answer, Answer | ZchatError)
            self.asked.discard(number)
        self.core.take_news()

    def receive(self, frame: bytes) -> None:
        self.frames.append(frame)
        self.core.received(frame, self.now)
        self.take()

    def hear(self, name: bytes, frame: bytes) -> None:
        self.frames.append(frame)
        self.core.broadcast(name, frame, self.now)
        self.take()

    # --- the broker -------------------------------------------------------------------------

    @rule(message=ANY_BROKER_MESSAGE)
    def say_anything(self, message: Any) -> None:
        self.receive(wire.encode(message))

    @rule(frame=st.binary(max_size=60))
    def say_no_message(self, frame: bytes) -> None:
        self.receive(frame)
        self.hear(topic("a"), frame)

    @rule(message=ANSWERS, which=st.integers(0, 5))
    def answer(self, message: Any, which: int) -> None:
        """One of the requests that are out, in whatever way."""
        numbers = [number for number, _ in self.core._requests]
        if isinstance(message, wire.Error):
            message = wire.Error("request", 0, message.code, message.text)
            message.number = numbers[which % len(numbers)] if numbers else 7
        else:
            message.request = numbers[which % len(numbers)] if numbers else 7
        self.receive(wire.encode(message))

    @rule(source=st.randoms(use_true_random=False), sub=st.booleans())
    def mutate(self, source: Random, sub: bool) -> None:
        frame = bytearray(source.choice(self.frames[-20:]))
        for _ in range(source.randint(1, 3)):
            if frame:
                at = source.randrange(len(frame))
                frame[at : at + source.randint(0, 2)] = source.randbytes(source.randint(0, 2))
        self.hear(topic("a"), bytes(frame)) if sub else self.receive(bytes(frame))

    @rule(times=st.integers(1, 20))
    def ask_for_hello_again(self, times: int) -> None:
        hellos = self.told["Hello"]
        for _ in range(times):
            self.receive(wire.encode(wire.HelloAgain()))
            self.receive(wire.encode(WELCOME))
        assert self.told["Hello"] - hellos <= 1, "at once only the first time"

    @rule(log_id=st.sampled_from(["log", "log2", "log3"]), resumed=st.booleans(), head=OFFSETS)
    def welcome(self, log_id: str, resumed: bool, head: int) -> None:
        self.receive(wire.encode(wire.Welcome(1, "s1", b"token", resumed, log_id, head, 5556, {}, NOON)))

    @rule(reason=st.sampled_from(["bye", "stopping", ""]))
    def say_goodbye(self, reason: str) -> None:
        self.receive(wire.encode(wire.Goodbye(reason)))

    @rule(head=OFFSETS)
    def sync(self, head: int) -> None:
        self.hear(wire.PRIVATE_TOPIC + self.nonce, wire.encode(wire.Sync(self.nonce, head)))

    @rule(room=ROOM, batch=batches())
    def broadcast(self, room: str, batch: wire.Batch) -> None:
        self.hear(topic(room), wire.encode(batch))

    @rule(room=st.sampled_from(["@ann", "@ann", "a", "@bob", ""]), batch=batches())
    def say_directly(self, room: str, batch: wire.Batch) -> None:
        self.receive(wire.direct(topic(room), wire.encode(batch)))

    @rule(
        room=ROOM,
        message=st.one_of(struct_of(wire.Watermark), struct_of(wire.Batch), st.builds(wire.Watermark, OFFSETS)),
    )
    def broadcast_anything(self, room: str, message: Any) -> None:
        self.hear(topic(room), wire.encode(message))

    @rule()
    def break_the_connections(self) -> None:
        self.core.disconnected("cut")
        self.core.unsubscribed(self.now)
        self.take()
        self.core.connected()
        self.take()

    # --- the program ------------------------------------------------------------------------

    @rule(request=REQUESTS)
    def ask(self, request: Any) -> None:
        if len(self.asked) < 10:
            self.asked.add(self.core.ask(msgspec.structs.replace(request), self.now))
            self.take()

    @rule(records=st.integers(1, 3))
    def publish(self, records: int) -> None:
        if self.core.has_room:
            chunk = Chunk("a", 0)
            chunk.records.extend([b"x"] * records)
            self.core.publish(chunk, self.now)
            self.take()

    @rule(which=st.integers(0, 2), paused=st.booleans())
    def pause(self, which: int, paused: bool) -> None:
        self.core.paused(self.listeners[which % len(self.listeners)], paused)
        self.take()

    @rule(seconds=st.sampled_from([0.05, 0.5, 3.1, 31.0]))
    def time_passes(self, seconds: float) -> None:
        self.now = Instant(self.now.seconds + seconds, self.now.micros + round(seconds * 1e6))
        self.core.elapsed(self.now)
        self.take()

    # --- what must hold ---------------------------------------------------------------------

    @invariant()
    def memory_is_bounded(self) -> None:
        core = self.core
        assert len(core._requests) <= len(self.asked) + 3 * len(self.listeners) + 4
        assert not core._answers and not core._refusals and not core._sends
        assert len(core.listening._routes._known) <= TOPICS_CACHED_MAX + 1
        for listener in self.listeners:
            assert (
                listener.ordering.held.bytes <= HELD_BYTES_MAX
                and len(listener.ordering.watermarks) <= HIGH_WATERMARKS_MAX + 1
            )
            assert len(listener.ordering.telling.gaps) <= GAPS_HELD_MAX

    def teardown(self) -> None:
        """An honest broker, with a log of its own."""
        if self.core.refusal is not None:
            return  # the shell ended the client, with a word
        assert self.core.state != CLOSED, "nobody said bye"
        for listener in self.listeners:
            self.core.paused(listener, False)
        self.break_the_connections()
        self.time_passes(31.0)
        hello = self.core._greeting.number
        honest = wire.Welcome(1, "s2", b"t", False, "honest", 9, 5556, {}, NOON, hello)
        self.receive(wire.encode(honest))
        for _ in range(60):
            self.sync(9)
            self.answer_honestly()
            self.time_passes(3.1)
        assert self.core.refusal is None and self.core.state == READY
        assert all(listener.ordering.state == LIVE for listener in self.listeners)

    def answer_honestly(self) -> None:
        for number, request in self.core._requests:
            answers: dict[type, Any] = {
                wire.Fetch: wire.Page(number, [], getattr(request, "until", 0), False, []),
                wire.Seek: wire.Position(number, 0, 9),
                wire.Heads: wire.HeadsAre(number, 9, []),
                wire.Who: wire.Present(number, []),
                wire.Rooms: wire.RoomsAre(number, []),
                wire.Cursors: wire.CursorsAre(number, []),
            }
            self.receive(wire.encode(answers.get(type(request), wire.Done(number))))


AnyBroker.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyBroker = pytest.mark.slow(AnyBroker.TestCase)


def live(*patterns: str, marks: bool = False) -> tuple[ClientCore, Listener]:
    """A session whose listener is live at 40."""
    core = ClientCore("ann", {}, (b"n%d" % number for number in count(1)))
    core.connected()
    now = Instant(1_000.0, NOON)
    core.received(wire.encode(WELCOME), now)
    listener = Listener(list(patterns), OrderedDelivery(list(patterns), Start(), False, marks=marks))
    core.listen(listener, now)
    core.broadcast(wire.PRIVATE_TOPIC, wire.encode(wire.Sync(b"n1", 40)), now)
    assert listener.ordering.state == LIVE
    core.take_sends()
    core.deliver(now)
    return core, listener


def test_rooms_that_a_broker_invents_are_not_kept() -> None:
    core, listener = live("**")
    now = Instant(1_000.0, NOON)
    for number in range(2 * HIGH_WATERMARKS_MAX):
        batch = wire.Batch(wire.MESSAGES, 41 + number, 0, NOON, [wire.Entry("eve", "s", 1, [b"x"])])
        core.broadcast(topic(f"room{number}"), wire.encode(batch), now)
        core.deliver(now)
    assert len(listener.ordering.watermarks) <= HIGH_WATERMARKS_MAX + 1
    assert listener.ordering.held.bytes <= HELD_BYTES_MAX
    (heads,) = [wire.decode_client(frame) for frame in core.take_sends()]
    assert isinstance(heads, wire.Heads)
    core.received(wire.encode(wire.HeadsAre(heads.request, 41 + 2 * HIGH_WATERMARKS_MAX, [])), now)
    assert (
        len(listener.ordering.watermarks) <= HIGH_WATERMARKS_MAX + 1
        and listener.ordering.low_watermark > HIGH_WATERMARKS_MAX
    )


def test_a_storm_of_hello_again_is_answered_a_few_times() -> None:
    core, _ = live("a")
    hellos, seconds = [], 1_000.0
    for number in range(240_000):
        seconds += 0.00025  # 4,000 a second
        now = Instant(seconds, NOON)
        core.received(wire.encode(wire.HelloAgain()), now)
        core.received(wire.encode(WELCOME), now)
        if number % 200 == 0:
            core.elapsed(now)
        hellos += [seconds for frame in core.take_sends() if isinstance(wire.decode_client(frame), wire.Hello)]
    assert 10 <= len(hellos) <= 22
    assert all(later - earlier > 4.0 for earlier, later in zip(hellos[-5:], hellos[-4:], strict=False))


def test_gaps_without_end_are_asked_for_later_and_later() -> None:
    core, listener = live("a")
    fetches, seconds, gaps = 0, 1_000.0, 0
    for number in range(120_000):
        seconds += 0.0005
        now = Instant(seconds, NOON)
        batch = wire.Batch(wire.MESSAGES, 50 + 2 * number, 49 + 2 * number, NOON, [wire.Entry("e", "s", 1, [b"x"])])
        core.broadcast(topic("a"), wire.encode(batch), now)
        gaps += sum(isinstance(item, Notice) for _, out in core.deliver(now) for item in out)
        for frame in core.take_sends():
            message = wire.decode_client(frame)
            if isinstance(message, wire.Fetch):
                fetches += 1
                gap = ("a", message.after + 1, message.until, "damaged")
                core.received(wire.encode(wire.Page(message.request, [], message.until, False, [wire.Gap(*gap)])), now)
            elif isinstance(message, wire.Heads):
                core.received(wire.encode(wire.HeadsAre(message.request, 49 + 2 * number, [])), now)
    assert fetches < 40 and gaps < 80 and listener.ordering.held.bytes <= HELD_BYTES_MAX


def test_a_head_below_what_was_seen_is_told_and_what_follows_comes() -> None:
    core, listener = live("a")
    now = Instant(1_000.0, NOON)
    lie = wire.Batch(wire.MESSAGES, 1 << 50, 40, NOON, [wire.Entry("eve", "s", 1, [b"lie"])])
    core.broadcast(topic("a"), wire.encode(lie), now)
    listener.ordering.check()
    core.deliver(now)
    (heads,) = [wire.decode_client(frame) for frame in core.take_sends()]
    assert isinstance(heads, wire.Heads)
    core.received(wire.encode(wire.HeadsAre(heads.request, 41, [("a", 41, 41)])), now)
    (_, out), *_ = core.deliver(now)
    assert out == [Notice("gap", 42, 1 << 50, reason="log")]
    (nonce,) = [name[1:] for subscribes, name in core.take_subscriptions() if subscribes and name[:1] == b"\xff"][-1:]
    core.broadcast(wire.PRIVATE_TOPIC, wire.encode(wire.Sync(nonce, 41)), now)
    later = Instant(1_001.0, NOON)
    core.deliver(later)
    (fetch,) = [wire.decode_client(frame) for frame in core.take_sends()]
    assert isinstance(fetch, wire.Fetch) and (fetch.after, fetch.until) == (40, 41)


def test_an_answer_that_does_not_decode_is_an_error_for_who_asked() -> None:
    core, _ = live("a")
    now = Instant(1_000.0, NOON)
    number = core.ask(wire.Fetch(0, ["a"], 0, 40), now)
    core.received(msgspec.msgpack.encode([37, number, [], -1, True, []]), now)
    ((told, answer),) = core.take_answers()
    assert told == number and isinstance(answer, WireError)
