"""`zchat broker`: puts a log and a broker together and runs them. The only command that is no client.

Rules of this file
1. What is wrong with an option is told before the fork (watch.py); what only the broker needs is loaded after it.
2. What may be needed in distress (no descriptor or memory left) is loaded before the broker is ready.

Tests: tests/cli/test_broker.py, tests/cli/test_watch.py, tests/cli/test_distress.py.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from zchat.cli import exit_status, options, watch
from zchat.cli.interrupts import ENDS, handle, interrupts
from zchat.errors import StartError, UsageError

if TYPE_CHECKING:
    from zchat.address import Address, Published
    from zchat.core.log import Log
    from zchat.settings import Settings
    from zchat.sockets.broker import Broker

    Opened = TypeVar("Opened")

OPTION_ALIASES = {"d": "data"}
IN_USE_SECONDS = 1.0  # a broker that was killed a moment ago holds its folder and its ports for no longer
IN_USE_LOOK_SECONDS = 0.02
# A thread that computes lets the others go on this often. The log's writer and the readers need the interpreter for a
# moment some ten times in a commit or a page: beside a loop that is busy with questions each would wait Python's 5 ms.
SWITCH_SECONDS = 0.001


class SyncMode(StrEnum):
    """When a message counts as kept."""

    full = "full"
    normal = "normal"


def broker(
    bind: Annotated[
        str,
        typer.Option(
            "--bind", metavar="ADDRESS", envvar="ZCHAT_BIND", help="tcp://HOST:PORT, tcp://*:PORT or ipc://PATH."
        ),
    ] = options.DEFAULT_BROKER,
    advertise: Annotated[
        str | None,
        typer.Option(
            "--advertise",
            metavar="[HOST:]PORT",
            envvar="ZCHAT_ADVERTISE",
            help="Where clients find the second port, if a container or NAT gives it another number or host.",
        ),
    ] = None,
    data: options.Data = None,
    memory: Annotated[bool, typer.Option("--memory", help="Keep the log in memory; it ends with the broker.")] = False,
    sync: Annotated[
        SyncMode,
        typer.Option(
            "--sync",
            metavar="<full|normal>",  # typer 0.26 writes it otherwise
            help="full: on disk before the ack. normal: may lose the last moments at a power cut.",
        ),
    ] = SyncMode.full,
    retain: options.Retain = None,
    grace: Annotated[
        float | None,
        typer.Option(
            "--grace",
            metavar="SECONDS",
            parser=options.duration,
            help="How long a lost connection may come back unnoticed.",
        ),
    ] = None,
    restart_grace: Annotated[
        float | None,
        typer.Option(
            "--restart-grace",
            metavar="SECONDS",
            parser=options.duration,
            help="The same after the broker was started, for those who were there before.",
        ),
    ] = None,
    no_watch: Annotated[
        bool,
        typer.Option(
            "--no-watch", help="Run in one process, which nobody starts again when it dies: for systemd and the like."
        ),
    ] = False,
) -> None:
    """Run a broker.

    It listens on the port and, for what it broadcasts, on the next. A line on stderr says when it is
    ready. SIGINT and SIGTERM end it when everything that it took is stored.

    Examples:
      zchat broker
      zchat broker --bind 'tcp://*:5555' --data /var/lib/zchat
      zchat broker --memory --bind ipc:///tmp/zchat
      zchat broker --retain '**=30d' --retain 'build.**=7d,100000'
    """
    if memory and data is not None:
        raise UsageError("--memory and --data cannot go together")
    from zchat import address
    from zchat.settings import Settings

    at = address.parse_bind(bind)
    published = None if advertise is None else address.parse_published(advertise)
    if published and at.scheme == "ipc":
        raise UsageError("--advertise names a port, and an ipc broker has none")
    default = Settings()
    settings = Settings(
        grace_seconds=default.grace_seconds if grace is None else grace,
        restart_grace_seconds=default.restart_grace_seconds if restart_grace is None else restart_grace,
        retention=tuple(map(options.retention, retain or [])),
    )
    folder = None if memory else options.data_folder(data)
    _serve(at, published, folder, sync, settings, None if no_watch else watch.fork())


def _serve(
    at: Address,
    published: Published | None,
    folder: Path | None,
    sync: SyncMode,
    settings: Settings,
    child: watch.Child | None,
) -> None:
    """Be the broker, until a signal ends it."""
    faulthandler.enable()  # libzmq ends a process that trips over one of its asserts: then say where
    threading.excepthook = _end_with_thread
    from zchat.sockets.broker import Broker
    from zchat.sockets.memory import keep_for_broker

    keep_for_broker()
    sys.setswitchinterval(SWITCH_SECONDS)
    ports = child.ports if child else watch.Ports()
    if ports.port:
        at = at._replace(port=ports.port)
    log = _patiently(lambda: _open_log(folder, sync))

    def start() -> Broker:
        running = Broker(log, at, settings, exit_status.tell, ports.publisher_port, published)
        running.start()
        return running

    try:
        running = _patiently(start)
        came: list[int] = []

        def stop(signum: int, frame: FrameType | None) -> None:
            came.append(signum)
            running.stop()

        for signum in ENDS:
            handle(signum, stop)
        if child:  # first: whoever reads the line may count on these ports from then on
            child.ready(watch.Ports(running.address.port, running.publisher_address.port))
        _announce(running, "in memory" if folder is None else str(folder))
        running.run()
        for signum in ENDS:  # Ctrl-C comes twice: from the terminal, and passed on by the parent
            handle(signum, signal.SIG_IGN)
    finally:
        log.close()
    if signal.SIGINT in came[:1] and not child:  # with a parent, it is the parent that ends so
        interrupts.end_by(signal.SIGINT)


def _patiently(opens: Callable[[], Opened]) -> Opened:
    """What it opens; what is in use may come free in a moment, when the one that has it is about to end."""
    deadline = time.monotonic() + IN_USE_SECONDS
    while True:
        try:
            return opens()
        except StartError as error:
            if not error.is_in_use or time.monotonic() > deadline:
                raise
        time.sleep(IN_USE_LOOK_SECONDS)


def _open_log(folder: Path | None, sync: SyncMode) -> Log:
    if folder is None:
        from zchat.log.memory import MemoryLog

        return MemoryLog()
    from zchat.log.sqlite.log import SqliteLog

    return SqliteLog(folder, sync=sync.value, tell=exit_status.tell)


def _announce(running: Broker, log: str) -> None:
    """The ready line: programs wait for it, so it is the last thing before serving."""
    if not running.address.is_local:
        exit_status.tell(
            f"warning: {running.address} is open to the network: whoever reaches the port can read and write every room"
        )
    line = f"zchat broker ready on {running.address} (publishes on {running.publisher_address}), log {log}"
    print(line, file=sys.stderr, flush=True)
    _notify_systemd(os.environ.get("NOTIFY_SOCKET", ""))


def _notify_systemd(path: str) -> None:
    """For units with `Type=notify`: sd_notify(3)."""
    if not path:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", path.replace("@", "\0", 1) if path.startswith("@") else path)
    except OSError as error:
        exit_status.tell(f"cannot tell systemd that the broker is ready: {error.strerror}")


def _end_with_thread(died: threading.ExceptHookArgs) -> None:
    """A broker that has lost one of its threads would serve by halves: it ends, and is started again."""
    if died.exc_type is not SystemExit:
        if os.environ.get("ZCHAT_DEBUG"):
            threading.__excepthook__(died)
        thread = died.thread.name if died.thread else "a thread"
        what = f"{died.exc_type.__name__}: {died.exc_value}"
        os._exit(exit_status.tell(f"internal error in {thread}: {what}: the broker ends", status=1))
