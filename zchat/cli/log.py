"""`zchat log`: looks after the data folder of a broker; all but a backup needs one that is not running."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from zchat.cli import log_actions, options, paths
from zchat.errors import UsageError


class LogAction(StrEnum):
    """What to do with the log."""

    check = "check"
    repair = "repair"
    export = "export"
    import_ = "import"
    backup = "backup"
    usage = "usage"
    remove = "remove"


def log(
    action: Annotated[LogAction, options.action(LogAction)],
    target: Annotated[
        Path | None,
        paths.argument(
            metavar="[TARGET]",
            help="backup: the file to make, or the folder to make it in.",
        ),
    ] = None,
    data: options.Data = None,
    json: Annotated[bool, typer.Option("--json", help="check: an object for each finding; usage: one object.")] = False,
    rooms: Annotated[
        list[str] | None, typer.Option("--rooms", metavar="PATTERN", help="remove: rooms that match, with all in them.")
    ] = None,
    sessions_of: Annotated[
        list[str] | None,
        typer.Option("--sessions-of", metavar="USER", help="remove: sessions that are in no room. * is any text."),
    ] = None,
    cursors_of: Annotated[
        list[str] | None, typer.Option("--cursors-of", metavar="USER", help="remove: cursors. * is any text.")
    ] = None,
    seen: Annotated[
        list[str] | None, typer.Option("--seen", metavar="USER", help="remove: users who have gone. * is any text.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="remove: only say what would go.")] = False,
) -> None:
    """Check, repair, export, import, back up or clear the log of a broker.

    check says what is damaged, if anything is, and then ends with 1. repair then saves all that is sound
    into a new database, with the same offsets, and keeps the old one beside it. export prints every
    record as a line of JSON; import makes a new log of such lines from stdin. usage says what is kept of
    whom, and remove removes it. Only backup may be called while the broker runs.

    Examples:
      zchat log check
      zchat log repair --data /var/lib/zchat
      zchat log export > all.jsonl
      zchat log import --data /new/folder < all.jsonl
      zchat log backup /backups/monday.db
      zchat log usage
      zchat log remove --rooms 'spam.**' --sessions-of 'mallory*' --dry-run
    """
    what = (rooms or [], sessions_of or [], cursors_of or [], seen or [])
    _refuse_strangers(action, target, json=json, removes=any(what), dry_run=dry_run)
    folder = options.data_folder(data)
    if action is LogAction.check:
        raise typer.Exit(log_actions.check(folder, json))
    if action is LogAction.repair:
        log_actions.repair(folder)
    elif action is LogAction.export:
        log_actions.export(folder)
    elif action is LogAction.import_:
        log_actions.import_lines(folder)
    elif action is LogAction.usage:
        log_actions.usage(folder, json)
    elif action is LogAction.remove:
        log_actions.remove(folder, what, dry_run=dry_run)
    elif target is not None:
        log_actions.backup(folder, target)


def _refuse_strangers(action: LogAction, target: Path | None, *, json: bool, removes: bool, dry_run: bool) -> None:
    """Options of another action."""
    if json and action not in (LogAction.check, LogAction.usage):
        raise UsageError("--json goes with check and usage only; export prints JSON anyway")
    if (target is not None) != (action is LogAction.backup):
        raise UsageError("backup needs a TARGET" if target is None else f"{action} takes no TARGET")
    if action is LogAction.remove and not removes:
        raise UsageError("remove needs --rooms, --sessions-of, --cursors-of or --seen")
    if action is not LogAction.remove and (removes or dry_run):
        raise UsageError("--rooms, --sessions-of, --cursors-of, --seen and --dry-run go with remove only")
