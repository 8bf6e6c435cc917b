"""scripts/crowd.py with few clients: all come, hear, are killed, and have left. The numbers are for thousands."""

from __future__ import annotations

import json

import pytest

from tests.scripts import run


@pytest.mark.slow
def test_a_hundred_clients_come_hear_and_leave() -> None:
    done = run("crowd.py", "--clients", "100", "--processes", "2", "--grace", "0.5", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["clients"], found["joins"], found["leaves"], found["memberships"]) == (100, 100, 100, 100)
    assert 0 < found["broker_bytes_each"] < 1_000_000
    assert found["left_seconds"] >= 0.5


@pytest.mark.slow
def test_who_comes_costs_those_who_are_there_no_message() -> None:
    done = run("crowd.py", "--clients", "60", "--room", "60", "--processes", "1", "--grace", "0.5", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["got_each"] <= 3, "a SYNC, and another one where the machine was slow"


@pytest.mark.slow
def test_no_client_is_no_crowd() -> None:
    done = run("crowd.py", "--clients", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert "at least one client" in done.stderr
