"""`zchat status`: what a broker has, in a few lines."""

from __future__ import annotations

import sys
import time
from collections import Counter

from zchat.cli import options
from zchat.cli.connecting import connect


def status(
    json: options.Json = False,
    broker: options.BrokerAddress = None,
    user: options.User = None,
    wait: options.Wait = options.WAIT_SECONDS,
) -> None:
    """Show what the broker has: its log, sessions, users and rooms.

    Rooms are those that you may see: the inboxes of others are not among them.

    Examples:
      zchat status
      zchat status --json -b chat.example
    """
    from zchat import __version__
    from zchat.cli import output
    from zchat.printable import printable

    with connect(broker, user, wait=wait, timeout=wait) as client:
        began = time.perf_counter()
        members = client.who()
        seconds = time.perf_counter() - began
        rooms, address, log_id = client.rooms(), client.address, client.log_id
        met = client.limits_met()
    states = Counter(member.state for member in members)
    last = max((room.last for room in rooms), default=0)
    joined = sum(room.members > 0 for room in rooms)
    if json:
        facts = {
            "broker": address,
            "log": log_id,
            "last": last or None,
            "sessions": {"live": states["live"], "lost": states["lost"]},
            "users_gone": states["gone"],
            "rooms": len(rooms),
            "rooms_with_members": joined,
            "limits_met": met,
            "answer_seconds": round(seconds, 6),
            "zchat": __version__,
        }
        sys.stdout.write(output.object_line(facts, terminal=sys.stdout.isatty()).decode() + "\n")
        return
    limits = [f"{printable(limit)} met {times:,} times" for limit, times in sorted(met.items())]
    rows = [
        ("broker", f"{address}, answered in {seconds * 1_000:.2f} ms"),
        ("log", f"{log_id}, {f'newest record at offset {last}' if last else 'no record'}"),
        ("sessions", f"{states['live']} live, {states['lost']} lost"),
        ("users", f"{states['gone']} {'has' if states['gone'] == 1 else 'have'} gone"),
        ("rooms", f"{len(rooms)}, {joined} with members"),
        ("limits", ", ".join(limits) or "none was met"),
        ("zchat", f"{__version__}, this command"),
    ]
    sys.stdout.write("".join(f"{name:9} {fact}\n" for name, fact in rows))
