"""scripts/web_crowd.py measures zchat web beside python-socketio alone, with a few clients here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "scripts" / "web_crowd.py"


@pytest.mark.slow
def test_all_clients_of_both_servers_hear_all() -> None:
    command = [sys.executable, str(SCRIPT), "--clients", "200", "--messages", "5", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (done.stderr, done.returncode) == ("", 0)
    found = json.loads(done.stdout)
    assert list(found) == ["zchat web", "python-socketio"]
    assert all(each["one"] > 0 and each["many"] > 0 for each in found.values())
    assert not any(each["lost"] for each in found.values())
    assert found["zchat web"]["memory"] < found["python-socketio"]["memory"], "what is empty takes nothing"


def test_one_client_is_no_crowd() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "--clients", "1"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "at least two clients" in done.stderr
