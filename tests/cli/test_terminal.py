"""What is different when stdout or stderr is a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import subprocess
import termios
from collections.abc import Callable

import pytest

from tests.conftest import COMMAND, BrokerProcess, Running, environment, eventually, zchat

pytestmark = pytest.mark.slow  # each starts processes

HOSTILE = "\x1b]0;title\x07\x1b[2J\u202e\u009b2J\x7f".encode()
CONTROLS = frozenset(map(chr, [*range(32), *range(127, 160), 0x202E])) - {"\r", "\n"}


def on_terminal(broker: BrokerProcess, *args: str, **env: str) -> tuple[str, int]:
    """What the command writes on a terminal, stdout and stderr together, and its status."""
    ours, theirs = pty.openpty()
    more = {"ZCHAT_BROKER": broker.address, "ZCHAT_USER": "tester", "TERM": "xterm", **env}
    process = subprocess.Popen(
        [*COMMAND, *args], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment(more)
    )
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 65_536):
            shown += block
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(ours)
    return shown.decode().replace("\r\n", "\n"), process.wait(timeout=20)


@pytest.mark.parametrize("args", [[], ["--raw"], ["--json"], ["--format", "{user} {body}"]])
def test_no_message_reaches_the_terminal_with_a_control_character(broker: BrokerProcess, args: list[str]) -> None:
    zchat("send", "a", stdin=HOSTILE + b"\n", broker=broker)
    shown, status = on_terminal(broker, "history", "a", *args)
    assert (set(shown) & CONTROLS, shown.count("\n"), status) == (set(), 1, 0)


def test_json_on_a_terminal_is_the_same_object(broker: BrokerProcess) -> None:
    zchat("send", "a", stdin=HOSTILE + "你好\n".encode(), broker=broker)
    shown, _ = on_terminal(broker, "history", "a", "--json")
    assert json.loads(shown) == json.loads(zchat("history", "a", "--json", broker=broker).stdout)
    assert "你好" in shown


def test_names_are_coloured_unless_colour_is_not_wanted(broker: BrokerProcess) -> None:
    zchat("send", "a", "x", broker=broker)
    assert "\x1b[" in on_terminal(broker, "history", "a", NO_COLOR="")[0]
    assert "\x1b[" not in on_terminal(broker, "history", "a", NO_COLOR="1")[0]
    assert "\x1b[" not in on_terminal(broker, "history", "a", NO_COLOR="", TERM="dumb")[0]
    assert "\x1b[" not in zchat("history", "a", broker=broker, env={"NO_COLOR": ""}).stdout


def test_a_listener_says_when_it_is_live(broker: BrokerProcess) -> None:
    shown, status = on_terminal(broker, "listen", "a", "-t", "0.2")
    assert shown.startswith("zchat: live from offset ") and (shown.count("\n"), status) == (1, 0)


def test_a_listener_whose_terminal_is_closed_says_goodbye_and_keeps_its_cursor(
    broker: BrokerProcess, start_zchat: Callable[..., Running]
) -> None:
    watcher = start_zchat("listen", "a", "--presence", "-v", broker=broker).live()
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "listen", "a", "--resume", "k", "-b", broker.address, "-u", "guest"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(),
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    eventually(lambda: "guest joined" in watcher.stdout, "it is live")
    assert zchat("send", "a", "one", broker=broker).status == 0
    shown = b""
    while b"one" not in shown:
        shown += os.read(ours, 1024)
    os.close(ours)
    process.wait(timeout=10)
    eventually(lambda: "* guest left\n" in watcher.stdout, "its leave is a bye")
    rest = zchat("listen", "a", "--resume", "k", "-t", "0", broker=broker, env={"ZCHAT_USER": "guest"})
    assert "one" not in rest.stdout
    assert process.returncode == 129
