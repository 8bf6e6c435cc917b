"""Batches become messages: every record once, with its offset, its writer and what it was written as."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zchat import wire
from zchat.expiry import HEADER
from zchat.message import NO_HEADERS, Job, Message, alive, jobs, messages

NOON = 1_789_992_000_123_456  # 2026-09-21T12:00:00.123456Z


def batch_of(*entries: wire.Entry, kind: int = wire.MESSAGES, base: int = 10) -> wire.Batch:
    return wire.Batch(kind, base, base - 1, NOON, list(entries))


def offsets(batch: wire.Batch, first: int = 0, without_session: str = "") -> list[int]:
    return [message.offset for message in messages("general", batch, first, without_session)]


def test_a_body_is_a_message_without_headers() -> None:
    batch = batch_of(wire.Entry("alice", "s1", 3, [b"hello"]))
    assert list(messages("general", batch, 0)) == [
        Message("general", 10, "alice", NOON, "message", b"hello", NO_HEADERS, "s1")
    ]


def test_a_record_keeps_its_event_and_its_headers() -> None:
    record = wire.Record(b"v2", "deploy", {"host": "a"})
    batch = batch_of(wire.Entry("alice", "s1", 3, [record]))
    assert list(messages("general", batch, 0)) == [
        Message("general", 10, "alice", NOON, "deploy", b"v2", {"host": "a"}, "s1")
    ]


def test_bodies_and_records_of_one_publish_keep_their_order() -> None:
    batch = batch_of(wire.Entry("alice", "s1", 3, [b"a", wire.Record(b"b"), b"c"]))
    assert [(message.offset, message.body) for message in messages("general", batch, 0)] == [
        (10, b"a"),
        (11, b"b"),
        (12, b"c"),
    ]


def test_offsets_count_on_over_the_entries() -> None:
    batch = batch_of(wire.Entry("alice", "s1", 1, [b"a", b"b"]), wire.Entry("bob", "s2", 1, [b"c"]))
    assert [(message.offset, message.user, message.session) for message in messages("general", batch, 0)] == [
        (10, "alice", "s1"),
        (11, "alice", "s1"),
        (12, "bob", "s2"),
    ]


def test_what_has_expired_is_left_out_and_so_is_what_lies_behind_the_last_one() -> None:
    short, lasting = (wire.Record(b"some", "message", {HEADER: seconds}) for seconds in ("10", "60"))
    batch = batch_of(
        wire.Entry("alice", "s1", 1, [b"a", short, lasting, wire.Record(b"b")]),
        wire.Entry("bob", "s2", 1, [b"c", b"d"]),
    )

    def found(*, last: int = 0, now: int = 0) -> list[int]:
        return [message.offset for message in messages("general", batch, 0, last=last, now=now)]

    assert found() == [10, 11, 12, 13, 14, 15] and found(now=NOON + 9_999_999) == found()
    assert found(now=NOON + 10_000_000) == [10, 12, 13, 14, 15]
    assert found(now=NOON + 60_000_000, last=14) == [10, 13, 14]
    assert found(last=11) == [10, 11] and found(last=10) == [10] and found(last=99) == found()
    assert [job.offset for job in jobs("general", batch, 1, 1, Nobody(), now=NOON + 20_000_000)] == [10, 12, 13, 14, 15]
    assert [message.offset for message in alive(messages("general", batch, 0), NOON + 20_000_000)] == found(
        now=NOON + 20_000_000
    )


class Nobody:
    def settle(self, job: Job, delay: float | None) -> None:
        raise AssertionError


@pytest.mark.parametrize(("first", "left"), [(0, [10, 11, 12, 13]), (10, [10, 11, 12, 13]), (11, [11, 12, 13])])
def test_what_is_before_the_first_offset_is_left_out(first: int, left: list[int]) -> None:
    batch = batch_of(wire.Entry("alice", "s1", 1, [b"a", b"b"]), wire.Entry("bob", "s2", 1, [b"c", b"d"]))
    assert offsets(batch, first) == left


def test_an_entry_that_is_before_the_first_offset_is_left_out_whole() -> None:
    batch = batch_of(wire.Entry("alice", "s1", 1, [b"a", b"b"]), wire.Entry("bob", "s2", 1, [b"c", b"d"]))
    assert offsets(batch, 12) == [12, 13]
    assert offsets(batch, 13) == [13]
    assert offsets(batch, 14) == []


def test_one_session_is_left_out_and_the_others_keep_their_offsets() -> None:
    batch = batch_of(
        wire.Entry("alice", "s1", 1, [b"a"]),
        wire.Entry("alice", "s2", 1, [b"b"]),
        wire.Entry("alice", "s1", 2, [b"c"]),
        wire.Entry("bob", "s3", 1, [b"d"]),
    )
    assert offsets(batch, without_session="s1") == [11, 13]
    assert offsets(batch, 12, "s1") == [13]


def test_a_volatile_message_has_offset_0_and_is_never_before_the_first() -> None:
    batch = batch_of(
        wire.Entry("alice", "s1", 1, [b"a", wire.Record(b"b", "typing")]), kind=wire.VOLATILE_MESSAGES, base=0
    )
    assert offsets(batch, 100) == [0, 0]
    assert offsets(batch, 0, "s1") == []


def test_a_leave_has_its_reason_as_its_body() -> None:
    batch = batch_of(wire.Entry("alice", "s1", 0, [wire.Record(b"lost", "leave")]), kind=wire.PRESENCE)
    (message,) = messages("general", batch, 0)
    assert (message.event, message.text, message.headers) == ("leave", "lost", NO_HEADERS)


def test_text_replaces_what_is_not_utf8() -> None:
    batch = batch_of(wire.Entry("alice", "s1", 1, ["你好".encode(), b"\xff!"]))
    assert [message.text for message in messages("general", batch, 0)] == ["你好", "\ufffd!"]


def test_when_is_the_time_to_the_microsecond_in_utc() -> None:
    (message,) = messages("general", batch_of(wire.Entry("alice", "s1", 1, [b""])), 0)
    assert message.when == datetime(2026, 9, 21, 12, 0, 0, 123_456, tzinfo=UTC)


def test_nobody_can_write_into_the_headers_that_all_share() -> None:
    with pytest.raises(TypeError):
        NO_HEADERS["a"] = "b"  # type: ignore[index]


RECORD = st.binary(max_size=3) | st.builds(wire.Record, st.binary(max_size=3), st.sampled_from(["message", "deploy"]))
ENTRY = st.builds(
    wire.Entry, st.just("alice"), st.sampled_from(["s1", "s2"]), st.just(1), st.lists(RECORD, min_size=1, max_size=4)
)


@settings(deadline=None)
@given(st.lists(ENTRY, max_size=5), st.integers(0, 30), st.sampled_from(["", "s1", "s2"]))
def test_the_messages_are_the_records_counted_one_by_one(
    entries: list[wire.Entry], first: int, without_session: str
) -> None:
    flat = [(entry, record) for entry in entries for record in entry.records]
    wanted = [
        (offset, record.body if isinstance(record, wire.Record) else record)
        for offset, (entry, record) in enumerate(flat, 10)
        if offset >= first and entry.session != without_session
    ]
    frame = wire.encode(wire.Batch(wire.MESSAGES, 10, 0, NOON, entries))
    found = list(messages("general", wire.decode_batch(frame), first, without_session))
    assert [(message.offset, message.body) for message in found] == wanted
    assert all(one.offset < other.offset for one, other in pairwise(found))


def test_a_message_does_not_change() -> None:
    (message,) = messages("general", batch_of(wire.Entry("alice", "s1", 1, [b"a"])), 0)
    with pytest.raises(AttributeError):
        message.body = b"b"  # type: ignore[misc]
    assert msgspec.structs.replace(message, body=b"b").body == b"b"
