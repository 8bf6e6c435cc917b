"""What waits for reader threads: whose turn it is, bounds, one lookup at a time, and nothing left of who has gone."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from zchat import wire
from zchat.core import Instant
from zchat.core.read_paces import ReadPaces
from zchat.core.reads import GIVEN_OUT_MAX, LOOKUPS_MAX, READERS, Lookup, Read, Reads
from zchat.core.replies import Replies
from zchat.core.rights import Rights
from zchat.core.session import Session
from zchat.core.views import View
from zchat.errors import WireError
from zchat.settings import Settings

SLICE_SECONDS = 0.02


def fetch(number: int = 1) -> wire.Fetch:
    return wire.Fetch(number, ["general"], 0, 0)


VIEW = View(Rights(), "alice", 0)


class Setup:
    """Reads with a session, and what it is told."""

    def __init__(self, connection_reads_max: int = 32, reads_max: int = 1_000) -> None:
        self.replies = Replies()
        self.reads = Reads(self.replies, connection_reads_max, reads_max)
        self.session = Session("s", "alice", 1, 1, connection=b"c")

    def repeat(self, seq: int, flags: int = 0) -> None:
        self.reads.look_up(self.session, wire.Publish(seq, "general", flags, wire.raw(wire.encode_records([b"x"]))))

    def found(self, seq: int, offset: int, failure: str = "") -> None:
        self.reads.found("s", self.session, seq, offset, failure)

    def told(self) -> list[wire.BrokerMessage]:
        return [wire.decode_broker(frame) for _, frame in self.replies.take(0)]

    def ask(self, connection: bytes, *numbers: int) -> None:
        for number in numbers:
            self.reads.ask(connection, fetch(number), VIEW)

    def next(self, full: frozenset[bytes] = frozenset()) -> Read:
        """The one read that is given out now."""
        (read,) = self.reads.take(full)
        return read

    def served(self, count: int, seconds: float) -> str:
        """The connections of the next so many, each of which takes so long."""
        order = b""
        taken = self.reads.take()
        while len(order) < count:
            read = taken.pop(0)
            order += read.connection
            assert self.reads.done(read, seconds)
            taken += self.reads.take()
        for read in taken:
            self.reads.done(read, seconds)
        return order.decode()


def request_of(read: Read) -> int:
    assert isinstance(read.request, wire.Fetch)
    return read.request.request


def looked_up(reads: list[Read]) -> list[Lookup]:
    return [read.request for read in reads if isinstance(read.request, Lookup)]


# --- whose turn it is -------------------------------------------------------------------------------


def test_a_connection_has_one_read_at_work_and_they_are_answered_in_order() -> None:
    setup = Setup()
    setup.ask(b"c", 1, 2, 3)
    for number in (1, 2, 3):
        read = setup.next()
        assert request_of(read) == number and setup.reads.take() == []
        assert setup.reads.done(read, 0.0)
    assert setup.reads.take() == []


def test_connections_take_turns() -> None:
    setup = Setup()
    setup.ask(b"a", *range(20))
    setup.ask(b"b", *range(20))
    setup.ask(b"c", *range(20))
    assert sorted(setup.served(12, SLICE_SECONDS)) == list("aaaabbbbcccc")


def test_who_asks_for_the_first_time_is_next() -> None:
    setup = Setup()
    for attacker in (b"a", b"b", b"d", b"e"):
        setup.ask(attacker, *range(30))
    setup.served(20, SLICE_SECONDS)
    setup.ask(b"c", 1)
    assert "c" in setup.served(3, SLICE_SECONDS)


def test_turns_are_by_time_and_not_by_number() -> None:
    setup = Setup()
    for connection in (b"a", b"b", b"d"):
        setup.ask(connection, *range(30))
    order = ""
    taken = setup.reads.take()
    while len(order) < 44:
        read = taken.pop(0)
        order += read.connection.decode()
        setup.reads.done(read, SLICE_SECONDS if read.connection == b"a" else SLICE_SECONDS / 10)
        taken += setup.reads.take()
    assert order.count("a") <= 3


def test_to_ask_one_at_a_time_is_no_way_past_the_others() -> None:
    setup = Setup()
    setup.ask(b"a", *range(30))
    setup.ask(b"b", *range(30))
    order = ""
    setup.ask(b"c", 1)
    taken = setup.reads.take()
    while len(order) < 30:
        read = taken.pop(0)
        order += read.connection.decode()
        setup.reads.done(read, SLICE_SECONDS)
        if read.connection == b"c":
            setup.ask(b"c", 1)
        taken += setup.reads.take()
    assert order.count("c") <= 11


def test_what_gave_way_goes_on_before_what_the_connection_asked_later() -> None:
    setup = Setup()
    setup.ask(b"a", 1, 2)
    first = setup.next()
    setup.reads.gave_way(first, SLICE_SECONDS)
    assert setup.next() is first and request_of(first) == 1
    assert setup.reads.done(first, 0.0)
    assert request_of(setup.next()) == 2


def test_short_reads_are_given_out_ahead_and_long_ones_are_not() -> None:
    setup = Setup()
    names = [bytes([number]) for number in range(20)]
    for name in names:
        setup.ask(name, 1, 2, 3)
    taken = setup.reads.take()
    assert READERS < len(taken) <= GIVEN_OUT_MAX
    for _ in range(20):
        for read in taken:
            setup.reads.gave_way(read, SLICE_SECONDS)
        taken = setup.reads.take()
    assert len(taken) == READERS


def test_who_does_not_read_its_answers_waits_and_has_no_more_than_its_share_then() -> None:
    setup = Setup()
    setup.ask(b"a", *range(20))
    setup.ask(b"b", *range(30))
    full = frozenset([b"a"])
    for _ in range(10):
        read = setup.next(full)
        assert read.connection == b"b"
        setup.reads.done(read, SLICE_SECONDS)
    assert setup.served(8, SLICE_SECONDS).count("a") <= 5


# --- bounds -----------------------------------------------------------------------------------------


def test_a_connection_has_so_many_reads_unanswered_and_no_more() -> None:
    setup = Setup(connection_reads_max=2)
    setup.ask(b"c", 1, 2)
    with pytest.raises(WireError) as raised:
        setup.ask(b"c", 3)
    assert raised.value.code == "busy"
    setup.ask(b"other", 1)
    setup.reads.done(setup.reads.take()[0], 0.0)
    setup.ask(b"c", 3)
    with pytest.raises(WireError):
        setup.ask(b"c", 4)


def test_above_the_sum_who_has_most_is_refused() -> None:
    setup = Setup(reads_max=10)
    setup.ask(b"a", *range(8))
    setup.ask(b"b", 1, 2)
    with pytest.raises(WireError) as raised:
        setup.ask(b"a", 8)
    assert raised.value.code == "busy"
    setup.ask(b"b", 3)
    (error,) = setup.told()
    assert isinstance(error, wire.Error) and (error.about, error.number, error.code) == ("request", 7, "busy")
    setup.ask(b"d", 1)
    assert len(setup.told()) == 1


def test_above_the_sum_a_lookup_waits_until_it_is_sent_again() -> None:
    setup = Setup(reads_max=2)
    setup.ask(b"a", 1)
    setup.ask(b"b", 1)
    setup.repeat(7)
    assert setup.told() == []
    taken = setup.reads.take()
    assert not looked_up(taken)
    setup.repeat(7)
    assert looked_up(setup.reads.take()) == [Lookup("s", [7])]


# --- who has gone -----------------------------------------------------------------------------------


def test_what_a_connection_asked_that_has_gone_is_dropped() -> None:
    setup = Setup(connection_reads_max=2)
    setup.ask(b"c", 1, 2)
    begun = setup.next()
    setup.reads.forget(b"c")
    assert setup.reads.take() == []
    setup.reads.gave_way(begun, SLICE_SECONDS)
    assert setup.reads.take() == []
    assert not setup.reads.done(begun, 0.0)
    setup.reads.forget(b"c")
    setup.ask(b"c", 3, 4)
    assert request_of(setup.next()) == 3


def test_the_answer_for_one_that_has_gone_is_not_for_one_that_asks_the_same() -> None:
    setup = Setup()
    setup.ask(b"c", 1)
    before = setup.next()
    setup.reads.forget(b"c")
    setup.ask(b"c", 1)
    now = setup.next()
    assert not setup.reads.done(before, 0.0)
    assert setup.reads.done(now, 0.0)


# --- repeats ----------------------------------------------------------------------------------------


def test_all_repeats_of_a_session_that_wait_are_one_read() -> None:
    setup = Setup()
    setup.repeat(7)
    setup.repeat(8)
    first = setup.next()
    assert first.request == Lookup("s", [7, 8])
    setup.repeat(9)
    assert setup.reads.take() == []
    setup.reads.done(first, 0.0)
    assert setup.next().request == Lookup("s", [9])


def test_a_repeat_that_comes_again_while_it_is_looked_up_is_not_looked_up_twice() -> None:
    setup = Setup()
    for _ in range(3):
        setup.repeat(7)
        setup.repeat(8)
    read = setup.next()
    assert read.request == Lookup("s", [7, 8])
    setup.repeat(7)
    assert setup.reads.done(read, 0.0)
    setup.found(7, 40)
    assert setup.told() == [wire.Ack([(7, 40)])]
    setup.repeat(7)  # its answer was lost
    setup.repeat(8)
    assert setup.next().request == Lookup("s", [7])


def test_a_repeat_of_a_connection_that_has_gone_is_looked_up_for_the_next_one() -> None:
    setup = Setup()
    setup.repeat(7)
    begun = setup.next()
    setup.repeat(8)
    setup.reads.forget(b"c")
    setup.session.connection = b"d"
    setup.repeat(7)
    setup.repeat(8)
    read = setup.next()
    assert (read.connection, read.request) == (b"d", Lookup("s", [7, 8]))
    assert not setup.reads.done(begun, 0.0)


def test_what_the_log_does_not_have_is_told_as_unknown_and_so_is_what_it_cannot_tell() -> None:
    setup = Setup()
    setup.repeat(7)
    setup.found(7, 0)
    setup.found(8, 0, "MemoryError")
    unknown, failed = setup.told()
    assert isinstance(unknown, wire.Error) and (unknown.number, unknown.code) == (7, "repeat-unknown")
    assert isinstance(failed, wire.Error)
    assert (failed.about, failed.number, failed.code, failed.text) == ("publish", 8, "log-failed", "MemoryError")


def test_a_volatile_repeat_is_not_looked_for_in_the_log() -> None:
    setup = Setup()
    setup.repeat(7, wire.VOLATILE)
    assert setup.reads.take() == []
    (error,) = setup.told()
    assert isinstance(error, wire.Error) and (error.number, error.code) == (7, "repeat-unknown")


def test_a_session_has_so_many_lookups_waiting_and_no_more() -> None:
    setup = Setup()
    for seq in range(LOOKUPS_MAX + 5):
        setup.repeat(seq)
    assert setup.next().request == Lookup("s", list(range(LOOKUPS_MAX)))
    setup.found(0, 40)
    setup.repeat(LOOKUPS_MAX)
    setup.repeat(LOOKUPS_MAX + 1)
    assert setup.reads._lookups["s"] == set(range(1, LOOKUPS_MAX + 1))


def test_what_was_found_for_a_session_that_has_gone_is_told_to_nobody() -> None:
    setup = Setup()
    setup.repeat(7)
    setup.reads.found("s", None, 7, 40)
    assert setup.told() == []


# --- whatever happens -------------------------------------------------------------------------------


class Machine(RuleBasedStateMachine):
    """Connections that ask, readers that work, connections that go: everybody is answered, once, or told `busy`."""

    def __init__(self) -> None:
        super().__init__()
        self.replies = Replies()
        self.reads = Reads(self.replies, connection_reads_max=4, reads_max=9)
        self.at_work: list[Read] = []
        self.gone: list[Read] = []  # at work for who has gone
        self.wanted: dict[bytes, list[int]] = {}  # what has no answer yet, in the order in which it was asked
        self.number = 0

    @rule(connection=st.sampled_from([b"a", b"b", b"c", b"d"]), times=st.integers(1, 4))
    def ask(self, connection: bytes, times: int) -> None:
        for _ in range(times):
            self.number += 1
            try:
                self.reads.ask(connection, fetch(self.number), VIEW)
            except WireError:
                continue
            self.wanted.setdefault(connection, []).append(self.number)
            self.refused()

    @rule(full=st.frozensets(st.sampled_from([b"a", b"b"])))
    def take(self, full: frozenset[bytes]) -> None:
        for read in self.reads.take(full):
            assert read.connection not in full
            assert read.connection not in [other.connection for other in self.at_work]
            self.at_work.append(read)

    @precondition(lambda self: self.at_work)
    @rule(data=st.data(), seconds=st.floats(0.0, 0.05), is_done=st.booleans())
    def work(self, data: st.DataObject, seconds: float, is_done: bool) -> None:
        read = self.at_work.pop(data.draw(st.integers(0, len(self.at_work) - 1)))
        if is_done:
            assert self.reads.done(read, seconds)
            assert self.wanted[read.connection].pop(0) == request_of(read)
        else:
            self.reads.gave_way(read, seconds)

    @precondition(lambda self: self.gone)
    @rule(is_done=st.booleans())
    def work_for_who_has_gone(self, is_done: bool) -> None:
        read = self.gone.pop()
        if is_done:
            assert not self.reads.done(read, 0.01)
        else:
            self.reads.gave_way(read, 0.01)

    @rule(connection=st.sampled_from([b"a", b"b", b"c", b"d"]))
    def go(self, connection: bytes) -> None:
        self.reads.forget(connection)
        self.wanted.pop(connection, None)
        self.gone += [read for read in self.at_work if read.connection == connection]
        self.at_work = [read for read in self.at_work if read.connection != connection]

    @invariant()
    def is_bounded(self) -> None:
        assert len(self.at_work) + len(self.gone) <= GIVEN_OUT_MAX
        assert sum(map(len, self.wanted.values())) <= 9 + GIVEN_OUT_MAX
        assert all(len(numbers) <= 4 for numbers in self.wanted.values())
        queued = [*self.reads._held, *(asker for _, _, asker in self.reads._queue)]
        assert len(queued) == len(set(queued)), "each is there once"

    def refused(self) -> None:
        for connection, frame in self.replies.take(0):
            error = wire.decode_broker(frame)
            assert isinstance(error, wire.Error) and error.code == "busy"
            self.wanted[connection].remove(error.number)

    def teardown(self) -> None:
        """Whoever waits is served in the end."""
        for read in self.gone:
            self.reads.done(read, 0.0)
        for _ in range(1_000):
            self.take(frozenset())
            if not self.at_work:
                break
            read = self.at_work.pop(0)
            assert self.reads.done(read, 0.01)
            assert self.wanted[read.connection].pop(0) == request_of(read)
        assert not any(self.wanted.values())
        assert self.reads._waiting == 0


TestWhateverHappens = Machine.TestCase
TestWhateverHappens.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


# --- how much a user may have ---------------------------------------------------------------


class Paced:
    """Reads of users who may have a second of the readers at once, and half a second a second."""

    def __init__(self) -> None:
        settings = Settings(user_read_seconds_max=1.0, user_read_seconds_a_second_max=0.5)
        self.replies = Replies()
        self.reads = Reads(self.replies, 32, 1_000, ReadPaces(settings))

    def ask(self, connection: bytes, user: str, number: int) -> None:
        self.reads.ask(connection, fetch(number), View(Rights(), user, 0))

    def given(self, seconds: float) -> list[int]:
        """Numbers of what is given out at that time."""
        self.taken = self.reads.take((), Instant(seconds, 0))
        return [request_of(read) for read in self.taken]


def test_who_has_had_too_much_of_the_readers_waits_and_others_do_not() -> None:
    paced = Paced()
    paced.ask(b"a", "alice", 1)
    assert paced.given(10.0) == [1]
    paced.reads.done(paced.taken[0], 3.0)  # two more than it may at once
    paced.ask(b"a", "alice", 2)
    paced.ask(b"other", "Alice", 3)
    paced.ask(b"b", "bob", 4)
    assert paced.given(10.0) == [4], "also on another connection of hers"
    paced.reads.done(paced.taken[0], 0.001)
    assert paced.reads.next_deadline == 14.0
    assert paced.given(13.9) == []
    assert sorted(paced.given(14.0)) == [2, 3] and paced.reads.next_deadline is None
    assert paced.replies.limits.counts == {"user_read_seconds_a_second_max": 2}


def test_a_long_read_waits_between_its_slices() -> None:
    paced = Paced()
    paced.ask(b"a", "alice", 1)
    assert paced.given(10.0) == [1]
    paced.reads.gave_way(paced.taken[0], 2.0)
    assert paced.given(10.0) == [] and paced.given(12.0) == [1]


def test_on_a_gateways_connection_another_user_goes_first() -> None:
    paced = Paced()
    paced.ask(b"g", "alice", 1)
    assert paced.given(10.0) == [1]
    paced.reads.done(paced.taken[0], 3.0)
    paced.ask(b"g", "alice", 2)
    assert paced.given(10.0) == []
    paced.ask(b"g", "bob", 3)
    assert paced.given(10.0) == [3]
    paced.reads.done(paced.taken[0], 0.01)
    assert paced.given(10.0) == [] and paced.given(14.0) == [2]


def test_what_a_connection_had_asked_that_has_gone_is_not_begun_later() -> None:
    paced = Paced()
    paced.ask(b"a", "alice", 1)
    assert paced.given(10.0) == [1]
    paced.reads.gave_way(paced.taken[0], 3.0)
    assert paced.given(10.0) == []
    paced.reads.forget(b"a")
    assert paced.given(20.0) == [] and paced.reads.next_deadline is None
