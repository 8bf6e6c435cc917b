"""The cycle: what is appended, broadcast and acked when, and publishes that are repeated or refused."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import msgspec
import pytest

from tests.core.cycle import BEGIN, Cycle, Heard, refused
from tests.unreadable import READABLE, UNREADABLE
from zchat import wire
from zchat.core import Instant
from zchat.core.broker import Lookup
from zchat.core.log import whole
from zchat.errors import WireError

JOIN, LEAVE = wire.Record(b"", "join"), wire.Record(b"bye", "leave")


# --- one cycle ----------------------------------------------------------------------------------


def test_nothing_is_broadcast_or_acked_before_its_commit() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.publish(alice, 1, "general", b"hi")
    assert (cycle.take_replies(), cycle.take_broadcasts()) == ([], [])
    append = cycle.begin_commit()
    assert append is not None and [batch.room for batch in append.batches] == ["general"]
    assert cycle.core.is_committing
    assert (cycle.take_replies(), cycle.take_broadcasts(), cycle.core.head) == ([], [], 0)
    cycle.end_commit()
    assert cycle.take_heard() == [Heard("general", wire.MESSAGES, 1, 0, ["alice: hi"])]
    assert cycle.take_replies() == [(alice, wire.Ack([(1, 1)]))]
    assert cycle.core.head == 1 and not cycle.core.is_committing


def test_what_is_stored_is_what_is_broadcast() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.publish(alice, 1, "general", wire.Record(b"v2", "deploy", {"host": "a"}), b"plain")
    append = cycle.begin_commit()
    assert append is not None
    cycle.end_commit()
    ((_, frame),) = cycle.core.take_broadcasts(cycle.now)
    assert frame == append.batches[0].frame


def test_one_cycle_has_one_batch_for_a_room_and_one_ack_for_a_connection() -> None:
    cycle = Cycle()
    alice, bob = cycle.clients("alice", "bob")
    cycle.publish(alice, 1, "general", b"1", b"2")
    cycle.publish(bob, 1, "general", b"3")
    cycle.publish(alice, 2, "build", b"4")
    cycle.publish(alice, 3, "general", b"5")
    cycle.commit()
    assert cycle.take_heard() == [
        Heard("general", wire.MESSAGES, 1, 0, ["alice: 1", "alice: 2", "bob: 3", "alice: 5"]),
        Heard("build", wire.MESSAGES, 5, 0, ["alice: 4"]),
    ]
    assert cycle.take_replies() == [(alice, wire.Ack([(1, 1), (3, 4), (2, 5)])), (bob, wire.Ack([(1, 3)]))]


def test_what_comes_during_a_commit_is_the_next_one() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.publish(alice, 1, "general", b"first")
    cycle.begin_commit()
    cycle.publish(alice, 2, "general", b"second")
    cycle.publish(alice, 3, "general", b"third")
    assert cycle.core.take_append(cycle.now) is None
    assert cycle.core.gathered_bytes > 0
    cycle.end_commit()
    cycle.commit()
    assert [(heard.base, heard.prev, len(heard.records)) for heard in cycle.take_heard()] == [(1, 0, 1), (2, 1, 2)]
    assert cycle.core.gathered_bytes == 0


def test_joins_and_messages_of_one_room_are_batches_of_their_own_in_order() -> None:
    cycle = Cycle()
    alice, bob = cycle.clients("alice", "bob")
    cycle.publish(alice, 1, "general", b"before")
    cycle.send(bob, wire.Join(1, ["general"]))
    cycle.publish(alice, 2, "general", b"after")
    cycle.commit()
    assert cycle.take_heard() == [
        Heard("general", wire.MESSAGES, 1, 0, ["alice: before"]),
        Heard("general", wire.PRESENCE, 2, 1, ["bob join: "]),
        Heard("general", wire.MESSAGES, 3, 2, ["alice: after"]),
    ]


def prev_messages(cycle: Cycle) -> list[tuple[str, int, int | None]]:
    """Topic, prev and prev_message of the batches that were broadcast."""
    told = cycle.take_broadcasts()
    return [(topic, batch.prev, batch.prev_message) for topic, batch in told if isinstance(batch, wire.Batch)]


def test_joins_are_broadcast_to_who_asks_for_them_and_messages_are_linked_past_them() -> None:
    cycle = Cycle()
    alice, bob = cycle.clients("alice", "bob")
    cycle.publish(alice, 1, "general", b"1", b"2")
    cycle.send(bob, wire.Join(1, ["general"]))
    cycle.publish(alice, 2, "general", b"4")
    cycle.commit()
    assert prev_messages(cycle) == [("general", 0, 0), ("+general", 2, None), ("general", 3, 2)]
    cycle.send(bob, wire.Part(2, ["general"]))
    cycle.commit()
    cycle.publish(alice, 3, "general", b"6")
    cycle.fail()
    cycle.publish(alice, 4, "general", b"6")
    cycle.commit()
    assert prev_messages(cycle) == [("+general", 4, None), ("general", 5, 4)]
    assert [batch.prev_message for batch in stored(cycle)] == [0, None, 2, None, 4]


def test_a_broker_that_was_started_anew_takes_the_last_record_for_the_last_message() -> None:
    cycle = Cycle()
    alice, bob = cycle.clients("alice", "bob")
    cycle.publish(alice, 1, "general", b"1")
    cycle.send(bob, wire.Join(1, ["general"]))
    cycle.commit()
    cycle.start()
    (alice,) = cycle.clients("alice")
    for seq in (1, 2):
        cycle.publish(alice, seq, "general", b"x")
        cycle.commit()
    assert prev_messages(cycle) == [("general", 2, 2), ("general", 3, 3)]


def stored(cycle: Cycle) -> list[wire.Batch]:
    return [wire.decode_batch(frame) for _, frame in whole(cycle.log.read(["**"], 0, 0, 0, 1 << 30)).batches]


@pytest.mark.parametrize("flags", [0, wire.VOLATILE])
def test_a_batch_is_bounded_in_size(flags: int) -> None:
    cycle = Cycle(batch_bytes_max=1_000)
    (alice,) = cycle.clients("alice")
    for seq in range(1, 11):
        cycle.publish(alice, seq, "general", b"%d" % seq + b"." * 400, flags=flags)
    cycle.commit()
    heard = cycle.take_heard()
    assert [len(each.records) for each in heard] == [3, 3, 3, 1]
    assert [text.rstrip(".") for each in heard for text in each.records] == [f"alice: {seq}" for seq in range(1, 11)]
    assert [each.prev for each in heard] == [0, 3, 6, 9]
    bases = [each.base for each in heard]
    assert bases == ([bases[0]] * 4 if flags else [1, 4, 7, 10])


def test_an_idle_broker_commits_nothing() -> None:
    cycle = Cycle()
    cycle.clients("alice")
    assert cycle.core.take_append(cycle.now) is None
    assert cycle.core.next_deadline() is None


def test_offsets_rise_over_all_rooms_and_prev_links_each_rooms_batches() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    for seq, room in enumerate(["a", "b", "a", "a", "b", "c"], 1):
        cycle.publish(alice, seq, room, b"1", b"2")
        cycle.commit()
    heard = cycle.take_heard()
    assert [each.base for each in heard] == [1, 3, 5, 7, 9, 11]
    assert [each.prev for each in heard] == [0, 0, 2, 6, 4, 0]


def test_offsets_and_links_go_on_after_a_restart() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.publish(alice, 1, "a", b"1")
    cycle.publish(alice, 2, "b", b"2")
    cycle.commit()
    cycle.publish(alice, 3, "a", b"not committed")
    cycle.begin_commit()
    cycle.start()
    (alice,) = cycle.clients("alice")
    cycle.publish(alice, 1, "a", b"3")
    cycle.commit()
    assert cycle.take_heard() == [Heard("a", wire.MESSAGES, 3, 1, ["alice: 3"])]


def test_time_never_goes_back_also_when_the_clock_does_and_over_a_restart() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    times: list[int] = []
    for seq, micros in enumerate([0, -10_000_000, -5_000_000, 5], 1):
        cycle.now = Instant(BEGIN.seconds + seq, BEGIN.micros + micros)
        if seq == 3:
            cycle.start()
            (alice,) = cycle.clients("alice")
        cycle.publish(alice, 2 * seq, "general", b"")
        cycle.commit()
        cycle.publish(alice, 2 * seq + 1, "general", b"", flags=wire.VOLATILE)
        times += [batch.time for _, batch in cycle.take_broadcasts() if isinstance(batch, wire.Batch)]
        cycle.take_replies()
        assert cycle.hello("bob").time >= times[-1]
    stored, volatile = times[::2], times[1::2]
    assert all(one < other for one, other in pairwise(stored))
    assert all(one <= other for one, other in pairwise(times)) and volatile[-1] == BEGIN.micros + 5


# --- volatile -----------------------------------------------------------------------------------


def test_a_volatile_publish_goes_out_at_once_and_is_acked_with_0() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.publish(alice, 1, "general", b"stored")
    cycle.begin_commit()
    cycle.publish(alice, 2, "general", b"a", b"b", flags=wire.VOLATILE)
    cycle.publish(alice, 3, "general", b"c", flags=wire.VOLATILE)
    said = ["alice: a", "alice: b", "alice: c"]
    (heard,) = cycle.take_heard()
    assert heard == Heard("general", wire.VOLATILE_MESSAGES, heard.base, 0, said)
    assert cycle.take_replies() == [(alice, wire.Ack([(2, 0), (3, 0)]))]
    cycle.end_commit()
    assert cycle.core.take_append(cycle.now) is None
    assert len(cycle.history()) == 1


def test_a_room_of_volatile_messages_alone_leaves_nothing_behind() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    before = cycle.facts(alice)
    cycle.publish(alice, 1, "general", b"gone", flags=wire.VOLATILE)
    assert len(cycle.take_heard()) == 1 and cycle.take_replies()
    assert cycle.facts(alice) == before


def test_a_volatile_message_leaves_the_room_as_it_was() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.publish(alice, 1, "general", b"1")
    cycle.publish(alice, 2, "general", b"v", flags=wire.VOLATILE)
    cycle.take_broadcasts()  # while the first is gathered
    cycle.publish(alice, 3, "general", b"2")
    cycle.commit()
    cycle.publish(alice, 4, "general", b"v", flags=wire.VOLATILE)
    cycle.take_broadcasts()
    cycle.publish(alice, 5, "general", b"3")
    cycle.commit()
    assert cycle.history() == [
        Heard("general", wire.MESSAGES, 1, 0, ["alice: 1", "alice: 2"]),
        Heard("general", wire.MESSAGES, 3, 2, ["alice: 3"]),
    ]


def test_a_quiet_volatile_publish_is_broadcast_and_its_outcome_is_told_to_who_asks() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    quiet = cycle.publish(alice, 1, "general", b"quiet", flags=wire.VOLATILE | wire.QUIET)
    assert [heard.records for heard in cycle.take_heard()] == [["alice: quiet"]]
    assert cycle.take_replies() == []
    cycle.publish(alice, 2, "general", b"aloud", flags=wire.VOLATILE)
    assert cycle.take_replies() == [(alice, wire.Ack([(2, 0)]))]
    cycle.core.received(alice, quiet, cycle.now)
    assert cycle.take_replies() == [(alice, wire.Ack([(1, 0)]))]
    assert [heard.records for heard in cycle.take_heard()] == [["alice: aloud"]]


def test_a_stored_publish_is_acked_also_when_it_asks_for_quiet() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.publish(alice, 1, "general", b"", flags=wire.QUIET)
    cycle.commit()
    assert cycle.take_replies() == [(alice, wire.Ack([(1, 1)]))]


def test_a_quiet_publish_that_is_refused_is_refused_aloud() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.publish(alice, 1, "general", JOIN, flags=wire.VOLATILE | wire.QUIET)
    assert cycle.take_errors() == [(alice, "publish", 1, "denied")]


def test_a_sync_comes_after_the_volatile_messages_before_it() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.publish(alice, 1, "general", b"before", flags=wire.VOLATILE)
    cycle.core.subscribed(wire.PRIVATE_TOPIC + b"nonce", cycle.now)
    (_, batch), (topic, sync) = cycle.take_broadcasts()
    assert isinstance(batch, wire.Batch)
    start = cycle.log.starts()[-1].start
    assert (topic, sync) == ((wire.PRIVATE_TOPIC + b"nonce").hex(), wire.Sync(b"nonce", 0, start))


def test_a_sync_tells_the_head_of_what_was_broadcast() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.publish(alice, 1, "general", b"1", b"2")
    cycle.begin_commit()
    start = cycle.log.starts()[-1].start
    cycle.core.subscribed(wire.PRIVATE_TOPIC + b"early", cycle.now)
    assert [sync for _, sync in cycle.take_broadcasts()] == [wire.Sync(b"early", 0, start)]
    cycle.end_commit()
    cycle.core.subscribed(wire.PRIVATE_TOPIC + b"late", cycle.now)
    assert [message for _, message in cycle.take_broadcasts()][-1] == wire.Sync(b"late", 2, start)


# --- repeats ------------------------------------------------------------------------------------


def test_a_repeat_gets_the_first_offset() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    frame = cycle.publish(alice, 1, "general", b"1", b"2")
    cycle.publish(alice, 2, "general", b"3")
    cycle.commit()
    cycle.take_replies()
    cycle.core.received(alice, frame, cycle.now)
    assert cycle.take_replies() == [(alice, wire.Ack([(1, 1)]))]
    assert cycle.core.take_append(cycle.now) is None


def test_a_repeat_of_what_is_not_committed_yet_is_acked_once_with_it() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    frame = cycle.publish(alice, 1, "general", b"once")
    cycle.core.received(alice, frame, cycle.now)
    cycle.begin_commit()
    cycle.core.received(alice, frame, cycle.now)
    assert cycle.take_replies() == []
    cycle.end_commit()
    assert cycle.take_replies() == [(alice, wire.Ack([(1, 1)]))]
    assert cycle.history() == [Heard("general", wire.MESSAGES, 1, 0, ["alice: once"])]


def test_a_repeat_of_a_volatile_one_is_acked_and_not_broadcast_again() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    frame = cycle.publish(alice, 1, "general", b"once", flags=wire.VOLATILE)
    assert len(cycle.take_heard()) == 1 and len(cycle.take_replies()) == 1
    cycle.core.received(alice, frame, cycle.now)
    assert (cycle.take_heard(), cycle.take_replies()) == ([], [(alice, wire.Ack([(1, 0)]))])


def test_a_repeat_of_what_was_refused_is_refused_again() -> None:
    cycle = Cycle(publish_records_max=2)
    (alice,) = cycle.clients("alice")
    for _ in range(2):
        cycle.publish(alice, 1, "general", b"1", b"2", b"3")
        assert cycle.take_errors() == [(alice, "publish", 1, "too-many-records")]
    cycle.publish(alice, 1, "general", b"with that number for another time")
    assert cycle.take_errors() == [(alice, "publish", 1, "too-many-records")]


def test_a_repeat_after_a_restart_is_looked_up_in_the_log() -> None:
    cycle = Cycle()
    welcome = cycle.hello("alice")
    cycle.publish(b"alice", 1, "general", b"1", b"2")
    cycle.publish(b"alice", 2, "general", b"3")
    cycle.commit()
    cycle.start()
    cycle.hello("alice", b"again", welcome.session, welcome.token)
    cycle.publish(b"again", 2, "general", b"3")
    assert cycle.core.take_append(cycle.now) is None and cycle.take_replies() == []
    (read,) = cycle.core.take_reads()
    assert (read.connection, read.request) == (b"again", Lookup(welcome.session, [2]))
    assert cycle.core.read_done(read, 0.001)
    cycle.core.found(welcome.session, 2, whole(cycle.log.find(welcome.session, 2)))
    assert cycle.take_replies() == [(b"again", wire.Ack([(2, 3)]))]


def test_a_repeat_that_the_log_does_not_find_is_told_as_unknown() -> None:
    cycle = Cycle()
    welcome = cycle.hello("alice")
    cycle.publish(b"alice", 5, "general", b"1")
    cycle.commit()
    cycle.take_replies()
    cycle.publish(b"alice", 3, "general", b"never sent")
    cycle.core.found(welcome.session, 3, whole(cycle.log.find(welcome.session, 3)))
    assert cycle.take_errors() == [(b"alice", "publish", 3, "repeat-unknown")]


def test_what_was_found_for_a_session_that_has_gone_is_told_to_nobody() -> None:
    cycle = Cycle()
    welcome = cycle.hello("alice")
    cycle.disconnect(b"alice")
    cycle.core.found(welcome.session, 3, 7)
    cycle.core.found(welcome.session, 3, 0)
    cycle.core.found("nobody", 3, 7)
    assert cycle.take_replies() == []


def test_seq_is_counted_for_each_session() -> None:
    cycle = Cycle()
    alice, bob = cycle.clients("alice", "bob")
    cycle.publish(alice, 1, "general", b"a")
    cycle.publish(bob, 1, "general", b"b")
    cycle.commit()
    assert cycle.take_replies() == [(alice, wire.Ack([(1, 1)])), (bob, wire.Ack([(1, 2)]))]


# --- refusals -----------------------------------------------------------------------------------


def publish_of(room: str, *records: wire.RecordOrBody, flags: int = 0, raw: bytes = b"") -> wire.Publish:
    return wire.Publish(9, room, flags, msgspec.Raw(raw or wire.encode_records(records)))


@pytest.mark.parametrize("flags", [0, wire.VOLATILE])
@pytest.mark.parametrize(
    ("publish", "code"),
    [
        (lambda: publish_of("a..b", b""), "bad-room"),
        (lambda: publish_of("General", b""), "bad-room"),
        (lambda: publish_of("build.*", b""), "bad-room"),
        (lambda: publish_of("@Alice", b""), "bad-room"),
        (lambda: publish_of("", b""), "bad-room"),
        (lambda: publish_of("general", JOIN), "denied"),
        (lambda: publish_of("general", b"join", LEAVE), "denied"),
        (lambda: publish_of("general"), "too-many-records"),
        (lambda: publish_of("general", b"1", b"2", b"3", b"4"), "too-many-records"),
        (lambda: publish_of("general", b"x" * 1_000), "too-large"),
        (lambda: publish_of("general", raw=msgspec.msgpack.encode(["text"])), "bad-frame"),
        (lambda: publish_of("general", raw=msgspec.msgpack.encode({"a": 1})), "bad-frame"),
        (lambda: publish_of("general", raw=msgspec.msgpack.encode(7)), "bad-frame"),
    ],
)
def test_a_publish_that_is_not_allowed_is_refused(publish: Callable[[], wire.Publish], code: str, flags: int) -> None:
    cycle = Cycle(publish_records_max=3, publish_bytes_max=1_000)
    (alice,) = cycle.clients("alice")
    message = publish()
    message.flags = flags
    error = refused(cycle, alice, message, code)
    assert (error.about, error.number) == ("publish", 9)
    refused(cycle, alice, message, code)  # told again


@pytest.mark.parametrize("records", UNREADABLE.values(), ids=UNREADABLE)
def test_nothing_is_stored_that_some_reader_cannot_read(records: bytes) -> None:
    for flags in (0, wire.VOLATILE):
        cycle = Cycle()
        (alice,) = cycle.clients("alice")
        message = wire.Publish(1, "general", flags, msgspec.Raw(records))
        try:
            wire.decode_client(wire.encode(message))
        except WireError as error:  # not even a message
            assert error.code == "bad-frame"
            refused(cycle, alice, wire.encode(message), "bad-frame")
        else:
            refused(cycle, alice, message, "bad-frame")


@pytest.mark.parametrize("records", READABLE.values(), ids=READABLE)
def test_elements_of_a_later_version_are_stored_as_they_are(records: bytes) -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.send(alice, wire.Publish(1, "general", 0, msgspec.Raw(records)))
    cycle.commit()
    ((_, frame),) = cycle.core.take_broadcasts(cycle.now)
    assert records in frame


def test_join_and_leave_are_words_like_any_other_in_a_body() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.publish(alice, 1, "general", b"join", wire.Record(b"leave", "joined", {"join": "leave"}))
    cycle.commit()
    assert len(cycle.take_heard()) == 1


def test_who_said_no_hello_is_asked_for_it() -> None:
    cycle = Cycle()
    for message in (publish_of("general", b"hi"), wire.Join(1, ["general"]), wire.Who(1), wire.Bye()):
        before = cycle.facts()
        cycle.send(b"stranger", message)
        assert cycle.take_replies() == [(b"stranger", wire.HelloAgain())]
        assert cycle.facts() == before and cycle.core.take_append(cycle.now) is None


@pytest.mark.parametrize(
    ("frame", "code", "about", "number"),
    [
        (b"", "bad-frame", "connection", 0),
        (b"\xc1", "bad-frame", "connection", 0),
        (b"\x92\x02\x01", "bad-frame", "publish", 1),
        (b"\x93\x03\x09\xc1", "bad-frame", "request", 9),
        (b"\x92\x21\x90", "unknown-kind", "connection", 0),
        (b"\x92\x1f\x07", "unknown-kind", "request", 7),
    ],
)
def test_a_frame_that_makes_no_sense_is_refused_and_the_connection_goes_on(
    frame: bytes, code: str, about: str, number: int
) -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    for connection in (alice, b"stranger"):
        error = refused(cycle, connection, frame, code)
        assert (error.about, error.number) == (about, number)
        assert cycle.core.take_cutoffs() == []


# --- time and the end ---------------------------------------------------------------------------


def test_a_quiet_room_gets_its_watermark_and_a_busy_one_none() -> None:
    cycle = Cycle(watermark_first_seconds=1.0, watermark_last_seconds=4.0)
    (alice,) = cycle.clients("alice")
    cycle.publish(alice, 1, "quiet", b"1", b"2")
    cycle.publish(alice, 2, "busy", b"3")
    cycle.commit()
    cycle.take_broadcasts()
    cycle.wait(0.9)
    cycle.publish(alice, 3, "busy", b"4")
    cycle.commit()
    cycle.take_broadcasts()
    cycle.wait(0.1)
    assert cycle.take_broadcasts() == [("quiet", wire.Watermark(2))]
    told = []
    for _ in range(20):
        cycle.wait(1.0)
        told += [room for room, _ in cycle.take_broadcasts()]
    assert (told.count("quiet"), told.count("busy")) == (2, 3)
    assert cycle.core.next_deadline() is None


def test_each_of_a_rooms_two_topics_has_its_own_tail_markers() -> None:
    cycle = Cycle(watermark_first_seconds=1.0, watermark_last_seconds=1.0)
    alice, bob = cycle.clients("alice", "bob")
    cycle.publish(alice, 1, "general", b"1")
    cycle.commit()
    cycle.wait(0.5)
    cycle.send(bob, wire.Join(1, ["general"]))
    cycle.commit()
    cycle.take_broadcasts()
    cycle.wait(0.5)
    assert cycle.take_broadcasts() == [("general", wire.Watermark(1))]
    cycle.wait(0.5)
    assert cycle.take_broadcasts() == [("+general", wire.Watermark(2))]
    cycle.wait(60.0)
    assert cycle.take_broadcasts() == []


def test_volatile_messages_and_what_is_not_committed_are_marked_by_no_tail() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.publish(alice, 1, "general", b"", flags=wire.VOLATILE)
    cycle.publish(alice, 2, "general", b"")
    cycle.begin_commit()
    cycle.take_broadcasts()
    assert cycle.core.next_deadline() is None


def test_a_broker_that_stops_tells_each_client_once() -> None:
    cycle = Cycle()
    alice, bob, carol = cycle.clients("alice", "bob", "carol")
    cycle.disconnect(carol)
    cycle.core.stopping()
    assert cycle.take_replies() == [(alice, wire.Goodbye("stopping")), (bob, wire.Goodbye("stopping"))]
    assert cycle.take_replies() == []


# --- how many rooms there are -------------------------------------------------------------------


def test_a_publish_that_would_make_too_many_rooms_is_refused_and_a_volatile_one_makes_none() -> None:
    cycle = Cycle(rooms_max=1)
    (alice,) = cycle.clients("alice")
    cycle.publish(alice, 1, "general", b"1")
    cycle.commit()
    cycle.take_replies()
    frame = cycle.publish(alice, 2, "other", b"2")
    cycle.core.received(alice, frame, cycle.now)
    assert cycle.take_errors() == [(alice, "publish", 2, "over-limit")] * 2
    cycle.publish(alice, 3, "other", b"volatile", flags=wire.VOLATILE)
    cycle.publish(alice, 4, "other", b"stored", flags=0)  # in one cycle, while the room is there
    acked, refused_one = sorted(cycle.take_replies(), key=lambda reply: isinstance(reply[1], wire.Error))
    assert acked[1] == wire.Ack([(3, 0)])
    assert isinstance(refused_one[1], wire.Error) and refused_one[1].code == "over-limit"
    cycle.commit()
    assert [heard.room for heard in cycle.history()] == ["general"]


def test_rooms_whose_first_record_the_log_refused_are_not_kept() -> None:
    cycle = Cycle(rooms_max=1)
    (alice,) = cycle.clients("alice")
    before = cycle.facts(alice)
    cycle.publish(alice, 1, "first", b"")
    cycle.begin_commit()
    cycle.send(alice, wire.Join(1, ["first"]))
    cycle.fail("log-full")
    cycle.take_replies()
    assert cycle.facts(alice)[:-1] == before[:-1]  # type: ignore[index]
    cycle.publish(alice, 2, "second", b"")
    cycle.commit()
    assert cycle.take_replies() == [(alice, wire.Ack([(2, 1)]))]


def test_rooms_that_are_only_asked_about_are_not_kept() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    before = cycle.facts(alice)
    for number in range(9):
        name = f"room-{number}"
        cycle.send(alice, wire.Who(1, name, True), wire.Heads(2, [name]), wire.Fetch(3, [name], 0, 0))
        cycle.send(alice, wire.Seek(4, [name], 1), wire.Part(5, [name]))
    cycle.send(alice, wire.Report([(0, ["nowhere"])]))
    cycle.take_replies()
    cycle.core.take_reads()
    cycle.send(alice, wire.Report([]))
    assert cycle.facts(alice) == before
