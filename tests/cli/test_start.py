"""What a one-shot `zchat send` costs: it pays only for what it runs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import BrokerProcess, environment

pytestmark = pytest.mark.slow  # each starts processes

NOT_NEEDED = (
    "asyncio",
    "sqlite3",
    "rich",
    "textual",
    "nats",
    "pydantic",
    "multiprocessing",
    "concurrent.futures.thread",
    "logging",
    "secrets",
    *(f"zchat.{name}" for name in ("files", "receiving", "search", "service", "spool", "subscription")),
    *(f"zchat.cli.{name}" for name in ("live", "output", "printer", "spooling")),
    *(f"zchat.core.{name}" for name in ("fill", "group_opening", "history", "listener", "opening", "ordering")),
    *(f"zchat.core.{name}" for name in ("progress", "search", "telling", "volatile", "watermarks", "words")),
    *(f"zchat.sockets.{name}" for name in ("channel", "incoming", "intake", "job_intake", "session")),
)
MODULES_MAX = 105  # of zchat: a new one is imported by who needs it, or is a part of every start


def test_sending_one_message_imports_only_what_it_needs(broker: BrokerProcess) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "zchat", "send", "general", "hi", "-b", broker.address],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "zchat.sockets.client" in imported
    unwanted = {name for name in imported for top in NOT_NEEDED if name == top or name.startswith(f"{top}.")}
    assert not unwanted
    assert len([name for name in imported if name.split(".")[0] == "zchat"]) <= MODULES_MAX
