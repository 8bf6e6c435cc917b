"""`zchat groups`: the groups that share work: listed, what is pending of one, moved and removed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zchat.cli import completion, options
from zchat.cli.connecting import connect
from zchat.errors import UsageError

if TYPE_CHECKING:
    from zchat import Group


def groups(
    room: Annotated[
        str | None,
        typer.Argument(metavar="[ROOM]", help="A room; none lists the groups of all.", autocompletion=completion.rooms),
    ] = None,
    group: Annotated[
        str | None,
        typer.Argument(metavar="[GROUP]", help="A group of it.", autocompletion=completion.groups),
    ] = None,
    pending: Annotated[bool, typer.Option("--pending", help="Show what is handed out and not done.")] = False,
    set_: Annotated[
        options.Place | None,
        typer.Option(
            "--set", metavar="OFFSET", parser=options.place, help="Have it go on after this offset, or place of --json."
        ),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove it; it must have no members.")] = False,
    json: options.Json = False,
    broker: options.BrokerAddress = None,
    user: options.User = None,
    wait: options.Wait = options.WAIT_SECONDS,
) -> None:
    """List, move or remove the groups that share work.

    zchat listen ROOM --group GROUP takes part in one. DONE is the offset up to which all is done, TO COME how
    many offsets there are above what was handed out, OUT and WAITING count messages that are not done.

    Examples:
      zchat groups
      zchat groups jobs workers --pending
      zchat groups jobs workers --set 0
      zchat groups jobs workers --remove
    """
    options.only_one({"--pending": pending or None, "--set": set_, "--remove": remove or None})
    if group is None and (pending or remove or set_ is not None):
        raise UsageError("no ROOM and GROUP to show, set or remove")
    options.check_numbers({"--set": None if set_ is None else set_.offset})
    from zchat.cli import output
    from zchat.names import group_name, room_name

    room, group = None if room is None else room_name(room), None if group is None else group_name(group)
    with connect(broker, user, wait=wait, timeout=wait) as client:
        if room is not None and group is not None and set_ is not None:
            options.check_log(set_, client.log_id)
            client.set_group(room, group, set_.offset)
        elif room is not None and group is not None and remove:
            client.drop_group(room, group)
            return
        found = client.groups(room, group)
    if json:
        terminal = sys.stdout.isatty()
        for each in found:
            sys.stdout.write(output.object_line(_facts(each), terminal=terminal).decode() + "\n")
    elif pending:
        runs = [
            [str(run.first), str(run.last), str(run.deliveries), run.user or "-"]
            for each in found
            for run in each.pending
        ]
        sys.stdout.write(output.table(("FIRST", "LAST", "DELIVERIES", "USER"), runs))
    else:
        heads = ("ROOM", "GROUP", "MEMBERS", "DONE", "TO COME", "OUT", "WAITING", "AGAIN", "DEAD")
        sys.stdout.write(output.table(heads, [_row(each) for each in found]))


def _row(group: Group) -> list[str]:
    to_come = max(0, group.last - group.upto)
    counts = (group.members, group.low, to_come, group.out, group.waiting, group.redelivered, group.dead)
    return [group.room, group.name, *map(str, counts)]


def _facts(group: Group) -> dict[str, Any]:
    names = ("room", "name", "low", "upto", "last", "members", "out", "waiting", "redelivered", "dead")
    runs = [
        {"first": run.first, "last": run.last, "deliveries": run.deliveries, "user": run.user or None}
        for run in group.pending
    ]
    return {name: getattr(group, name) for name in names} | {"pending": runs}
