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
    web = start_zchat("web", "--listen", "127.0.0.1:0", env=keyed.env("site"))
    found = eventually(lambda: re.search(r"ready on (http://\S+),", web.stderr), "it is ready")
    assert post(f"{found[1]}/general?user=web-ann", b"hello") == 200
    assert post(f"{found[1]}/general?user=alice", b"I am not") >= 400
    told = keyed.run("site", "history", "general", "--format", "{user} {body}").stdout
    assert told == "web-ann hello\n"
    assert web.end(15).status in (0, -15)


def test_a_gateway_for_netcat_too(keyed: KeyedBroker, start_zchat: Callable[..., Running]) -> None:
    keyed.join("site", "--gateway", "guest-*")
    tcp = start_zchat("tcp", "--listen", "127.0.0.1:0", env=keyed.env("site"))
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
