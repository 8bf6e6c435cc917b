"""The outbox: chunks by room, bounded in bytes, safe for many threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.conftest import eventually
from zchat import wire
from zchat.core.publishing import Chunk
from zchat.errors import BadName, Closed, TooLarge
from zchat.sockets import outbox as outboxes
from zchat.sockets.outbox import CHUNK_BYTES, OUTBOX_BYTES_MAX, Outbox


class Nobody:
    """Waits for nothing: what an outbox gives is settled by hand here."""

    def wait_for_settled(self, chunk: Chunk, timeout: float | None) -> None:
        raise AssertionError("nobody waits")


@pytest.fixture
def outbox() -> Outbox:
    return Outbox(lambda: None, Nobody())


def taken(outbox: Outbox) -> Iterator[Chunk]:
    while (chunk := outbox.take()) is not None:
        yield chunk


def add(outbox: Outbox, room: str, body: bytes, *, volatile: bool = False) -> outboxes.Publication:
    return outbox.add(room, body, len(body), volatile)


def test_what_is_added_while_a_chunk_is_open_travels_in_it(outbox: Outbox) -> None:
    for body in (b"1", b"2"):
        add(outbox, "a", body)
    add(outbox, "b", b"3")
    add(outbox, "a", b"4", volatile=True)
    chunks = [(chunk.room, chunk.flags, chunk.records) for chunk in taken(outbox)]
    assert chunks == [("a", 0, [b"1", b"2"]), ("b", 0, [b"3"]), ("a", wire.VOLATILE, [b"4"])]


def test_a_chunk_that_was_taken_is_closed(outbox: Outbox) -> None:
    add(outbox, "a", b"1")
    first = outbox.take()
    add(outbox, "a", b"2")
    second = outbox.take()
    assert first is not None and second is not None
    assert (first.records, second.records, outbox.opened) == ([b"1"], [b"2"], 2)


def test_spellings_of_a_room_share_its_chunk(outbox: Outbox) -> None:
    for room in ("Build.Linux", "build.linux", "BUILD.linux"):
        add(outbox, room, b"x")
    (chunk,) = taken(outbox)
    assert (chunk.room, len(chunk.records)) == ("build.linux", 3)


def test_chunks_are_bounded_in_bytes_and_records(outbox: Outbox) -> None:
    for _ in range(5_000):
        add(outbox, "a", b"")
    for _ in range(3):
        add(outbox, "b", bytes(CHUNK_BYTES // 2))
    chunks = list(taken(outbox))
    assert sum(len(chunk.records) for chunk in chunks) == 5_003
    assert all(chunk.size <= CHUNK_BYTES and len(chunk.records) <= wire.PUBLISH_RECORDS_MAX for chunk in chunks)


def test_a_record_larger_than_a_chunk_has_one_of_its_own(outbox: Outbox) -> None:
    add(outbox, "a", b"before")
    add(outbox, "a", bytes(CHUNK_BYTES * 2))
    add(outbox, "a", b"after")
    assert [len(chunk.records) for chunk in taken(outbox)] == [1, 1, 1]


def test_a_record_above_the_limit_is_refused_with_both_numbers_and_changes_nothing(outbox: Outbox) -> None:
    with pytest.raises(TooLarge) as caught:
        add(outbox, "a", bytes(wire.RECORD_BYTES_MAX + 1))
    assert (caught.value.size, caught.value.limit) == (wire.RECORD_BYTES_MAX + 1, wire.RECORD_BYTES_MAX)
    assert not outbox and outbox.opened == 0


def test_a_name_that_is_not_allowed_takes_no_room(outbox: Outbox) -> None:
    for _ in range(OUTBOX_BYTES_MAX // CHUNK_BYTES * 2):
        with pytest.raises(BadName):
            add(outbox, "a..b", bytes(CHUNK_BYTES - 100))
    add(outbox, "a", b"x")  # would wait for ever if they had been counted
    assert len(list(taken(outbox))) == 1


def fill(outbox: Outbox) -> None:
    for _ in range(OUTBOX_BYTES_MAX // CHUNK_BYTES + 1):
        add(outbox, "a", bytes(CHUNK_BYTES - 100))


def test_a_full_outbox_holds_the_publisher_until_there_is_room(outbox: Outbox) -> None:
    fill(outbox)
    added = threading.Event()

    def publish() -> None:
        add(outbox, "a", b"x")
        added.set()

    threading.Thread(target=publish, daemon=True).start()
    assert not added.wait(0.05)
    outbox.take()
    eventually(added.is_set, "the publisher goes on")


def test_closing_wakes_who_waits_and_gives_back_what_was_never_sent(outbox: Outbox) -> None:
    fill(outbox)
    caught: list[BaseException] = []

    def publish() -> None:
        try:
            add(outbox, "a", b"x")
        except Closed as error:
            caught.append(error)

    publisher = threading.Thread(target=publish, daemon=True)
    publisher.start()
    left = outbox.close(Closed("it ends"))
    publisher.join(10)
    assert len(left) == OUTBOX_BYTES_MAX // CHUNK_BYTES + 1 and str(caught[0]) == "it ends"
    with pytest.raises(Closed):
        add(outbox, "b", b"x")


def test_the_io_thread_is_woken_once_and_only_when_it_sleeps() -> None:
    woken: list[None] = []
    outbox = Outbox(lambda: woken.append(None), Nobody())
    add(outbox, "a", b"1")
    assert not woken
    outbox.is_waiting = True
    add(outbox, "a", b"2")
    add(outbox, "a", b"3")
    assert len(woken) == 1


def test_each_publication_knows_its_place_however_many_threads_publish(outbox: Outbox) -> None:
    found: list[tuple[bytes, outboxes.Publication]] = []

    def publish(thread: int) -> None:
        for number in range(2_000):
            body = b"%d-%d" % (thread, number)
            found.append((body, add(outbox, "a", body)))

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    chunks: list[Chunk] = []
    while any(thread.is_alive() for thread in threads) or outbox:
        chunks.extend(taken(outbox))
    placed: dict[int, wire.RecordOrBody] = {}
    first = 1
    for chunk in chunks:
        placed.update(enumerate(chunk.records, first))
        chunk.first, first = first, first + len(chunk.records)
    assert len(placed) == 8_000
    assert all(placed[publication.result()] == body for body, publication in found)


def test_what_became_of_a_chunk_is_what_became_of_its_publications(outbox: Outbox) -> None:
    publications = [add(outbox, "a", b"1"), add(outbox, "a", b"2")]
    assert not publications[0].done()
    chunk = outbox.take()
    assert chunk is not None
    chunk.first = 41
    assert [publication.result() for publication in publications] == [41, 42]
    chunk.first = 0
    assert [publication.result() for publication in publications] == [0, 0]
    chunk.error = Closed("unknown")
    with pytest.raises(Closed):
        publications[0].result()
