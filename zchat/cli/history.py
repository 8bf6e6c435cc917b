"""`zchat history`: messages that were sent before."""

from __future__ import annotations

from typing import Annotated

import typer

from zchat.cli import choosing, options
from zchat.cli.connecting import connect

OPTION_ALIASES = {"C": "n", "c": "n", "F": "f", "limit": "count"}


def history(
    patterns: options.Patterns,
    last: options.Last = None,
    since: options.Since = None,
    after: options.After = None,
    until: choosing.End = None,
    count: Annotated[
        int | None,
        typer.Option("--count", "-n", metavar="N", min=1, help="Print at most N messages."),
    ] = None,
    event: choosing.Events = None,
    from_: choosing.Users = None,
    header: choosing.Headers = None,
    grep: choosing.Grep = None,
    exclude: choosing.Excluded = None,
    no_self: choosing.NoSelf = False,
    inbox: options.Inbox = False,
    presence: options.Presence = False,
    json: options.Json = False,
    template: options.Template = None,
    raw: options.Raw = False,
    broker: options.BrokerAddress = options.DEFAULT_BROKER,
    user: options.User = None,
    wait: options.Wait = options.WAIT_SECONDS,
) -> None:
    """Print messages that were sent before.

    All that the broker has kept, from the beginning, where no option says where to begin.

    Examples:
      zchat history general --last 5
      zchat history @me --since 1d
      zchat history 'build.**' --since 1d --json
      zchat history load --after 1000 --until 2000 --raw
      zchat history ops --event deploy --last 3
      zchat history 'build.**' --from ci --grep 'error|warning' --exclude 'build.try.**'
    """
    begin = options.begin(last, since, after)
    options.check_numbers({"--count": count})
    choice = choosing.Choice(event, from_, header, grep, exclude, no_self=no_self)
    presence = presence or choice.of_presence
    options.check_output(json, template, raw, presence)
    from zchat.cli import inboxes
    from zchat.cli.printer import Printer

    patterns = inboxes.asked(patterns, with_own=inbox)  # before anybody waits for a broker
    printer = Printer(patterns, json=json, template=template, raw=raw)
    with connect(broker, user, wait=wait, timeout=wait) as client:
        patterns = [inboxes.of(client.user, pattern) for pattern in patterns]
        options.check_log(after, client.log_id)
        begin = choosing.begin(client, patterns, begin, choice, until)
        printer.begin(client, choice)
        limit = count if choice.is_all else None
        past = client.history(*patterns, **begin, limit=limit, presence=presence, on_notice=printer.notice)
        printer.print_past(choosing.up_to(until, past), count)
