"""The keys of sealed rooms in a folder: who may read it, what it becomes, and what is seen of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import eventually
from zchat.core.sealed import RoomKey
from zchat.errors import UsageError
from zchat.ring import KeyRing


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return KeyRing(tmp_path / "rooms")


def test_a_ring_without_a_folder_is_empty(ring: KeyRing) -> None:
    assert ring.rooms() == frozenset()
    assert ring.of("team") is None


def test_a_new_key_is_a_file_that_only_its_owner_can_read(ring: KeyRing) -> None:
    made = ring.new("team")
    assert ring.of("team") == made == KeyRing(ring.folder).of("team")
    assert ring.path("team").stat().st_mode & 0o777 == 0o600
    assert ring.folder.stat().st_mode & 0o777 == 0o700
    with pytest.raises(UsageError, match="rotate"):
        ring.new("team")
    assert ring.of("team") == made


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622, 0o666])
def test_a_file_that_others_can_reach_is_refused(ring: KeyRing, mode: int) -> None:
    ring.new("team")
    ring.path("team").chmod(mode)
    with pytest.raises(UsageError, match="chmod 600"):
        ring.of("team")


@pytest.mark.parametrize("text", ["", "key 1.abc\n", "nonsense\n", "given bob\n"])
def test_a_file_that_makes_no_sense_is_refused(ring: KeyRing, text: str) -> None:
    ring.new("team")
    ring.path("team").write_text(text)
    with pytest.raises(UsageError, match="no file of keys"):
        KeyRing(ring.folder).of("team")


def test_a_younger_key_seals_and_the_old_one_stays(ring: KeyRing) -> None:
    (first,) = ring.new("team").keys
    for _ in range(2):
        ring.invite("team", "bob", old=False)
    assert ring.read("team").given == ("bob",)
    rotated = ring.rotate("team")
    assert rotated.keys[0] == first and rotated.keys[1].made > first.made
    assert rotated.given == (), "nobody has the younger one yet"


def test_accepted_keys_come_to_those_that_are_there(ring: KeyRing, tmp_path: Path) -> None:
    other = KeyRing(tmp_path / "other")
    old = other.new("team").keys[0]
    young = other.rotate("team").keys[1]
    assert ring.accept("team", [young]).keys == (young,)
    assert ring.accept("team", [old]).keys == (old, young), "an old invite does not take the seal back"
    assert ring.accept("team", [young]).keys == (old, young)


def test_an_invite_gives_the_youngest_key_or_all(ring: KeyRing, tmp_path: Path) -> None:
    ring.new("team")
    keys = ring.rotate("team").keys
    other = KeyRing(tmp_path / "other")
    assert other.accept_line(ring.invite("team", None, old=False)).keys == keys[1:]
    assert other.accept_line(ring.invite("team", None, old=True)).keys == keys
    assert ring.read("team").given == ()


def test_what_another_process_changes_is_seen(ring: KeyRing) -> None:
    other = KeyRing(ring.folder)
    assert ring.rooms() == frozenset()
    other.new("team")
    eventually(lambda: ring.rooms() == {"team"}, "the room is seen")
    young = other.rotate("team").keys[-1]
    eventually(lambda: (found := ring.of("team")) and found.keys[-1] == young, "the younger key is seen")
    other.forget("team")
    eventually(lambda: ring.of("team") is None, "it is gone")


def test_what_is_no_key_of_a_room_is_passed_over(ring: KeyRing) -> None:
    ring.new("team")
    for name in ("notes.txt", ".hidden.key", "a..b.key", "x.*.key"):
        (ring.folder / name).write_text("")
    assert KeyRing(ring.folder).rooms() == {"team"}


def test_a_folder_that_cannot_be_looked_at_is_no_empty_ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = KeyRing(tmp_path / ("x" * 300))  # a name that no file system has
    with pytest.raises(UsageError):
        ring.rooms()


def test_without_a_key_there_is_nothing_to_rotate_give_or_forget(ring: KeyRing) -> None:
    for action in (ring.rotate, ring.forget, lambda room: ring.invite(room, "bob", old=False)):
        with pytest.raises(UsageError, match="no key for team"):
            action("team")


def test_a_file_that_cannot_be_used_can_be_forgotten(ring: KeyRing) -> None:
    ring.new("team")
    ring.path("team").write_text("nonsense")
    ring.forget("team")
    assert not ring.path("team").exists()


def test_no_more_keys_than_a_room_may_have(ring: KeyRing) -> None:
    keys = [RoomKey(number, bytes([number]) * 32) for number in range(1, 256)]
    ring.accept("team", keys)
    for _ in range(3):
        ring.rotate("team")
    assert len(ring.read("team").keys) == 256
