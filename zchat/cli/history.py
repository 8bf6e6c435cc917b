"""`zchat history`: messages that were sent before."""

from __future__ import annotations

from typing import Annotated

import typer

from zchat.cli import choosing, options
from zchat.cli.connecting import connect

OPTION_ALIASES = {"C": "n", "c": "n", "F": "f", "limit": "count"}


def history(
    patterns: options.Patterns,
    *,
    beginning: options.Beginning,
    until: choosing.End = None,
    count: Annotated[
        int | None,
        typer.Option("--count", "-n", metavar="N", min=1, help="Print at most N messages."),
    ] = None,
    chosen: choosing.Choosing,
    inbox: options.Inbox = False,
    presence: options.Presence = False,
    output: options.Printed,
    connecting: options.ToBroker,
) -> None:
    """Print messages that were sent before.

    All that the broker has kept, from the beginning, where no option says where to begin.

    Examples:
      zchat history general --last 5
      zchat history @me --since 1d
      zchat history 'build.**' --since 1d --json
      zchat history 'sensors.**' --last-per-room 3
      zchat history load --after 1000 --until 2000 --raw
      zchat history ops --event deploy --last 3
      zchat history 'build.**' --from ci --grep 'error|warning' --exclude 'build.try.**'
    """
    begin = beginning.checked()
    options.check_numbers({"--count": count})
    choice = choosing.Choice(chosen)
    presence = presence or choice.of_presence
    output.check(presence)
    from zchat.cli import inboxes
    from zchat.cli.printer import Printer

    patterns = inboxes.asked(patterns, with_own=inbox)  # before anybody waits for a broker
    printer = Printer(patterns, json=output.json, template=output.template, raw=output.raw)
    with connect(connecting.broker, connecting.user, wait=connecting.wait, timeout=connecting.wait) as client:
        patterns = [inboxes.of(client.user, pattern) for pattern in patterns]
        options.check_log(beginning.after, client.log_id)
        begin = choosing.begin(client, patterns, begin, choice, until)
        printer.begin(client, choice)
        limit = count if choice.is_all else None
        past = client.history(*patterns, **begin, limit=limit, presence=presence, on_notice=printer.notice)
        printer.print_past(choosing.up_to(until, past), count)
