"""`zchat purge`: what a room has is removed, for everybody."""

from __future__ import annotations

import re
import sys
from datetime import datetime
from typing import Annotated, Any

import typer

from zchat.cli import completion, exit_status, options
from zchat.cli.connecting import connect
from zchat.errors import UsageError


def limit(text: str) -> options.Place | datetime:
    """An offset, perhaps with its log, or a time."""
    if re.fullmatch(r"\d{1,8}|\d+@\w+", text.strip(), re.ASCII):
        return options.place(text)
    try:
        return options.moment(text)
    except typer.BadParameter:
        raise typer.BadParameter(f'"{text}" is no time or offset, such as 30d, 2026-09-20T12:00 or 41') from None


def purge(
    room: Annotated[str, typer.Argument(metavar="ROOM", help="A room, or @me.", autocompletion=completion.rooms)],
    before: Annotated[
        Any,
        typer.Option("--before", metavar="TIME|OFFSET", parser=limit, help="Only what is older; else all of it."),
    ] = None,
    broker: options.BrokerAddress = None,
    user: options.User = None,
    wait: options.Wait = options.WAIT_SECONDS,
) -> None:
    """Remove what a room has, for everybody.

    It cannot be undone. Listeners that are behind, and who reads history, are told of a gap; what listeners have
    printed, they have. Messages that were stored together go together: some that are older may stay.

    Examples:
      zchat purge build.try
      zchat purge ops --before 30d
      zchat purge ops --before 1041@0ca8f08933b5a3be
    """
    from zchat.cli import inboxes
    from zchat.names import room_name

    name, at = room_name(room), before
    if isinstance(at, options.Place) and at.offset <= 1:
        raise UsageError(f"--before {at.offset}: nothing is")
    with connect(broker, user, wait=wait, timeout=wait) as client:
        name = inboxes.of(client.user, name)
        if isinstance(at, options.Place):
            options.check_log(at, client.log_id)
            client.purge(name, upto=at.offset - 1)
        else:
            client.purge(name, before=at)
    if sys.stderr.isatty():
        exit_status.tell(f"{name} is being purged")
