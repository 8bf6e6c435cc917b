"""`zchat rooms`: the rooms of the broker, as a table or as JSON."""

from __future__ import annotations

import sys

from zchat.cli import options
from zchat.cli.connecting import connect


def rooms(
    json: options.Json = False,
    broker: options.BrokerAddress = options.DEFAULT_BROKER,
    user: options.User = None,
    wait: options.Wait = options.WAIT_SECONDS,
) -> None:
    """List the rooms of the broker.

    A room is there when it has a member or a message. LAST is the offset of its last record; with --json,
    place is that offset with the log that it is of.

    Examples:
      zchat rooms
      zchat rooms --json
    """
    from zchat.cli import output

    with connect(broker, user, wait=wait, timeout=wait) as client:
        found, log_id = client.rooms(), client.log_id
    if json:
        terminal = sys.stdout.isatty()
        for room in found:
            facts = {
                "room": room.name,
                "members": room.members,
                "last": room.last or None,
                "place": output.place(room.last, log_id),
            }
            sys.stdout.write(output.object_line(facts, terminal=terminal).decode() + "\n")
    else:
        rows = [[room.name, str(room.members), str(room.last or "-")] for room in found]
        sys.stdout.write(output.table(("ROOM", "MEMBERS", "LAST"), rows))
