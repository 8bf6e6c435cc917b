"""`zchat log`: looks after the data folder of a broker that is not running."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zchat.cli import ending, options
from zchat.cli.progress import Progress
from zchat.errors import UsageError

if TYPE_CHECKING:
    from zchat.log.offline import Finding


class Action(StrEnum):
    """What to do with the log."""

    check = "check"
    repair = "repair"
    export = "export"
    import_ = "import"


def _action(text: str) -> Action:
    """Typer's own text for a choice has tabs and newlines in it, which one line of an error shows as such."""
    try:
        return Action(text)
    except ValueError:
        raise typer.BadParameter(f'"{text}" is none of {", ".join(Action)}') from None


def log(
    action: Annotated[Action, typer.Argument(parser=_action, metavar="check|repair|export|import", help="What to do.")],
    data: options.Data = None,
    json: Annotated[bool, typer.Option("--json", help="check: print one JSON object for each finding.")] = False,
) -> None:
    """Check, repair, export or import the log of a broker that is not running.

    check says what is damaged, if anything is, and then ends with 1. repair then saves all that is sound
    into a new database, with the same offsets, and keeps the old one beside it. export prints every
    record as a line of JSON; import makes a new log of such lines from stdin.

    Examples:
      zchat log check
      zchat log repair --data /var/lib/zchat
      zchat log export > all.jsonl
      zchat log import --data /new/folder < all.jsonl
    """
    folder = options.data_folder(data)
    if json and action is not Action.check:
        raise UsageError("--json goes with check only; export prints JSON anyway")
    if action is Action.check:
        raise typer.Exit(_check(folder, json))
    if action is Action.repair:
        _repair(folder)
    elif action is Action.export:
        _export(folder)
    else:
        _import(folder)


def _check(folder: Path, json: bool) -> int:
    from zchat.cli import output
    from zchat.log import offline
    from zchat.printable import printable

    terminal = sys.stdout.isatty()

    def found(finding: Finding) -> None:
        facts = {
            "kind": finding.kind,
            "room": finding.room or None,
            "first": finding.first or None,
            "last": finding.last or None,
            "text": finding.text,
        }
        line = output.object_line(facts, terminal=terminal).decode() if json else printable(finding.text)
        sys.stdout.write(f"{line}\n")

    with Progress("checking") as progress:
        checked = offline.check(folder, found, progress)
    sys.stdout.flush()
    whole = output.counted(checked.records, "record")
    ending.tell(f"{checked.rooms} rooms, {whole}, head {checked.head}: {output.counted(checked.findings, 'finding')}")
    return 1 if checked.findings else 0


def _repair(folder: Path) -> None:
    from zchat.cli import output
    from zchat.log import offline

    with Progress("repairing") as progress:
        repaired = offline.repair(folder, progress)
    if repaired is None:
        ending.tell("nothing is damaged; the log stays as it is")
        return
    for room, first, last in repaired.gaps:
        ending.tell(f"lost in {room}: offsets {first} to {last}")
    if repaired.sessions_lost:
        ending.tell("lost: sessions; who was in a room may have no leave")
    if repaired.cursors_lost:
        ending.tell("lost: cursors")
    if not repaired.is_same:
        ending.tell("lost: the name of the log; to its clients it is a new one")
    saved = output.counted(repaired.records, "record")
    ending.tell(f"{saved} saved; the old database is {repaired.kept}")


def _export(folder: Path) -> None:
    from zchat.log import exporting

    write = sys.stdout.buffer.write
    with Progress("exporting") as progress:
        for line in exporting.export(folder, progress):
            write(line + b"\n")
    sys.stdout.buffer.flush()


def _import(folder: Path) -> None:
    from zchat.cli import output
    from zchat.log import importing

    with Progress("importing") as progress:
        imported = importing.import_lines(folder, sys.stdin.buffer, progress)
    if imported.times_raised:
        raised = output.counted(imported.times_raised, "record")
        ending.tell(f"the time of {raised} went back, and was set to that of the record before")
    records, rooms = output.counted(imported.records, "record"), output.counted(imported.rooms, "room")
    ending.tell(f"{records} of {rooms} imported into {folder}, log {imported.log_id}")
