"""What `zchat log` does to the data folder of a broker, and what it says of it.

Tests: tests/cli/test_log.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zchat.cli import exit_status, streams
from zchat.cli.progress import ProgressLine

if TYPE_CHECKING:
    from zchat.log.offline.repairing import Finding


def check(folder: Path, json: bool) -> int:
    """Read everything, and print what is damaged; the status."""
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


def repair(folder: Path) -> None:
    """Save what is sound."""
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
    if repaired.groups_lost:
        exit_status.tell("lost: groups; the next member begins one anew")
    if repaired.scheduled_lost:
        exit_status.tell("lost: messages that were to be sent later")
    if not repaired.is_same:
        exit_status.tell("lost: the name of the log; to its clients it is a new one")
    saved = output.counted(repaired.records, "record")
    exit_status.tell(f"{saved} saved; the old database is {repaired.kept}")


def export(folder: Path) -> None:
    """Print every record."""
    from zchat.log.offline import exporting

    write = sys.stdout.buffer.write
    with ProgressLine("exporting") as progress:
        for line in exporting.export(folder, progress):
            write(line + b"\n")
    sys.stdout.buffer.flush()


def import_lines(folder: Path) -> None:
    """Make a log of lines on stdin."""
    from zchat.cli import output
    from zchat.log.offline import importing

    with ProgressLine("importing") as progress:
        imported = importing.import_lines(folder, streams.standard_input(), progress)
    if imported.times_raised:
        raised = output.counted(imported.times_raised, "record")
        exit_status.tell(f"the time of {raised} went back, and was set to that of the record before")
    records, rooms = output.counted(imported.records, "record"), output.counted(imported.rooms, "room")
    exit_status.tell(f"{records} of {rooms} imported into {folder}, log {imported.log_id}")


def backup(folder: Path, target: Path) -> None:
    """Copy it, also beside a broker that runs."""
    from zchat.cli import output
    from zchat.log.offline.backup import backup as copy_of

    with ProgressLine("copying") as progress:
        made = copy_of(folder, target, progress)
    records, rooms = output.counted(made.records, "record"), output.counted(made.rooms, "room")
    exit_status.tell(f"{records} of {rooms}, head {made.head}, log {made.log_id}: copied to {made.path}")


def usage(folder: Path, json: bool) -> None:
    """Tell what is kept, and of whom."""
    from zchat.cli import output
    from zchat.log.offline.usage import usage as usage_of

    used, terminal = usage_of(folder), sys.stdout.isatty()
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


def remove(folder: Path, what: tuple[list[str], ...], *, dry_run: bool) -> None:
    """Take away what was made by others."""
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
