"""scripts/restricted.py with few members: all get all of both rooms. The numbers are for a thousand."""

from __future__ import annotations

import json

import pytest

from tests.scripts import run


@pytest.mark.slow
def test_all_members_get_all_of_a_restricted_room() -> None:
    done = run("restricted.py", "--members", "20", "--messages", "200", "--rounds", "1", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["members"] == 20 and found["ratio"] > 0
