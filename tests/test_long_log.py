"""scripts/long_log.py with a short log: it asks, checks the answers and publishes. The numbers are for millions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scripts import run


@pytest.mark.slow
def test_a_short_log_is_asked_and_published_to_and_removed(tmp_path: Path) -> None:
    done = run("long_log.py", "--records", "2000", "--publish", "500", "--folder", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "ready",
        "--last",
        "--since",
        "--after",
        "publishing",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_log_that_is_too_short_to_ask_is_refused() -> None:
    done = run("long_log.py", "--records", "1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "at least 10 records" in done.stderr
