"""Whatever comes through the door, the others go on: in their time, and with bounded memory."""

from __future__ import annotations

import re
import secrets
import socket
import threading
import time
from pathlib import Path

import pytest

import zchat
from tests.conftest import BrokerProcess, eventually
from tests.tcp.conftest import GatewayProcess, Peer, Starts

pytestmark = pytest.mark.slow  # each starts processes

MEGABYTE = 1 << 20


def talks(first: Peer, second: Peer) -> None:
    """What one says, the other hears."""
    word = secrets.token_hex(8)
    first.send(f"{word}\n")
    second.until(f": {word}\n")


def resident_bytes(gateway: GatewayProcess) -> int:
    return int(Path(f"/proc/{gateway.running.process.pid}/statm").read_text().split()[1]) * 4096


def test_who_types_without_end_or_sense_harms_nobody(broker: BrokerProcess, start_gateway: Starts) -> None:
    gateway = start_gateway(broker)
    first, second = gateway.connect(), gateway.connect()
    first.name(), second.name()
    before = resident_bytes(gateway)
    endless, negotiates, drips, garbage = (gateway.connect() for _ in range(4))
    endless.connection.settimeout(10)
    for _ in range(20):
        endless.send(b"x" * MEGABYTE)
    talks(first, second)
    try:
        for _ in range(20):
            negotiates.send(b"\xff\xfd\x01" * 10_000)
    except OSError:
        pass  # it was cut off
    assert b"that is no telnet: you are cut off" in negotiates.rest() or negotiates.has_ended
    for byte in b"drip":
        drips.send(bytes((byte,)))
        talks(first, second)
    garbage.name()
    garbage.send(bytes(range(1, 255)) + b"\n/\xfe\x80\n/join \xc3\n" + b"\n" * 10_000 + b"\0\n")
    garbage.until("* no command /")
    shown = second.until("\\x01\\x02\\x03")
    assert not set(shown.decode()) & set(map(chr, range(0, 9))), "nothing that a terminal acts on"
    endless.send("\nand on\n")
    endless.until("* a line has more than 65,536 bytes, and was not sent\n")
    second.until(": and on\n")
    talks(second, first)
    assert resident_bytes(gateway) - before < 16 * MEGABYTE


def test_who_does_not_read_is_cut_off_and_the_others_hear_all(broker: BrokerProcess, start_gateway: Starts) -> None:
    gateway = start_gateway(broker, "-v")
    stalled = []
    for _ in range(8):
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.connect((gateway.host, gateway.port))
        stalled.append(Peer(plain))
        gateway.peers.append(stalled[-1])
    reader = gateway.connect()
    reader.name()
    for peer in stalled:
        peer.name()
    before = resident_bytes(gateway)
    with zchat.connect(broker.address, "alice") as alice:
        text = "x" * 60_000
        for number in range(160):  # far more than what the system takes for a connection
            alice.send("general", f"{number} {text}")
            reader.until(f"alice: {number} ")
            reader.until("x\n")
            reader.came = reader.came[-100_000:]
        eventually(lambda: gateway.running.stderr.count("you read too slowly") == len(stalled), "all are cut off")
        eventually(lambda: len(alice.who("general")) == 1, "they have left")
    assert resident_bytes(gateway) - before < 40 * MEGABYTE
    assert b"* you read too slowly: you are cut off\n" not in reader.came


def test_the_number_of_visitors_is_bounded_and_a_place_that_is_free_is_taken(
    broker: BrokerProcess, start_gateway: Starts
) -> None:
    gateway = start_gateway(broker, "--connections", "3")
    peers = [gateway.connect() for _ in range(3)]
    for peer in peers:
        peer.name()
    assert gateway.connect().rest() == b"* there are too many visitors: you are cut off\n"
    peers[0].connection.close()
    with zchat.connect(broker.address, "alice") as alice:
        eventually(lambda: len(alice.who("general")) == 2, "one has left")
    gateway.connect().name()


def test_hundreds_who_come_say_nothing_and_vanish(broker: BrokerProcess, start_gateway: Starts) -> None:
    gateway = start_gateway(broker)
    first, second = gateway.connect(), gateway.connect()
    first.name(), second.name()
    with zchat.connect(broker.address, "alice") as alice:
        silent = [gateway.connect() for _ in range(300)]
        talks(first, second)
        eventually(lambda: len(alice.who("general")) == 302, "all are there")
        for number, peer in enumerate(silent):
            if number % 2:  # with a reset
                peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.connection.close()
        talks(second, first)
        eventually(lambda: len(alice.who("general")) == 2, "they have left")


@pytest.mark.parametrize(
    ("args", "typed", "count", "seconds"),
    [
        ((), "line {0}\n", 1_500, 5.0),  # 1,000 at once, and then 100 a second
        (("--raw",), "chunk {0}\n", 1_500, 5.0),
        ((), f"{{0}} {'x' * 20_000}\n", 60, 2.0),  # each counts as twenty
        ((), "/last 90\n//{0}\n", 15, 5.0),  # each pair as 102
    ],
)
def test_who_types_faster_than_a_visitor_may_is_read_slower_and_loses_nothing(
    broker: BrokerProcess, start_gateway: Starts, args: tuple[str, ...], typed: str, count: int, seconds: float
) -> None:
    gateway = start_gateway(broker, "-v", "--rate", "100", *args)
    fast, other = gateway.connect(), gateway.connect()
    with zchat.connect(broker.address, "alice") as alice, alice.listen("general") as messages:
        eventually(lambda: len(alice.who("general")) == 3, "all are there")
        began = time.monotonic()
        threading.Thread(target=fast.send, args=("".join(typed.format(n) for n in range(count)),)).start()
        heard = [messages.get(30).text for _ in range(count)]
        took = time.monotonic() - began
        assert [re.search(r"\d+", text)[0] for text in heard] == [str(n) for n in range(count)]  # type: ignore[index]
        assert took >= seconds * 0.9
        other.send("not slowed\n")
        assert messages.get(30).text == "not slowed"
    told = "types more than 100 lines a second, and is slowed"
    eventually(lambda: gateway.running.stderr.count(told) == 1, "the operator is told, once")


def test_who_leaves_is_not_kept_by_what_it_typed_too_fast(broker: BrokerProcess, start_gateway: Starts) -> None:
    gateway = start_gateway(broker, "-v", "--rate", "1")
    peer = gateway.connect()
    peer.name()
    peer.send("/last 1000\nlast words\n")  # a quarter of an hour
    eventually(lambda: "is slowed" in gateway.running.stderr, "it was too fast")
    with zchat.connect(broker.address, "alice") as alice, alice.listen("general", join=False) as messages:
        assert len(alice.who("general")) == 1
        peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.connection.close()  # with a reset: there is nobody who may still read
        assert messages.get(30).text == "last words"
        eventually(lambda: not alice.who("general"), "it has left")
