"""The outbox: chunks by room, bounds, blocking, and its end. Plain calls, and threads where it blocks."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tests.conftest import eventually
from zchat import wire
from zchat.core.publishing import Chunk
from zchat.errors import BadName, Closed, TooLarge
from zchat.sockets.outbox import CHUNK_BYTES, OUTBOX_BYTES_MAX, Outbox, Publication


class NoWaiter:
    """Nobody waits here."""

    def wait_for_settled(self, chunk: Chunk, timeout: float | None) -> None:
        raise AssertionError("nothing is to be waited for")


@pytest.fixture
def outbox() -> Outbox:
    return Outbox(lambda: None, NoWaiter())


def add(outbox: Outbox, room: str, body: bytes, volatile: bool = False) -> Publication:
    return outbox.add(room, body, len(body), volatile)


def taken(outbox: Outbox) -> list[tuple[str, list[wire.RecordOrBody]]]:
    chunks = []
    while (chunk := outbox.take()) is not None:
        chunks.append((chunk.room, chunk.records))
    return chunks


def test_what_is_published_to_a_room_while_nobody_takes_is_one_chunk(outbox: Outbox) -> None:
    for number in range(3):
        add(outbox, "den", b"%d" % number)
        add(outbox, "hall", b"%d" % number)
    assert taken(outbox) == [("den", [b"0", b"1", b"2"]), ("hall", [b"0", b"1", b"2"])]
    assert not outbox and outbox.take() is None


def test_a_chunk_that_was_taken_is_not_added_to(outbox: Outbox) -> None:
    add(outbox, "den", b"1")
    first = outbox.take()
    add(outbox, "den", b"2")
    assert first is not None and first.records == [b"1"]
    assert taken(outbox) == [("den", [b"2"])]
    assert outbox.opened == 2


def test_a_chunk_that_is_full_makes_room_for_the_next(outbox: Outbox) -> None:
    body = b"x" * (CHUNK_BYTES // 3)
    for _ in range(5):
        add(outbox, "den", body)
    assert [len(records) for _, records in taken(outbox)] == [2, 2, 1]
    add(outbox, "den", b"x" * (CHUNK_BYTES * 2))  # one record above the size of a chunk has its own
    add(outbox, "den", b"small")
    assert [len(records) for _, records in taken(outbox)] == [1, 1]


def test_a_chunk_never_has_more_records_than_a_publish_may(outbox: Outbox) -> None:
    for _ in range(3 * wire.PUBLISH_RECORDS_MAX):
        add(outbox, "den", b"")
    chunks = [records for _, records in taken(outbox)]
    assert sum(map(len, chunks)) == 3 * wire.PUBLISH_RECORDS_MAX
    assert max(map(len, chunks)) <= wire.PUBLISH_RECORDS_MAX


def test_all_spellings_of_a_room_share_a_chunk_in_order(outbox: Outbox) -> None:
    for number, room in enumerate(["den", "DEN", "Den", "den", "DEN"]):
        add(outbox, room, b"%d" % number)
    assert taken(outbox) == [("den", [b"0", b"1", b"2", b"3", b"4"])]
    add(outbox, "DEN", b"5")
    add(outbox, "den", b"6")
    assert taken(outbox) == [("den", [b"5", b"6"])]


def test_volatile_records_have_chunks_of_their_own(outbox: Outbox) -> None:
    add(outbox, "den", b"stored")
    add(outbox, "den", b"volatile", volatile=True)
    add(outbox, "den", b"stored too")
    chunks = [outbox.take(), outbox.take()]
    assert [(chunk.flags, chunk.records) for chunk in chunks if chunk is not None] == [
        (0, [b"stored", b"stored too"]),
        (wire.VOLATILE, [b"volatile"]),
    ]


def test_a_publication_knows_its_place(outbox: Outbox) -> None:
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
def test_what_is_refused_leaves_nothing_behind(outbox: Outbox, room: str, size: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        add(outbox, room, b"x" * size)
    assert not outbox and outbox.opened == 0
    add(outbox, "den", b"x")
    assert taken(outbox) == [("den", [b"x"])]


def test_a_sleeping_thread_is_woken_once() -> None:
    woken = []
    outbox = Outbox(lambda: woken.append(1), NoWaiter())
    add(outbox, "den", b"it is awake")
    outbox.is_waiting = True
    add(outbox, "den", b"now it is woken")
    add(outbox, "den", b"and it knows")
    assert woken == [1]


def fill(outbox: Outbox) -> int:
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


def test_add_blocks_when_it_is_full_until_enough_is_taken(outbox: Outbox) -> None:
    fill(outbox)
    add(outbox, "den", b"x" * 1_000_000)  # the one that goes over the limit
    thread, ended = beside(lambda: add(outbox, "den", b"waits"))
    thread.join(0.05)
    assert thread.is_alive() and not ended
    outbox.take()
    thread.join(10)
    assert len(ended) == 1
    assert taken(outbox)[-1] == ("den", [b"waits"])


def test_its_end_gives_back_what_was_not_sent_and_ends_who_waits(outbox: Outbox) -> None:
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
    assert not outbox


def test_many_threads_lose_and_double_nothing(outbox: Outbox) -> None:
    counts: dict[str, list[int]] = {}
    over = threading.Event()

    def take() -> None:
        while not over.is_set() or outbox:
            chunk = outbox.take()
            for record in chunk.records if chunk is not None else ():
                assert isinstance(record, bytes)
                thread, number = record.decode().split()
                counts.setdefault(thread, []).append(int(number))

    taker = threading.Thread(target=take)
    taker.start()
    adders = [
        threading.Thread(target=lambda name: [add(outbox, "den", b"%d %d" % (name, n)) for n in range(2000)], args=(k,))
        for k in range(4)
    ]
    for each in adders:
        each.start()
    for each in adders:
        each.join()
    over.set()
    taker.join()
    assert counts == {str(name): list(range(2000)) for name in range(4)}
