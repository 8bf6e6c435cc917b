"""The servers of the contenders: each on a free loopback port with its files in a given folder, ended afterwards."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 20.0
STOP_SECONDS = 20.0
OPEN_FILES = 20_000
PROFILE = "ZCHAT_CONFIG"

_ZCHAT_READY = re.compile(r"zchat broker ready on (\S+) ")


@dataclass(frozen=True)
class Server:
    """A running server: its address in its client's words, and its process."""

    address: str
    pid: int


def find_program(name: str) -> str | None:
    """A program of this environment, else of the system."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return shutil.which(name, path=places)


def child_environment() -> dict[str, str]:
    """For what is started: no settings of the caller, and byte code is kept, as on a user's machine.

    What stays is ZCHAT_CONFIG, which `keyed_zchat_broker` has set: a profile with a key.
    """
    left_out = ("PYTHONDONTWRITEBYTECODE",)
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return {name: value for name, value in kept.items() if name == PROFILE or not name.startswith("ZCHAT_")}


@contextmanager
def zchat_broker(folder: Path, *options: str) -> Iterator[Server]:
    """`zchat broker` with its log on disk and every commit synced, which is also its default."""
    command = [sys.executable, "-m", "zchat", "broker", "--no-watch", "--bind", "tcp://127.0.0.1:0"]
    log = folder / "stderr"

    def address() -> str | None:
        found = _ZCHAT_READY.search(log.read_text(errors="replace"))
        return found[1] if found else None

    with _running([*command, "--data", str(folder / "data"), *options], log, address) as server:
        yield server


@contextmanager
def keyed_zchat_broker(folder: Path, *options: str) -> Iterator[Server]:
    """The same with keys. The profile of this process, and of those that it starts, has one meanwhile."""
    keys = ("--keys", str(folder / "keys"))
    with zchat_broker(folder, *options, *keys) as server:
        os.environ[PROFILE] = str(folder / "zchat.toml")
        try:
            invite = _zchat("keys", "invite", "bench", "--gateway", "*", *keys)
            _zchat("join", invite)
            yield server
        finally:
            del os.environ[PROFILE]


def _zchat(*args: str) -> str:
    command = [sys.executable, "-m", "zchat", *args]
    return subprocess.run(command, env=child_environment(), check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def floor_server(folder: Path, program: str, *arguments: str) -> Iterator[Server]:
    """Two sockets of pyzmq; its address is their ports."""
    log = folder / "stdout"

    def address() -> str | None:
        said = log.read_text()
        return said.strip() if said.endswith("\n") else None

    with _running([sys.executable, program, *arguments], log, address) as server:
        yield server


@contextmanager
def nats_server(folder: Path, *, jetstream: bool = False, sync_always: bool = False) -> Iterator[Server]:
    """nats-server; `max_pending` is raised, so that it drops no client for being slow."""
    settings = [
        'host: "127.0.0.1"',
        "port: -1",
        f"ports_file_dir: {json.dumps(str(folder))}",
        "max_pending: 1GB",
        'write_deadline: "60s"',
    ]
    if jetstream:
        sync = ", sync_interval: always" if sync_always else ""
        settings.append(f"jetstream {{ store_dir: {json.dumps(str(folder / 'data'))}{sync} }}")
    config = folder / "nats.conf"
    config.write_text("\n".join(settings) + "\n")

    def address() -> str | None:
        for file in folder.glob("nats-server_*.ports"):
            try:
                return str(json.loads(file.read_text())["nats"][0])
            except ValueError:
                return None  # half written
        return None

    program = find_program("nats-server") or "nats-server"
    with _running([program, "-c", str(config)], folder / "stderr", address) as server:
        yield server


@contextmanager
def redis_server(folder: Path, *, durable: bool = False) -> Iterator[Server]:
    """redis-server; it drops no slow subscriber; durable means `appendonly yes` and `appendfsync always`."""
    port = _free_port()
    settings = {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(folder),
        "save": '""',
        "client-output-buffer-limit": "pubsub 0 0 0",
        "appendonly": "yes" if durable else "no",
        "appendfsync": "always" if durable else "no",
    }
    config = folder / "redis.conf"
    config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))

    def address() -> str | None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return f"redis://127.0.0.1:{port}" if connection.recv(5) == b"+PONG" else None
        except OSError:
            return None

    program = find_program("redis-server") or "redis-server"
    with _running([program, str(config)], folder / "stderr", address) as server:
        yield server


@contextmanager
def _running(command: Sequence[str], log: Path, address: Callable[[], str | None]) -> Iterator[Server]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=child_environment()
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while (found := address()) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{' '.join(command)} did not start (status {process.poll()}): {said}")
            time.sleep(0.01)
        yield Server(found, process.pid)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
