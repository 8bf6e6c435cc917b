"""What a broker asks of its log: all facts at once, and answers that are worked on in slices."""

from __future__ import annotations

from collections.abc import Iterator

from zchat import wire
from zchat.core.log import Append, CursorRow, SeenRow, SessionRow, Sliced, StoredBatch, facts_of, whole
from zchat.errors import LogError
from zchat.log.memory import MemoryLog


def test_the_facts_of_a_log_are_all_that_it_knows() -> None:
    log, outcomes = MemoryLog(), list[LogError | None]()
    frame = wire.encode(wire.Batch(wire.MESSAGES, 1, 0, 7, [wire.Entry("alice", "s", 1, [b"x"])]))
    session, cursor = SessionRow("s", "alice", 1, 7, {"den": 3}), CursorRow("alice", "reader", 1, 7)
    batches = [StoredBatch(1, "den", wire.MESSAGES, 1, 7, frame)]
    log.append(Append(batches, [session], [], {"bob": 4, "carl": 6}, [cursor]), outcomes.append)
    assert outcomes == [None]
    facts = facts_of(log, users_seen_max=1)
    assert (facts.log_id, facts.secret, facts.head, facts.last_time) == (log.log_id, log.secret, 1, 7)
    assert (facts.rooms, facts.sessions, facts.cursors) == ({"den": 1}, [session], [cursor])
    assert facts.users_seen == [SeenRow("carl", 6)]
    assert facts.starts == log.starts() and facts.starts[-1].head == 0


def test_a_read_is_made_whole_however_often_it_gives_way() -> None:
    slices = list[int]()

    def read() -> Sliced[str]:
        for number in range(3):
            slices.append(number)
            yield
        return "the answer"

    reading: Iterator[None] = read()
    next(reading)
    assert slices == [0]
    assert whole(read()) == "the answer" and slices == [0, 0, 1, 2]
