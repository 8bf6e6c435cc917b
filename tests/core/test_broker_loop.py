"""The loop that ships, on the simulator's port: what is taken in what order, and how much."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import msgspec
import pytest

from tests.simulation.broker_port import SimulatedPort
from tests.simulation.network import Port, World
from zchat import wire
from zchat.address import Published
from zchat.core import Instant
from zchat.core.broker import BrokerCore
from zchat.core.broker_loop import BUSY_SECONDS, ENDED_WAIT_MESSAGES, LONE_BYTES, SMALL_BYTES, BrokerLoop
from zchat.core.broker_port import ENDS, FRAMES
from zchat.core.log import Append, facts_of
from zchat.errors import LogError
from zchat.log.memory import MemoryLog
from zchat.settings import Settings

MIB = 1 << 20


class HoldingLog(MemoryLog):
    """Appends wait for `commit`."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[tuple[Append, Callable[[LogError | None], None]]] = []
        self.now: list[Append] = []  # that it was to keep at once
        self.is_quick = False
        self.trouble: LogError | None = None

    def append(self, append: Append, done: Callable[[LogError | None], None]) -> None:
        """As a log does whose disk is stalled."""
        self.waiting.append((append, done))

    def append_now(self, append: Append) -> bool:
        """Where it is quick."""
        self.now.append(append)
        if self.is_quick and self.trouble:
            raise self.trouble
        if self.is_quick:
            super().append(append, lambda error: None)
        return self.is_quick

    def commit(self, error: LogError | None = None) -> None:
        """It works again, or fails."""
        append, done = self.waiting.pop()
        if error is None:
            super().append(append, lambda error: None)
        done(error)


class Bench:
    """A loop on a port whose frames a test gives."""

    def __init__(self) -> None:
        self.world = World(1)
        self.frames: list[tuple[bytes, bytes]] = []
        self.given = 0  # bytes of them
        self.sent: list[tuple[bytes, wire.BrokerMessage]] = []
        self.told: list[str] = []
        self.log = HoldingLog()
        self.port = GivenPort(self)
        facts = facts_of(self.log, 0)
        ids = (f"s{number}" for number in count(1))
        self.core = BrokerCore(Settings(), facts, ids, Published(1), self.world.now)
        self.loop = BrokerLoop(self.core, self.log, self.port, self.told.append)

    def turns(self, ready: int = 0, many: int = 1) -> None:
        for _ in range(many):
            self.loop.rest()
            self.port.spent = 0.0
            self.loop.turn(ready | self.port.poll(0.0, receives=self.loop.receives))

    def hello(self, *connections: bytes) -> None:
        self.frames += [(each, wire.encode(wire.Hello(wire.VERSION, each.decode()))) for each in connections]
        self.turns(many=len(connections))


class GivenPort(SimulatedPort):
    """Frames come of the test."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench.world, Port(), lambda: None, lambda base: None)
        self.bench = bench

    def poll(self, seconds: float, *, receives: bool, is_alone: bool = False) -> int:
        """As the real one."""
        found = super().poll(seconds, receives=receives)
        return found | FRAMES if receives and self.bench.frames else found

    def received(self, now: Instant) -> Iterator[tuple[bytes, bytes | None, int, str | None]]:
        """One after the other."""
        while self.bench.frames:
            connection, frame = self.bench.frames.pop(0)
            self.bench.given += len(frame)
            yield connection, frame, len(frame), "127.0.0.1"

    def send(self, replies, now) -> None:  # type: ignore[no-untyped-def]
        """Kept for the test."""
        self.bench.sent += [(connection, wire.decode_broker(frame)) for connection, frame in replies]


def publish(seq: int, body: bytes) -> bytes:
    return wire.encode(wire.Publish(seq, "a", 0, msgspec.Raw(wire.encode_records([body]))))


def test_while_the_disk_is_stalled_senders_wait_and_then_nothing_is_missing() -> None:
    bench = Bench()
    users = [b"user-%d" % number for number in range(64)]
    bench.hello(*users)
    large = [publish(seq, bytes(MIB)) for seq in range(1, 4)]
    bench.frames += [(user, frame) for user in users for frame in large]
    bench.turns(many=250)
    assert 100 * MIB < bench.core.gathered_bytes < 140 * MIB and bench.given < 150 * MIB
    assert not bench.loop.receives and bench.frames, "the rest waits with those who sent it"
    while bench.log.waiting:
        bench.log.commit()
        bench.turns(many=250)
    assert bench.log.head() == 64 * 3 and not bench.frames


def test_an_end_counts_only_when_all_that_came_before_it_was_received() -> None:
    bench = Bench()
    bench.hello(b"anna")
    bench.frames += [(b"anna", wire.encode(wire.Join(1, ["a"])))]
    bench.frames += [(b"anna", publish(seq, bytes(MIB))) for seq in range(1, 7)]  # more than a turn takes
    bench.port.ends[b"anna"] = bench.world.seconds
    bench.turns(ENDS)
    assert bench.frames and b"anna" in bench.port.ends
    assert bench.core.registry.of(b"anna") is not None
    bench.turns(many=3)
    assert not bench.frames and not bench.port.ends
    assert bench.core.registry.of(b"anna") is None


def test_an_end_counts_after_a_second_and_many_messages_in_one_that_is_never_dry() -> None:
    bench = Bench()
    bench.hello(b"anna", b"carl", b"bob")
    bench.frames += [(b"bob", publish(seq, bytes(2 * SMALL_BYTES))) for seq in range(1, 3 * ENDED_WAIT_MESSAGES)]
    bench.port.ends[b"anna"] = bench.world.seconds
    bench.turns(ENDS)
    bench.world.run(1.1)
    bench.port.ends[b"carl"] = bench.world.seconds
    before = len(bench.frames)
    bench.turns(ENDS)
    assert before - len(bench.frames) < ENDED_WAIT_MESSAGES, "few were received since, however long that took"
    assert list(bench.port.ends) == [b"anna", b"carl"]
    while before - len(bench.frames) < ENDED_WAIT_MESSAGES:
        bench.turns(ENDS)
    assert bench.frames and list(bench.port.ends) == [b"carl"], "many were, and no second has gone since the other end"
    assert bench.core.registry.of(b"anna") is None and bench.core.registry.of(b"carl") is not None
    bench.world.run(1.1)
    bench.turns(ENDS)
    assert bench.frames and not bench.port.ends and bench.core.registry.of(b"carl") is None


def test_a_broker_that_stops_commits_what_had_arrived_and_says_goodbye_last() -> None:
    bench = Bench()
    bench.hello(b"anna")
    bench.frames += [(b"anna", publish(1, b"x"))]
    bench.loop.stop()
    bench.turns(many=3)
    assert not bench.loop.is_over, "the commit is under way"
    bench.log.commit()
    bench.turns()
    kinds = [type(message) for _, message in bench.sent]
    assert bench.loop.is_over and kinds[-2:] == [wire.Ack, wire.Goodbye] and bench.log.head() == 1


def test_a_broker_that_stops_waits_for_no_disk_for_ever() -> None:
    bench = Bench()
    bench.hello(b"anna")
    bench.frames += [(b"anna", publish(1, b"x"))]
    bench.loop.stop()
    bench.turns()
    bench.world.run(6.0)
    bench.turns()
    assert bench.loop.is_over and bench.log.head() == 0


def test_a_log_that_keeps_nothing_more_ends_the_loop_and_one_that_is_full_is_told_once() -> None:
    bench = Bench()
    bench.hello(b"anna")
    for seq in (1, 2):
        bench.frames += [(b"anna", publish(seq, b"x"))]
        bench.turns()
        bench.log.commit(LogError("log-full", "no space"))
        bench.turns()
    assert len([text for text in bench.told if "what is sent is refused" in text]) == 1
    assert bench.loop.failure is None


def joined(bench: Bench, *connections: bytes) -> None:
    """They are there, and nothing is under way."""
    bench.hello(*connections)
    bench.log.now.clear()
    bench.sent.clear()


def test_what_one_alone_waits_for_is_committed_in_the_turn_that_brought_it() -> None:
    bench = Bench()
    bench.log.is_quick = True
    joined(bench, b"anna")
    bench.frames += [(b"anna", publish(1, b"x"))]
    bench.turns()
    assert bench.sent == [(b"anna", wire.Ack([(1, 1)], bench.sent[0][1].window))] and bench.log.head() == 1  # type: ignore[union-attr]
    assert not bench.log.waiting and not bench.core.is_committing


def test_where_frames_come_one_by_one_what_each_brings_goes_out_before_the_next_is_asked_for() -> None:
    bench, seen = Bench(), list[int]()
    joined(bench, b"anna", b"bob")
    received = bench.port.received

    def noted(now: Instant) -> Iterator[tuple[bytes, bytes | None, int, str | None]]:
        for each in received(now):
            yield each
            seen.append(len(bench.sent))

    bench.port.received = noted  # type: ignore[method-assign]
    ask = wire.encode(wire.Purge(1, "a", 0))
    bench.frames += [(b"anna", ask)]
    bench.turns()
    bench.frames += [(b"anna", ask)]
    bench.turns()
    assert seen == [0, 2], "the turn before had two frames, and then one"
    seen.clear()
    bench.frames += [(b"anna", ask), (b"bob", ask), (b"anna", ask)]
    bench.turns()
    bench.frames += [(b"anna", ask), (b"bob", ask)]
    bench.turns()
    assert seen == [3, 3, 3, 5, 5], "after a turn of one the first goes out alone; after one of several all go together"


def test_what_came_while_a_turn_went_on_is_not_older_than_its_coming() -> None:
    bench, sent_at = Bench(), list[int]()
    bench.log.is_quick = True
    joined(bench, b"anna")
    received = bench.port.received

    def late(now: Instant) -> Iterator[tuple[bytes, bytes | None, int, str | None]]:
        bench.world.seconds += 0.5  # whoever runs on its processor, or what it takes first, holds it up
        sent_at.append(bench.world.now.micros)
        yield from received(now)

    bench.port.received = late  # type: ignore[method-assign]
    bench.frames += [(b"anna", publish(1, b"x"))]
    bench.turns()
    assert bench.log.head() == 1 and bench.log.last_time() >= sent_at[0], "`since` that moment has it"


@pytest.mark.parametrize("body", [b"x", bytes(LONE_BYTES)])
def test_what_many_wait_for_or_is_large_is_handed_over(body: bytes) -> None:
    bench = Bench()
    bench.log.is_quick = True
    joined(bench, b"anna", b"bob")
    bench.frames += [(user, publish(1, body)) for user in ([b"anna", b"bob"] if body == b"x" else [b"anna"])]
    bench.turns()
    assert not bench.log.now and len(bench.log.waiting) == 1 and not bench.sent


def test_while_there_may_be_more_to_receive_a_commit_is_handed_over() -> None:
    bench = Bench()
    bench.log.is_quick = True
    joined(bench, b"anna", b"bob")
    refused = (b"bob", wire.encode(wire.Publish(0, "a", 0, msgspec.Raw(b"\x90"))) + bytes(MIB))
    bench.frames += [(b"anna", publish(1, b"x")), *[refused] * 8]
    bench.turns()
    assert bench.frames and not bench.log.now and len(bench.log.waiting) == 1


def test_a_log_that_is_not_quick_is_handed_what_it_did_not_try() -> None:
    bench = Bench()
    joined(bench, b"anna")
    bench.frames += [(b"anna", publish(1, b"x"))]
    bench.turns()
    assert len(bench.log.now) == 1 and len(bench.log.waiting) == 1 and not bench.sent
    bench.log.commit()
    bench.turns()
    assert [type(message) for _, message in bench.sent] == [wire.Ack]


def test_what_a_quick_log_refuses_is_refused_in_the_same_turn_and_the_next_is_kept() -> None:
    bench = Bench()
    bench.log.is_quick, bench.log.trouble = True, LogError("log-full", "no space")
    joined(bench, b"anna")
    bench.frames += [(b"anna", publish(1, b"x"))]
    bench.turns()
    assert [message.code for _, message in bench.sent if isinstance(message, wire.Error)] == ["log-full"]
    assert bench.told == ["no space: what is sent is refused"]
    bench.log.trouble = None
    bench.frames += [(b"anna", publish(2, b"y"))]
    bench.turns(many=3)
    while bench.log.waiting:  # rows that were given back go with the next commit
        bench.log.commit()
        bench.turns()
    assert bench.log.head() == 1 and bench.told[1:] == ["the log can be written again"]


def test_what_is_due_by_time_is_done_then_and_not_before() -> None:
    bench, sent = Bench(), list[tuple[bytes, bytes]]()

    def broadcast(broadcasts: list[tuple[bytes, bytes]], *, patient: bool) -> set[bytes]:
        sent.extend(broadcasts)
        return set()

    bench.port.broadcast = broadcast  # type: ignore[assignment, method-assign]
    bench.log.is_quick = True
    bench.hello(b"ann")
    bench.frames.append((b"ann", publish(1, b"x")))
    bench.turns(many=5)
    assert [isinstance(wire.decode_broadcast(frame), wire.Batch) for _, frame in sent] == [True]
    assert 0.9 < bench.loop.rest() <= 1.0
    bench.world.seconds += 1.1
    assert bench.loop.rest() == 0.0
    bench.turns()
    assert [wire.decode_broadcast(frame) for _, frame in sent[1:]] == [wire.Watermark(1)]


def test_while_frames_come_without_end_what_is_due_is_done_a_moment_late_at_most() -> None:
    bench, sent = Bench(), list[object]()

    def broadcast(broadcasts: list[tuple[bytes, bytes]], *, patient: bool) -> set[bytes]:
        sent.extend(wire.decode_broadcast(frame) for _, frame in broadcasts)
        return set()

    bench.port.broadcast = broadcast  # type: ignore[assignment, method-assign]
    bench.log.is_quick = True
    bench.hello(b"ann")
    bench.frames.append((b"ann", publish(1, b"x")))
    bench.turns()
    began, seq = bench.world.seconds, 1
    while wire.Watermark(1) not in sent:
        bench.world.seconds += 0.001
        seq += 1
        quiet = wire.Publish(seq, "b", wire.VOLATILE | wire.QUIET, msgspec.Raw(wire.encode_records([b"y"])))
        bench.frames.append((b"ann", wire.encode(quiet)))
        bench.turns()
        assert bench.world.seconds - began < 2.0, "it is never done"
    assert 1.0 <= bench.world.seconds - began <= 1.0 + BUSY_SECONDS + 0.002
    bench.turns()
    assert bench.loop.rest() > 0.4, "nothing has come any more"
