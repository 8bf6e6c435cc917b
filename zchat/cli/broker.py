"""`zchat broker`: puts a log and a broker together and runs them. The only command that is no client."""

from __future__ import annotations

import faulthandler
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zchat.cli import ending, options
from zchat.errors import UsageError

if TYPE_CHECKING:
    from zchat.log import Log
    from zchat.sockets.broker import Broker

OPTION_ALIASES = {"d": "data"}


class Sync(StrEnum):
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
    data: options.Data = None,
    memory: Annotated[bool, typer.Option("--memory", help="Keep the log in memory; it ends with the broker.")] = False,
    sync: Annotated[
        Sync,
        typer.Option("--sync", help="full: on disk before the ack. normal: may lose the last moments at a power cut."),
    ] = Sync.full,
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
    faulthandler.enable()  # libzmq ends a process that trips over one of its asserts: then say where
    from zchat import address
    from zchat.settings import Settings
    from zchat.sockets.broker import Broker
    from zchat.sockets.memory import keep_for_broker

    keep_for_broker()
    at = address.parse_bind(bind)
    default = Settings()
    settings = Settings(
        grace_seconds=default.grace_seconds if grace is None else grace,
        restart_grace_seconds=default.restart_grace_seconds if restart_grace is None else restart_grace,
        retention=tuple(map(options.retention, retain or [])),
    )
    folder = None if memory else options.data_folder(data)
    log = _open_log(folder, sync)
    try:
        running = Broker(log, bind=at, settings=settings, tell=ending.tell)
        running.start()
        ending.on_interrupt(lambda *_: running.stop())
        signal.signal(signal.SIGTERM, lambda *_: running.stop())
        _announce(running, "in memory" if folder is None else str(folder))
        running.run()
    finally:
        log.close()


def _open_log(folder: Path | None, sync: Sync) -> Log:
    if folder is None:
        from zchat.log.memory import MemoryLog

        return MemoryLog()
    from zchat.log.sqlite import SqliteLog

    return SqliteLog(folder, sync=sync.value, tell=ending.tell)


def _announce(running: Broker, log: str) -> None:
    """The ready line: programs wait for it, so it is the last thing before serving."""
    if not running.address.is_local:
        ending.tell(
            f"warning: {running.address} is open to the network: whoever reaches the port can read and write every room"
        )
    line = f"zchat broker ready on {running.address} (publishes on {running.publisher_address}), log {log}"
    print(line, file=sys.stderr, flush=True)
