"""What users of other tools type first is understood, or answered with how it is written here."""

from __future__ import annotations

import pytest

from tests.conftest import BrokerProcess, zchat
from zchat.cli.guesses import name_meant, understood
from zchat.errors import UsageError

FOREIGN = " of other tools; here it is: zchat "


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("tail general", "listen --last 10 general"),
        ("tail -f general", "listen --last 10 general"),
        ("tail -n 20 general", "listen --last 20 general"),
        ("tail -n20 general --json", "listen --last 20 general --json"),
        ("tail general -5", "listen general --last 5"),
        ("tail --lines=3 general", "listen --last 3 general"),
        ("tail general --since 2h", "listen general --since 2h"),
        ("tail --help", "listen --help"),
        ("help", "--help"),
        ("help send", "send --help"),
        ("help log check", "log check --help"),
        ("version", "--version"),
        ("send version", "send version"),
        ("send general help", "send general help"),
        ("send general -- -m text -q 1", "send general -- -m text -q 1"),
        ("listen general -t 5", "listen general -t 5"),
        ("listen general -t 500ms -h", "listen general -t 500ms -h"),
        ("listen general -h --json", "listen general -h --json"),
        ("send -q general hello", "send -q general hello"),
        ("send general hello -q", "send general hello -q"),
        ("who -h", "who -h"),
    ],
)
def test_what_is_understood(line: str, meant: str) -> None:
    assert understood(line.split()) == meant.split()


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("send -t sensors/temp -m 21", f"-t, -m are{FOREIGN}send sensors.temp 21"),
        ("pub -h x.org -p 1883 -t a -m x -q 1 -r", f"-h, -p, -t, -m, -q are{FOREIGN}send a x -b x.org:1883"),
        ("send general -q 1 hello", f"-q is{FOREIGN}send general hello"),
        ("send general --message x", f"--message is{FOREIGN}send general x"),
        ("sub -h localhost -t a/+/b -v", f"-h, -t are{FOREIGN}listen 'a.*.b' -b localhost"),
        ("listen -t a/# -t b/c -n 1", f"-t, -t are{FOREIGN}listen 'a.**' b.c -n 1"),
        ("history general -p 6000", f"-p is{FOREIGN}history general -b 127.0.0.1:6000"),
    ],
)
def test_what_is_answered(line: str, answer: str) -> None:
    with pytest.raises(UsageError) as raised:
        understood(line.split())
    assert str(raised.value) == answer


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("a/#", "a.**"),
        ("#", "**"),
        ("a/+/b", "a.*.b"),
        ("a.>", "a.**"),
        (">", "**"),
        ("#room", "room"),
        ("/home/kitchen", "home.kitchen"),
        ("my room", "my-room"),
        ("a/#/b", ""),
        ("a..b", ""),
        ("a\x1b", ""),
        ("", ""),
    ],
)
def test_a_name_of_another_tool_has_one_here(name: str, meant: str) -> None:
    assert name_meant(name) == meant


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "stderr"),
    [
        (["listen", "a.>"], "hint: here it is written 'a.**'"),
        (["history", "a", "--exclude", "b/#"], "hint: here it is written 'b.**'"),
        (["send", "a/b", "x"], "hint: here it is written 'a.b'"),
        (["send", "a/#", "x"], 'zchat: room "a/#": U+002F SOLIDUS is not allowed'),
        (["send", "general", "-q", "1", "hello"], f"zchat: -q is{FOREIGN}send general hello"),
        (["listen", "a", "--topic", "b"], f"zchat: --topic is{FOREIGN}listen b a"),
        (["send", "a", "--retain"], "hint: the last message of a room is there for all: zchat listen ROOM --last 1"),
        (["listen", "a", "-t", "5x"], "hint: zchat listen --help"),
        (["listen", "a", "--format", "%t %p"], "{place}; here it is '{room} {body}'"),
    ],
)
def test_the_answer_is_the_last_of_two_lines(args: list[str], stderr: str) -> None:
    shown = zchat(*args, env={"ZCHAT_BROKER": "tcp://127.0.0.1:9"})
    assert (shown.stdout, shown.status) == ("", 2)
    assert shown.stderr.endswith(f"{stderr}\n") and shown.stderr.count("\n") <= 2


@pytest.mark.slow
def test_they_mean_what_they_say(shared_broker: BrokerProcess) -> None:
    lines = "".join(f"{number}\n" for number in range(1, 13))
    assert zchat("send", "guessed", stdin=lines, broker=shared_broker).status == 0
    assert zchat("tail", "guessed", "-n", "2", "--end", "--raw", broker=shared_broker).stdout == "11\n12\n"
    assert zchat("tail", "guessed", "--poll", "--raw", broker=shared_broker).stdout.split() == lines.split()[2:]
    assert zchat("sub", "guessed", "--since", "all", "--poll", "--raw", broker=shared_broker).stdout == lines
    assert zchat("ls", "-J", broker=shared_broker).stdout == zchat("rooms", "--json", broker=shared_broker).stdout
    assert zchat("history", "guessed", "-J", "-n", "1", broker=shared_broker).stdout.startswith('{"room":"guessed"')
    assert zchat("help", "send").stdout == zchat("send", "--help").stdout
    assert zchat("help").stdout == zchat("--help").stdout
    assert zchat("version").stdout == zchat("--version").stdout
