"""`zchat tcp` over real TCP, before a real broker: people with a plain connection are in the rooms as all others."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import zchat
from tests.conftest import BrokerProcess, Running, eventually
from tests.conftest import zchat as command
from tests.tcp.conftest import Starts

REQUEST = [  # of a certificate that signs itself
    *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
    *("-addext", "subjectAltName=DNS:localhost"),
]

pytestmark = pytest.mark.slow  # each starts processes


def users(client: zchat.Client, room: str) -> set[str]:
    return {member.user for member in client.who(room)}


def test_people_talk_and_who_is_true(broker: BrokerProcess, start_gateway: Starts) -> None:
    gateway = start_gateway(broker)
    with zchat.connect(broker.address, "alice") as alice, alice.listen("general"):
        first, second = gateway.connect(), gateway.connect()
        one, two = first.name(), second.name()
        assert users(alice, "general") == {"alice", one, two}
        first.send("hello, 世界\n")
        for peer in (first, second):
            peer.until(f"{one}: hello, 世界\n")
        alice.send("general", "an\x1b[2Jswer\nbob: no", event="note")
        second.until("alice [note]: an\\x1b[2Jswer\\nbob: no\n")
        second.send("/nick Bob\n//etc\n")
        first.until("Bob: /etc\n")
        first.until(f"* {two} left\n")
        second.until("* you are Bob now\n")
        assert users(alice, "general") == {"alice", one, "Bob"}
        first.send("/quit\nnot said\n")
        assert first.rest().endswith(b"* goodbye\n")
        second.connection.close()
        eventually(lambda: users(alice, "general") == {"alice"}, "both have left")

        def stored() -> list[tuple[str, str]]:
            found = alice.history("general", presence=True)
            return [(message.user, message.event) for message in found if message.user != "alice"]

        eventually(lambda: ("Bob", "leave") in stored() and (one, "leave") in stored(), "and that is stored")
        events = stored()
    assert sorted(events[:2]) == sorted([(one, "join"), (two, "join")])
    assert events.count(("Bob", "join")) == events.count(("Bob", "leave")) == 1
    assert events.count((one, "leave")) == events.count((two, "leave")) == 1
    assert "not said" not in command("history", "general", broker=broker).stdout


def test_commands_do_what_help_says(broker: BrokerProcess, start_gateway: Starts) -> None:
    gateway = start_gateway(broker, "--allow", "games.**")
    ann, bob = gateway.connect(), gateway.connect()
    for peer, name in ((ann, "ann"), (bob, "bob")):
        peer.name()
        peer.send(f"/nick {name}\n")
        peer.until(f"* you are {name} now\n")
    ann.send("/help\n")
    ann.until("* /msg USER TEXT  tell one user alone\n")
    ann.send("/join ops\n/join games.go\nin games\n")
    ann.until("* ops is not open here\n")
    ann.until("* you are in games.go; what you type is said there\n")
    ann.until("\nann: in games\n")
    bob.send("in general\n/who games.go\n")
    ann.until("#general bob: in general\n")
    bob.until("* in games.go: ann\n")
    assert b"in games\n" not in bob.came
    ann.send("/msg bob only \x1byou\n")
    bob.until("(private) ann: only \\x1byou\n")
    ann.until("(private to bob) only \\x1byou\n")
    with zchat.connect(broker.address, "bob") as elsewhere:
        assert [message.text for message in elsewhere.history("@bob")] == ["only \x1byou"]
    ann.send("/part\n/last 1\n/part\nlost\n/dance\n")
    ann.until("* you have left games.go; you are in general\n")
    shown = ann.until("* you have left general; you are in no room now\n").decode()
    assert re.search(r"\n\[\d\d:\d\d:\d\d\] bob: in general\n", shown)
    ann.until("* you are in no room; /join ROOM goes to one\n")
    ann.until("* no command /dance; ")
    with zchat.connect(broker.address, "alice") as alice:
        assert users(alice, "general") == {"bob"} and users(alice, "games.go") == set()
    bob.send(b"x" * 70_000 + b"\nstill here\n")
    bob.until("* a line has more than 65,536 bytes, and was not sent\n")
    bob.until("bob: still here\n")


def test_telnet_is_spoken_and_nothing_is_echoed_where_that_is_asked(
    broker: BrokerProcess, start_gateway: Starts
) -> None:
    gateway = start_gateway(broker, "--no-echo")
    peer, other = gateway.connect(), gateway.connect()
    name, _ = peer.name(), other.name()
    peer.send(b"\xff\xfd\x01hel\xff\xf1lo\r\0/help\r\n")
    other.until(f"{name}: hello\n")
    came = peer.until(b"leave\r\n")
    assert b"\xff\xfc\x01" in came and b"hello" not in came
    peer.send(b"\xff\xf4\xff\xfd\x06")
    assert peer.rest().endswith(b"* goodbye\r\n")


def test_raw_is_the_classic_chat_server_byte_for_byte(
    broker: BrokerProcess, start_gateway: Starts, start_zchat: Callable[..., Running]
) -> None:
    gateway, quiet = start_gateway(broker, "--raw"), start_gateway(broker, "--raw", "--no-echo")
    listener = start_zchat("listen", "general", "-v", broker=broker).live()
    first, second, third = gateway.connect(), gateway.connect(), quiet.connect()
    with zchat.connect(broker.address, "alice") as alice:
        eventually(lambda: len(users(alice, "general")) == 4, "all are there")
        whole = "世界".encode()
        sent = [b"hello", b"\x00\xff\xfe\x01 binary", whole[:4], whole[4:], b"a line\n", b"\r\n", b"crlf\r\n"]
        heard = b""
        for data in sent:
            first.send(data)
            heard += data
            if data != whole[:4]:
                for peer in (first, second, third):
                    peer.until(heard)
        third.send("quiet\n")
        second.until(heard + b"quiet\n")
        command("send", "general", "from a terminal", broker=broker)
        for peer in (first, second):
            assert peer.until(b"from a terminal\n") == heard + b"quiet\nfrom a terminal\n"
        assert third.until(b"from a terminal\n") == heard + b"from a terminal\n"
        eventually(lambda: "from a terminal" in listener.stdout, "a listener has it, too")
        texts = [line.partition(": ")[2] for line in listener.lines]
        assert texts[0] == "hello" and texts[-5:] == ["a line", "", "crlf", "quiet", "from a terminal"]


def test_a_broker_that_goes_and_comes_costs_nobody_a_line(broker: BrokerProcess, start_gateway: Starts) -> None:
    gateway = start_gateway(broker)
    first, second = gateway.connect(), gateway.connect()
    name, _ = first.name(), second.name()
    broker.kill()
    first.until("* the broker is away; what you type is sent when it is back\n")
    first.send("while it is away\n")
    late = gateway.connect()
    late.send("before it is there\n")
    broker.start()
    for peer in (first, second):
        peer.until("* the broker is back\n")
        peer.until(f"{name}: while it is away\n")
        peer.until(": before it is there\n")
    late.name()
    with zchat.connect(broker.address, "alice") as alice:
        texts = [message.text for message in alice.history("general")]
        assert sorted(texts) == ["before it is there", "while it is away"]
        assert len(users(alice, "general")) == 3


def test_who_has_said_something_and_gone_has_said_it(broker: BrokerProcess, start_gateway: Starts) -> None:
    gateway, raw = start_gateway(broker), start_gateway(broker, "--raw")
    for number, each in enumerate((gateway, raw)):
        peer = each.connect()
        peer.send(f"quick {number}")
        peer.connection.shutdown(socket.SHUT_WR)
        assert f"quick {number}".encode() in peer.rest()
        gone = each.connect()
        gone.send("".join(f"{line}\n" for line in range(1_000)) + f"last {number}\n")
        gone.connection.close()
    with zchat.connect(broker.address, "alice") as alice:

        def texts() -> list[str]:
            return [message.text for message in alice.history("general")]

        eventually(lambda: {"quick 0", "quick 1", "last 0", "last 1"} <= set(texts()), "all is stored")
        assert len(texts()) == 2_004
        eventually(lambda: not users(alice, "general"), "nobody is there")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_at_its_end_visitors_are_told_and_nothing_is_lost(
    broker: BrokerProcess, start_gateway: Starts, signum: int
) -> None:
    gateway = start_gateway(broker)
    peer, reader = gateway.connect(), gateway.connect()
    peer.name(), reader.name()
    for number in range(500):
        peer.send(f"{number}\n")
    reader.until(": 0\n")
    gateway.running.process.send_signal(signum)
    assert peer.rest().endswith(b"* goodbye: the gateway ends\n") and b"not sent" not in peer.came
    assert gateway.running.process.wait(30) == (-signum if signum == signal.SIGINT else 0)
    with zchat.connect(broker.address, "alice") as alice:
        stored = [message.text for message in alice.history("general")]
        assert stored == [str(number) for number in range(len(stored))]
        lost = 500 - len(stored)
        assert not lost or b"what you typed last was not sent" in peer.came
        assert users(alice, "general") == set()


def test_a_broker_that_is_not_there_at_the_end_is_told(broker: BrokerProcess, start_gateway: Starts) -> None:
    gateway = start_gateway(broker)
    peer = gateway.connect()
    peer.name()
    broker.kill()
    peer.until("* the broker is away")
    peer.send("never stored\n/who\n")
    eventually(lambda: gateway.running.process.poll() is None, "it stays")
    peer.send("behind it\n")
    gateway.running.process.terminate()
    assert b"* 1 messages have no acknowledgement, and may be lost\n" in peer.rest()
    assert gateway.running.process.wait(30) == 0


def test_tls_and_ipv6(broker: BrokerProcess, start_gateway: Starts, tmp_path: Path) -> None:
    certificate, key = certificate_in(tmp_path)
    gateway = start_gateway(broker, "--cert", str(certificate), "--key", str(key), listen="[::1]:0")
    context = ssl.create_default_context(cafile=certificate)

    def wrap(plain: socket.socket) -> socket.socket:
        return context.wrap_socket(plain, server_hostname="localhost")

    peer, plain, silent = gateway.connect(wrap), gateway.connect(), gateway.connect()
    name = peer.name()
    plain.send("hello\n")
    assert plain.rest() == b"" or plain.has_ended
    peer.send("x" * 30_000 + "\n")
    peer.until(f"{name}: {'x' * 30_000}\n")
    assert silent.came == b""


def certificate_in(folder: Path) -> tuple[Path, Path]:
    certificate, key = folder / "cert.pem", folder / "key.pem"
    made = subprocess.run(
        [*REQUEST, "-keyout", str(key), "-out", str(certificate)],
        capture_output=True,
    )
    if made.returncode:
        pytest.skip("openssl makes no certificate")
    return certificate, key


def test_what_cannot_be_is_one_line(tmp_path: Path) -> None:
    no = f"{tmp_path}/no.pem"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for args, status, line in (
            (["--listen", "127.0.0.1"], 2, 'address "127.0.0.1": no host and port, such as '),
            (["--room", "a..b"], 2, 'room "a..b": '),
            (["--room", "@bob"], 2, "--room @bob: an inbox is no room"),
            (["--allow", "a.**.b"], 2, 'pattern "a.**.b": '),
            (["--cert", "x.pem"], 2, "--cert and --key go together"),
            (["--cert", no, "--key", no], 1, f"{no}, {no}: No such file or directory"),
            (["-b", f"127.0.0.1:{taken.getsockname()[1]}", "--wait", "0.2"], 3, "no broker answered at "),
        ):
            ended = command("tcp", *args)
            assert (ended.stdout, ended.status) == ("", status), ended.stderr
            assert ended.stderr.startswith(f"zchat: {line}"), ended.stderr


def test_a_port_that_is_taken_is_told(broker: BrokerProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = command("tcp", "--listen", f"127.0.0.1:{taken.getsockname()[1]}", broker=broker)
    assert ended.status == 1 and ended.stderr.startswith("zchat: cannot listen at 127.0.0.1:"), ended.stderr


def test_who_ends_no_line_is_told_once(broker: BrokerProcess, start_gateway: Starts) -> None:
    peer = start_gateway(broker).connect()
    peer.name()
    peer.send("hello")  # as Node's readline gives it
    peer.until("* a line is sent when it ends, and what you typed has no end: a newline is missing\n")
    peer.send(", all\n")
    peer.until(": hello, all\n")
