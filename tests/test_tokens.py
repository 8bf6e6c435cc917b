"""Tokens of the gateways: what opens, for how long, and what a file may become."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.conftest import eventually
from zchat.errors import UsageError
from zchat.tokens import TokenFile


@pytest.fixture
def file(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "gateway" / "tokens")


def test_a_token_opens_as_its_user_and_the_file_does_not_have_it(file: TokenFile) -> None:
    token = file.new("Alice", 60)
    found = TokenFile(file.path).load().open(token)
    assert found is not None and found.user == "Alice"
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert token.startswith("zt_") and token[3:] not in file.path.read_text()


@pytest.mark.parametrize("token", ["", "zt_", "zt_x", "alice", "zt_" + "a" * 43, "zt_" + "a" * 5_000, "zt_\ud800"])
def test_what_is_no_token_opens_nothing(file: TokenFile, token: str) -> None:
    file.new("alice", 60)
    assert file.load().open(token) is None


def test_a_token_has_an_end(file: TokenFile) -> None:
    over, ends = file.new("alice", -1), file.new("bob", 1.5)
    file.load()
    assert file.open(over) is None
    found = file.open(ends)
    if found is not None:  # on a machine that is busy it may be over already
        eventually(lambda: not file.is_valid(found), "its time is over")
    assert file.open(ends) is None


def test_what_is_taken_back_opens_nothing_within_a_second(file: TokenFile) -> None:
    first, second, other = file.new("alice", 60), file.new("alice", 60), file.new("bob", 60)
    gateway = TokenFile(file.path).load()
    inside = gateway.open(first)
    assert inside is not None
    assert [one.name for one in file.revoke(inside.name)] == [inside.name]
    eventually(lambda: not gateway.is_valid(inside), "it is seen")
    assert gateway.open(first) is None and gateway.open(second) is not None
    assert len(file.revoke("ALICE")) == 1
    eventually(lambda: gateway.open(second) is None, "all of hers")
    assert gateway.open(other) is not None and file.revoke("alice") == []


def test_a_file_that_is_broken_or_weak_changes_nothing_and_is_told(file: TokenFile) -> None:
    token = file.new("alice", 60)
    told: list[str] = []
    gateway = TokenFile(file.path, told.append).load()
    file.path.write_text("nonsense\n")
    eventually(lambda: gateway.open(token) and told, "it is told")
    assert "line 1" in told[0] and gateway.open(token) is not None
    file.path.chmod(0o644)
    eventually(lambda: gateway.open(token) and len(told) == 2, "it is told")
    assert "chmod 600" in told[1]
    file.path.unlink()
    eventually(lambda: gateway.open(token) is None, "without a file nobody comes in")


@pytest.mark.parametrize("content", ["token abc alice 1", "token " + "a" * 64 + " al/ice 1", "alice"])
def test_a_gateway_does_not_begin_with_a_file_that_makes_no_sense(file: TokenFile, content: str) -> None:
    file.new("alice", 60)
    file.path.write_text(content)
    with pytest.raises(UsageError, match="line 1"):
        TokenFile(file.path).load()
    with pytest.raises(FileNotFoundError):
        TokenFile(file.path.with_name("none")).load()


def test_two_who_change_it_lose_nothing_of_each_other(file: TokenFile) -> None:
    threads = [threading.Thread(target=lambda: [file.new("alice", 60) for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(file.all()) == 20
