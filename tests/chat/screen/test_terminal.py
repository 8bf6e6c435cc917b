"""A terminal that goes away."""

from __future__ import annotations

import os
import pty
import subprocess

import pytest

from tests.conftest import COMMAND, BrokerProcess, environment, eventually

pytest.importorskip("textual")


@pytest.mark.slow
def test_it_ends_with_its_terminal_also_when_no_signal_tells(shared_broker: BrokerProcess) -> None:
    ours, theirs = pty.openpty()
    command = [*COMMAND, "chat", "hangup", "-b", shared_broker.address]
    with subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment({"TERM": "xterm-256color", "ZCHAT_USER": "tess"}),
        start_new_session=True,  # it is not its controlling terminal, so there is no SIGHUP
    ) as process:
        os.close(theirs)
        drawn = b""

        def has_drawn() -> bool:
            nonlocal drawn
            drawn += os.read(ours, 1 << 16)
            return b"hangup" in drawn

        try:
            eventually(has_drawn, "it draws the room", within=30)
            os.close(ours)
            assert process.wait(30) in (0, 1)  # 1: it could not end in order, without a terminal to write to
        finally:
            process.kill()
