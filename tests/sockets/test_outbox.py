"""The outbox: chunks by room, bounds, blocking, and its end. Plain calls, and threads where it blocks."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import eventually
from zchat import wire
from zchat.core.publishing import Chunk
from zchat.errors import BadName, Closed, TimedOut, TooLarge
from zchat.sockets.clock import Deadline
from zchat.sockets.outbox import CHUNK_BYTES, OUTBOX_BYTES_MAX, Outbox
from zchat.sockets.publication import Publication


class NoWaiter:
    """Nobody waits here."""

    def room_deadline(self) -> Deadline:
        return Deadline("room", None)

    def late(self, deadline: Deadline) -> TimedOut:
        raise AssertionError("there is no limit")


@pytest.fixture
def outbox() -> Outbox[Publication]:
    return Outbox(lambda: None, NoWaiter(), Publication)


def add(outbox: Outbox[Publication], room: str, body: bytes, volatile: bool = False) -> Publication:
    return outbox.add(room, body, len(body), volatile)


def taken(outbox: Outbox[Publication]) -> list[tuple[str, list[wire.RecordOrBody]]]:
    chunks = []
    while (chunk := outbox.take()) is not None:
        chunks.append((chunk.room, chunk.records))
    return chunks


def test_what_is_published_to_a_room_while_nobody_takes_is_one_chunk(outbox: Outbox[Publication]) -> None:
    for number in range(3):
        add(outbox, "den", b"%d" % number)
        add(outbox, "hall", b"%d" % number)
    assert taken(outbox) == [("den", [b"0", b"1", b"2"]), ("hall", [b"0", b"1", b"2"])]
    assert not outbox.chunks and outbox.take() is None


def test_a_chunk_that_was_taken_is_not_added_to(outbox: Outbox[Publication]) -> None:
    add(outbox, "den", b"1")
    first = outbox.take()
    add(outbox, "den", b"2")
    assert first is not None and first.records == [b"1"]
    assert taken(outbox) == [("den", [b"2"])]
    assert outbox.opened == 2


def test_a_chunk_that_is_full_makes_room_for_the_next(outbox: Outbox[Publication]) -> None:
    body = b"x" * (CHUNK_BYTES // 3)
    for _ in range(5):
        add(outbox, "den", body)
    assert [len(records) for _, records in taken(outbox)] == [2, 2, 1]
    add(outbox, "den", b"x" * (CHUNK_BYTES * 2))  # one record above the size of a chunk has its own
    add(outbox, "den", b"small")
    assert [len(records) for _, records in taken(outbox)] == [1, 1]


def test_a_chunk_never_has_more_records_than_a_publish_may(outbox: Outbox[Publication]) -> None:
    for _ in range(3 * wire.PUBLISH_RECORDS_MAX):
        add(outbox, "den", b"")
    chunks = [records for _, records in taken(outbox)]
    assert sum(map(len, chunks)) == 3 * wire.PUBLISH_RECORDS_MAX
    assert max(map(len, chunks)) <= wire.PUBLISH_RECORDS_MAX


def test_all_spellings_of_a_room_share_a_chunk_in_order(outbox: Outbox[Publication]) -> None:
    for number, room in enumerate(["den", "DEN", "Den", "den", "DEN"]):
        add(outbox, room, b"%d" % number)
    assert taken(outbox) == [("den", [b"0", b"1", b"2", b"3", b"4"])]
    add(outbox, "DEN", b"5")
    add(outbox, "den", b"6")
    assert taken(outbox) == [("den", [b"5", b"6"])]


def test_volatile_records_have_chunks_of_their_own(outbox: Outbox[Publication]) -> None:
    add(outbox, "den", b"stored")
    add(outbox, "den", b"volatile", volatile=True)
    add(outbox, "den", b"stored too")
    chunks = [outbox.take(), outbox.take()]
    assert [(chunk.flags, chunk.records) for chunk in chunks if chunk is not None] == [
        (0, [b"stored", b"stored too"]),
        (wire.VOLATILE, [b"volatile"]),
    ]


def test_a_publication_knows_its_place(outbox: Outbox[Publication]) -> None:
    publications = [add(outbox, "den", b"x") for _ in range(3)]
    chunk = outbox.take()
    assert chunk is not None and not any(publication.done() for publication in publications)
    chunk.first = 41
    assert [publication.result() for publication in publications] == [41, 42, 43]
    volatile = add(outbox, "den", b"x", volatile=True)
    chunk = outbox.take()
    assert chunk is not None
    chunk.first = 0
    assert (volatile.done(), volatile.result()) == (True, 0)


@pytest.mark.parametrize(
    ("room", "size", "error"), [("a..b", 1, BadName), ("", 1, BadName), ("den", wire.RECORD_BYTES_MAX + 1, TooLarge)]
)
def test_what_is_refused_leaves_nothing_behind(
    outbox: Outbox[Publication], room: str, size: int, error: type[Exception]
) -> None:
    with pytest.raises(error):
        add(outbox, room, b"x" * size)
    assert not outbox.chunks and outbox.opened == 0
    add(outbox, "den", b"x")
    assert taken(outbox) == [("den", [b"x"])]


def test_a_sleeping_thread_is_woken_once() -> None:
    woken = []
    outbox = Outbox(lambda: woken.append(1), NoWaiter(), Publication)
    add(outbox, "den", b"it is awake")
    outbox.is_waiting = True
    add(outbox, "den", b"now it is woken")
    add(outbox, "den", b"and it knows")
    assert woken == [1]


class Interrupted(list[wire.RecordOrBody]):
    """A chunk's records, to which something happens just before and just after the next append."""

    def __init__(self, chunk: Chunk, before: Callable[[], object] | None, after: Callable[[], object] | None) -> None:
        super().__init__(chunk.records)
        self._before, self._after = before, after
        self.nested: Callable[[], object] | None = None  # happens just after an append during `before`
        chunk.records = self

    def append(self, record: wire.RecordOrBody) -> None:
        before, self._before = self._before, None
        after, self._after = self._after, self.nested
        self.nested = None
        if before is not None:
            before()
        super().append(record)
        if after is not None:
            after()


def interrupted(
    outbox: Outbox[Publication], before: Callable[[], object] | None = None, after: Callable[[], object] | None = None
) -> Chunk:
    """The open chunk, with one record, whose next append is interrupted."""
    chunk = add(outbox, "den", b"first")._chunk
    Interrupted(chunk, before, after)
    return chunk


def sent(chunk: Chunk) -> list[wire.RecordOrBody]:
    """The records of a chunk that travel."""
    assert chunk.is_sealed
    return chunk.records[: chunk.count]


def test_a_record_whose_chunk_is_taken_just_before_goes_to_the_next(outbox: Outbox[Publication]) -> None:
    taken_chunk = interrupted(outbox, before=lambda: outbox.take())
    publication = add(outbox, "den", b"second")
    following = outbox.take()
    assert following is not None and following is not taken_chunk
    assert (sent(taken_chunk), sent(following)) == ([b"first"], [b"second"])
    assert (publication._chunk, publication._index) == (following, 0)


def test_a_record_whose_chunk_is_taken_just_after_has_gone_with_it(outbox: Outbox[Publication]) -> None:
    chunk = interrupted(outbox, after=lambda: outbox.take())
    publication = add(outbox, "den", b"second")
    assert sent(chunk) == [b"first", b"second"]
    assert (publication._chunk, publication._index) == (chunk, 1)
    assert outbox.take() is None


@pytest.mark.parametrize("when", ["before", "after"])
def test_records_of_two_threads_have_each_its_own_place(outbox: Outbox[Publication], when: str) -> None:
    others: list[Publication] = []
    chunk = interrupted(outbox, **{when: lambda: others.append(add(outbox, "den", b"other"))})
    publication = add(outbox, "den", b"second")
    outbox.take()
    records = sent(chunk)
    assert len(records) == 3
    assert (records[publication._index], records[others[0]._index]) == (b"second", b"other")


def test_the_same_object_too_late_from_two_threads_is_sent_twice(outbox: Outbox[Publication]) -> None:
    body = b"the same object"
    others: list[Publication] = []

    def act() -> None:
        others.append(add(outbox, "den", body))  # counted
        outbox.take()

    chunk = interrupted(outbox, before=act)
    publication = add(outbox, "den", body)  # too late
    following = outbox.take()
    assert following is not None
    assert (sent(chunk), sent(following)) == ([b"first", body], [body])
    assert (others[0]._chunk, publication._chunk) == (chunk, following)


def test_the_same_object_counted_of_one_thread_and_too_late_of_another_is_sent_twice(
    outbox: Outbox[Publication],
) -> None:
    body = b"the same object"
    others: list[Publication] = []
    was_taken, is_late = threading.Event(), threading.Event()
    other = threading.Thread(target=lambda: others.append(add(outbox, "den", body)))

    def before() -> None:
        other.start()
        assert was_taken.wait(10)

    def of_the_other() -> None:
        outbox.take()
        was_taken.set()
        assert is_late.wait(10)

    def after() -> None:
        is_late.set()
        other.join(10)  # it looks for its record first, and finds the one that is too late

    chunk = interrupted(outbox, before, after)
    assert isinstance(chunk.records, Interrupted)
    chunk.records.nested = of_the_other
    publications = [add(outbox, "den", body), *others]
    following = outbox.take()
    assert following is not None and outbox.take() is None
    assert (sent(chunk), sent(following)) == ([b"first", body], [body])
    assert sorted(publication._chunk is chunk for publication in publications) == [False, True]


def test_an_end_just_before_is_told_and_leaves_nothing_behind(outbox: Outbox[Publication]) -> None:
    chunk = interrupted(outbox, before=lambda: outbox.close(Closed("it is over")))
    with pytest.raises(Closed):
        add(outbox, "den", b"second")
    assert sent(chunk) == [b"first"]


def fill(outbox: Outbox[Publication]) -> int:
    """As much as it takes without blocking."""
    count = OUTBOX_BYTES_MAX // 1_000_000
    for _ in range(count):
        add(outbox, "den", b"x" * 1_000_000)
    return count


def beside(call: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Call it on a thread; what it returned or raised."""
    ended: list[object] = []

    def run() -> None:
        try:
            ended.append(call())
        except Closed as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, ended


def test_add_blocks_when_it_is_full_until_enough_is_taken(outbox: Outbox[Publication]) -> None:
    fill(outbox)
    add(outbox, "den", b"x" * 1_000_000)  # the one that goes over the limit
    thread, ended = beside(lambda: add(outbox, "den", b"waits"))
    thread.join(0.05)
    assert thread.is_alive() and not ended
    outbox.take()
    thread.join(10)
    assert len(ended) == 1
    assert taken(outbox)[-1] == ("den", [b"waits"])


def test_its_end_gives_back_what_was_not_sent_and_ends_who_waits(outbox: Outbox[Publication]) -> None:
    fill(outbox)
    add(outbox, "den", b"x" * 1_000_000)
    waiting = [beside(lambda: add(outbox, "den", b"waits")) for _ in range(3)]
    eventually(lambda: all(thread.is_alive() for thread, _ in waiting), "they wait")
    left = outbox.close(Closed("it is over"))
    for thread, ended in waiting:
        thread.join(10)
        assert [str(error) for error in ended] == ["it is over"]
    assert sum(len(chunk.records) for chunk in left) == OUTBOX_BYTES_MAX // 1_000_000 + 1
    with pytest.raises(Closed):
        add(outbox, "den", b"late")
    assert not outbox.chunks


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads are stopped as often as can be."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("restless")
def test_many_threads_lose_and_double_nothing_and_know_their_places(outbox: Outbox[Publication]) -> None:
    chunks: list[Chunk] = []
    publications: dict[int, list[Publication]] = {}
    over = threading.Event()
    ping = b"of all threads"

    def take() -> None:
        while not over.is_set() or outbox.chunks:
            chunk = outbox.take()
            if chunk is not None:
                chunks.append(chunk)

    def publish(thread: int) -> None:
        publications[thread] = [
            add(outbox, "den", b"%d %d" % (thread, number) if number % 2 else ping) for number in range(2000)
        ]

    taker = threading.Thread(target=take)
    taker.start()
    adders = [threading.Thread(target=publish, args=(thread,)) for thread in range(4)]
    for each in adders:
        each.start()
    for each in adders:
        each.join()
    over.set()
    taker.join()
    records = [record for chunk in chunks for record in sent(chunk)]
    assert records.count(ping) == 4 * 1000
    for thread, its in publications.items():
        bodies = [b"%d %d" % (thread, number) for number in range(1, 2000, 2)]
        assert [record for record in records if record in set(bodies)] == bodies
        assert [sent(one._chunk)[one._index] for one in its[1::2]] == bodies
        assert all(sent(one._chunk)[one._index] is ping for one in its[::2])
