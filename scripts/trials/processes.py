"""The broker and the others as processes: started, stopped, killed, and started again.

Rules of this file
1. What each start writes on stderr is kept; a traceback, or an end that nobody asked for, is a complaint.
2. Everything that was started is ended by `close`, whatever happened.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
READY = re.compile(r"zchat broker ready on (\S+) ")
ABORTED = re.compile("Fatal Python error: Aborted")  # in the signal's handler: it serves nobody any more
START_SECONDS = 60.0
END_SECONDS = 90.0

# Who attacks is let in again and again.
LETS_COME = {"address_failures_max": 10**9, "failures_max": 10**9, "address_connections_max": 10**9}

Complain = Callable[[str, str, str], None]  # kind, where, what


def environment() -> dict[str, str]:
    """Of every process: this checkout's zchat, and byte code that is compiled once."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ZCHAT_")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    paths = f"{ROOT / 'scripts'}{os.pathsep}{ROOT}"
    return {**kept, "PYTHONPATH": paths, "PYTHONFAULTHANDLER": "1", "NO_COLOR": "1", "PYTHONUTF8": "1"}


def limited(folder: Path, limits: Mapping[str, float]) -> tuple[str, ...]:
    """The options that give a broker these limits."""
    if not limits:
        return ()
    file = folder / "broker.toml"
    file.write_text("\n".join(["[limits]", *(f"{name} = {value}" for name, value in limits.items())]))
    return "--config", str(file)


class Started:
    """One process at a time, and what all of them wrote."""

    def __init__(self, name: str, folder: Path, complain: Complain) -> None:
        self.name = name
        self.lives = 0
        self.process: subprocess.Popen[str] | None = None
        self._folder = folder
        self._complain = complain

    def launch(self, command: list[str], *, piped: bool = True, printed: Path | None = None) -> None:
        """Start it; its output goes to a file, what it prints to another one if that is given."""
        assert self.process is None, f"{self.name} runs already"
        self.output = self._folder / f"{self.name}.{self.lives}.out"
        self.lives += 1
        with self.output.open("w") as file, (printed or self.output).open("a") as out:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=out,
                stderr=file,
                text=True,
                env=environment(),
            )

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self.process is not None, f"{self.name} does not run"
        return self.process.pid

    def signal(self, signum: int) -> None:
        """Send it one."""
        assert self.process is not None, f"{self.name} does not run"
        self.process.send_signal(signum)

    def tell(self, word: str) -> None:
        """A line on its stdin."""
        assert self.process is not None and self.process.stdin is not None
        try:
            self.process.stdin.write(word + "\n")
            self.process.stdin.flush()
        except OSError:
            pass  # it has died, and `ended` says so

    def said(self, pattern: str, within: float = START_SECONDS) -> re.Match[str]:
        """Wait until its output has that."""
        deadline = time.monotonic() + within
        while (found := re.search(pattern, self.output.read_text(errors="replace"), re.MULTILINE)) is None:
            if self.process is not None and self.process.poll() is not None and time.monotonic() < deadline:
                deadline = min(deadline, time.monotonic() + 0.2)  # it has ended: what it said is there
            if time.monotonic() > deadline:
                said = self.output.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.name} did not say {pattern} within {within:g} s; it said: {said}")
            time.sleep(0.005)
        return found

    def kill(self) -> None:
        """kill -9."""
        self.signal(signal.SIGKILL)
        self.ended(-signal.SIGKILL)

    def ended(self, expected: int, within: float = END_SECONDS) -> None:
        """Wait for its end; complain when it is another one."""
        process, self.process = self.process, None
        assert process is not None
        try:
            status = process.wait(within)
        except subprocess.TimeoutExpired:
            self._complain("hangs", self.name, f"it did not end within {within:g} s; see {self.output}")
            process.send_signal(signal.SIGABRT)  # faulthandler tells where
            process.wait()
        else:
            # One that was told to end before it could handle that ends by the signal itself: a shell sees the same.
            if status != expected and not (expected == 128 + signal.SIGTERM and status == -signal.SIGTERM):
                self._complain("died", self.name, f"it ended with {status} instead of {expected}; see {self.output}")
        if process.stdin is not None:
            try:
                process.stdin.close()
            except OSError:
                pass
        if "Traceback" in self.output.read_text(errors="replace"):
            self._complain("traceback", self.name, f"see {self.output}")

    def close(self) -> None:
        """End it now, if it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Broker(Started):
    """`zchat broker`, on one port and one folder: one process, unless it is watched by the one that starts it again."""

    def __init__(
        self,
        folder: Path,
        complain: Complain,
        bind: str,
        data: Path,
        args: tuple[str, ...] = (),
        *,
        is_watched: bool = False,
    ) -> None:
        super().__init__("broker", folder, complain)
        self.address = bind
        self.data = data
        self.readies: list[int] = []  # when it was ready: microseconds since 1970
        self.start_seconds: list[float] = []
        self._args = args if is_watched else (*args, "--no-watch")

    def start(self) -> bool:
        """Start it and wait until it is ready. False when it ends instead."""
        began = time.monotonic()
        where = ["--bind", self.address, "--data", str(self.data)]
        if "--keys" not in self._args:
            where.append("--insecure")  # in a network of its own
        command = [sys.executable, "-m", "zchat", "broker", *where]
        self.launch([*command, *self._args], piped=False)
        return self._is_ready(began, 1)

    def abort(self) -> None:
        """Have it abort. The one that watches it starts it again: `comes_back`."""
        aborts = self._said(ABORTED)
        self.signal(signal.SIGABRT)
        while self._said(ABORTED) == aborts:
            time.sleep(0.001)

    def comes_back(self) -> bool:
        """Wait until it was started again by the one that watches it."""
        return self._is_ready(time.monotonic(), len(self.readies) + 1)

    def _is_ready(self, began: float, starts: int) -> bool:
        assert self.process is not None
        while self._said(READY) < starts:
            if self.process.poll() is not None:
                self.process = None
                return False
            if time.monotonic() > began + START_SECONDS:
                raise RuntimeError(f"the broker is not ready after {START_SECONDS:g} s; see {self.output}")
            time.sleep(0.002)
        self.readies.append(time.time_ns() // 1000)
        self.start_seconds.append(time.monotonic() - began)
        return True

    def _said(self, pattern: re.Pattern[str]) -> int:
        """How often."""
        return len(pattern.findall(self.output.read_text(errors="replace")))

    def stop(self) -> None:
        """As an operator does."""
        self.signal(signal.SIGTERM)
        self.ended(0)

    @property
    def resident_bytes(self) -> int:
        """The memory that it has now."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Actor(Started):
    """A writer, listener or joiner in its lives; each life has a name and a journal of its own."""

    def __init__(
        self, name: str, module: str, task: dict[str, Any], folder: Path, complain: Complain, prefix: tuple[str, ...]
    ) -> None:
        super().__init__(name, folder, complain)
        self.module = module
        self.task = task
        self.journals: list[Path] = []
        self._prefix = prefix

    def start(self, **more: Any) -> None:
        """A new life, with what is different in its task."""
        life = f"{self.name}.{self.lives}"
        journal = self._folder / f"{life}.journal"
        journal.touch()
        self.journals.append(journal)
        task = {**self.task, **more, "name": life, "journal": str(journal)}
        module = self.module if "." in self.module else f"trials.{self.module}"
        self.launch([*self._prefix, sys.executable, "-m", module, json.dumps(task)])

    def end(self) -> None:
        """By its own word."""
        self.tell("end")

    def wait_for(self, last: dict[str, int]) -> None:
        """It is to get up to these offsets; then `has_all`."""
        self.tell("last " + json.dumps(last))

    def has_all(self) -> bool:
        """Whether it says that it has."""
        with self.journals[-1].open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            return b"E" in file.read().split(b"\n")
