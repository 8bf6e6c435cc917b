"""What the tests of the programs in scripts/ share."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import environment

SCRIPTS = Path(__file__).parent.parent / "scripts"
END_SECONDS = 280.0


def start(name: str, *args: str) -> subprocess.Popen[str]:
    """Start `scripts/NAME ARGS…`; the caller ends it."""
    return subprocess.Popen(
        [sys.executable, str(SCRIPTS / name), *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def run(name: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run `scripts/NAME ARGS…` to its end."""
    return subprocess.run(
        [sys.executable, str(SCRIPTS / name), *args],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=END_SECONDS,
    )


def module(monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    """Import one of theirs: `module(monkeypatch, "attacks.kinds")`."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module(name)
