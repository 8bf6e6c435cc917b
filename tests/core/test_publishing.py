"""What one session has published and waits for: order, repeats, outcomes, and quiet ones that ask for no ACK."""

from __future__ import annotations

from zchat import wire
from zchat.core import Instant
from zchat.core.publishing import (
    IN_FLIGHT_FRAMES_MAX,
    QUIET_BYTES,
    QUIET_FRAMES_MAX,
    QUIET_SECONDS,
    REPEAT_SECONDS,
    WINDOW_KEPT_SECONDS,
    Chunk,
    Publishing,
)
from zchat.errors import Closed, Refused


def at(seconds: float) -> Instant:
    return Instant(1_000.0 + seconds, 1_700_000_000_000_000)


def chunk_of(*records: wire.RecordOrBody, volatile: bool = False) -> Chunk:
    chunk = Chunk("general", wire.VOLATILE if volatile else 0)
    chunk.records.extend(records or [b"hi"])
    return chunk


def added(publishing: Publishing, count: int, *, volatile: bool = False) -> list[Chunk]:
    chunks = [chunk_of(volatile=volatile) for _ in range(count)]
    for chunk in chunks:
        publishing.add(chunk, at(0))
    return chunks


def seqs(frames: object) -> list[tuple[int, int]]:
    """(seq, flags) of PUBLISH frames."""
    assert isinstance(frames, list | tuple)
    messages = [wire.decode_client(frame) for frame in frames]
    return [(message.seq, message.flags) for message in messages if isinstance(message, wire.Publish)]


# --- in order, until settled --------------------------------------------------------------------


def test_a_publish_is_numbered_and_open_until_its_ack() -> None:
    publishing = Publishing()
    chunk = chunk_of(b"1", wire.Record(b"2", "deploy"))
    message = wire.decode_client(publishing.add(chunk, at(0)))
    assert isinstance(message, wire.Publish)
    assert (message.seq, message.room, message.flags) == (1, "general", 0)
    assert wire.decode_records(message.records) == [b"1", wire.Record(b"2", "deploy")]
    assert not chunk.is_settled and publishing.settled_upto == 0
    assert publishing.acked(wire.Ack([(1, 41)]), at(1))
    assert chunk.is_settled and chunk.first == 41 and publishing.settled_upto == 1


def test_who_waits_for_an_outcome_is_told_once_whatever_it_is() -> None:
    publishing, told = Publishing(), list[str]()
    chunks = added(publishing, 4)
    for name, chunk in zip("abcd", chunks, strict=True):
        chunk.when_settled(lambda name=name: told.append(name))  # type: ignore[misc]
    impatient = lambda: told.append("impatient")  # noqa: E731
    chunks[0].when_settled(impatient)
    chunks[0].waits_no_more(impatient)
    assert told == []
    publishing.acked(wire.Ack([(1, 41)]), at(1))
    assert told == ["a"]
    publishing.acked(wire.Ack([(1, 41), (2, 42)]), at(1))
    publishing.refused(3, Refused("log-full"))
    assert told == ["a", "b", "c"]
    publishing.close(Closed())
    assert told == ["a", "b", "c", "d"]
    chunks[3].when_settled(lambda: told.append("late"))
    assert told[4:] == ["late"], "it is known already"
    chunks[3].waits_no_more(impatient)


def test_a_quiet_publish_that_a_later_ack_tells_of_tells_who_waits_for_it() -> None:
    publishing, told = Publishing(), list[int]()
    chunks = added(publishing, 16, volatile=True)
    assert chunks[0].is_quiet and not chunks[15].is_quiet
    chunks[0].when_settled(lambda: told.append(chunks[0].first))
    publishing.acked(wire.Ack([(16, 0)]), at(1))
    assert told == [0]


def test_what_is_open_is_sent_again_in_order_as_the_same_frames() -> None:
    publishing = Publishing()
    frames = [publishing.add(chunk_of(), at(0)) for _ in range(4)]
    publishing.acked(wire.Ack([(2, 41)]), at(0))
    assert publishing.again(at(0)) == [frames[0], frames[2], frames[3]]
    assert publishing.again(at(0)) == [frames[0], frames[2], frames[3]]


def test_what_has_no_answer_for_a_while_is_sent_again() -> None:
    publishing = Publishing()
    frame = publishing.add(chunk_of(), at(0))
    assert list(publishing.elapsed(at(REPEAT_SECONDS))) == []
    assert list(publishing.elapsed(at(REPEAT_SECONDS + 0.1))) == [frame]
    assert list(publishing.elapsed(at(2 * REPEAT_SECONDS))) == []
    assert list(publishing.elapsed(at(2 * REPEAT_SECONDS + 0.2))) == [frame]
    publishing.acked(wire.Ack([(1, 41)]), at(8))
    assert list(publishing.elapsed(at(60))) == []


def test_an_ack_of_another_is_an_answer_and_a_first_publish_waits_from_its_own_time() -> None:
    publishing = Publishing()
    added(publishing, 2)
    publishing.acked(wire.Ack([(1, 41)]), at(2))
    assert list(publishing.elapsed(at(REPEAT_SECONDS + 1))) == []
    publishing.acked(wire.Ack([(2, 42)]), at(2))
    publishing.add(chunk_of(), at(100))
    assert list(publishing.elapsed(at(101))) == []


def test_settled_upto_is_where_the_oldest_open_one_begins() -> None:
    publishing = Publishing()
    added(publishing, 3)
    publishing.acked(wire.Ack([(3, 43)]), at(0))
    assert publishing.settled_upto == 0
    publishing.acked(wire.Ack([(1, 41)]), at(0))
    assert publishing.settled_upto == 1
    publishing.refused(2, Refused("denied"))
    assert publishing.settled_upto == 3


def test_so_many_may_be_in_flight() -> None:
    publishing = Publishing()
    added(publishing, IN_FLIGHT_FRAMES_MAX - 1)
    assert publishing.has_room
    added(publishing, 1)
    assert not publishing.has_room
    publishing.acked(wire.Ack([(1, 41)]), at(0))
    assert publishing.has_room


def test_a_refused_one_has_its_error_and_is_not_sent_again() -> None:
    publishing = Publishing()
    one, other = added(publishing, 2)
    error = Refused("log-full")
    assert publishing.refused(1, error)
    assert one.error is error and one.is_settled and not other.is_settled
    assert seqs(publishing.again(at(0))) == [(2, 0)]


def test_an_answer_to_what_is_not_open_settles_nothing() -> None:
    publishing = Publishing()
    (chunk,) = added(publishing, 1)
    assert not publishing.acked(wire.Ack([]), at(0)) and not publishing.acked(wire.Ack([(9, 41)]), at(0))
    assert not publishing.refused(9, Refused("denied"))
    publishing.acked(wire.Ack([(1, 41)]), at(0))
    assert not publishing.acked(wire.Ack([(1, 99)]), at(0)) and not publishing.refused(1, Refused("denied"))
    assert chunk.first == 41 and chunk.error is None


def test_after_the_close_what_is_open_is_unknown_and_what_was_settled_stays() -> None:
    publishing = Publishing()
    one, other = added(publishing, 2)
    publishing.acked(wire.Ack([(1, 41)]), at(0))
    error = Closed()
    publishing.close(error)
    assert (one.first, one.error) == (41, None) and other.error is error
    assert publishing.again(at(0)) == []


# --- quiet ones ---------------------------------------------------------------------------------


def test_a_small_volatile_one_is_quiet_but_for_one_in_so_many() -> None:
    publishing = Publishing()
    frames = [publishing.add(chunk_of(volatile=True), at(0)) for _ in range(QUIET_FRAMES_MAX + 2)]
    flags = [flags for _, flags in seqs(frames)]
    assert flags == [wire.VOLATILE | wire.QUIET] * QUIET_FRAMES_MAX + [wire.VOLATILE, wire.VOLATILE | wire.QUIET]


def test_a_stored_or_a_large_one_is_never_quiet() -> None:
    publishing = Publishing()
    frames = [publishing.add(chunk_of(), at(0)), publishing.add(chunk_of(bytes(QUIET_BYTES), volatile=True), at(0))]
    assert [flags for _, flags in seqs(frames)] == [0, wire.VOLATILE]


def test_the_ack_of_a_volatile_one_tells_of_the_quiet_ones_before_it_only() -> None:
    publishing = Publishing()
    stored = chunk_of()
    publishing.add(stored, at(0))
    before = added(publishing, 2, volatile=True)
    asks = chunk_of(bytes(QUIET_BYTES), volatile=True)
    publishing.add(asks, at(0))
    after = added(publishing, 1, volatile=True)
    assert publishing.acked(wire.Ack([(asks.seq, 0)]), at(0))
    assert [chunk.first for chunk in [*before, asks]] == [0, 0, 0]
    assert not stored.is_settled and not after[0].is_settled


def test_a_quiet_one_is_repeated_aloud() -> None:
    publishing = Publishing()
    added(publishing, 2, volatile=True)
    assert seqs(publishing.again(at(0))) == [(1, wire.VOLATILE), (2, wire.VOLATILE)]


def test_who_waits_for_a_quiet_one_has_the_newest_repeated_once() -> None:
    publishing = Publishing()
    added(publishing, 3, volatile=True)
    assert seqs(publishing.want(1)) == [(3, wire.VOLATILE)]
    assert publishing.want(3) == []


def test_nobody_is_quiet_about_what_is_waited_for() -> None:
    publishing = Publishing()
    publishing.want(2)
    frames = [publishing.add(chunk_of(volatile=True), at(0)) for _ in range(3)]
    assert [flags for _, flags in seqs(frames)] == [wire.VOLATILE, wire.VOLATILE, wire.VOLATILE | wire.QUIET]


def test_a_quiet_one_that_nobody_waits_for_is_asked_about_after_a_short_while() -> None:
    publishing = Publishing()
    added(publishing, 2, volatile=True)
    assert list(publishing.elapsed(at(QUIET_SECONDS))) == []
    assert seqs(publishing.elapsed(at(QUIET_SECONDS + 0.1))) == [(2, wire.VOLATILE)]
    assert list(publishing.elapsed(at(QUIET_SECONDS + 0.2))) == []


def test_a_quiet_one_that_was_refused_is_asked_about_no_more() -> None:
    publishing = Publishing()
    (chunk,) = added(publishing, 1, volatile=True)
    publishing.refused(1, Refused("denied"))
    assert list(publishing.elapsed(at(60))) == [] and publishing.want(1) == []
    assert isinstance(chunk.error, Refused)


def test_a_quiet_one_before_a_stored_one_is_told_of_without_waiting_for_a_repeat() -> None:
    publishing = Publishing()
    (quiet,) = added(publishing, 1, volatile=True)
    added(publishing, 1)
    frames = publishing.want(1)
    publishing.acked(wire.Ack([(2, 41)]), at(0))
    frames += publishing.want(1)
    assert quiet.is_settled or frames


# --- a session that is forgotten ----------------------------------------------------------------


def test_what_was_sent_before_the_session_may_have_been_forgotten_is_of_unknown_outcome() -> None:
    publishing = Publishing()
    early, late = chunk_of(), chunk_of()
    publishing.add(early, at(0))
    publishing.add(late, at(50))
    assert publishing.forgotten(100.0, at(90)) == []
    (told,) = publishing.forgotten(100.0, at(91))
    assert told is early.error and told.code == "repeat-unknown" and not told.definite
    assert not late.is_settled
    assert seqs(publishing.again(at(91))) == [(2, 0)]


def test_a_machine_that_slept_counts_the_time_by_its_wall_clock() -> None:
    publishing = Publishing()
    chunk = chunk_of()
    publishing.add(chunk, at(0))
    awake = Instant(at(1).seconds, at(0).micros + 91_000_000)
    assert [told.code for told in publishing.forgotten(100.0, awake)] == ["repeat-unknown"]


def test_after_a_second_other_log_what_was_sent_in_a_session_before_is_of_unknown_outcome() -> None:
    publishing = Publishing()
    old, *_ = added(publishing, 1)
    assert publishing.other_log(resumed=False) == []
    young, *_ = added(publishing, 1)
    (told,) = publishing.other_log(resumed=True)  # the log of the first session again, or of the second
    assert old.error is told and told.code == "repeat-unknown"
    assert not young.is_settled and len(publishing.again(at(0))) == 1


def test_in_a_session_that_goes_on_it_is_sent_again_however_often_the_log_goes_back() -> None:
    publishing = Publishing()
    (chunk,) = added(publishing, 1)
    for _ in range(3):
        assert publishing.other_log(resumed=True) == []
    assert not chunk.is_settled and len(publishing.again(at(0))) == 1


# --- windows ------------------------------------------------------------------------------------


def test_what_is_unacked_keeps_to_the_window_and_one_may_always_be_out() -> None:
    publishing = Publishing()
    limits = {"window_bytes": 1000}
    publishing.window.told(limits)
    frames = {}
    for seq in range(1, 4):
        assert publishing.has_room
        chunk = Chunk("general", 0)
        chunk.records.append(bytes(400))
        frames[seq] = publishing.add(chunk, Instant(1.0, 0))
    assert not publishing.has_room, "1,200 bytes have no outcome"
    publishing.acked(wire.Ack([(1, 1)], 3000), Instant(1.0, 0))
    assert publishing.has_room
    publishing.acked(wire.Ack([(2, 2)], 1), Instant(1.0, 0))
    assert not publishing.has_room, "the broker has less to give"
    assert publishing.again(Instant(2.0, 0)) == [frames[3]], "what came before is sent again all the same"
    publishing.acked(wire.Ack([(3, 3)], 1), Instant(2.0, 0))
    assert publishing.has_room, "one may always be out"
    large = Chunk("general", 0)
    large.records.append(bytes(100_000))
    publishing.add(large, Instant(2.0, 0))
    assert not publishing.has_room
    publishing.refused(4, Refused("log-full"))
    assert publishing.has_room


def test_the_window_of_an_ack_holds_until_nothing_was_unacked_for_a_moment() -> None:
    """Else a publisher that the broker keeps up with would fall back to the first window after each ACK."""
    publishing = Publishing()
    publishing.window.told({"window_bytes": 1000})

    def add(seconds: float) -> None:
        chunk = Chunk("general", 0)
        chunk.records.append(bytes(2000))
        publishing.add(chunk, Instant(seconds, 0))

    add(1.0)
    assert not publishing.has_room
    publishing.acked(wire.Ack([(1, 1)], 3000), Instant(1.0, 0))
    add(1.0 + WINDOW_KEPT_SECONDS / 2)
    assert publishing.has_room, "the stream goes on, with the window that it had"
    publishing.acked(wire.Ack([(2, 2)], 3000), Instant(2.0, 0))
    add(2.0 + WINDOW_KEPT_SECONDS * 2)
    assert not publishing.has_room, "the first window holds again"
