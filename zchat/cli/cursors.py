"""`zchat cursors`: the cursors that the broker keeps for you, listed, set and removed."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from zchat.cli import completion, options
from zchat.cli.connecting import connect
from zchat.errors import UsageError


def cursors(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A cursor; none lists all of yours.", autocompletion=completion.cursors),
    ] = None,
    set_: Annotated[
        options.Place | None,
        typer.Option(
            "--set",
            metavar="OFFSET",
            parser=options.place,
            help="Go on after this offset, or place of --json, the next time.",
        ),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Keep it no longer.")] = False,
    json: options.Json = False,
    broker: options.BrokerAddress = None,
    user: options.User = None,
    wait: options.Wait = options.WAIT_SECONDS,
) -> None:
    """List, set or remove the cursors of listeners.

    zchat listen --resume NAME keeps one: the offset up to which it has printed. A cursor belongs to a user.

    Examples:
      zchat cursors
      zchat cursors billing --set 0
      zchat cursors billing --remove
    """
    if set_ is not None and remove:
        raise UsageError("--set and --remove cannot go together")
    if name is None and (set_ is not None or remove):
        raise UsageError("no NAME of a cursor to set or remove")
    options.check_numbers({"--set": None if set_ is None else set_.offset})
    from zchat.cli import output
    from zchat.names import cursor_name

    wanted = None if name is None else cursor_name(name)
    with connect(broker, user, wait=wait, timeout=wait) as client:
        if wanted is not None and set_ is not None:
            options.check_log(set_, client.log_id)
            client.set_cursor(wanted, set_.offset)
        elif wanted is not None and remove:
            client.drop_cursor(wanted)
            return
        log_id = client.log_id
        found = [cursor for cursor in client.cursors() if wanted in (None, cursor.name)]
    if json:
        terminal = sys.stdout.isatty()
        for cursor in found:
            facts = {
                "name": cursor.name,
                "offset": cursor.offset,
                "place": f"{cursor.offset}@{log_id}",
                "time": output.rfc3339(cursor.time),
            }
            sys.stdout.write(output.object_line(facts, terminal=terminal).decode() + "\n")
    else:
        rows = [[cursor.name, str(cursor.offset), output.local_time(cursor.time)] for cursor in found]
        sys.stdout.write(output.table(("NAME", "OFFSET", "SET"), rows))
