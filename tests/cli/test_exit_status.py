"""How commands end: signals, closed pipes, full disks, an unreachable broker. Never a traceback."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import COMMAND, BrokerProcess, Result, Running, environment, eventually, zchat

pytestmark = pytest.mark.slow  # each starts processes

Start = Callable[..., Running]

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_listener_that_a_signal_ends_says_goodbye_and_nothing_else(
    broker: BrokerProcess, start_zchat: Start, signum: int
) -> None:
    watcher = start_zchat("listen", "a", "--presence", "-v", broker=broker).live()
    listener = start_zchat("listen", "a", broker=broker, env={"ZCHAT_USER": "guest"})
    eventually(lambda: "guest joined" in watcher.stdout, "the listener is live")
    assert listener.end(signum, within=5) == Result("", "", -signum)
    eventually(lambda: "* guest left\n" in watcher.stdout, "its leave is a bye")


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_sender_that_waits_for_stdin_ends_at_a_signal(broker: BrokerProcess, start_zchat: Start, signum: int) -> None:
    sender = start_zchat("send", "a", broker=broker)
    sender.write("one\n")
    eventually(lambda: "one" in zchat("history", "a", "--raw", broker=broker).stdout, "it sends")
    sender.process.send_signal(signum)
    assert sender.process.wait(timeout=5) == -signum
    assert (sender.stdout, sender.stderr) == ("", "")


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_command_that_waits_for_the_broker_ends_at_a_signal(start_zchat: Start, signum: int) -> None:
    waiting = start_zchat("listen", "a", "-b", "tcp://127.0.0.1:9", "--wait", "1h")
    # Its I/O threads are there once it waits; until then the signal may come before the handlers do.
    tasks = Path(f"/proc/{waiting.process.pid}/task")
    eventually(lambda: len(list(tasks.iterdir())) > 2, "it tries to connect")
    assert waiting.end(signum) == Result("", "", -signum)


@pytest.mark.parametrize("resume", [[], ["--resume", "k"]])
def test_a_reader_that_goes_ends_a_listener_at_once_and_quietly(
    broker: BrokerProcess, start_zchat: Start, resume: list[str]
) -> None:
    read_end, write_end = os.pipe()
    listener = start_zchat("listen", "a", "-v", *resume, broker=broker, stdout=write_end).live()
    os.close(write_end)
    os.close(read_end)
    assert listener.process.wait(10) == 0, "although nothing is sent"
    # On a busy machine the connection may have been lost before; after it is live nothing is said.
    said = r"(zchat: connection lost.*; trying again\n)*zchat: live from offset \d+\n"
    assert re.fullmatch(said, listener.stderr), listener.stderr
    assert zchat("who", "a", "--json", broker=broker).stdout == "", "it has said goodbye"


def test_head_ends_a_listener_when_it_has_its_lines(broker: BrokerProcess) -> None:
    zchat("send", "a", stdin="one\ntwo\nthree\n", broker=broker)
    command = " ".join([*COMMAND, "listen", "a", "--last", "3", "--raw", "-b", broker.address])
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -n 1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=20,
    )
    assert (done.stdout, done.stderr) == ("one\n0\n", "")


def test_a_reader_that_goes_ends_a_listener_that_waits_for_the_broker(start_zchat: Start) -> None:
    read_end, write_end = os.pipe()
    waiting = start_zchat("listen", "a", "-b", "tcp://127.0.0.1:9", "--wait", "1h", stdout=write_end)
    os.close(write_end)
    os.close(read_end)
    assert waiting.end(within=10) == Result("", "", 0)


def test_acks_that_nobody_reads_keep_no_line_from_being_sent(broker: BrokerProcess) -> None:
    lines = "".join(f"{number}\n" for number in range(20_000))
    command = " ".join([*COMMAND, "send", "a", "--json", "-b", broker.address])
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -n 1 >/dev/null; echo ${{PIPESTATUS[0]}}"],
        input=lines,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=20,
    )
    assert (done.stdout, done.stderr) == ("0\n", "")
    assert zchat("history", "a", "--raw", broker=broker).stdout == lines


@pytest.mark.parametrize("args", [["--help"], ["send", "--help"], ["--version"]])
def test_a_closed_pipe_is_quiet_for_help_too(args: list[str]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run([*COMMAND, *args], stdout=write_end, stderr=subprocess.PIPE, env=environment())
    os.close(write_end)
    assert (done.stderr, done.returncode) == (b"", 0)


@pytest.mark.parametrize("args", ["who", "rooms", "history a", "listen a -e --json"])
def test_a_closed_pipe_is_quiet_for_every_command(broker: BrokerProcess, args: str) -> None:
    zchat("send", "a", "x", broker=broker)
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [*COMMAND, *args.split(), "-b", broker.address],
        stdout=write_end,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    os.close(write_end)
    assert (done.stderr, done.returncode) == (b"", 0)


def test_a_long_history_into_a_pipe_that_closes_is_quiet(broker: BrokerProcess) -> None:
    zchat("send", "a", stdin="line\n" * 50_000, broker=broker)
    command = " ".join([*COMMAND, "history", "a", "--raw", "-b", broker.address])
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | head -n 1"], capture_output=True, text=True, env=environment()
    )
    assert (done.stdout, done.stderr, done.returncode) == ("line\n", "", 0)


@pytest.mark.parametrize(
    ("closed", "shown", "told"),
    [
        ("<&-", 1, ""),
        (">&-", 0, "zchat: standard output: it is closed\n"),
        ("2>&-", 1, ""),
        ("<&- >&- 2>&-", 0, ""),
    ],
)
def test_a_closed_stream_is_trouble_only_for_what_is_to_go_through_it(
    broker: BrokerProcess, closed: str, shown: int, told: str
) -> None:
    command = " ".join(COMMAND)
    done = subprocess.run(
        ["bash", "-c", f"{command} send a x -b {broker.address} && {command} listen a -e -b {broker.address} {closed}"],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert (done.stderr, done.returncode) == (told, 0 if shown else 1)
    assert len(done.stdout.splitlines()) == shown


@pytest.mark.parametrize("command", ["send a x", "listen a", "history a", "who", "rooms"])
def test_every_command_says_which_broker_did_not_answer(command: str) -> None:
    done = zchat(*command.split(), "-b", "127.0.0.1:9", "--wait", "0.2")
    assert (done.stdout, done.status) == ("", 3)
    assert done.stderr.startswith("zchat: no broker answered at tcp://127.0.0.1:9 within 0.2 s")
    assert done.stderr.count("\n") == 2


@pytest.mark.parametrize("address", ["tcp://", "tcp://a:b", "http://a", "tcp://127.0.0.1:99999", "ipc://", ""])
def test_an_address_that_names_no_broker_is_one_line(address: str) -> None:
    done = zchat("who", "-b", address)
    assert (done.stdout, done.status) == ("", 2)
    assert done.stderr.startswith("zchat: address ") and done.stderr.count("\n") == 1


def test_something_that_is_no_broker_is_not_reachable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = zchat("who", "-b", f"127.0.0.1:{silent.getsockname()[1]}", "--wait", "0.5")
    assert (done.stdout, done.status) == ("", 3)
