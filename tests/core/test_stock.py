"""Batches from which runs are cut: whatever is cut is what was stored, and no byte of a record is another one."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchat import wire
from zchat.core.stock import StockBatch
from zchat.errors import WireError

RECORD = st.one_of(
    st.binary(max_size=4),
    st.builds(wire.Record, st.binary(max_size=4), st.sampled_from(["message", "deploy"]), st.just({"by": "ci"})),
)
ENTRIES = st.lists(st.lists(RECORD, min_size=1, max_size=20), min_size=1, max_size=6)


def frame_of(entries: list[list[wire.RecordOrBody]], base: int = 40, kind: int = wire.MESSAGES) -> bytes:
    raw = [
        wire.RawEntry("ann", f"s{number}", number, msgspec.Raw(wire.encode_records(records)))
        for number, records in enumerate(entries)
    ]
    return wire.encode(wire.RawBatch(kind, base, base - 1, 7, raw))


def written(frame: bytes) -> list[tuple[int, str, wire.RecordOrBody]]:
    """Offset, session and record of each."""
    batch = wire.decode_batch(frame)
    records = [(entry.session, record) for entry in batch.entries for record in entry.records]
    return [(batch.base + number, session, record) for number, (session, record) in enumerate(records)]


@given(entries=ENTRIES, data=st.data())
def test_what_is_cut_is_what_was_stored(entries: list[list[wire.RecordOrBody]], data: st.DataObject) -> None:
    frame = frame_of(entries)
    batch = StockBatch.of_frame(frame)
    assert batch is not None and (batch.base, batch.last, batch.size) == (40, written(frame)[-1][0], len(frame))
    for _ in range(3):
        first = data.draw(st.integers(40, batch.last))
        last = data.draw(st.integers(first, batch.last))
        cut = batch.cut(first, last)
        assert written(cut) == [each for each in written(frame) if first <= each[0] <= last]
        assert wire.decode_batch(cut).time == 7


def test_a_whole_batch_goes_as_the_frame_that_is_stored() -> None:
    frame = frame_of([[b"1", b"2"]])
    assert StockBatch(frame, 40, 2).cut(40, 41) is frame


def test_what_a_later_version_has_added_to_a_record_stays() -> None:
    later = msgspec.msgpack.encode([[b"1", "message", None, "later"], [b"2", "message", None, "later"]])
    frame = wire.encode(wire.RawBatch(0, 1, 0, 7, [wire.RawEntry("ann", "s", 1, msgspec.Raw(later))]))
    (entry,) = StockBatch(frame, 1, 2).entries(2, 2)
    assert msgspec.msgpack.decode(entry.records) == [[b"2", "message", None, "later"]]


def test_joins_are_none_and_what_is_no_batch_is_an_error() -> None:
    assert StockBatch.of_frame(frame_of([[wire.Record(b"", "join")]], kind=wire.PRESENCE)) is None
    with pytest.raises(WireError):
        StockBatch.of_frame(b"\xc1")
