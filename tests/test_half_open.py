"""scripts/half_open.py with a few connections: others are served, and in the end all of them are closed."""

from __future__ import annotations

import json

import pytest

from tests.scripts import run


@pytest.mark.slow
def test_half_open_connections_keep_nobody_from_being_served_and_are_closed() -> None:
    done = run("half_open.py", "--connections", "300", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert (found["connections"], found["left"]) == (300, 0)


def test_no_connection_is_no_course() -> None:
    done = run("half_open.py", "--connections", "0")
    assert (done.returncode, done.stdout) == (2, "") and "at least one connection" in done.stderr
