"""scripts/last_values.py with a short log: it asks, and checks the answers. The numbers are for millions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scripts import run


@pytest.mark.slow
def test_a_short_log_is_asked_and_removed(tmp_path: Path) -> None:
    done = run("last_values.py", "--records", "500", "--rooms", "50", "--folder", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5 and list(tmp_path.iterdir()) == []
    assert run("last_values.py", "--rooms", "1").returncode == 2
