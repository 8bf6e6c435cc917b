"""`zchat scheduled`: what the broker is to send later for you, listed and taken back."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from zchat.cli import exit_status, options
from zchat.cli.connecting import connect
from zchat.errors import UsageError


def scheduled(
    name: Annotated[str | None, typer.Argument(metavar="[ID]", help="Of one message; none lists all of yours.")] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="Take it back: it is not sent.")] = False,
    json: options.Json = False,
    broker: options.BrokerAddress = None,
    user: options.User = None,
    wait: options.Wait = options.WAIT_SECONDS,
) -> None:
    """List or cancel what is to be sent later.

    zchat send --in and --at hand it to the broker, which sends it, whether or not you are there.

    Examples:
      zchat scheduled
      zchat scheduled --json
      zchat scheduled 5f3ac1d2e4b6a798 --cancel
    """
    if cancel and name is None:
        raise UsageError("no ID of a message to cancel")
    from zchat.cli import output
    from zchat.printable import printable

    with connect(broker, user, wait=wait, timeout=wait) as client:
        found = [message for message in client.scheduled() if name in (None, message.id)]
        if name is not None and not found:
            raise typer.Exit(exit_status.tell(f"no message {name} is scheduled", status=1))
        if cancel and name is not None:
            client.cancel(name)
            return
    if json:
        terminal = sys.stdout.isatty()
        for message in found:
            facts = {
                "id": message.id,
                "room": message.room,
                "due": output.rfc3339(message.due),
                "event": message.event,
                "preview": message.preview,
                "size": message.size,
            }
            sys.stdout.write(output.object_line(facts, terminal=terminal).decode() + "\n")
    else:
        rows = [
            [message.id, output.local_time(message.due), message.room, printable(message.preview)] for message in found
        ]
        sys.stdout.write(output.table(("ID", "DUE", "ROOM", "TEXT"), rows))
