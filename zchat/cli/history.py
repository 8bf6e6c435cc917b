"""`zchat history`: messages that were sent before."""

from __future__ import annotations

from typing import Annotated

import typer

from zchat.cli import options
from zchat.cli.connecting import connect

OPTION_ALIASES = {"C": "n", "c": "n", "F": "f", "limit": "count"}


def history(
    patterns: options.Patterns,
    last: options.Last = None,
    since: options.Since = None,
    after: options.After = None,
    count: Annotated[
        int | None, typer.Option("--count", "-n", metavar="N", min=1, help="Print at most N messages.")
    ] = None,
    json: options.Json = False,
    template: options.Template = None,
    raw: options.Raw = False,
    presence: options.Presence = False,
    broker: options.Broker = options.DEFAULT_BROKER,
    user: options.User = None,
    wait: options.Wait = options.WAIT_SECONDS,
) -> None:
    """Print messages that were sent before.

    All that the broker has kept, from the beginning, where no option says where to begin.

    Examples:
      zchat history general --last 5
      zchat history 'build.**' --since 1d --json
      zchat history load --after 1000 -n 100 --raw
    """
    begin = options.begin(last, since, after)
    options.check_numbers({"--count": count})
    options.check_output(json, template, raw, presence)
    from zchat.cli.printer import Printer
    from zchat.names import pattern_name

    patterns = [pattern_name(pattern) for pattern in patterns]  # before anybody waits for a broker
    printer = Printer(patterns, json=json, template=template, raw=raw)
    with connect(broker, user, wait=wait, timeout=wait) as client:
        options.check_log(after, client.log_id)
        printer.begin(client)
        past = client.history(*patterns, **begin, limit=count, presence=presence, on_notice=printer.notice)
        printer.print_past(past, count)
