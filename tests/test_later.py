"""scripts/later.py with few messages and one kill: each is sent once, and in time. It is meant for thousands."""

from __future__ import annotations

import json

import pytest

from tests.scripts import run


@pytest.mark.slow
def test_messages_that_are_sent_later_come_once_over_a_kill() -> None:
    done = run("later.py", "--messages", "200", "--kills", "1", "--seconds", "2", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["messages"], found["kills"]) == (200, 1) and found["late_calm_seconds"] < 1


def test_no_message_is_no_course() -> None:
    done = run("later.py", "--messages", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert "at least one message" in done.stderr
