"""`zchat rooms`: the rooms of the broker, as a table or as JSON."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from zchat.cli import completion, options
from zchat.cli.connecting import connect
from zchat.errors import UsageError

if TYPE_CHECKING:
    from zchat import Room, RoomState

TEXT_SHOWN = 60  # characters of a message in the table


def rooms(
    patterns: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATTERN...]", help="Rooms or patterns; none lists all.", autocompletion=completion.rooms
        ),
    ] = None,
    last: Annotated[bool, typer.Option("--last", help="Show the last message of each, and when it was sent.")] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove all that these rooms have, for everybody; they are listed no more.")
    ] = False,
    json: options.Json = False,
    broker: options.BrokerAddress = None,
    user: options.User = None,
    wait: options.Wait = options.WAIT_SECONDS,
) -> None:
    """List the rooms of the broker.

    A room is there when it has a member or a message. LAST is the offset of its last record; with --json,
    place is that offset with the log that it is of.

    Examples:
      zchat rooms
      zchat rooms 'build.**' --last
      zchat rooms --json
      zchat rooms --delete build.try
    """
    from zchat.cli import inboxes, output

    if delete:
        options.only_one({"--delete": delete, "--last": last or None, "--json": json or None})
        if not patterns or any("*" in pattern for pattern in patterns):
            raise UsageError("--delete takes rooms, each by its name")
    asked = inboxes.asked(patterns or [], with_own=False)  # before anybody waits for a broker
    found: list[Room] | list[RoomState]
    with connect(broker, user, wait=wait, timeout=wait) as client:
        names = [inboxes.of(client.user, name) for name in asked]
        if delete:
            for name in names:
                client.purge(name)
            return
        found = client.rooms(*names, last=True) if last else client.rooms(*names)
        log = output.KnownLog(client.log_id)
    if json:
        _print_objects(found, log)
        return
    heads = ["ROOM", "MEMBERS", "LAST"] + ["TIME", "USER", "MESSAGE"] * last
    sys.stdout.write(output.table(heads, [_row(room) for room in found]))


def _print_objects(found: list[Room] | list[RoomState], log: Any) -> None:
    from zchat.cli import output

    terminal, line = sys.stdout.isatty(), output.json_lines(log)
    for room in found:
        facts: dict[str, Any] = {
            "room": room.name,
            "members": room.members,
            "last": room.last or None,
            "place": output.place(room.last, log.id),
        }
        if isinstance(room, tuple):
            facts["message"] = None if room.message is None else msgspec.Raw(line(room.message))
        sys.stdout.write(output.object_line(facts, terminal=terminal).decode() + "\n")


def _row(room: Room | RoomState) -> list[str]:
    from zchat.cli import output

    row = [room.name, str(room.members), str(room.last or "-")]
    if not isinstance(room, tuple):
        return row
    message = room.message
    if message is None:
        return [*row, "-", "-", "-"]
    event = "" if message.event == "message" else f"[{message.event}] "
    text = f"{event}{message.text}"
    shown = text if len(text) <= TEXT_SHOWN else f"{text[: TEXT_SHOWN - 1]}…"
    return [*row, output.local_time(message.time), message.user, shown]
