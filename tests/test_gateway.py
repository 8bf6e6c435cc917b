"""scripts/gateway.py with few users: all begin, join, hear and leave. The numbers are for thousands."""

from __future__ import annotations

import json

import pytest

from tests.scripts import run


@pytest.mark.slow
def test_users_over_one_connection_and_clients_with_their_own_are_measured_alike() -> None:
    done = run("gateway.py", "--sessions", "200", "--clients", "5", "--memory", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == ["200 sessions", "5 clients"]
    for course in found.values():
        assert all(course[name] > 0 for name in ("begun_seconds", "joined_seconds", "to_all_seconds", "to_one_seconds"))
    assert found["200 sessions"]["user_bytes_each"] < found["5 clients"]["user_bytes_each"]


@pytest.mark.slow
def test_no_user_is_no_gateway() -> None:
    done = run("gateway.py", "--sessions", "0", "--clients", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert "at least one user" in done.stderr
