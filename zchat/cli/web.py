"""`zchat web`: a gateway for Socket.IO clients, browsers and plain HTTP."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from zchat.cli import completion, doors, options, paths
from zchat.cli.interrupts import interrupts
from zchat.errors import StartError, UsageError

if TYPE_CHECKING:
    from zchat.web import Handlers
    from zchat.web.oidc import OidcDoor

INSTALL = "pip install 'zchat[web]'"


Listen: TypeAlias = Annotated[
    str, typer.Option("--listen", metavar="[HOST:]PORT", envvar="ZCHAT_WEB", help="Where to listen.")
]
Home: TypeAlias = Annotated[
    str,
    typer.Option("--room", metavar="ROOM", help="Where clients are who name no room.", autocompletion=completion.rooms),
]
App: TypeAlias = Annotated[
    str | None, typer.Option("--app", metavar="MODULE:NAME", help="Handlers of events, of a module of yours.")
]
Origins: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--origin", metavar="URL", help="Pages of this origin may use it, too. May be repeated; * is all."),
]
Oidc: TypeAlias = Annotated[
    Path | None,
    paths.option("--oidc", metavar="FILE", help="Have browsers log in by an OpenID Connect provider."),
]


def web(
    listen: Listen = "127.0.0.1:8080",
    room: Home = "general",
    app: App = None,
    origin: Origins = None,
    *,
    door: doors.Door,
    oidc: Oidc = None,
    broker: options.BrokerAddress = None,
    wait: options.Wait = options.WAIT_SECONDS,
) -> None:
    """Let browsers, Socket.IO clients and curl into the rooms.

    Whoever reaches it can read and write every room, under any name, unless --tokens or --oidc says who may
    come in. A line on stderr says when it is ready.

    Examples:
      zchat web
      zchat web --listen 0.0.0.0:8080 --room lobby --insecure
      zchat web --listen 0.0.0.0:8443 --cert chat.pem --key chat.key --tokens tokens
      zchat web --app chat:handlers --origin https://example.com
    """
    from zchat.address import is_this_machine
    from zchat.profile import meant

    where, _, credentials = meant(broker, None)
    at, context, known = _host_and_port(listen), door.context(), door.token_file()
    has_key = credentials is not None and oidc is None  # else a provider says who comes
    door.check(listen, is_local=oidc is not None or is_this_machine(at[0]), has_key=has_key)
    room = doors.meeting_room(room)
    try:
        from zchat.web import serving
        from zchat.web.application import WebApplication
    except ModuleNotFoundError as error:
        raise StartError(f"zchat web needs {error.name}: {INSTALL}") from error
    provider = None if oidc is None else _provider(oidc)
    from zchat.sockets.kernel import raise_descriptor_limit

    raise_descriptor_limit()
    doors.try_tokens(known, options.ToBroker(broker, None, wait))
    application = WebApplication(
        broker,
        room=room,
        handlers=None if app is None else _handlers(app),
        origins=origin or (),
        wait=wait,
        tokens=known,
        oidc=provider,
    )
    socket = serving.listening(*at)
    scheme = "http" if context is None else "https"
    address = serving.shown(at[0], socket.getsockname()[1])

    def ready() -> None:
        print(f"zchat web ready on {scheme}://{address}, broker {where}", file=sys.stderr, flush=True)

    signum = asyncio.run(serving.serve(application, socket, ready, context))
    if signum:
        interrupts.end_by(signum)


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not (port.isascii() and port.isdigit() and int(port) < 65_536):
        raise UsageError(f"--listen {text}: no port, such as 127.0.0.1:8080")
    return "0.0.0.0" if host == "*" else host, int(port)


def _provider(path: Path) -> OidcDoor:
    """Who lets browsers in. Raises StartError, UsageError, OSError."""
    try:
        from zchat.web.oidc import OidcDoor, provider_in
    except ModuleNotFoundError as error:
        raise StartError(f"--oidc needs {error.name}: pip install 'zchat[oidc]'") from error
    return OidcDoor(provider_in(path))


def _handlers(text: str) -> Handlers:
    """What the option names."""
    from zchat.web import Handlers

    module, colon, name = text.partition(":")
    if not (module and colon and name):
        raise UsageError(f"--app {text}: no module and name, such as chat:handlers")
    sys.path.insert(0, os.getcwd())  # as uvicorn and others have it
    try:
        found: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"--app {text}: {error}") from error
    if not isinstance(found, Handlers):
        raise UsageError(f"--app {text}: {name} is no zchat.web.Handlers")
    return found
