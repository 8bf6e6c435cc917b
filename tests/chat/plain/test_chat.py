"""The plain chat as a process: on a terminal, and without one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import zchat
from tests.cli.test_terminal import CONTROLS, Terminal
from tests.conftest import COMMAND, BrokerProcess, Running, environment, eventually
from tests.conftest import zchat as run

pytestmark = pytest.mark.slow  # each starts processes

SEQUENCES = re.compile(r"\r|\x1b\[K|\x1b\[\d+[CD]|\x1b\[\?2004[hl]")


def test_two_talk_and_the_line_that_is_typed_stays(broker: BrokerProcess) -> None:
    with zchat.connect(broker.address, "ben") as ben:
        for number in range(15):
            ben.send("general", f"old {number}")
        ann = Terminal([*COMMAND, "chat", "--plain", "general", "-b", broker.address, "-u", "ann"])
        assert "old 4" not in ann.shows("old 14"), "the last ten"
        ann.shows("ann joined")
        ann.type("half of a li")
        ann.shows("> half of a li")
        ben.send("general", "hi \x1b[2J\u202eann")
        ben.send("@ann", "psst")
        assert ann.shows("(private) ben: psst").count("half of a li") >= 2, "it is below what came"
        ann.type("ne\r")
        ann.shows("ann: half of a line")
        ann.type("/me waves\r")
        ann.shows("* ann waves")
        ann.type("@be\tyes\r")
        ann.shows("ann: @ben yes")
        ann.type("/join ops\r")
        ann.shows("now in #ops")
        ann.type("\x1b[A\x15there\r")
        ann.shows("ann: there")
        broker.restart()
        ann.shows("connected again")
        ben.send("general", "back")
        ann.shows("#general ben: back")
        ann.type("/msg ben bye\r")
        ann.shows("(to @ben) ann: bye")
        ann.type("\x04")
        assert ann.status() == 0
        shown = SEQUENCES.sub("", ann.shown())
        assert not CONTROLS & set(shown), sorted(CONTROLS & set(shown))
        assert [m.text for m in ben.history("@ben")] == ["bye"]


def test_ctrl_c_takes_the_line_away_and_then_ends(shared_broker: BrokerProcess) -> None:
    ann = Terminal([*COMMAND, "chat", "--plain", "general", "-b", shared_broker.address, "-u", "ann"])
    ann.shows("ann joined")
    ann.type("x\x03")
    ann.type("y\r")
    ann.shows("ann: y")
    ann.type("\x03")
    assert ann.status() == -signal.SIGINT, "who started it, as a shell's loop, sees the signal"


def test_a_full_disk_is_one_line_and_status_1(
    shared_broker: BrokerProcess, start_zchat: Callable[..., Running]
) -> None:
    with open("/dev/full", "wb") as full:
        chat = start_zchat("chat", "--plain", "full", broker=shared_broker, stdout=full)
    assert chat.process.wait(20) == 1, "although its input goes on"
    assert chat.stderr == "zchat: standard output: No space left on device\n"


def test_it_ends_when_its_reader_goes_also_while_nothing_is_said(
    shared_broker: BrokerProcess, start_zchat: Callable[..., Running]
) -> None:
    read_end, write_end = os.pipe()
    chat = start_zchat("chat", "--plain", "gone", broker=shared_broker, stdout=write_end)
    os.close(write_end)
    with open(read_end, "rb", buffering=0) as reader:
        assert reader.read(100) == b"-- tester joined\n"
    assert chat.process.wait(20) == 0
    assert chat.stderr == ""


def test_input_that_cannot_be_read_is_one_line_and_status_1(shared_broker: BrokerProcess, tmp_path: Path) -> None:
    with (tmp_path / "written").open("wb") as file:  # it is open for writing only
        chat = subprocess.run(
            [*COMMAND, "chat", "--plain", "unread", "-b", shared_broker.address],
            stdin=file,
            capture_output=True,
            text=True,
            env=environment(),
            timeout=20,
        )
    assert (chat.returncode, chat.stderr) == (1, "zchat: standard input: Bad file descriptor\n")


def test_without_a_terminal_lines_go_in_and_come_out(
    shared_broker: BrokerProcess, start_zchat: Callable[..., Running]
) -> None:
    done = run("chat", "pipes", stdin="hello\n/me waves\n/dance\n", broker=shared_broker)
    assert done.status == 0, done.stderr
    assert "[" not in re.sub(r"^\[\d\d:\d\d\] ", "", done.stdout, flags=re.M).replace("\x1b", "[")
    with zchat.connect(shared_broker.address, "ben") as ben:
        assert [(m.event, m.text) for m in ben.history("pipes")] == [("message", "hello"), ("action", "waves")]
        listening = start_zchat("chat", "pipes", broker=shared_broker)
        eventually(lambda: any(member.state == "live" for member in ben.who("pipes")), "it is there")
        ben.send("pipes", "one\ntwo")
        eventually(lambda: "ben: one\n        two\n" in listening.stdout, "it comes")
        assert listening.end(signal.SIGTERM).status == -signal.SIGTERM
    assert listening.stderr == ""


def test_errors_are_a_line(shared_broker: BrokerProcess) -> None:
    for arguments, status, said in (
        (["no/room"], 2, "room"),
        (["--theme", "pink"], 2, "theme pink is none of dark, light, contrast"),
        (["--notify", "siren"], 2, "notify siren"),
    ):
        done = run("chat", *arguments, broker=shared_broker)
        assert done.status == status and said in done.stderr and "Traceback" not in done.stderr
    away = run("chat", "-b", "tcp://127.0.0.1:1", "--wait", "0")
    assert away.status == 3 and away.stderr.startswith("zchat: ")
