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

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
