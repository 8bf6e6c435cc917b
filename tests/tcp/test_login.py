"""Visitors who need a token, over real TCP."""

from __future__ import annotations

from pathlib import Path

import pytest

import zchat
from tests.conftest import BrokerProcess, eventually
from tests.conftest import zchat as run
from tests.tcp.conftest import Starts
from zchat.tokens import TokenFile

pytestmark = pytest.mark.slow  # each starts processes


@pytest.fixture
def file(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "tokens")


def test_who_has_no_token_stays_outside(broker: BrokerProcess, start_gateway: Starts, file: TokenFile) -> None:
    over, gone, good = file.new("eve", -1), file.new("mallory", 600), file.new("Alice", 600)
    file.revoke("mallory")
    gateway = start_gateway(broker, "--tokens", str(file.path))
    stranger = gateway.connect()
    stranger.until("/login TOKEN")
    for line in ("hello", "/who", "/join ops", "/nick alice", "/msg bob hi", "/last", "/help"):
        stranger.send(f"{line}\n")
        stranger.until("you have not logged in")
        stranger.came = b""
    for token in (over, gone, good[:-1]):
        stranger.send(f"/login {token}\n")
    assert b"you are cut off" in stranger.rest()
    alice = gateway.connect()
    alice.send(f"/login {good}\nhello\n/nick bob\n/login {good}\n")
    alice.until("Alice: hello")
    alice.until("your token says who you are: Alice")
    alice.until("you are Alice already")
    with zchat.connect(broker.address, "carol") as carol:
        assert [(message.user, message.text) for message in carol.history("general")] == [("Alice", "hello")]
        carol.send("@alice", "psst")
        alice.until("(private) carol: psst")
        file.revoke("alice")
        assert b"your token was taken back, or is over" in alice.rest()
        eventually(lambda: not carol.who("general"), "she has left")


def test_a_plain_chat_server_has_no_tokens(broker: BrokerProcess, file: TokenFile) -> None:
    file.new("alice", 60)
    done = run("tcp", "--raw", "--tokens", str(file.path), broker=broker)
    assert done.status == 2 and "exclude each other" in done.stderr


def test_where_no_token_is_needed_none_is_taken(broker: BrokerProcess, start_gateway: Starts) -> None:
    guest = start_gateway(broker).connect()
    guest.send("/login x\n")
    guest.until("no token is needed here")
