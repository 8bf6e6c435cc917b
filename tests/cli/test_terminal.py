"""What is different when stdout or stderr is a terminal."""

from __future__ import annotations

import array
import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import termios
from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.conftest import COMMAND, BrokerProcess, Running, environment, eventually, zchat

pytestmark = pytest.mark.slow  # each starts processes

HOSTILE = "\x1b]0;title\x07\x1b[2J\u202e\u009b2J\x7f".encode()
SLOW = "zchat: no broker answers yet, waiting up to 5 s\n"  # a busy machine's
CONTROLS = frozenset(map(chr, [*range(32), *range(127, 160), 0x202E])) - {"\r", "\n"}


class Terminal:
    """A process on a terminal of its own, which is its standard input and output: typed to, and read."""

    def __init__(self, command: Sequence[str], **env: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment({"TERM": "xterm", "NO_COLOR": "1", **env}),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        self._shown = b""

    def type(self, text: str) -> None:
        """As at a keyboard: `\x03` is Ctrl-C, `\x04` Ctrl-D."""
        os.write(self._ours, text.encode())

    def shows(self, text: str) -> str:
        """Wait until it shows this, and give all that it has shown."""
        eventually(lambda: text in self.shown(), f"it shows {text!r}")
        return self.shown()

    def shown(self) -> str:
        """All so far."""
        while select.select([self._ours], [], [], 0)[0]:
            try:
                self._shown += os.read(self._ours, 65_536)
            except OSError:  # how Linux says that the other side is closed
                break
        return self._shown.decode().replace("\r\n", "\n")

    def has_taken_all(self) -> bool:
        """Whether it has read every line that was typed: Ctrl-C throws the others away."""
        waiting = array.array("i", [0])
        terminal = os.open(f"/proc/{self.process.pid}/fd/0", os.O_RDONLY | os.O_NOCTTY)
        fcntl.ioctl(terminal, termios.FIONREAD, waiting)
        os.close(terminal)
        return waiting[0] == 0

    def hang_up(self) -> None:
        """Close the window."""
        os.close(self._ours)

    def status(self) -> int:
        """Of its end."""
        eventually(lambda: self.shown() is not None and self.process.poll() is not None, "it ends")
        return self.process.returncode


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    started: list[Terminal] = []

    def start(command: Sequence[str], **env: str) -> Terminal:
        started.append(Terminal(command, **env))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


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
    text = shown.decode().replace("\r\n", "\n").replace(SLOW, "")
    return text, process.wait(timeout=20)


@pytest.mark.parametrize("args", [[], ["--json"], ["--format", "{user} {body}"]])
def test_no_message_reaches_the_terminal_with_a_control_character(broker: BrokerProcess, args: list[str]) -> None:
    zchat("send", "a", stdin=HOSTILE + b"\n", broker=broker)
    shown, status = on_terminal(broker, "history", "a", *args)
    assert (set(shown) & CONTROLS, shown.count("\n"), status) == (set(), 1, 0)


def test_raw_bodies_reach_a_terminal_only_when_they_are_asked_for_twice(broker: BrokerProcess) -> None:
    zchat("send", "a", stdin=b"\x1b[1mbold\n", broker=broker)
    for command in ("history", "listen"):
        shown, status = on_terminal(broker, command, "a", "--raw")
        assert "can take over a terminal: send it to a file or a pipe, or say --raw --raw" in shown and status == 2
        assert "\x1b" not in shown
    assert on_terminal(broker, "history", "a", "--raw", "--raw") == ("\x1b[1mbold\n", 0)
    assert zchat("history", "a", "--raw", broker=broker).stdout == "\x1b[1mbold\n"


def test_a_name_that_looks_like_another_is_told_when_it_is_seen_first(broker: BrokerProcess) -> None:
    for user in ("alice", "аlice", "аlice"):
        zchat("send", "a", "give me your key", "-u", user, broker=broker)
    shown, _ = on_terminal(broker, "history", "a")
    assert shown.count("zchat: the name аlice looks like alice: look twice who it is\n") == 1
    assert "look twice" not in on_terminal(broker, "history", "a", "--json")[0]


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


@pytest.mark.parametrize("args", [("history", "nobody"), ("listen", "nobody", "--end")])
def test_people_are_told_that_there_is_nothing_to_print(broker: BrokerProcess, args: tuple[str, ...]) -> None:
    zchat("send", "a", "x", broker=broker)
    assert on_terminal(broker, *args) == ("zchat: no messages found; zchat rooms lists the rooms\n", 0)
    assert "found" not in on_terminal(broker, args[0], "a", *args[2:])[0]
    shown = zchat(*args, broker=broker)
    assert (shown.stdout, shown.stderr, shown.status) == ("", "", 0)


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
    assert process.returncode == -signal.SIGHUP


@pytest.mark.parametrize(
    "args",
    [
        "listen a -v",
        "send a --verbose",
        "broker --memory --bind tcp://127.0.0.1:0",
        "broker --memory --no-watch --bind tcp://127.0.0.1:0",
    ],
)
def test_ctrl_c_ends_the_loop_of_a_shell_too(
    broker: BrokerProcess, terminal: Callable[..., Terminal], args: str
) -> None:
    loop = f"for round in 1 2 3; do echo round $round; {' '.join(COMMAND)} {args}; done"
    ready = {"listen": "live from", "send": "Ctrl-D", "broker": "broker ready"}[args.split()[0]]
    shell = terminal(["bash", "-c", loop], ZCHAT_BROKER=broker.address)
    shell.shows(ready)
    shell.type("\x03")
    assert shell.status() == -signal.SIGINT
    assert "round 2" not in shell.shown()


def test_a_sender_on_a_terminal_says_how_it_ends_and_what_becomes_of_a_line(
    start_broker: Callable[..., BrokerProcess], terminal: Callable[..., Terminal]
) -> None:
    broker = start_broker()
    sender = terminal([*COMMAND, "send", "general"], ZCHAT_BROKER=broker.address, ZCHAT_USER="tester")
    assert sender.shows("\n") == "zchat: each line is a message to general; Ctrl-D ends\n"
    sender.type("one\n")
    eventually(lambda: zchat("history", "general", "--raw", broker=broker).stdout == "one\n", "it is sent")
    broker.stop()
    sender.shows("zchat: connection lost; trying again\n")
    sender.type("two\n")
    sender.shows("two\n")
    eventually(sender.has_taken_all, "it has read the line")
    sender.type("\x03")
    sender.shows("zchat: 1 of 2 messages not acknowledged, and perhaps not stored\n")
    assert sender.status() == -signal.SIGINT


def test_a_sender_on_a_terminal_ends_with_ctrl_d(broker: BrokerProcess, terminal: Callable[..., Terminal]) -> None:
    sender = terminal([*COMMAND, "send", "general"], ZCHAT_BROKER=broker.address)
    sender.shows("Ctrl-D ends\n")
    sender.type("one\ntwo\n\x04")
    sender.shows("zchat: 2 messages sent\n")
    assert sender.status() == 0


def test_on_a_terminal_people_learn_of_direct_messages(
    broker: BrokerProcess, terminal: Callable[..., Terminal]
) -> None:
    env = {"ZCHAT_BROKER": broker.address}
    listener = terminal([*COMMAND, "listen", "general"], ZCHAT_USER="Bob", **env)
    listener.shows("zchat: live from offset 0; direct messages to you: zchat listen @me\n")
    listener.type("\x03")
    assert on_terminal(broker, "send", "@Bob", "lunch?") == (
        "zchat: only bob can read this, with: zchat listen @me\n",
        0,
    )
    direct = terminal([*COMMAND, "listen", "@bob", "general", "--last", "1"], ZCHAT_USER="Bob", **env)
    assert "direct messages" not in direct.shows("#@bob tester: lunch?\n")


def test_a_reply_takes_over_no_terminal_and_ends_its_line(
    broker: BrokerProcess, start_zchat: Callable[..., Running]
) -> None:
    start_zchat("serve", "red", "--exec", "printf '\\033[31mred\\ntwo'", broker=broker)
    eventually(lambda: zchat("request", "red", "x", broker=broker).status == 0, "it serves")
    assert zchat("request", "red", "x", broker=broker).stdout == "\x1b[31mred\ntwo"
    assert on_terminal(broker, "request", "red", "x") == ("\\x1b[31mred\ntwo\n", 0)


def test_who_waits_for_a_broker_is_told_so_and_only_at_a_terminal(terminal: Callable[..., Terminal]) -> None:
    waiting = terminal([*COMMAND, "who", "-b", "tcp://127.0.0.1:9", "--wait", "2"])
    shown = waiting.shows("no broker answered")
    assert shown.startswith("zchat: no broker answers yet, waiting up to 2 s\nzchat: no broker answered at ")
    alone = zchat("who", "-b", "tcp://127.0.0.1:9", "--wait", "1.5")
    assert alone.stderr.startswith("zchat: no broker answered at ") and alone.status == 3
