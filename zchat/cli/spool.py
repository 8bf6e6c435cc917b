"""`zchat spool`: what `send --spool` keeps on disk, shown or sent."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from zchat.cli import exit_status, options
from zchat.errors import ZchatError


def spool(
    action: Annotated[str | None, typer.Argument(metavar="[flush]", help="Send all that waits.")] = None,
    wait: options.Wait = options.WAIT_SECONDS,
) -> None:
    """Show, or send, what send --spool keeps on disk.

    There is an outbox for each broker and user. What the broker refused for good, or may have and nobody can
    tell, is put aside: into a file, a message a line, with the reason.

    Examples:
      zchat spool
      zchat spool flush
    """
    if action not in (None, "flush"):
        raise typer.BadParameter(f'"{action}" is not flush')
    from zchat.cli import output, spooling
    from zchat.spool import spools

    found = spools(spooling.folder())
    if action is None:
        rows = [[one.address, one.user, str(one.waiting), str(one.aside or "-")] for one in found]
        sys.stdout.write(output.table(("BROKER", "USER", "WAITING", "PUT ASIDE"), rows))
        return
    status = 0
    for one in found:
        try:
            if one.waiting and spooling.flush(one, wait):
                status = status or 1
        except ZchatError as error:
            status = exit_status.tell(f"{one.waiting} wait for {one.address}: {error}", status=error.exit_status)
    raise typer.Exit(status)
