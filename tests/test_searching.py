"""scripts/searching.py with few messages: it publishes, searches, and checks what is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scripts import run


@pytest.mark.slow
def test_a_short_log_is_searched_and_removed(tmp_path: Path) -> None:
    done = run("searching.py", "--messages", "3000", "--folder", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 10 and "rare word" in done.stdout
    assert list(tmp_path.iterdir()) == []
