"""An outbox on disk over a real broker: in order, once, whatever ends the sender or the broker."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import zchat
from tests.conftest import BrokerProcess, Result, Running, eventually
from tests.conftest import zchat as run
from zchat.errors import UsageError
from zchat.spool import Spool, spools
from zchat.spool_files import SpoolState

pytestmark = pytest.mark.slow  # a broker is a process

Start = Callable[..., Running]


def texts(broker: BrokerProcess, room: str = "den") -> list[str]:
    with zchat.connect(broker.address, "reader") as client:
        return [message.text for message in client.history(room)]


def flushed(spool: Spool) -> tuple[int, list[str]]:
    told: list[str] = []
    done = spool.flush(10, told.append)
    assert done is not None and done.aside == len(told) and spool.waiting == 0
    return done.sent, told


def test_what_was_kept_while_the_broker_was_away_is_sent_in_order(broker: BrokerProcess, tmp_path: Path) -> None:
    env = {"ZCHAT_SPOOL": str(tmp_path / "spool")}
    broker.kill()
    kept = Result("", "", 0)
    for text in ("one", "two"):
        assert run("send", "den", text, "--spool", "--event", "e", "-H", "k=v", broker=broker, env=env) == kept
    assert run("send", "den", "--spool", stdin=b"three\n\xff\n", broker=broker, env=env) == kept
    shown = run("spool", env=env).stdout.splitlines()
    assert shown[1].split() == [broker.address, "tester", "4", "-"]
    refused = run("spool", "flush", "--wait", "0.1", env=env)
    assert refused.status == 3 and refused.stderr.startswith("zchat: 4 wait for ")
    broker.start()
    assert run("send", "den", "last", "--spool", broker=broker, env=env) == kept
    assert texts(broker) == ["one", "two", "three", "\ufffd", "last"]
    with zchat.connect(broker.address, "reader") as client:
        first = next(iter(client.history("den")))
    assert (first.user, first.event, dict(first.headers)) == ("tester", "e", {"k": "v"})
    assert run("spool", "flush", env=env) == kept and "0" in run("spool", env=env).stdout.split()


def comes(broker: BrokerProcess, sender: Running, messages: int) -> None:
    with zchat.connect(broker.address, "reader") as client:
        head = sum(room.last for room in client.rooms()) + messages
        eventually(
            lambda: sender.process.poll() is not None or sum(room.last for room in client.rooms()) > head, "it sends"
        )


def test_over_kills_of_the_sender_and_the_broker_each_comes_once(
    broker: BrokerProcess, tmp_path: Path, start_zchat: Start
) -> None:
    folder, rooms = tmp_path / "spool", ("a", "b")
    spool = Spool(folder, broker.address, "tester")
    for number in range(600):
        spool.add(rooms[number % 2], [str(number).encode()])
    chance, kills = random.Random(7), 0
    while spool.waiting:
        sender = start_zchat("spool", "flush", broker=broker, env={"ZCHAT_SPOOL": str(folder)})
        comes(broker, sender, chance.randrange(20, 150))
        if kills % 3 == 2:
            broker.kill()
            broker.start()
        sender.end(signal.SIGKILL)
        kills += 1
    assert kills > 2
    assert [texts(broker, room) for room in rooms] == [[str(n) for n in range(600) if n % 2 == at] for at in (0, 1)]


def test_what_may_be_stored_and_nobody_can_tell_is_put_aside(broker: BrokerProcess, tmp_path: Path) -> None:
    spool = Spool(tmp_path, broker.address, "tester")
    spool.add("den", [b"one", b"two"])
    (folder,) = (about.parent for about in tmp_path.glob("*/about"))
    long_ago = SpoolState("a-session", "", "another-log", "a-start", 0.0, 0, 5)
    (folder / "state").write_bytes(msgspec.json.encode(long_ago))
    sent, told = flushed(spool)
    assert sent == 1 and told[0].startswith("a message to den was put aside: it may or may not be stored")
    assert texts(broker) == ["two"] and spool.aside is not None
    assert json.loads(spool.aside.read_text())["body"] == "one"


@pytest.mark.parametrize(
    ("error", "in_doubt"), [(zchat.TimedOut("ack", 0.0), [7]), (zchat.Refused("log-full", "no space"), [])]
)
def test_what_was_stored_before_the_broker_forgot_the_session_is_not_sent_again(
    start_broker: Callable[..., BrokerProcess],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: zchat.ZchatError,
    in_doubt: list[int],
) -> None:
    config = tmp_path / "zchat.toml"
    config.write_text("[limits]\nsession_kept_seconds = 1\n")
    broker = start_broker("--config", str(config), "--grace", "0.2")
    spool, publish, sent = Spool(tmp_path, broker.address, "tester"), zchat.Client.publish, list[str]()
    spool.add("den", [str(number).encode() for number in range(10)])

    def until_the_network_breaks(client: zchat.Client, room: str, body: bytes, **more: Any) -> zchat.Publication:
        sent.append(body.decode())
        if len(sent) == 8:
            raise error
        return publish(client, room, body, **more)

    with monkeypatch.context() as patched, pytest.raises(type(error)):
        patched.setattr(zchat.Client, "publish", until_the_network_breaks)
        spool.flush(10, print)
    assert spool.waiting == 3
    with zchat.connect(broker.address, "reader") as reader:
        eventually(lambda: [one.state for one in reader.who() if one.user == "tester"] == ["gone"], "it has gone")
        kept_until = time.monotonic() + 1.1
        eventually(lambda: reader.who() and time.monotonic() > kept_until, "the broker has forgotten it")
    number, told = flushed(spool)
    assert number == 3 - len(in_doubt) and len(told) == len(in_doubt), "of one nobody can tell, unless it was refused"
    assert texts(broker) == [str(number) for number in range(10) if number not in in_doubt]


def test_what_is_no_message_is_put_aside_and_the_rest_is_sent(broker: BrokerProcess, tmp_path: Path) -> None:
    spool = Spool(tmp_path, broker.address, "tester")
    spool.add("den", [b"one"])
    (queue,) = tmp_path.glob("*/queue")
    queue.write_bytes(queue.read_bytes() + b'{"room":"@x","body":"\\ud800"}\nno message\n{"room":"den","bo')
    spool.add("den", [b"two"])
    sent, told = flushed(spool)
    assert sent == 2 and len(told) == 2 and texts(broker) == ["one", "two"]


def test_who_adds_waits_for_nobody_and_what_cannot_be_is_refused(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "tcp://127.0.0.1:9", "tester")
    assert spool.add("Den", [b"one"]) == 1 and spool.waiting == 1
    with pytest.raises(zchat.BadName):
        spool.add("a..b", [b""])
    with pytest.raises(UsageError):
        spool.add("den", [b"x" * (1 << 21)])
    with spool._locked("send"):
        assert spool.flush(0, print) is None, "another one is about it"
    with pytest.raises(zchat.Unreachable):
        spool.flush(0, print)
    assert [(one.address, one.user, one.waiting) for one in spools(tmp_path)] == [("tcp://127.0.0.1:9", "tester", 1)]
