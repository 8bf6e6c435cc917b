"""`zchat listen`: messages as they come, from any point of the past on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from zchat.cli import completion, exit_status, options
from zchat.cli.connecting import connect
from zchat.cli.interrupts import interrupts
from zchat.errors import TimedOut, UsageError

if TYPE_CHECKING:
    from zchat import Subscription
    from zchat.cli.printer import Printer

OPTION_ALIASES = {"C": "n", "c": "n", "W": "t", "F": "f", "limit": "count"}
"""mosquitto_sub: -C -W -F; kcat: -c; the API: limit."""


def listen(
    patterns: options.Patterns,
    last: options.Last = None,
    since: options.Since = None,
    after: options.After = None,
    count: Annotated[
        int | None, typer.Option("--count", "-n", metavar="N", min=1, help="End after N messages.")
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            "-t",
            metavar="SECONDS",
            parser=options.duration,
            help="End after this time; with --count, 124 is the exit status when fewer came.",
        ),
    ] = None,
    end: Annotated[
        bool, typer.Option("--end", "-e", help="End where history ends; without a start, begin at its beginning.")
    ] = False,
    json: options.Json = False,
    template: options.Template = None,
    raw: options.Raw = False,
    presence: options.Presence = False,
    no_self: Annotated[bool, typer.Option("--no-self", help="Leave out what you sent, from whatever session.")] = False,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume",
            metavar="NAME",
            help="Go on where the last listener of this name of yours ended, on any machine; see zchat cursors.",
            autocompletion=completion.cursors,
        ),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say on stderr when it is live, lost and back, as on a terminal.")
    ] = False,
    broker: options.Broker = options.DEFAULT_BROKER,
    user: options.User = None,
    wait: options.Wait = options.WAIT_SECONDS,
) -> None:
    """Print the messages of rooms as they come.

    Nothing is missed: when the connection breaks, it comes back by itself and prints what was sent
    meanwhile. To listen to a room is to join it; a pattern only observes. Direct messages to alice
    come to alice who listens to @alice.

    Examples:
      zchat listen general
      zchat listen general @alice
      zchat listen general --last 20 --presence
      zchat listen 'build.**' --since 2h --json
      zchat listen load -n 100000 --raw
      zchat listen general --end --format '{time} {user}: {body}'
      zchat listen 'orders.*' --resume billing --json
    """
    begin = options.begin(last, since, after)
    options.check_output(json, template, raw, presence)
    if end and resume is not None:
        raise UsageError("--end and --resume cannot go together")
    from zchat.cli.printer import Printer
    from zchat.names import cursor_name, pattern_name

    patterns, resume = list(map(pattern_name, patterns)), None if resume is None else cursor_name(resume)
    printer = Printer(patterns, json=json, template=template, raw=raw, verbose=verbose)
    deadline = None if timeout is None else time.monotonic() + timeout
    with connect(broker, user, wait=wait, timeout=wait) as client:
        options.check_log(after, client.log_id)
        printer.begin(client, without_own=no_self)
        if end:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            past = client.history(*patterns, **begin, presence=presence, on_notice=printer.notice, timeout=left)
            printer.print_past(past, count, deadline)
        else:
            subscription = client.listen(
                *patterns, **begin, presence=presence, resume=resume, auto_commit=False, on_notice=printer.notice
            )
            _print_and_keep(subscription, printer, count, deadline, resume)
    if count is not None and printer.printed < count and not end:
        exit_status.tell(f"{printer.printed} of {count} messages came within {timeout:g} s")
        raise typer.Exit(TimedOut.exit_status)


def _print_and_keep(
    subscription: Subscription, printer: Printer, count: int | None, deadline: float | None, cursor: str | None
) -> None:
    """Print; with a cursor, a signal waits until what is printed is noted, and what is noted is stored."""
    if cursor is None:
        with subscription:
            _print_live(subscription, printer, count, deadline)
        return
    printer.when_written(subscription.commit)
    try:
        with interrupts.held(), subscription:
            _print_live(subscription, printer, count, deadline)
    finally:
        if (offset := subscription.repeats_after) is not None:
            what = f"what was printed after offset {offset} may come again"
            exit_status.tell(f"the cursor {cursor} could not be stored: {what}")


def _print_live(subscription: Subscription, printer: Printer, count: int | None, deadline: float | None) -> None:
    """Print until `count` messages are printed or the deadline is there."""
    while count is None or printer.printed < count:
        interrupts.let_in()
        is_pending = subscription.pending()
        if not is_pending:
            printer.flush()
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            break
        if is_pending:
            printer.print(subscription.get())
            continue
        try:
            with interrupts.passing():
                message = subscription.get(left)
        except TimedOut:
            break
        printer.print(message)
    printer.flush()
