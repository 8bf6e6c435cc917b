"""What a sealed record is made of, and what an invite says: bytes and text, without a cipher."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchat import wire
from zchat.core import sealed
from zchat.core.sealed import RoomKey, SealedBox
from zchat.errors import UsageError, WireError

KEYS = [RoomKey(1_700_000_000, bytes(range(32))), RoomKey(1_800_000_000, b"k" * 32)]

records = st.one_of(
    st.binary(max_size=3_000),
    st.builds(
        wire.Record,
        st.binary(max_size=300),
        st.text(min_size=1, max_size=20).filter(lambda event: event not in sealed.UNSEALED_EVENTS),
        st.none() | st.dictionaries(st.text(max_size=8), st.text(max_size=8), min_size=1, max_size=3),
    ),
)


@given(records)
def test_what_goes_into_a_box_comes_out_of_it(record: wire.RecordOrBody) -> None:
    expected = wire.Record(record) if isinstance(record, bytes) else record
    assert sealed.record_in(sealed.content_of(record)) == expected


@given(st.binary(max_size=200))
def test_whatever_is_in_a_box_is_a_record_or_a_wire_error(content: bytes) -> None:
    try:
        sealed.record_in(content)
    except WireError:
        pass


@pytest.mark.parametrize("event", ["join", "leave", "sealed", ""])
def test_a_box_holds_neither_joins_nor_another_box(event: str) -> None:
    with pytest.raises(WireError):
        sealed.record_in(sealed.content_of(wire.Record(b"", event)))


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=24, max_size=24), st.binary(min_size=80, max_size=200))
def test_a_sealed_body_is_taken_apart_again(key_id: bytes, nonce: bytes, box: bytes) -> None:
    parts = SealedBox(key_id, nonce, box)
    record = sealed.sealed_record(parts, {})
    assert (record.event, record.headers) == ("sealed", None)
    assert sealed.parts_of(record.body) == parts


@pytest.mark.parametrize("body", [b"", b"hello", b"\x02" + b"a" * 200, b"\x01" + b"a" * 100])
def test_what_this_version_does_not_know_has_no_parts(body: bytes) -> None:
    assert sealed.parts_of(body) is None


def test_only_how_long_it_lives_is_told_outside_of_the_box() -> None:
    assert sealed.outside(b"x") == sealed.outside(wire.Record(b"x")) == {}
    assert sealed.outside(wire.Record(b"x", "deploy", {"host": "a", "expire-seconds": "60"})) == {
        "expire-seconds": "60"
    }


def test_lengths_are_few_and_little_longer() -> None:
    sizes = {sealed.padded_size(size) for size in range(1, 1 << 16)}
    assert len(sizes) < 150
    assert sealed.padded_size(1) == sealed.padded_size(64) == 64
    assert all(size <= sealed.padded_size(size) <= max(64, size * 1.12) for size in range(1, 1 << 16))


@pytest.mark.parametrize("most", [96 * 1024, 500_000, wire.RECORD_BYTES_MAX])
def test_what_may_be_sent_is_not_too_large_when_it_is_sealed(most: int) -> None:
    size = sealed.content_bytes_max(most)
    assert size > most * 0.93
    content = sealed.content_of(b"x" * size)
    body = sealed.sealed_record(SealedBox(b"i" * 16, b"n" * 24, content + b"t" * 16), {}).body
    assert len(body) + len("sealed") <= most


def test_a_box_is_bound_to_its_room_and_its_user_however_he_is_spelled() -> None:
    assert sealed.bound_to("team", "Alice") == sealed.bound_to("team", "alice")
    assert len({sealed.bound_to(*of) for of in (("team", "alice"), ("team", "bob"), ("team2", "alice"))}) == 3


def test_a_dead_letter_was_sealed_for_the_room_that_it_comes_from() -> None:
    told = {"dead-room": "jobs", "dead-reason": "deliveries"}
    assert sealed.origin("jobs.dead", told | {"other": "x"}) == ("jobs", told)
    assert sealed.origin("team.dead", told) == ("team.dead", {})
    assert sealed.origin("team", told) == ("team", {})
    assert sealed.origin("team", None) == ("team", {})


def test_an_invite_is_one_line_that_is_read_again() -> None:
    line = sealed.invite_line("team", KEYS)
    assert line.isascii() and len(line.split()) == 1
    assert sealed.invited(f"  {line}\n") == ("team", KEYS)
    assert sealed.invited(sealed.invite_line("@alice", KEYS[:1])) == ("@alice", KEYS[:1])


@given(st.data())
def test_an_invite_that_is_not_whole_is_refused_without_telling_its_key(data: st.DataObject) -> None:
    line = sealed.invite_line("team", KEYS)
    cut = data.draw(st.integers(0, len(line) - 1))
    with pytest.raises(UsageError) as raised:
        sealed.invited(line[:cut])
    assert not any(sealed.key_text(key)[11:] in str(raised.value) for key in KEYS)


@given(st.text(max_size=60))
def test_whatever_is_pasted_is_an_invite_or_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        sealed.invited(text)


def test_of_all_keys_the_youngest_is_last_whoever_had_them() -> None:
    old, young = KEYS
    assert sealed.merged([old], [young]) == sealed.merged([young], [old]) == [old, young]
    assert sealed.merged([old, young], [old]) == [old, young]
    same = [RoomKey(young.made, b"a" * 32), young]
    assert sealed.merged(same, []) == sealed.merged(same[::-1], [])


def test_a_key_has_a_name_that_does_not_tell_it() -> None:
    names = {sealed.key_id(each.key) for each in KEYS}
    assert len(names) == 2 and all(len(name) == 16 for name in names)
    assert not any(name in each.key for name in names for each in KEYS)
