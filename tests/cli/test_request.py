"""`zchat request`: what it prints of one reply and of several, and where the question comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

import zchat as api
from tests.conftest import BrokerProcess, Result, zchat

pytestmark = pytest.mark.slow  # each starts processes


@pytest.fixture(scope="module")
def served(shared_broker: BrokerProcess) -> Iterator[BrokerProcess]:
    """A broker where two servers give back what they are asked."""
    with api.connect(shared_broker.address, "one") as one, api.connect(shared_broker.address, "two") as two:
        for client in (one, two):
            client.serve("echo", lambda message: message.body)
        yield shared_broker


def test_one_reply_is_printed_byte_for_byte(served: BrokerProcess) -> None:
    assert zchat("request", "echo", "x", "y", broker=served) == Result("x y", "", 0)
    assert zchat("request", "echo", stdin=b"a\r\n\n", broker=served) == Result("a\r\n\n", "", 0)
    assert zchat("request", "echo", "-", stdin=b"", broker=served) == Result("", "", 0)


@pytest.mark.parametrize("asked", ["x", "x\n"])
def test_of_several_replies_each_ends_with_a_line_end(served: BrokerProcess, asked: str) -> None:
    assert zchat("request", "echo", asked, "--replies", "2", broker=served) == Result("x\nx\n", "", 0)


@pytest.mark.parametrize("replies", [1, 2])
def test_json_is_an_object_a_line(served: BrokerProcess, replies: int) -> None:
    done = zchat("request", "echo", "x", "--json", "--replies", str(replies), broker=served)
    assert (done.stdout.count("\n"), done.stdout[-1:], done.status) == (replies, "\n", 0)
    assert [json.loads(line)["body"] for line in done.stdout.splitlines()] == ["x"] * replies


def test_fewer_replies_than_were_asked_for_are_printed_and_told(served: BrokerProcess) -> None:
    done = zchat("request", "echo", "x", "--replies", "3", broker=served)
    assert done == Result("x\nx\n", "zchat: 2 of 3 replies came\n", 124)


def test_where_nobody_serves_that_is_told_at_once(served: BrokerProcess) -> None:
    done = zchat("request", "nobody", "x", broker=served)
    assert done.status == 4 and "[no-server]" in done.stderr
    assert "hint: zchat serve ROOM --exec COMMAND answers what is asked there" in done.stderr
