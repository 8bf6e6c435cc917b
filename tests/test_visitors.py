"""scripts/visitors.py with few connections: all come, hear and go. The numbers are for thousands."""

from __future__ import annotations

import json

import pytest

from tests.scripts import run


@pytest.mark.slow
def test_plain_connections_to_a_gateway_and_to_a_plain_server_are_measured_alike() -> None:
    done = run("visitors.py", "--connections", "50", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == ["zchat tcp", "a plain server"]
    for course in found.values():
        assert all(course[name] > 0 for name in ("came_seconds", "to_all_seconds", "streamed_seconds", "bytes_each"))


def test_no_connection_is_no_course() -> None:
    done = run("visitors.py", "--connections", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert "at least one connection" in done.stderr
