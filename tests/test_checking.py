"""What a broker stores is checked whole: each reader can read it (zchat/wire/checking.py)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unreadable import KNOWN, READABLE, STORED_BEFORE, UNREADABLE, grown
from zchat import wire
from zchat.errors import WireError
from zchat.wire.checking import KEYS, SCALARS

pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode


def is_refused(records: bytes) -> bool:
    try:
        wire.check_records(records)
    except WireError as error:
        assert error.code == "bad-frame" and error.text and len(error.text) < 300
        return True
    return False


@pytest.mark.parametrize("records", UNREADABLE.values(), ids=UNREADABLE)
def test_what_some_reader_cannot_read_is_refused(records: bytes) -> None:
    assert is_refused(records)


@pytest.mark.parametrize("records", UNREADABLE.values(), ids=UNREADABLE)
def test_it_is_refused_also_behind_records_that_are_right(records: bytes) -> None:
    if records[0] == 0x91:
        assert is_refused(b"\x93\xc4\x00\x93\xc4\x00\xa1e\xc0" + records[1:])


@pytest.mark.parametrize("records", READABLE.values(), ids=READABLE)
def test_what_each_reader_can_read_is_taken(records: bytes) -> None:
    assert not is_refused(records)
    assert list(wire.check_records(records)) == wire.decode_records(records)


def test_records_without_unknown_elements_are_what_they_say() -> None:
    records: list[wire.RecordOrBody] = [
        b"a",
        wire.Record(b"b"),
        wire.Record(b"c", "e", {"h": "x"}),
        wire.Record(b"", "", {}),
    ]
    checked = wire.check_records(wire.encode_records(records))
    assert [wire.Record(each) if isinstance(each, bytes) else wire.Record(*fields(each)) for each in checked] == [
        wire.Record(each) if isinstance(each, bytes) else each for each in records
    ]


def fields(record: wire.Record) -> tuple[Any, ...]:
    return record.body, record.event, record.headers


def test_unknown_elements_of_all_records_are_bounded_too() -> None:
    def of(records: int) -> bytes:
        return b"\xdc" + records.to_bytes(2) + (grown(b"\xc5\x03\xfd" + bytes(1021))[1:]) * records

    assert not is_refused(of(64))
    assert is_refused(of(65))


def test_more_records_than_the_limit_are_not_looked_at() -> None:
    records = b"\x94" + grown(b"\xd4\x05\x00")[1:] * 4
    with pytest.raises(WireError) as caught:
        wire.check_records(records, 3)
    assert caught.value.code == "too-many-records"
    assert is_refused(records)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 65_535, 65_536])
def test_as_many_records_as_the_limit_are_taken(count: int) -> None:
    records = pack([b""] * count)
    assert len(wire.check_records(records, count)) == len(wire.check_records(msgspec.Raw(records), count)) == count
    if count:
        with pytest.raises(WireError) as caught:
            wire.check_records(records, count - 1)
        assert caught.value.code == "too-many-records" and str(count) in caught.value.text


# --- any record ---------------------------------------------------------------------------------

SCALAR = st.one_of(st.none(), st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1), st.floats(), st.text(max_size=5))
ANYTHING = st.recursive(
    SCALAR | st.binary(max_size=5) | st.datetimes(timezones=st.just(None)).map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALAR | st.binary(max_size=3), inner, max_size=3),
    max_leaves=20,
)


def is_plain(value: Any, nested: int = 0) -> bool:
    """As the specification has it."""
    if type(value) in SCALARS:
        return True
    if nested == wire.NESTED_MAX or type(value) not in (list, dict):
        return False
    if type(value) is dict and not all(type(key) in KEYS for key in value):
        return False
    return all(is_plain(each, nested + 1) for each in (value.values() if type(value) is dict else value))


@given(st.lists(ANYTHING, max_size=4), st.integers(0, 12))
def test_any_element_is_taken_if_it_is_plain(unknown: list[Any], depth: int) -> None:
    for _ in range(depth):
        unknown = [unknown]
    assert is_refused(grown(*map(pack, unknown))) != all(map(is_plain, unknown))


@given(st.binary(max_size=40))
@example(b"\x90")
@example(b"\x80")
@example(b"\xc6\x00\x00\x00\x04abcd")
def test_what_is_taken_of_random_bytes_can_be_read_without_types(unknown: bytes) -> None:
    for records in (grown(unknown), b"\x91" + unknown, unknown):
        if not is_refused(records):
            read = unpack(records)
            assert all(is_plain(each, -2) for each in read)


@given(st.sampled_from([*UNREADABLE.values(), *READABLE.values()]), st.data())
def test_a_changed_byte_is_refused_or_leaves_something_that_can_be_read(records: bytes, data: st.DataObject) -> None:
    changed = bytearray(records[:5000])
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    if not is_refused(bytes(changed)):
        assert all(is_plain(each, -2) for each in unpack(bytes(changed)))


# --- what is stored already ---------------------------------------------------------------------


def batch_of(*records: bytes) -> bytes:
    entries = [wire.RawEntry("alice", "s1", seq, wire.raw(each)) for seq, each in enumerate(records, 1)]
    return wire.encode(wire.RawBatch(wire.MESSAGES, 41, 7, 9, entries))


@pytest.mark.parametrize("records", STORED_BEFORE.values(), ids=STORED_BEFORE)
def test_a_batch_that_was_stored_with_it_is_read_and_mended(records: bytes) -> None:
    plain, kept = wire.encode_records([b"x"]), READABLE["one of each kind"]
    frame = batch_of(plain, records, kept)
    assert wire.decode_head(frame).prev == 7
    assert [each.records for each in wire.decode_batch(frame).entries] == [[b"x"], [KNOWN], [KNOWN]]
    assert wire.decode_broadcast(frame) == wire.decode_batch(frame)
    mended = wire.decode_raw_batch(wire.mended(frame))
    assert [bytes(each.records) for each in mended.entries] == [plain, wire.encode_records([KNOWN]), kept]
    assert (mended.kind, mended.base, mended.prev, mended.time) == (wire.MESSAGES, 41, 7, 9)
    assert wire.mended(wire.mended(frame)) == wire.mended(frame)
    page = wire.decode_broker(pack([37, 4, [["den", msgspec.Raw(frame)]], 43, False, []]))
    assert isinstance(page, wire.Page)
    assert wire.decode_batch(page.batches[0][1]) == wire.decode_batch(frame)


def test_a_batch_with_which_nothing_is_wrong_is_left_as_it_is() -> None:
    frame = batch_of(wire.encode_records([b"x", KNOWN]), READABLE["8 maps"])
    assert wire.mended(frame) is frame


def test_what_is_wrong_besides_unknown_elements_cannot_be_mended() -> None:
    for frame in (b"", b"\xc1", batch_of(b"\x91\xa1x"), batch_of(UNREADABLE["an event that is no UTF-8"])):
        with pytest.raises(WireError):
            wire.mended(frame)


def test_the_head_of_a_batch_is_read_whatever_its_entries_are() -> None:
    head = wire.BatchHead(wire.PRESENCE, 1 << 40, 300, 1 << 50)
    numbers = b"".join(map(pack, (head.kind, head.base, head.prev, head.time)))
    for entries in (b"\x91" * 1_000_000, b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xa1\xff", b""):
        assert wire.decode_head(b"\x95" + numbers + entries) == head
    for cut in (b"", b"\x95", b"\x95\x00\xcd\x01", b"\x93\x00\x01\x02", b"\xdc\x00", b"\x95\x00\xa1a\x01\x02\x90"):
        with pytest.raises(WireError):
            wire.decode_head(cut)
