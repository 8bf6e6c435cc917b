"""`zchat tcp`: a gateway for netcat, telnet and programs that have a TCP connection and no more.

Tests: tests/tcp.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zchat.cli import completion, doors, exit_status, options
from zchat.cli.interrupts import ENDS, interrupts
from zchat.errors import UsageError

if TYPE_CHECKING:
    from ssl import SSLContext

    from zchat.address import Address
    from zchat.tcp.gateway import GatewayOptions

LISTEN = "127.0.0.1:8000"
ROOM = "general"
CONNECTIONS = 10_000
RATE = 500
SPARE_DESCRIPTORS = 400  # of the process itself, and of visitors that are accepted at once


def tcp(
    listen: Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Where visitors connect to.")] = LISTEN,
    room: Annotated[
        str, typer.Option("--room", metavar="ROOM", help="Where they begin.", autocompletion=completion.rooms)
    ] = ROOM,
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", metavar="PATTERN", help="Other rooms that they may go to.  [default: all]"),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="A plain chat server: what one writes goes to all, byte for byte.")
    ] = False,
    no_echo: Annotated[bool, typer.Option("--no-echo", help="Do not send back what a visitor wrote.")] = False,
    connections: Annotated[
        int, typer.Option("--connections", metavar="N", min=1, help="How many visitors there may be.")
    ] = CONNECTIONS,
    rate: Annotated[
        int, typer.Option("--rate", metavar="LINES", min=1, help="Lines a second that one may type; ten times at once.")
    ] = RATE,
    *,
    door: doors.Door,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say on stderr who comes, goes and is cut off.")
    ] = False,
    connecting: options.ToBroker,
) -> None:
    """Let netcat, telnet and Node's net into the rooms.

    Each visitor is a user of the broker, with a name, joins and leaves. What a visitor types is a message;
    /help lists what else there is. With --raw there are no names and no commands. A line on stderr says
    when it is ready. SIGINT and SIGTERM end it once what was said is stored.

    Examples:
      zchat tcp
      zchat tcp --listen '*:8000' --room lobby --allow 'games.**' --insecure
      zchat tcp --raw --room general
      zchat tcp --listen '[::]:6697' --cert chat.pem --key chat.key --tokens tokens
    """
    from zchat.address import parse_listen
    from zchat.cli.doors import has_key, meeting_room, try_tokens
    from zchat.names import pattern_name

    at, room = parse_listen(listen), meeting_room(room)
    door.check(listen, is_local=at.is_local, has_key=has_key(connecting.broker))
    allowed = tuple(map(pattern_name, allow)) if allow else ("**",)
    context, known = door.context(), door.token_file()
    if raw and known is not None:
        raise UsageError("--raw and --tokens exclude each other: a plain chat server has no line to log in with")
    from zchat.sockets.kernel import raise_descriptor_limit
    from zchat.tcp.gateway import GatewayOptions

    most = max(1, min(connections, raise_descriptor_limit() - SPARE_DESCRIPTORS))
    if most < connections and connections != CONNECTIONS:
        exit_status.tell(f"the system lets a process have descriptors for {most:,} visitors (ulimit -n)")
    try_tokens(known, connecting)
    asked = GatewayOptions(room, allowed, raw, not no_echo, most, known, rate)
    came: list[int] = []
    asyncio.run(_serve(at, asked, context, connecting, verbose, came))
    if signal.SIGINT in came[:1]:
        interrupts.end_by(signal.SIGINT)


async def _serve(
    at: Address,
    asked: GatewayOptions,
    context: SSLContext | None,
    connecting: options.ToBroker,
    verbose: bool,
    came: list[int],
) -> None:
    import zchat.aio
    from zchat.tcp.gateway import Gateway

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_tell_of)
    broker, user, wait = connecting
    async with zchat.aio.connect(broker, user, wait=wait, seals=False) as client:
        gateway = Gateway(client, asked, exit_status.tell if verbose else lambda text: None)

        def stop(signum: int) -> None:
            came.append(signum)
            gateway.stop()

        host, port = await gateway.listen(None if at.host == "*" else at.host, at.port, context)
        for signum in ENDS:
            if signum == signal.SIGTERM or signal.getsignal(signum) is not signal.SIG_IGN:
                loop.add_signal_handler(signum, stop, signum)
        where = at._replace(host=host, port=port)
        if not where.is_local and asked.tokens is None:
            exit_status.tell(
                f"warning: {where} is open to the network: whoever reaches it can read and write in the rooms"
            )
        print(
            f"zchat tcp ready on {where.endpoint.removeprefix('tcp://')}, room {asked.room}",
            file=sys.stderr,
            flush=True,
        )
        await gateway.serve()


def _tell_of(loop: asyncio.AbstractEventLoop, about: dict[str, Any]) -> None:
    """What went wrong beside all tasks, as one line."""
    error = about.get("exception")
    exit_status.tell(about["message"] if error is None else f"{about['message']}: {type(error).__name__}: {error}")
