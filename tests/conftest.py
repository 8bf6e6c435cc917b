"""What every test may ask for: a broker process, the command line as a process, and waiting for a condition."""

from __future__ import annotations

import functools
import gc
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.launcher import Busy, Launcher

READY = re.compile(r"zchat broker ready on (\S+) \(publishes on (\S+)\), log (.*)")
START_SECONDS = 60.0
WAIT_SECONDS = 60.0  # for anything else, on a machine that is busy
COMMAND = (sys.executable, "-m", "zchat")

# Else a test is red because the machine is busy.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

# What runs the tests in its background, or under nohup, ignores some signals, and so would every process started here.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many processes run the tests: of some files, none but this; else five for two cores, as tests often wait."""
    if config.option.capture == "no" or not any(Path(arg).is_dir() for arg in config.args):
        return 0
    return 5 * (os.cpu_count() or 1) // 2


def pytest_collection_finish() -> None:
    """All tests are there, and stay: to look for garbage among them again and again takes a twelfth of the time."""
    gc.freeze()
    gc.set_threshold(50_000)


@dataclass(frozen=True)
class Result:
    """What one run of the command line printed and how it ended."""

    stdout: str
    stderr: str
    status: int


def eventually(condition: Callable[[], Any], what: str, within: float = WAIT_SECONDS) -> Any:
    """Wait until the condition gives something true, and give that back; fail with what it gave last."""
    deadline = time.monotonic() + within
    while True:
        last = condition()
        if last:
            return last
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within:g} s: {what}; last seen: {last!r}")
        time.sleep(0.01)


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of every process that a test starts: nothing of the caller's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ZCHAT_")}
    plain = {"COLUMNS": "100", "PYTHONFAULTHANDLER": "1", "TZ": "UTC", "NO_COLOR": "1"}
    return {**kept, **plain, **(more or {})}


@functools.cache
def _launcher() -> Launcher:
    return Launcher(environment())


def zchat(
    *args: str | bytes,
    stdin: str | bytes | None = None,
    env: Mapping[str, str] | None = None,
    broker: BrokerProcess | None = None,
    timeout: float = 60.0,
) -> Result:
    """Run `zchat ARGS…` to its end; with a broker, against that one."""
    more = {"ZCHAT_BROKER": broker.address, "ZCHAT_USER": "tester", **(env or {})} if broker else env
    given = stdin.encode() if isinstance(stdin, str) else stdin
    try:
        stdout, stderr, status = _launcher().run(args, environment(more), given, timeout)
    except Busy:
        done = subprocess.run(
            [*COMMAND, *args],
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            env=environment(more),
            timeout=timeout,
        )
        stdout, stderr, status = done.stdout, done.stderr, done.returncode
    return Result(stdout.decode(errors="backslashreplace"), stderr.decode(errors="backslashreplace"), status)


def steady_address() -> str:
    """Where a broker can be stopped and started again: below the ports that clients are given.

    A client that dials a free port of that range can, once in a while, connect to itself.
    """
    for port in random.sample(range(20_000, 32_000, 2), 100):
        try:
            with socket.create_server(("127.0.0.1", port)), socket.create_server(("127.0.0.1", port + 1)):
                return f"tcp://127.0.0.1:{port}"
        except OSError:
            continue
    pytest.fail("no two free ports")


class PortTaken(Exception):
    """Another process listens there."""


@dataclass
class BrokerProcess:
    """A real `zchat broker`; it can be stopped, killed and started again on the same port and folder.

    Unless it is `watched` it is one process, which is what tests of the broker kill, stop and measure.
    """

    folder: Path
    args: tuple[str, ...] = ()
    bind: str = ""  # empty: a steady address
    address: str = ""
    publish_address: str = ""
    log: str = ""
    process: subprocess.Popen[bytes] | None = None
    starts: list[Path] = field(default_factory=list)  # what each start wrote on stderr
    run: tuple[str, ...] = COMMAND  # what `broker …` is given to; a test of hosts puts `ip netns exec` before it
    watched: bool = False  # by the parent that starts it again

    def start(self) -> BrokerProcess:
        """Start it and wait until it is ready."""
        is_chosen, found = not self.address and not self.bind, None
        while found is None:
            self._launch()
            try:
                found = eventually(self._ready, "the broker says that it is ready", within=START_SECONDS)
            except PortTaken as error:  # by whoever else tests here, since it was looked at
                if not is_chosen:
                    pytest.fail(str(error))
                self.process = None
        self.address, self.publish_address, self.log = found.groups()
        return self

    def _launch(self) -> None:
        assert self.process is None, "it runs already"
        stderr = self.folder / f"stderr-{len(self.starts)}"
        self.starts.append(stderr)
        where = () if "--memory" in self.args else ("--data", str(self.folder / "data"))
        alone = () if self.watched else ("--no-watch",)
        at = self.address or self.bind or steady_address()
        with stderr.open("wb") as file:
            self.process = subprocess.Popen(
                [*self.run, "broker", "--bind", at, *where, *alone, *self.args],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=environment(),
            )

    def _ready(self) -> re.Match[str] | None:
        assert self.process is not None
        text = self.stderr()
        if self.process.poll() is not None:
            why = f"the broker ended with {self.process.returncode} at its start: {text}"
            raise PortTaken(why) if " is in use" in text else pytest.fail.Exception(why)
        return READY.search(text)

    def stderr(self) -> str:
        """What the last start wrote."""
        return self.starts[-1].read_text(errors="backslashreplace") if self.starts else ""

    def stop(self) -> None:
        """End it as an operator does, with SIGTERM; it must end with 0."""
        status = self._end(signal.SIGTERM)
        assert status == 0, f"the broker ended with {status} at SIGTERM: {self.stderr()}"

    def kill(self) -> None:
        """End it as a power cut does."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    @property
    def resident_bytes(self) -> int:
        """The memory that it has now."""
        assert self.process is not None, "it does not run"
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def _end(self, signum: int) -> int:
        assert self.process is not None, "it does not run"
        process, self.process = self.process, None
        process.send_signal(signum)
        try:
            return process.wait(timeout=WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # faulthandler then tells where it hangs
            process.wait(timeout=10)
            pytest.fail(f"the broker did not end at signal {signum}: {self.stderr()}")


@dataclass
class Running:
    """A `zchat` command that runs beside the test."""

    process: subprocess.Popen[bytes]
    stdout_path: Path
    stderr_path: Path

    @property
    def stdout(self) -> str:
        """What it has printed so far."""
        return self.stdout_path.read_text(errors="backslashreplace")

    @property
    def lines(self) -> list[str]:
        """The whole lines of that: the last one may be half written."""
        return self.stdout.rpartition("\n")[0].splitlines()

    @property
    def stderr(self) -> str:
        """What it has said so far."""
        return self.stderr_path.read_text(errors="backslashreplace")

    def write(self, text: str | bytes) -> None:
        """Give it something on stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode() if isinstance(text, str) else text)
        self.process.stdin.flush()

    def live(self) -> Running:
        """Wait until a listener with --verbose is live."""
        eventually(lambda: "live from offset" in self.stderr or self.process.poll() is not None, "the listener is live")
        assert self.process.poll() is None, self.stderr
        return self

    def end(self, signum: int | None = None, within: float = WAIT_SECONDS) -> Result:
        """Close its stdin, send the signal if one is given, wait for its end."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        if signum is not None:
            self.process.send_signal(signum)
        status = self.process.wait(timeout=within)
        return Result(self.stdout, self.stderr, status)


@pytest.fixture
def start_zchat(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts `zchat ARGS…` beside the test: `start_zchat("listen", "general", "-v", broker=broker)`."""
    running: list[Running] = []

    def start(
        *args: str,
        broker: BrokerProcess | None = None,
        env: Mapping[str, str] | None = None,
        stdout: Any = None,
        run: tuple[str, ...] = COMMAND,
    ) -> Running:
        out, err = (tmp_path / f"command-{len(running)}.{name}" for name in ("stdout", "stderr"))
        more = {"ZCHAT_BROKER": broker.address, "ZCHAT_USER": "tester", **(env or {})} if broker else env
        with out.open("wb") as out_file, err.open("wb") as err_file:
            process = subprocess.Popen(
                [*run, *args],
                stdin=subprocess.PIPE,
                stdout=out_file if stdout is None else stdout,
                stderr=err_file,
                env=environment(more),
            )
        running.append(Running(process, out, err))
        return running[-1]

    yield start
    for command in running:
        if command.process.poll() is None:
            command.process.kill()
            command.process.wait()
        if command.process.stdin is not None and not command.process.stdin.closed:
            command.process.stdin.close()


@pytest.fixture
def start_broker(tmp_path: Path) -> Iterator[Callable[..., BrokerProcess]]:
    """Starts brokers: `start_broker("--grace", "0.2")`; each has ports and a folder of its own."""
    brokers: list[BrokerProcess] = []

    def start(*args: str, bind: str = "", run: tuple[str, ...] = COMMAND, watched: bool = False) -> BrokerProcess:
        folder = tmp_path / f"broker-{len(brokers)}"
        folder.mkdir()
        broker = BrokerProcess(folder, args, bind, run=run, watched=watched)
        brokers.append(broker)
        return broker.start()

    yield start
    for broker in brokers:
        for stderr in broker.starts:  # pytest shows it when the test fails
            print(f"--- {stderr.parent.name}/{stderr.name}\n{stderr.read_text(errors='backslashreplace')}")
    statuses = []
    for broker in brokers:
        if broker.process is not None:
            statuses.append(broker._end(signal.SIGTERM))
    assert all(status == 0 for status in statuses), f"brokers ended with {statuses} at SIGTERM"


@pytest.fixture
def broker(start_broker: Callable[..., BrokerProcess], request: pytest.FixtureRequest) -> BrokerProcess:
    """One broker with a log on disk; its arguments, if any, by indirect parametrization."""
    return start_broker(*getattr(request, "param", ()))


def lets_come(folder: Path) -> tuple[str, ...]:
    """The options of a broker to which raw peers may come for nothing as often as they like."""
    file = folder / "come.toml"
    names = ("address_failures_max", "failures_max", "address_connections_max")
    file.write_text("\n".join(["[limits]", *(f"{name} = 1_000_000_000" for name in names)]))
    return "--config", str(file)


@pytest.fixture(scope="module")
def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """One broker for the tests of a file that leave it as it was; each uses rooms of its own."""
    folder = tmp_path_factory.mktemp("shared")
    broker = BrokerProcess(folder, ("--memory", *lets_come(folder))).start()
    yield broker
    print(f"--- shared broker\n{broker.stderr()}")
    broker.stop()
