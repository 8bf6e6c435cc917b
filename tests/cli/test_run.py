"""`zchat run`: a command, and a message that tells how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import COMMAND, BrokerProcess, Running, eventually, zchat
from zchat import Message, connect
from zchat.cli import children

pytestmark = pytest.mark.slow  # each starts processes

Start = Callable[..., Running]


def told(broker: BrokerProcess, room: str) -> list[Message]:
    with connect(broker.address, "reader") as client:
        return list(client.history(room))


@pytest.mark.parametrize(
    ("room", "command", "status", "outcome"),
    [
        ("done", ["echo", "-n", "it's"], 0, "echo -n 'it'\"'\"'s': done after 0."),
        ("failed", ["sh", "-c", "exit 3"], 3, "sh -c 'exit 3': failed with status 3 after 0."),
        ("killed", ["sh", "-c", "kill -9 $$"], 137, "sh -c 'kill -9 $$': was ended by SIGKILL after 0."),
        ("missing", ["/no/such"], 127, "/no/such: could not be started (No such file or directory) after 0."),
    ],
)
def test_a_message_tells_how_it_ended(
    shared_broker: BrokerProcess, room: str, command: list[str], status: int, outcome: str
) -> None:
    shown = zchat("run", room, "-H", "job:nightly", "--", *command, broker=shared_broker)
    assert (shown.stdout, shown.status) == ("it's" if room == "done" else "", status)
    assert shown.stderr == ("zchat: /no/such: No such file or directory\n" if room == "missing" else "")
    (message,) = told(shared_broker, room)
    assert (message.user, message.event) == ("tester", "run")
    assert message.text.startswith(outcome[: -len("0.")])
    assert (message.headers["status"], message.headers["job"]) == (str(status), "nightly")
    assert float(message.headers["seconds"]) < 60 and message.headers["command"] and message.headers["host"]


def test_what_succeeded_need_not_be_told(shared_broker: BrokerProcess) -> None:
    assert zchat("run", "quiet", "--only-failed", "--", "true", broker=shared_broker).status == 0
    assert zchat("run", "quiet", "--only-failed", "--", "false", broker=shared_broker).status == 1
    assert [message.headers["status"] for message in told(shared_broker, "quiet")] == ["1"]


def test_without_a_broker_the_command_runs_all_the_same(tmp_path: Path) -> None:
    env = {"ZCHAT_BROKER": "tcp://127.0.0.1:9"}
    shown = zchat("run", "ops", "--wait", "0.1", "--", "touch", str(tmp_path / "done"), env=env)
    assert (tmp_path / "done").exists()
    assert shown.status == 3 and shown.stderr.startswith("zchat: no broker answered")
    shown = zchat("run", "ops", "--wait", "0.1", "--", "sh", "-c", "exit 7", env=env)
    assert shown.status == 7 and shown.stderr.startswith("zchat: no broker answered")


def test_a_signal_ends_the_command_and_that_is_told(shared_broker: BrokerProcess, start_zchat: Start) -> None:
    command = "trap 'echo ended; exit 9' TERM; echo begun; while :; do sleep 0.05; done"
    running = start_zchat("run", "ended", "--", "sh", "-c", command, broker=shared_broker)
    eventually(lambda: running.stdout == "begun\n", "it runs")
    ended = running.end(signal.SIGTERM)
    assert (ended.stdout, ended.status) == ("begun\nended\n", 9)
    assert [message.headers["status"] for message in told(shared_broker, "ended")] == ["9"]


def test_ctrl_c_that_ended_the_command_ends_it_too_once_that_is_told(
    shared_broker: BrokerProcess, start_zchat: Start
) -> None:
    command = "echo begun; exec sleep 60"
    run = ("setsid", *COMMAND)  # a group of its own, as a terminal's
    running = start_zchat("run", "stopped", "--", "sh", "-c", command, broker=shared_broker, run=run)
    eventually(lambda: running.stdout == "begun\n", "it runs")
    os.killpg(running.process.pid, signal.SIGINT)
    assert running.end().status == -signal.SIGINT, "a shell's loop sees it"
    assert [message.headers["status"] for message in told(shared_broker, "stopped")] == ["130"]


def test_a_signal_at_any_moment_of_the_wait_is_noticed() -> None:
    handler = signal.getsignal(signal.SIGALRM)
    began = time.monotonic()
    try:
        for microseconds in range(1, 2_000, 40):
            process = subprocess.Popen(["sleep", "20"])
            signal.signal(signal.SIGALRM, lambda *_, process=process: process.terminate())
            signal.setitimer(signal.ITIMER_REAL, microseconds / 1e6)
            assert children.ended(process) == -signal.SIGTERM
    finally:
        signal.signal(signal.SIGALRM, handler)
    assert time.monotonic() - began < 20
    assert (signal.getsignal(signal.SIGCHLD), signal.set_wakeup_fd(-1)) == (signal.SIG_DFL, -1)


@pytest.mark.parametrize(
    ("args", "stderr"),
    [
        (["a..b", "--", "touch", "x"], 'zchat: room "a..b": empty segment at position 2\n'),
        (["ops"], "zchat: missing argument 'COMMAND...'\nhint: zchat run --help\n"),
        (
            ["ops", "ls", "-l"],
            "zchat: no such option: -l\n"
            "hint: the command and its options go after two dashes: zchat run ROOM -- COMMAND\n",
        ),
    ],
)
def test_what_is_wrong_is_told_before_anything_runs(args: list[str], stderr: str, tmp_path: Path) -> None:
    shown = zchat("run", *args)
    assert (shown.stdout, shown.stderr, shown.status) == ("", stderr, 2)
    assert not Path("x").exists()
