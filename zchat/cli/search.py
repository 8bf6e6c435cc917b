"""`zchat search`: messages that have some words, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from zchat.cli import completion, options
from zchat.cli.connecting import connect

if TYPE_CHECKING:
    from zchat import Client

OPTION_ALIASES = {"n": "last", "count": "last", "limit": "last"}


def search(
    words: Annotated[
        str, typer.Argument(metavar="WORDS", help='All of these; deploy* is a beginning, "no space" a phrase.')
    ],
    patterns: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATTERN]...",
            help="Rooms, as for listen; none is all of them and your inbox.",
            autocompletion=completion.rooms,
        ),
    ] = None,
    *,
    last: Annotated[int, typer.Option("--last", metavar="N", min=1, help="Find the last N messages.")] = 20,
    sender: Annotated[
        str | None,
        typer.Option("--from", metavar="USER", help="Only what this user sent.", autocompletion=completion.users),
    ] = None,
    since: options.Since = None,
    output: options.Printed,
    connecting: options.ToBroker,
) -> None:
    """Find messages that have some words, newest first.

    Case and accents do not matter. What is printed has its offset: zchat history --after goes on from there.

    Examples:
      zchat search 'deploy failed'
      zchat search '"no space left"' 'ops.**' --since 7d
      zchat search 'invoice*' --from alice --last 5 --json
    """
    options.check_numbers({"--last": last})
    output.check(False)
    from zchat.cli import inboxes
    from zchat.cli.printer import Printer

    asked = inboxes.asked(patterns or [], with_own=False)  # before anybody waits for a broker
    printer = Printer(asked or ["**"], json=output.json, template=output.template, raw=output.raw)
    with connect(connecting.broker, connecting.user, wait=connecting.wait, timeout=connecting.wait) as client:
        rooms = [inboxes.of(client.user, pattern) for pattern in asked]
        printer.begin(client)
        printer.print_past(client.search(words, *rooms, last=last, user=sender, since=since))
        _tell_sealed(client, rooms)


def _tell_sealed(client: Client, rooms: list[str]) -> None:
    """What no broker can search."""
    from zchat.cli import exit_status
    from zchat.names import inbox, matcher

    is_asked = matcher(rooms or ["**", inbox(client.user)])
    if sealed := sorted(filter(is_asked, client.sealed_rooms)):
        shown = ", ".join([*sealed[:5], *(["..."] if len(sealed) > 5 else [])])
        exit_status.tell(f"not searched, as they are sealed: {shown}", f"zchat history {sealed[0]} --grep TEXT")
