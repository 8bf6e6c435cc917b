"""What waits for reader threads: bounds, and one lookup at a time."""

from __future__ import annotations

import pytest

from zchat import wire
from zchat.core.reads import LOOKUPS_MAX, Read, Reads
from zchat.core.registry import Session
from zchat.core.replies import Replies
from zchat.errors import WireError

FETCH = wire.Fetch(1, ["general"], 0, 0)


class Setup:
    """Reads with a session, and what it is told."""

    def __init__(self) -> None:
        self.replies = Replies()
        self.reads = Reads(self.replies, connection_reads_max=2)
        self.session = Session("s", "alice", 1, 1, connection=b"c")

    def repeat(self, seq: int, flags: int = 0) -> None:
        self.reads.look_up(self.session, wire.Publish(seq, "general", flags, wire.raw(wire.encode_records([b"x"]))))

    def found(self, seq: int, offset: int) -> None:
        self.reads.found("s", self.session, seq, offset)

    def told(self) -> list[wire.BrokerMessage]:
        return [wire.decode_broker(frame) for _, frame in self.replies.take()]


def test_a_connection_has_so_many_reads_waiting_and_no_more() -> None:
    reads = Setup().reads
    reads.ask(b"c", FETCH)
    reads.ask(b"c", FETCH)
    with pytest.raises(WireError) as raised:
        reads.ask(b"c", FETCH)
    assert raised.value.code == "busy"
    reads.ask(b"other", FETCH)
    assert reads.take() == [Read(b"c", FETCH), Read(b"c", FETCH), Read(b"other", FETCH)]
    assert reads.take() == []
    reads.done(b"c")
    reads.ask(b"c", FETCH)
    with pytest.raises(WireError):
        reads.ask(b"c", FETCH)


def test_a_connection_that_is_gone_leaves_nothing_behind() -> None:
    reads = Setup().reads
    reads.ask(b"c", FETCH)
    reads.ask(b"c", FETCH)
    reads.forget(b"c")
    reads.done(b"c")
    reads.done(b"c")
    reads.ask(b"c", FETCH)
    reads.ask(b"c", FETCH)
    with pytest.raises(WireError):
        reads.ask(b"c", FETCH)


def test_a_repeat_that_comes_again_while_it_is_looked_up_is_not_looked_up_twice() -> None:
    setup = Setup()
    for _ in range(3):
        setup.repeat(7)
        setup.repeat(8)
    assert setup.reads.take() == [Read(b"c", ("s", 7)), Read(b"c", ("s", 8))]
    setup.found(7, 40)
    assert setup.told() == [wire.Ack([(7, 40)])]
    setup.repeat(7)  # its answer was lost
    setup.repeat(8)
    assert setup.reads.take() == [Read(b"c", ("s", 7))]


def test_what_the_log_does_not_have_is_told_as_unknown() -> None:
    setup = Setup()
    setup.repeat(7)
    setup.found(7, 0)
    (error,) = setup.told()
    assert isinstance(error, wire.Error) and (error.number, error.code) == (7, "repeat-unknown")


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
    assert len(setup.reads.take()) == LOOKUPS_MAX
    setup.found(0, 40)
    setup.repeat(LOOKUPS_MAX)
    setup.repeat(LOOKUPS_MAX + 1)
    assert setup.reads.take() == [Read(b"c", ("s", LOOKUPS_MAX))]


def test_what_was_found_for_a_session_that_has_gone_is_told_to_nobody() -> None:
    setup = Setup()
    setup.repeat(7)
    setup.reads.found("s", None, 7, 40)
    assert setup.told() == []
