"""`zchat log`: looks after the data folder of a broker; all but a backup needs one that is not running."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zchat.cli import completion, exit_status, options, streams
from zchat.cli.progress import ProgressLine
from zchat.errors import UsageError

if TYPE_CHECKING:
    from zchat.log.offline.repairing import Finding


class Action(StrEnum):
    """What to do with the log."""

    check = "check"
    repair = "repair"
    export = "export"
    import_ = "import"
    backup = "backup"
    usage = "usage"
    remove = "remove"


def _action(text: str) -> Action:
    """Typer's own text for a choice has tabs and newlines in it, which one line of an error shows as such."""
    try:
        return Action(text)
    except ValueError:
        raise typer.BadParameter(f'"{text}" is none of {", ".join(Action)}') from None


def log(
    action: Annotated[
        Action,
        typer.Argument(
            parser=_action,
            autocompletion=lambda: list(Action),
            metavar="check|repair|export|import|backup|usage|remove",
            help="What to do.",
        ),
    ],
    target: Annotated[
        Path | None,
        typer.Argument(
            metavar="[TARGET]",
            help="backup: the file to make, or the folder to make it in.",
            autocompletion=completion.path,
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
    if action is Action.check:
        raise typer.Exit(_check(folder, json))
    if action is Action.repair:
        _repair(folder)
    elif action is Action.export:
        _export(folder)
    elif action is Action.import_:
        _import(folder)
    elif action is Action.usage:
        _usage(folder, json)
    elif action is Action.remove:
        _remove(folder, what, dry_run=dry_run)
    elif target is not None:
        _backup(folder, target)


def _refuse_strangers(action: Action, target: Path | None, *, json: bool, removes: bool, dry_run: bool) -> None:
    """Options of another action."""
    if json and action not in (Action.check, Action.usage):
        raise UsageError("--json goes with check and usage only; export prints JSON anyway")
    if (target is not None) != (action is Action.backup):
        raise UsageError("backup needs a TARGET" if target is None else f"{action} takes no TARGET")
    if action is Action.remove and not removes:
        raise UsageError("remove needs --rooms, --sessions-of, --cursors-of or --seen")
    if action is not Action.remove and (removes or dry_run):
        raise UsageError("--rooms, --sessions-of, --cursors-of, --seen and --dry-run go with remove only")


def _check(folder: Path, json: bool) -> int:
    from zchat.cli import output
    from zchat.log.offline import repairing
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

    with ProgressLine("checking") as progress:
        checked = repairing.check(folder, found, progress)
    sys.stdout.flush()
    whole = output.counted(checked.records, "record")
    exit_status.tell(
        f"{checked.rooms} rooms, {whole}, head {checked.head}: {output.counted(checked.findings, 'finding')}"
    )
    return 1 if checked.findings else 0


def _repair(folder: Path) -> None:
    from zchat.cli import output
    from zchat.log.offline import repairing

    with ProgressLine("repairing") as progress:
        repaired = repairing.repair(folder, progress)
    if repaired is None:
        exit_status.tell("nothing is damaged; the log stays as it is")
        return
    for room, first, last in repaired.gaps:
        exit_status.tell(f"lost in {room}: offsets {first} to {last}")
    if repaired.sessions_lost:
        exit_status.tell("lost: sessions; who was in a room may have no leave")
    if repaired.cursors_lost:
        exit_status.tell("lost: cursors")
    if not repaired.is_same:
        exit_status.tell("lost: the name of the log; to its clients it is a new one")
    saved = output.counted(repaired.records, "record")
    exit_status.tell(f"{saved} saved; the old database is {repaired.kept}")


def _export(folder: Path) -> None:
    from zchat.log.offline import exporting

    write = sys.stdout.buffer.write
    with ProgressLine("exporting") as progress:
        for line in exporting.export(folder, progress):
            write(line + b"\n")
    sys.stdout.buffer.flush()


def _import(folder: Path) -> None:
    from zchat.cli import output
    from zchat.log.offline import importing

    with ProgressLine("importing") as progress:
        imported = importing.import_lines(folder, streams.standard_input(), progress)
    if imported.times_raised:
        raised = output.counted(imported.times_raised, "record")
        exit_status.tell(f"the time of {raised} went back, and was set to that of the record before")
    records, rooms = output.counted(imported.records, "record"), output.counted(imported.rooms, "room")
    exit_status.tell(f"{records} of {rooms} imported into {folder}, log {imported.log_id}")


def _backup(folder: Path, target: Path) -> None:
    from zchat.cli import output
    from zchat.log.offline import backup

    with ProgressLine("copying") as progress:
        made = backup.backup(folder, target, progress)
    records, rooms = output.counted(made.records, "record"), output.counted(made.rooms, "room")
    exit_status.tell(f"{records} of {rooms}, head {made.head}, log {made.log_id}: copied to {made.path}")


def _usage(folder: Path, json: bool) -> None:
    from zchat.cli import output
    from zchat.log.offline import usage

    used, terminal = usage.usage(folder), sys.stdout.isatty()
    rooms = (("largest_rooms", used.largest_rooms), ("newest_rooms", used.newest_rooms))
    users = (("sessions_of", used.sessions_of), ("cursors_of", used.cursors_of))
    if json:
        facts: dict[str, Any] = used._asdict()
        facts |= {
            name: [room._asdict() | {"time": output.rfc3339(room.time)} for room in found] for name, found in rooms
        }
        facts |= {name: [{"user": user, "count": count} for user, count in found] for name, found in users}
        sys.stdout.write(f"{output.object_line(facts, terminal=terminal).decode()}\n")
        return
    counted = output.counted
    lines = [
        f"{counted(used.rooms, 'room')}, {counted(used.records, 'record')}, {used.bytes} bytes",
        f"{counted(used.sessions, 'session')}, {counted(used.cursors, 'cursor')}",
        f"{counted(used.users_seen, 'user')} who have gone",
    ]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    for name, found in rooms:
        rows = [[room.room, str(room.records), str(room.bytes), output.local_time(room.time)] for room in found]
        _list(name, ("ROOM", "RECORDS", "BYTES", "NEWEST"), rows)
    for name, counts in users:
        _list(name, ("USER", "COUNT"), [[user, str(count)] for user, count in counts])


def _list(name: str, heads: tuple[str, ...], rows: list[list[str]]) -> None:
    from zchat.cli import output

    if rows:
        sys.stdout.write(f"\n{name.replace('_', ' ')}:\n{output.table(heads, rows)}")


def _remove(folder: Path, what: tuple[list[str], ...], *, dry_run: bool) -> None:
    from zchat.cli import output
    from zchat.log.offline import removing
    from zchat.names import pattern_name

    rooms, sessions_of, cursors_of, seen = what
    wanted = removing.What([pattern_name(room) for room in rooms], sessions_of, cursors_of, seen)
    with ProgressLine("removing") as progress:
        removed = removing.remove(folder, wanted, dry_run=dry_run, progress=progress)
    counts = [
        f"{output.counted(removed.rooms, 'room')} with {output.counted(removed.records, 'record')}",
        output.counted(removed.sessions, "session"),
        output.counted(removed.cursors, "cursor"),
        f"{output.counted(removed.seen, 'user')} who have gone",
    ]
    exit_status.tell(f"{', '.join(counts)} {'would be removed' if dry_run else 'removed'}")
    if removed.members:
        members = output.counted(removed.members, "session")
        exit_status.tell(f"{members} of them in rooms: the next broker writes their leaves, then they can be removed")
