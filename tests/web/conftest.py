"""A gateway as a process, npm's clients in Node, and the packages of npm, which are installed once."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import COMMAND, BrokerProcess, environment, eventually, steady_address

PACKAGES = {"socket.io-client": "4.8.1", "axe-core": "4.10.2"}
INSTALL_SECONDS = 120
READY = re.compile(r"^zchat web ready on (https?://\S+),", re.M)


def npm_modules() -> Path:
    """The folder in which Node finds the packages of the tests. Skips the test where they are not to be had."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are needed")
    wanted = [f"{name}@{version}" for name, version in PACKAGES.items()]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zchat-tests"
    folder = cache / f"npm-{hashlib.sha256(' '.join(wanted).encode()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "done"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            (folder / "package.json").write_text("{}")
            command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", *wanted]
            found = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS)
            if found.returncode:
                pytest.skip(f"npm could not install {' '.join(wanted)}: {found.stderr.strip()[-300:]}")
            done.touch()
    return folder / "node_modules"


class WebProcess:
    """A real `zchat web`; it can be killed and started again at the same address."""

    def __init__(self, broker: BrokerProcess, folder: Path, *args: str, cwd: Path | None = None) -> None:
        self.broker = broker
        self.url = ""
        self._listen = steady_address().removeprefix("tcp://")
        self._args, self._cwd = args, cwd
        self._folder, self._starts = folder, 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> WebProcess:
        self._launch()
        found = eventually(self._ready, "the gateway says that it is ready")
        self.url = found[1]
        return self

    def _launch(self) -> None:
        self._starts += 1
        with (self._folder / f"web-{self._starts}").open("wb") as file:
            self.process = subprocess.Popen(
                [*COMMAND, "web", "--listen", self._listen, *self._args],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=environment({"ZCHAT_BROKER": self.broker.address}),
                cwd=self._cwd,
            )

    def _ready(self) -> re.Match[str] | None:
        assert self.process is not None
        if self.process.poll() is not None and not self.url and "already in use" in self.stderr():
            self._listen = steady_address().removeprefix("tcp://")  # another test was quicker
            self._launch()
        assert self.process.poll() is None, self.stderr()
        return READY.search(self.stderr())

    def stderr(self) -> str:
        return (self._folder / f"web-{self._starts}").read_text(errors="backslashreplace")

    @property
    def resident_bytes(self) -> int:
        assert self.process is not None
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(30)
        self.process = None
        return status


class Clients:
    """npm's clients in one Node: `step` says what they do, `seen` is what has happened so far."""

    def __init__(self, url: str, modules: Path) -> None:
        env = environment({"NODE_PATH": str(modules)})
        script = str(Path(__file__).parent / "driver.js")
        self._process = subprocess.Popen(
            ["node", script, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )
        self.seen: list[dict[str, Any]] = []
        self._numbers = 0
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.seen.append(json.loads(line))

    def step(self, c: str, **what: Any) -> None:
        assert self._process.stdin is not None
        print(json.dumps({"c": c, **what}), file=self._process.stdin, flush=True)

    def connect(self, c: str, **options: Any) -> None:
        """And wait until it is in its first room."""
        self.step(c, connect=options)
        self.wait(c, "joined")

    def ask(self, c: str, *emit: Any) -> Any:
        """Emit, and return what it is acknowledged with."""
        self._numbers += 1
        number = self._numbers
        self.step(c, emit=emit, n=number)
        found = eventually(lambda: [each for each in self.seen if each.get("n") == number], f"{emit} is acknowledged")
        assert found[0]["error"] is None, found
        return found[0]["args"][0] if found[0]["args"] else None

    def events(self, c: str, *names: str) -> list[dict[str, Any]]:
        return [each for each in list(self.seen) if each.get("c") == c and each.get("event") in names]

    def args(self, c: str, *names: str) -> list[Any]:
        """Arguments of these events, without the place that ends them."""
        return [each["args"][:-1] for each in self.events(c, *names)]

    def wait(self, c: str, name: str, count: int = 1) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = eventually(
            lambda: (events := self.events(c, name)) and len(events) >= count and events, f"{c} gets {count} {name}"
        )
        return found

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="session")
def npm() -> Path:
    return npm_modules()


@pytest.fixture
def start_web(tmp_path: Path) -> Iterator[Callable[..., WebProcess]]:
    """Starts gateways: `start_web(broker, "--room", "lobby")`."""
    started: list[WebProcess] = []

    def start(broker: BrokerProcess, *args: str, cwd: Path | None = None) -> WebProcess:
        folder = tmp_path / f"web-{len(started)}"
        folder.mkdir()
        started.append(WebProcess(broker, folder, *args, cwd=cwd))
        return started[-1].start()

    yield start
    for web in started:
        print(f"--- {web.url}\n{web.stderr()}")
        if web.process is not None:
            web.kill()


@pytest.fixture(scope="module")
def shared_web(shared_broker: BrokerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    """One gateway for the tests of a file; each uses rooms of its own."""
    web = WebProcess(shared_broker, tmp_path_factory.mktemp("web")).start()
    yield web
    print(f"--- shared gateway\n{web.stderr()}")
    assert web.stop() == -signal.SIGTERM
    assert web.stderr().count("\n") == 1, "it tells of nothing that clients do"


@pytest.fixture
def start_clients(npm: Path) -> Iterator[Callable[[WebProcess], Clients]]:
    started: list[Clients] = []

    def start(web: WebProcess) -> Clients:
        started.append(Clients(web.url, npm))
        return started[-1]

    yield start
    for clients in started:
        clients.end()


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    """A room that no other test uses."""
    return f"room-{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]}"
