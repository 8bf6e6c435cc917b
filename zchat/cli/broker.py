"""`zchat broker`: a broker on this machine. The only command that is no client.

Rules of this file: what is wrong with an option is told before the fork (watch.py); what only the broker needs is
loaded after it (serving.py).

Tests: tests/cli/test_broker.py.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from zchat.cli import exit_status, options, paths, retaining, watch
from zchat.cli.reach import Reach, listening
from zchat.errors import UsageError

OPTION_ALIASES = {"d": "data"}


class SyncMode(StrEnum):
    """When a message counts as kept."""

    full = "full"
    normal = "normal"


Grace: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--grace",
        metavar="SECONDS",
        parser=options.duration,
        help="How long a lost connection may come back unnoticed.",
    ),
]
RestartGrace: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--restart-grace",
        metavar="SECONDS",
        parser=options.duration,
        help="The same after the broker was started, for those who were there before.",
    ),
]

ConfigPath: TypeAlias = Annotated[
    Path | None,
    paths.option(
        "--config",
        metavar="FILE",
        help="Who may do what in which rooms, and limits: TOML, read again when it changes.",
    ),
]


def broker(
    reach: Reach,
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
    grace: Grace = None,
    restart_grace: RestartGrace = None,
    config: ConfigPath = None,
    no_watch: Annotated[
        bool,
        typer.Option(
            "--no-watch", help="Run in one process, which nobody starts again when it dies: for systemd and the like."
        ),
    ] = False,
    no_search: Annotated[
        bool, typer.Option("--no-search", help="Keep no index of words: zchat search looks through the log.")
    ] = False,
) -> None:
    """Run a broker.

    It listens on the port and, for what it broadcasts, on the next. A line on stderr says when it is
    ready. SIGINT and SIGTERM end it when everything that it took is stored.

    Examples:
      zchat broker
      zchat broker --bind 'tcp://*:5555' --keys /etc/zchat --data /var/lib/zchat
      zchat broker --memory --bind ipc:///tmp/zchat
      zchat broker --retain '**=30d' --retain 'build.**=7d,100000'
      zchat broker --config /etc/zchat/broker.toml
    """
    if memory and data is not None:
        raise UsageError("--memory and --data cannot go together")
    at, published = listening(reach)
    from zchat.settings import Settings

    rules, default = None, Settings()
    if config is not None:
        from zchat.config import ConfigFile

        file = ConfigFile(config.absolute(), has_names=bool(reach.keys) or reach.insecure)
        said = file.read()
        rules, default = file.source(said, exit_status.tell), replace(default, **said.limits)  # type: ignore[arg-type]
    settings = replace(
        default,
        grace_seconds=default.grace_seconds if grace is None else grace,
        restart_grace_seconds=default.restart_grace_seconds if restart_grace is None else restart_grace,
        retention=tuple(map(retaining.retention, retain or [])),
    )
    folder = None if memory else options.data_folder(data)
    child = None if no_watch else watch.fork()
    from zchat.cli.serving import serve

    serve(at, published, folder, sync.value, settings, child, reach.keys, searches=not no_search, rules=rules)
