"""`zchat who`: the registry, as a table or as JSON."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zchat.cli import completion, options
from zchat.cli.connecting import connect
from zchat.errors import UsageError

if TYPE_CHECKING:
    from zchat import Member


def who(
    room: Annotated[
        str | None,
        typer.Argument(metavar="[ROOM]", help="A room; none shows all sessions.", autocompletion=completion.rooms),
    ] = None,
    lag: Annotated[
        bool, typer.Option("--lag", help="Show how far each one's listeners are behind, in offsets.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Then print who comes and goes, until it is ended.")] = False,
    timeout: options.Timeout = None,
    json: options.Json = False,
    broker: options.BrokerAddress = None,
    user: options.User = None,
    wait: options.Wait = options.WAIT_SECONDS,
) -> None:
    """Show who is in a room, or connected to the broker.

    A listener of a pattern joins no room. Without a room, users who have gone are shown with the time
    when they were last seen.

    Examples:
      zchat who general
      zchat who --lag --json
      zchat who ops --watch --json
    """
    from zchat.cli import inboxes, output
    from zchat.lookalikes import doubts
    from zchat.names import room_name

    if room is not None:
        room = room_name(room)  # before anybody waits for a broker
    options.only_one({"--watch": watch or None, "--lag": lag or None})
    if timeout is not None and not watch:
        raise UsageError("--timeout goes with --watch")
    if watch:
        from zchat.cli.watching import Watcher

        with connect(broker, user, wait=wait, timeout=wait) as client:
            room = room and inboxes.of(client.user, room)
            Watcher(client, room, json=json, timeout=timeout).run()
        return
    with connect(broker, user, wait=wait, timeout=wait) as client:
        members = client.who(room and inboxes.of(client.user, room), lag=lag)
    odd = doubts(member.user for member in members)
    if json:
        terminal = sys.stdout.isatty()
        facts = [
            _facts(member)
            | {"doubt": odd.get(member.user)}
            | ({"lag": None if member.lag < 0 else member.lag} if lag else {})
            for member in members
        ]
        lines = [output.object_line(one, terminal=terminal) for one in facts]
        sys.stdout.write("".join(f"{line.decode()}\n" for line in lines))
    else:
        heads = ["USER", "STATE", "SINCE", "SEEN", "ROOMS", "ADDRESS"] + ["LAG"] * lag + ["NAME"] * bool(odd)
        rows = [
            _row(member) + ["-" if member.lag < 0 else str(member.lag)] * lag + [odd.get(member.user, "")] * bool(odd)
            for member in members
        ]
        sys.stdout.write(output.table(heads, rows))


def _facts(member: Member) -> dict[str, Any]:
    from zchat.cli.output import rfc3339

    return {
        "user": member.user,
        "session": member.session or None,
        "state": member.state,
        "since": rfc3339(member.since) if member.since else None,
        "seen": rfc3339(member.seen) if member.seen else None,
        "rooms": member.rooms,
        "address": member.address or None,
        "info": member.info,
    }


def _row(member: Member) -> list[str]:
    from zchat.cli import output

    rooms = " ".join(member.rooms) or "-"
    return [
        member.user,
        member.state,
        output.local_time(member.since),
        output.local_time(member.seen),
        rooms,
        member.address or "-",
    ]
