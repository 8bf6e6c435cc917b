"""A race: a new server, a process for each publisher and listener, and what they measured.

Rules of this file: processes are spawned, never forked; all are connected and subscribed before the first message;
who hangs is told to stop and gives what it has; every process and server is ended, whatever happened.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

from contenders.contender import Contender, Received, Tally, bodies
from contenders.servers import Server, child_environment, find_program

CROWD_PER_PROCESS = 250  # clients; libzmq has at most 1023 sockets in a context
START_SECONDS = 120.0

Metrics = dict[str, float]


class Failed(Exception):
    """A process of a race ended with an error."""


@dataclass(frozen=True)
class Course:
    """What every race is run with."""

    size: int
    patience: float  # seconds without news after which a race is over
    folder: Path | None  # where servers keep their files


# --- races: each gives its metrics ------------------------------------------------------------


def throughput(course: Course, contender: Contender, count: int, listeners: int) -> Metrics:
    """One publisher, so many listeners: messages a second until the slowest listener has its last."""
    with _server(course, contender) as server, ExitStack() as stack:
        audience = [stack.enter_context(_Player(_listen, contender, server, count)) for _ in range(listeners)]
        for listener in audience:
            listener.expect_ready()
        publisher = stack.enter_context(_Player(_publish, contender, server, count, course.size))
        publisher.expect_ready()
        publisher.go()
        began, accepted = publisher.result(course.patience)
        received: list[Received] = []
        for listener in audience:
            received.append(listener.result_or_stop(course.patience))
    last = max(one.last for one in received)
    lost = sum(one.lost for one in received)
    return {
        "rate": 0.0 if lost else count / (last - began),  # nobody knows when the last of a run with losses came
        "first_seconds": max(one.first for one in received) - began,
        "accepted_seconds": accepted - began,
        "lost": lost,
        "repeated": sum(one.repeated for one in received),
        "out_of_order": sum(one.out_of_order for one in received),
    }


def latency(course: Course, contender: Contender, count: int) -> Metrics:
    """Round trips between two processes, one at a time."""
    with _server(course, contender) as server, ExitStack() as stack:
        echo = stack.enter_context(_Player(_echo, contender, server))
        echo.expect_ready()
        ping = stack.enter_context(_Player(_ping, contender, server, count, course.size))
        ping.expect_ready()
        ping.go()
        times: list[float] = sorted(ping.result(course.patience))
    return {"median": median(times), "p99": times[int(len(times) * 0.99)], "max": times[-1]}


def crowd(course: Course, contender: Contender, clients: int) -> Metrics:
    """Many clients with a subscription each, and one message to all of them."""
    parts = [CROWD_PER_PROCESS] * (clients // CROWD_PER_PROCESS)
    parts += [clients % CROWD_PER_PROCESS] if clients % CROWD_PER_PROCESS else []
    with _server(course, contender) as server, ExitStack() as stack:
        players = [stack.enter_context(_Player(_crowd, contender, server, part)) for part in parts]
        for player in players:
            player.expect_ready()
        server_before = _resident_bytes(server.pid)
        for player in players:
            player.go()
        reports = [player.result(START_SECONDS) for player in players]
        server_after = _resident_bytes(server.pid)
        publisher = stack.enter_context(_Player(_publish, contender, server, 1, course.size))
        publisher.expect_ready()
        publisher.go()
        began, _ = publisher.result(course.patience)
        received: list[Received] = [player.result_or_stop(course.patience) for player in players]
    connected = max(1, clients - len(parts))  # the first of each process is the baseline
    return {
        "connect_seconds": max(seconds for seconds, _ in reports) / connected * clients,
        "server_bytes": (server_after - server_before) / connected,
        "client_bytes": sum(grown for _, grown in reports) / connected,
        "reach_seconds": max(one.last for one in received) - began,
        "lost": clients - sum(one.count for one in received),
    }


def oneshot(course: Course, contender: Contender, count: int) -> Metrics:
    """`zchat send bench hello`, again and again: wall time and peak memory."""
    with _server(course, contender) as server, _Player(_send, server, count) as sender:
        runs: list[tuple[float, float]] = sender.result(START_SECONDS)
    return {"seconds": median(seconds for seconds, _ in runs), "peak_bytes": max(peak for _, peak in runs)}


@contextmanager
def _server(course: Course, contender: Contender) -> Iterator[Server]:
    with (
        tempfile.TemporaryDirectory(prefix="zchat-bench-", dir=course.folder) as folder,
        contender.serve(Path(folder)) as server,
    ):
        yield server


# --- one process ------------------------------------------------------------------------------


class _Player:
    """A process of a race and the pipe to it. It says `ready`, waits for `go`, gives results."""

    def __init__(self, play: Callable[..., None], *args: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._link, theirs = context.Pipe()
        self._what = play.__name__.strip("_")
        self._process = context.Process(target=_run, args=(play, theirs, args), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> _Player:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()
        self._link.close()

    def expect_ready(self) -> None:
        self.result(START_SECONDS)

    def go(self) -> None:
        self._link.send("go")

    def result(self, within: float) -> Any:
        if not self._link.poll(within):
            raise Failed(f"{self._what}: nothing heard for {within:g} s")
        try:
            kind, value = self._link.recv()
        except EOFError:
            self._process.join(1)
            raise Failed(f"{self._what}: ended with status {self._process.exitcode}") from None
        if kind == "failed":
            raise Failed(f"{self._what}: {value}")
        return value

    def result_or_stop(self, within: float) -> Any:
        """Its result; when it hangs, what it has until now."""
        if not self._link.poll(within):
            self._link.send("stop")
        return self.result(within)


def _run(play: Callable[..., None], link: Connection, args: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us
    try:
        play(link, *args)
    except Exception:
        link.send(("failed", traceback.format_exc()))


# --- what the processes do --------------------------------------------------------------------


def _ready(link: Connection) -> None:
    link.send(("ready", None))


def _ready_and_wait(link: Connection) -> None:
    _ready(link)
    link.recv()


def _publish(link: Connection, contender: Contender, server: Server, count: int, size: int) -> None:
    messages = bodies(count, size)
    link.send(("result", contender.publish(server, messages, lambda: _ready_and_wait(link))))


def _listen(link: Connection, contender: Contender, server: Server, expected: int) -> None:
    tally = Tally(expected)

    def ready() -> None:
        _stop_when_told(link, tally)
        _ready(link)

    contender.listen(server, tally, ready)
    link.send(("result", tally.received()))


def _stop_when_told(link: Connection, tally: Tally) -> None:
    """From now on the parent may say stop, because messages are missing; the listener itself is in its loop."""

    def wait() -> None:
        try:
            link.recv()
        except (EOFError, OSError):
            return
        link.send(("result", tally.received()))
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def _echo(link: Connection, contender: Contender, server: Server) -> None:
    contender.echo(server, lambda: _ready(link))


def _ping(link: Connection, contender: Contender, server: Server, count: int, size: int) -> None:
    link.send(("result", contender.ping(server, bodies(count, size), lambda: _ready_and_wait(link))))


def _crowd(link: Connection, contender: Contender, server: Server, clients: int) -> None:
    tally = Tally(clients)
    began, before = 0.0, 0

    def first() -> None:
        nonlocal began, before
        _ready_and_wait(link)
        began, before = time.monotonic(), _resident_bytes(os.getpid())

    def ready() -> None:
        seconds, grown = time.monotonic() - began, _resident_bytes(os.getpid()) - before
        _stop_when_told(link, tally)
        link.send(("result", (seconds, grown)))

    contender.crowd(server, clients, tally, first, ready)
    link.send(("result", tally.received()))


def _send(link: Connection, server: Server, count: int) -> None:
    """In a process of its own, for a child's peak memory is never below that of who started it."""
    script = find_program("zchat")
    program = [script] if script else [sys.executable, "-m", "zchat"]
    command = [*program, "send", "-b", server.address, "bench", "hello"]
    runs = []
    for _ in range(count + 1):
        began = time.monotonic()
        pid = os.posix_spawn(command[0], command, child_environment())
        _, status, usage = os.wait4(pid, 0)
        if status:
            raise Failed(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
        runs.append((time.monotonic() - began, usage.ru_maxrss * 1024))
    link.send(("result", runs[1:]))  # the first one may compile


def _resident_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
