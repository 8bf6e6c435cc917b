"""Files of keys: secret ones are only for their owner, and a file is replaced whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from zchat import key_files, private_files
from zchat.errors import BadKey
from zchat.keys import KeyPair

PAIR = KeyPair("a" * 64, "b" * 64)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_is_written_for_its_owner_alone_and_never_over_another(tmp_path: Path) -> None:
    path = tmp_path / "config" / "keys" / "office.key"
    key_files.write_pair(path, PAIR, "of alice")
    assert (mode(path), mode(path.parent)) == (0o600, 0o700) and key_files.read_pair(path) == PAIR
    with pytest.raises(FileExistsError):
        key_files.write_pair(path, KeyPair("c" * 64, "d" * 64), "another")
    assert key_files.read_pair(path) == PAIR


@pytest.mark.parametrize("weak", [0o640, 0o604, 0o644, 0o620, 0o777])
def test_a_key_that_others_can_read_is_not_used_and_the_cure_is_told(tmp_path: Path, weak: int) -> None:
    path = tmp_path / "a.key"
    key_files.write_pair(path, PAIR, "of alice")
    path.chmod(weak)
    with pytest.raises(BadKey) as error:
        key_files.read_pair(path)
    assert f"mode {weak:04o}" in str(error.value) and str(error.value).endswith(f"chmod 600 {path}")
    path.chmod(0o400)
    assert key_files.read_pair(path) == PAIR


def test_what_has_become_of_the_brokers_key_is_kept_beside_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    first, second, third = "c" * 64, "d" * 64, "e" * 64
    key_files.write_pair(path, PAIR, "of alice")
    credentials = key_files.read_credentials(path, first.upper())
    assert credentials.servers == [first] and credentials.pair == PAIR
    credentials.told(second)
    assert key_files.read_credentials(path, first).servers == [first, second]
    key_files.read_credentials(path, first).proven(second)
    assert key_files.read_credentials(path, first).servers == [second]
    key_files.read_credentials(path, first).told(third)
    assert key_files.read_credentials(path, first).servers == [second, third]
    assert key_files.read_credentials(path, third).servers == [third], "another was pinned since"


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "f"
    private_files.replace_text(path, "one", 0o644)
    private_files.replace_text(path, "two", 0o600)
    assert (path.read_text(), mode(path)) == ("two", 0o600)
    (tmp_path / "folder" / "in").mkdir(parents=True)
    with pytest.raises(OSError):
        private_files.replace_text(tmp_path / "folder", "three", 0o644)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["f", "folder"], "no draft is left"


def test_what_is_no_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"\xff")
    path.chmod(0o600)
    with pytest.raises(BadKey):
        key_files.read_pair(path)


def test_what_is_written_follows_no_link_that_somebody_has_put_there(tmp_path: Path) -> None:
    path, victim = tmp_path / "tokens", tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / f".tokens.{os.getpid()}").symlink_to(victim)
    private_files.replace_text(path, "one\n", 0o600)
    assert (victim.read_text(), path.read_text(), path.is_symlink()) == ("mine", "one\n", False)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["tokens", "victim"]
