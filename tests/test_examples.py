"""The programs in `examples/` do what they say."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import zchat
from tests.conftest import BrokerProcess, environment

EXAMPLES = Path(__file__).parent.parent / "examples"


def start(broker: BrokerProcess, *words: str) -> subprocess.Popen[str]:
    env = environment({"ZCHAT_BROKER": broker.address, "ZCHAT_USER": "tester"})
    command = [sys.executable, str(EXAMPLES / words[0]), *words[1:]]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def printed(broker: BrokerProcess, *words: str) -> str:
    process = start(broker, *words)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    return out


def test_every_example_is_tried() -> None:
    tried = {"deploys.py", "echo.py", "fast.py", "hub.py", "many.py", "merge.py"}
    tried.add("net_client.js")  # in tests/tcp/test_clients.py
    assert {path.name for path in EXAMPLES.iterdir() if path.suffix} == tried


def test_the_newest_version_of_each_host_is_shown(broker: BrokerProcess) -> None:
    for host, version in (("web2", "v1"), ("web1", "v1"), ("web2", "v2")):
        assert printed(broker, "deploys.py", "report", host, version).startswith("stored at ")
    assert printed(broker, "deploys.py", "show") == "web1 v1\nweb2 v2\n"


def test_each_user_of_a_gateway_hears_all(broker: BrokerProcess) -> None:
    heard = "ann heard 2 greetings\nbob heard 2 greetings\n2 are in the room\n"
    assert printed(broker, "many.py", "lobby", "ann", "bob") == heard


def test_a_gateway_hears_a_room_once_for_all_its_users(broker: BrokerProcess) -> None:
    heard = "in the room: ann bob\nto ann: ann: hello\nto bob: ann: hello\n"
    assert printed(broker, "hub.py", "lobby", "ann", "bob") == heard


def test_all_that_was_published_is_stored(broker: BrokerProcess) -> None:
    assert printed(broker, "fast.py", "1000").startswith("1,000 messages stored, ")
    with zchat.connect(broker.address, user="tester") as client:
        assert [message.text for message in client.history("numbers")] == [str(number) for number in range(1000)]


@pytest.mark.slow
def test_the_bot_answers_also_what_came_while_it_was_away(broker: BrokerProcess) -> None:
    with zchat.connect(broker.address, user="tester") as client, client.listen("general", echo=False) as messages:
        bot = start(broker, "echo.py", "general")
        while "echo" not in {member.user for member in client.who("general")}:
            assert bot.poll() is None
        client.send("general", "!echo one")
        assert messages.get(30).text == "one"
        bot.send_signal(signal.SIGINT)
        assert bot.wait(30) == 0
        client.send("general", "!echo two")
        bot = start(broker, "echo.py", "general")
        assert messages.get(30).text == "two"
        bot.send_signal(signal.SIGINT)
        assert bot.wait(30) == 0


@pytest.mark.slow
def test_several_rooms_are_copied_to_one_in_one_event_loop(broker: BrokerProcess) -> None:
    with zchat.connect(broker.address, user="tester") as client, client.listen("all") as messages:
        merge = start(broker, "merge.py", "all", "web", "db")
        for room in ("web", "db"):
            while "merge" not in {member.user for member in client.who(room)}:
                assert merge.poll() is None
        client.send("web", "one")
        client.send("db", "two")
        assert {messages.get(30).text for _ in range(2)} == {"web: one", "db: two"}
        merge.send_signal(signal.SIGINT)
        out, _ = merge.communicate(timeout=30)
        assert (merge.returncode, out) == (0, "")
        assert [member.user for member in client.who("web")] == []
