"""Sealing and opening with a ring: what opens, what does not, and what is shown then."""

from __future__ import annotations

from pathlib import Path

import pytest

from zchat import wire
from zchat.errors import UsageError
from zchat.ring import KeyRing
from zchat.sealing import DOES_NOT_OPEN, NO_KEY, UNKNOWN, Sealing

TEXT = b"the launch is on Friday"


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    ring = KeyRing(tmp_path / "rooms")
    ring.new("team")
    return ring


@pytest.fixture
def sealing(ring: KeyRing) -> Sealing:
    return Sealing(ring.folder)


def sealed(sealing: Sealing, record: wire.RecordOrBody = TEXT, user: str = "alice", room: str = "team") -> wire.Record:
    found, size = sealing.seal(room, user, record, 0)
    assert isinstance(found, wire.Record) and size == len(found.body) + len("sealed")
    return found


def test_what_is_sealed_is_opened_by_who_has_the_key(sealing: Sealing) -> None:
    record = sealed(sealing)
    assert record.event == "sealed" and record.headers is None and TEXT not in record.body
    assert sealing.open("team", "alice", record) == wire.Record(TEXT)
    told = wire.Record(TEXT, "deploy", {"host": "web1"})
    assert sealing.open("team", "Alice", sealed(sealing, told)) == told


def test_a_room_without_a_key_stays_open(sealing: Sealing) -> None:
    assert sealing.seal("general", "alice", TEXT, 23) == (TEXT, 23)
    assert not sealing.is_sealed("general")
    assert sealing.is_sealed("TEAM"), "however it is written"
    assert sealed(sealing, room="Team").event == "sealed"


def test_the_same_text_is_never_sealed_to_the_same_bytes(sealing: Sealing) -> None:
    assert len({sealed(sealing).body for _ in range(20)}) == 20


def test_what_the_operator_moves_changes_or_puts_under_another_name_does_not_open(
    sealing: Sealing, ring: KeyRing
) -> None:
    ring.accept("other", list(ring.read("team").keys))  # the same key for two rooms
    moving = Sealing(ring.folder)
    record = sealed(moving)
    assert moving.open("other", "alice", record) == DOES_NOT_OPEN
    assert moving.open("team", "bob", record) == DOES_NOT_OPEN
    for at in (0, 20, 30, 60, len(record.body) - 1):
        changed = bytearray(record.body)
        changed[at] ^= 1
        shown = moving.open("team", "alice", wire.Record(bytes(changed), "sealed"))
        assert shown in (DOES_NOT_OPEN, NO_KEY, UNKNOWN)
    assert moving.open("team", "alice", wire.Record(record.body[:-1], "sealed")) == DOES_NOT_OPEN
    assert moving.open("team", "alice", wire.Record(b"hello, I am plain text", "sealed")) == UNKNOWN


def test_headers_that_stand_outside_of_the_box_are_dropped(sealing: Sealing) -> None:
    record = sealed(sealing)
    forged = wire.Record(record.body, "sealed", {"approved": "yes"})
    assert sealing.open("team", "alice", forged) == wire.Record(TEXT)


def test_a_dead_letter_opens_with_what_is_told_of_it(sealing: Sealing) -> None:
    told = {"dead-room": "team", "dead-reason": "deliveries"}
    letter = wire.Record(sealed(sealing).body, "sealed", told)
    assert sealing.open("team.dead", "alice", letter) == wire.Record(TEXT, "message", told)


def test_who_was_left_out_of_a_rotation_reads_only_what_was_before(
    sealing: Sealing, ring: KeyRing, tmp_path: Path
) -> None:
    left = KeyRing(tmp_path / "left")
    left.accept("team", list(ring.read("team").keys))
    before = sealed(sealing)
    ring.rotate("team")
    after = sealed(Sealing(ring.folder))
    assert Sealing(left.folder).open("team", "alice", before) == wire.Record(TEXT)
    assert Sealing(left.folder).open("team", "alice", after) == NO_KEY
    assert Sealing(ring.folder).open("team", "alice", before) == wire.Record(TEXT)
    assert Sealing(tmp_path / "none").open("team", "alice", before) == NO_KEY


def test_a_key_that_others_can_read_seals_and_opens_nothing(sealing: Sealing, ring: KeyRing) -> None:
    record = sealed(sealing)
    ring.path("team").chmod(0o644)
    late = Sealing(ring.folder)
    with pytest.raises(UsageError, match="chmod 600"):
        late.seal("team", "alice", TEXT, 0)
    shown = late.open("team", "alice", record)
    assert isinstance(shown, str) and "chmod 600" in shown


def test_who_has_the_key_can_put_no_join_into_a_box(sealing: Sealing) -> None:
    assert sealing.open("team", "alice", sealed(sealing, wire.Record(b"", "join"))) == DOES_NOT_OPEN
