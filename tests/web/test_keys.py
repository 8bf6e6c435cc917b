"""Gateways and keys: one whose key says so speaks for its users, and no further."""

from __future__ import annotations

import re
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import BrokerProcess, Running, eventually
from tests.keyed import KeyedBroker, start_keyed


@pytest.fixture
def keyed(start_broker: Callable[..., BrokerProcess], tmp_path: Path) -> KeyedBroker:
    return start_keyed(start_broker, tmp_path)


def post(url: str, body: bytes) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_gateway_with_a_key_speaks_for_its_users(keyed: KeyedBroker, start_zchat: Callable[..., Running]) -> None:
    keyed.join("site", "--gateway", "web*")
    web = start_zchat("web", "--listen", "127.0.0.1:0", "--insecure", env=keyed.env("site"))
    found = eventually(lambda: re.search(r"ready on (http://\S+),", web.stderr), "it is ready")
    assert post(f"{found[1]}/general?user=web-ann", b"hello") == 200
    assert post(f"{found[1]}/general?user=alice", b"I am not") >= 400
    told = keyed.run("site", "history", "general", "--format", "{user} {body}").stdout
    assert told == "web-ann hello\n"
    assert web.end(15).status in (0, -15)


def test_a_gateway_for_netcat_too(keyed: KeyedBroker, start_zchat: Callable[..., Running]) -> None:
    keyed.join("site", "--gateway", "guest-*")
    tcp = start_zchat("tcp", "--listen", "127.0.0.1:0", "--insecure", env=keyed.env("site"))
    found = eventually(lambda: re.search(r"ready on (\S+):(\d+),", tcp.stderr), "it is ready")
    with socket.create_connection((found[1], int(found[2])), 30) as visitor:
        lines = visitor.makefile("rb")
        visitor.sendall(b"hello\n/nick alice\n")
        said = b""
        while b"alice" not in said.replace(b"/nick alice", b""):
            said += lines.readline()
    told = keyed.run("site", "history", "general", "--format", "{user} {body}").stdout
    assert re.fullmatch(r"guest-\w+ hello\n", told)
    assert tcp.end(15).status == 0


@pytest.mark.parametrize("door", ["web", "tcp"])
def test_a_door_is_not_open_to_whoever_reaches_it_at_a_broker_with_keys(keyed: KeyedBroker, door: str) -> None:
    keyed.join("site", "--gateway", "web*")
    refused = keyed.run("site", door, "--listen", "127.0.0.1:0")
    assert (refused.status, refused.stderr.count("\n")) == (2, 1)
    assert "--tokens FILE" in refused.stderr and "--insecure" in refused.stderr


@pytest.mark.parametrize("door", ["web", "tcp"])
def test_a_door_whose_key_may_not_be_the_users_of_its_tokens_says_so_at_the_start(
    keyed: KeyedBroker, start_zchat: Callable[..., Running], tmp_path: Path, door: str
) -> None:
    keyed.join("site", "--gateway", "web*")
    tokens = ("--tokens", str(tmp_path / "tokens"))
    assert keyed.run("site", "tokens", "new", "alice", *tokens).status == 0
    refused = keyed.run("site", door, "--listen", "127.0.0.1:0", *tokens)
    assert (refused.status, refused.stderr.count("\n")) == (1, 1)
    assert "may not be alice" in refused.stderr and "zchat keys invite site --gateway" in refused.stderr
    assert keyed.run("site", "tokens", "new", "web-ann", *tokens).status == 0
    running = start_zchat(door, "--listen", "127.0.0.1:0", *tokens, env=keyed.env("site"))
    eventually(lambda: "ready on" in running.stderr, "it is ready")
    assert "warning: the key of this door may not be alice, for whom" in running.stderr
    assert "web-ann" not in running.stderr
    assert running.end(15).status in (0, -15)
