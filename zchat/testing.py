"""A broker for the tests of a program that uses zchat: a real one, in a process of its own, for as long as a test runs.

    from zchat.testing import broker

    @pytest.fixture(scope="session")
    def address():
        with broker() as address:
            yield address

Rules of this file: nothing is imitated, and nothing is left behind when the `with` block ends, however it ends.
Docs: docs/client.md, "Testing". Tests: tests/test_testing.py.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from zchat.errors import StartError

START_SECONDS = 20.0  # on a machine that is very busy
STOP_SECONDS = 20.0
LOOK_SECONDS = 0.01
READY = re.compile(r"^zchat broker ready on (\S+)", re.M)


@contextmanager
def broker(*options: str) -> Iterator[str]:
    """Run a broker, and give its address: `zchat.connect(address)`.

    It listens on a free port of 127.0.0.1 and keeps its log in memory. `options` are those of `zchat broker`:
    `broker("--data", str(tmp_path))` keeps it in a folder. Raises StartError, with what the broker said.
    """
    where = () if "--data" in options else ("--memory",)
    bind = () if "--bind" in options else ("--bind", "tcp://127.0.0.1:0")
    command = [sys.executable, "-m", "zchat", "broker", "--no-watch", *bind, *where, *options]
    with tempfile.TemporaryDirectory(prefix="zchat-") as folder:
        said = Path(folder) / "stderr"
        with said.open("wb") as stderr:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr)
        try:
            yield _address(process, said)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class BrokerWithKeys(NamedTuple):
    """A broker that lets in only who has joined it."""

    address: str
    folder: Path

    def profile(self, user: str, *, gateway: str = "") -> str:
        """The path of a zchat.toml whose user has joined, for ZCHAT_CONFIG. `gateway`: users for whom it speaks, too.

        Raises StartError, with what the command said.
        """
        file = self.folder / "profiles" / user / "zchat.toml"
        if not file.exists():
            options = ("--gateway", gateway) if gateway else ()
            invite = self._zchat(file, "keys", "invite", user, "--keys", str(self.folder / "keys"), *options)
            self._zchat(file, "join", invite, "--name", "test")
        return str(file)

    def _zchat(self, file: Path, *args: str) -> str:
        env = {**os.environ, "ZCHAT_CONFIG": str(file)}
        done = subprocess.run([sys.executable, "-m", "zchat", *args], env=env, capture_output=True, text=True)
        if done.returncode:
            raise StartError(done.stderr.strip())
        return done.stdout.strip()


@contextmanager
def broker_with_keys(*options: str) -> Iterator[BrokerWithKeys]:
    """Run a broker that has keys; otherwise as `broker`.

    Who is to get in has a profile: `monkeypatch.setenv("ZCHAT_CONFIG", keyed.profile("alice"))`.
    """
    with tempfile.TemporaryDirectory(prefix="zchat-") as name:
        folder = Path(name)
        with broker("--keys", str(folder / "keys"), *options) as address:
            yield BrokerWithKeys(address, folder)


def _address(process: subprocess.Popen[bytes], said: Path) -> str:
    """Wait until it is ready."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        text = said.read_text(errors="backslashreplace")
        if found := READY.search(text):
            return found[1]
        if process.poll() is not None or time.monotonic() > deadline:
            raise StartError(f"the broker does not start: {text.strip() or 'it says nothing'}")
        time.sleep(LOOK_SECONDS)
