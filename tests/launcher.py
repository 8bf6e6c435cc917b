"""Runs `zchat ARGS…` as a process of its own, which need not load first what is not ours.

A short command spends half of its time on loading Python, typer, pyzmq and msgspec. So one process for each that runs
tests has loaded those, and forks at each run; what forks off loads all of `zchat`, as every start of it does.
`python -m tests.launcher FD` is that process. FD is its end of a socket: runs come on it, and how they ended leaves.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
RUN_BYTES_MAX = 60_000  # of what is sent to the launcher, and of a stdin that a pipe takes at once
# What makes no difference to Python and to those packages when they are loaded.
HARMLESS = ("ZCHAT_", "PYTEST_", "XDG_", "HOME", "COLUMNS", "TERM", "NO_COLOR", "TZ")


class Busy(Exception):
    """The launcher can't run this one: start it without."""


class Launcher:
    """The process that has loaded them. It ends with this one."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = _harmful(environment)
        self._is_running = threading.Lock()
        self._port, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.launcher", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.PIPE,  # pipes, as are those of each run: Python looks once at what they are
                stdout=subprocess.PIPE,
                env=environment,
                cwd=ROOT,
            )

    def run(
        self, arguments: Sequence[str | bytes], environment: Mapping[str, str], stdin: bytes | None, timeout: float
    ) -> tuple[bytes, bytes, int]:
        """Run it to its end; give what it wrote on stdout and stderr, and its status, as subprocess tells it.

        Raises Busy, or TimeoutError.
        """
        what = json.dumps([[os.fsdecode(word) for word in arguments], dict(environment), os.getcwd()]).encode()
        if _harmful(environment) != self._environment or max(len(what), len(stdin or b"")) > RUN_BYTES_MAX:
            raise Busy
        if not self._is_running.acquire(blocking=False):  # for another thread of this test
            raise Busy
        try:
            return self._run(what, stdin, timeout)
        finally:
            self._is_running.release()

    def _run(self, what: bytes, stdin: bytes | None, timeout: float) -> tuple[bytes, bytes, int]:
        ours, theirs = _streams(stdin)
        socket.send_fds(self._port, [what], theirs)
        for descriptor in theirs:
            os.close(descriptor)
        process = int(self._port.recv(100))
        try:
            stdout, stderr = _read_all(ours, time.monotonic() + timeout)
        except BaseException:  # its time is over, or that of the test
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            self._port.recv(100)
            raise
        finally:
            for descriptor in ours:
                os.close(descriptor)
        return stdout, stderr, int(self._port.recv(100))


def _harmful(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(HARMLESS)}


def _streams(stdin: bytes | None) -> tuple[list[int], list[int]]:
    """Our ends of its stdout and stderr; its ends of all three."""
    if stdin is None:
        theirs = [os.open(os.devnull, os.O_RDONLY)]
    else:
        read_end, write_end = os.pipe()
        os.write(write_end, stdin)
        os.close(write_end)
        theirs = [read_end]
    pipes = os.pipe(), os.pipe()
    return [read_end for read_end, _ in pipes], theirs + [write_end for _, write_end in pipes]


def _read_all(descriptors: list[int], deadline: float) -> list[bytes]:
    """What comes on each of them until all are closed."""
    read = {descriptor: bytearray() for descriptor in descriptors}
    with selectors.DefaultSelector() as selector:
        for descriptor in descriptors:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready and time.monotonic() >= deadline:
                raise TimeoutError("zchat runs longer than the test allows")
            for key, _ in ready:
                more = os.read(key.fd, 65_536)
                read[key.fd] += more
                if not more:
                    selector.unregister(key.fd)
    return [bytes(text) for text in read.values()]


def _serve(port: socket.socket) -> None:
    """Start each run, and tell its process and then its status, until the tests end."""
    import msgspec  # noqa: F401
    import typer  # noqa: F401
    import zmq  # noqa: F401

    gc.freeze()
    while True:
        what, streams, _, _ = socket.recv_fds(port, 2 * RUN_BYTES_MAX, 3)
        if not what:
            return
        process = os.fork()
        if not process:
            port.close()
            arguments, environment, folder = json.loads(what)
            _become(arguments, environment, folder, streams)
        for stream in streams:
            os.close(stream)
        port.send(str(process).encode())
        port.send(str(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])).encode())


def _become(arguments: list[str], environment: dict[str, str], folder: str, streams: list[int]) -> None:
    """Be that run; it raises SystemExit at its end."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv = ["zchat", *arguments]
    runpy.run_module("zchat", run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
