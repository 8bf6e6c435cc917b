"""A log without its broker: whether it is whole, and what can be saved of it.

Rules of this file
1. Both functions lock the folder, so that no broker has it; StartError says who has, or what else is wrong.
2. `check` writes nothing. `repair` makes a new log where something is wrong, and keeps the old database beside it.
3. What is damaged is a finding, never an exception; what was lost before, and is known to be, is none.

    checked = check(folder, findings.append, progress)    checked.findings == 0: the log is whole
    repaired = repair(folder, progress)                   what is sound is in the new log, the rest a gap there

It has more than 300 lines because what is looked at is what can be saved. Tests: tests/log/offline/test_repairing.py.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from zchat import wire
from zchat.core.log import CursorRow
from zchat.errors import StartError, WireError
from zchat.log.offline import salvage
from zchat.log.offline.building import Builder
from zchat.log.offline.salvage import Contents, Hole, HoleDetector, TellProgress
from zchat.log.sqlite import schema, stored
from zchat.log.sqlite.scans import Span

_NUMBER = re.compile(r"\d+")
SQLITE_LINES_MAX = 100  # of what SQLite itself finds
MISPLACED_MAX = 100  # batches that the index does not have are told one by one
PLACES_MAX = 1_000  # of a hole that are told one by one
SPACE_KEPT_BYTES = 16 << 20  # beside what a repair writes


class Finding(NamedTuple):
    """Something that is not as it should be."""

    kind: str  # "database", "identity", "room", "head", "batch", "index", or of another table: "session", …
    text: str  # one line for people
    room: str = ""  # of a batch:
    first: int = 0  # the offsets that it is about
    last: int = 0


class Checked(NamedTuple):
    """What was looked at."""

    findings: int
    rooms: int
    batches: int  # that are sound
    records: int  # in them
    head: int


class Repaired(NamedTuple):
    """What a repair did."""

    batches: int  # that were saved
    records: int  # in them
    gaps: list[tuple[str, int, int]]  # (room, first, last): what could not be, and is read as a gap from now on
    sessions_lost: bool  # members of those sessions stay in their rooms without a leave
    cursors_lost: bool
    groups_lost: bool
    scheduled_lost: bool
    is_same: bool  # log id and secret could be read: to its clients it is the same log
    kept: Path  # the old database


# --- check --------------------------------------------------------------------------------------


def check(folder: Path, found: Callable[[Finding], object], progress: TellProgress | None = None) -> Checked:
    """Look at everything in the log of that folder, and call `found` with what is wrong.

    Raises StartError when the folder is in use or holds nothing that can be looked at.
    """
    with salvage.reading(folder) as contents:
        counts, findings = _Tally(), 0
        for finding in _findings(contents, counts, progress):
            findings += 1
            found(finding)
        return Checked(findings, len(contents.rooms), counts.batches, counts.records, contents.head)


def _findings(contents: Contents, counts: _Tally, progress: TellProgress | None) -> Iterator[Finding]:
    yield from _check_database(contents.connection)
    yield from _check_contents(contents)
    yield from _check_batches(contents, counts, progress)


class _Tally:
    """What was seen so far."""

    def __init__(self) -> None:
        self.batches = 0
        self.records = 0
        self.of_room: dict[int, tuple[int, int]] = {}  # room -> records, bytes

    def add(self, row: stored.BatchRow) -> None:
        self.batches += 1
        self.records += row.records
        records, size = self.of_room.get(row.room, (0, 0))
        self.of_room[row.room] = (records + row.records, size + len(row.frame))


def _check_database(connection: sqlite3.Connection) -> Iterator[Finding]:
    """The pages, as SQLite sees them."""
    try:
        lines = connection.execute(f"PRAGMA quick_check({SQLITE_LINES_MAX})").fetchall()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        lines = [(str(error),)]
    kinds: dict[str, list[str]] = {}  # lines that differ in their numbers only: of each page that nothing leads to …
    for line in [each.strip() for (text,) in lines for each in str(text).splitlines()]:
        if line and line != "ok" and not line.startswith("***"):
            kinds.setdefault(_NUMBER.sub("#", line), []).append(line)
    for first, *others in kinds.values():
        more = f" (and {len(others)} more such lines, or more)" if others else ""
        yield Finding("database", f"{first}{more}")


def _check_contents(contents: Contents) -> Iterator[Finding]:
    if contents.identity is None:
        yield Finding("identity", "the id and the secret of the log are not what was written")
    for name in contents.unsound:
        yield Finding("room", f"the row of {name} is not what was written", name)
    if contents.sessions_lost:
        yield Finding("session", "a row of the sessions is not what was written")
    if contents.cursors_lost:
        yield Finding("cursor", "a row of the cursors is not what was written")
    if contents.groups_lost:
        yield Finding("group", "a row of the groups is not what was written")
    if contents.scheduled_lost:
        yield Finding("scheduled", "a row of what is to be sent later is not what was written")
    if contents.starts_lost:
        yield Finding("start", "a row of the starts is not what was written")
    noted = contents.folder.head_noted(contents.identity.log_id) if contents.identity is not None else 0
    if noted > contents.head:
        yield Finding("head", f"the log ends at {contents.head}, and went up to {noted} when it was written last")


def _check_batches(contents: Contents, counts: _Tally, progress: TellProgress | None) -> Iterator[Finding]:
    scanner, detector = contents.scanner, HoleDetector(contents)
    end = micros_before = misplaced = 0
    has_holes = False
    for row in salvage.sound_rows(contents, progress):
        base, room, _, records, micros, _, _ = row
        name, last = contents.room(room).name, base + records - 1
        if hole := detector.before(row):
            has_holes = has_holes or not hole.is_trimmed
            yield from _holes(contents, hole)
        if scanner.places(room, base, base, 1) != [(base, last)]:
            misplaced += 1
            if misplaced <= MISPLACED_MAX:
                yield Finding("index", f"batch {base} of {name} has no place in the index", name, base, last)
        for why in _wrong_with(row, end, micros_before):
            yield Finding("batch", f"batch {base} of {name} {why}", name, base, last)
        end, micros_before = max(end, last), max(micros_before, micros)
        counts.add(row)
    for hole in detector.after_all():
        has_holes = has_holes or not hole.is_trimmed
        yield from _holes(contents, hole)
    if misplaced > MISPLACED_MAX:
        yield Finding("index", f"{misplaced - MISPLACED_MAX} more batches have no place in the index")
    if end > contents.head:
        yield Finding("room", f"there are batches up to {end}, and the rooms end at {contents.head}")
    for room, state in () if has_holes else contents.rooms.items():
        records, size = counts.of_room.get(room, (0, 0))
        if (records, size) != (state.records, state.bytes):
            text = f"{state.name} has {records} records, and its row says {state.records}"
            yield Finding("room", text, state.name)


def _wrong_with(row: stored.BatchRow, end: int, micros_before: int) -> Iterator[str]:
    """What is wrong with a sound row."""
    base, _, kind, records, micros, _, frame = row
    if base <= end or micros < micros_before:
        yield "is older than the one before it"
    try:
        batch = wire.decode_raw_batch(frame)
        count = sum(len(wire.decode_records(entry.records)) for entry in batch.entries)
    except WireError as error:
        yield f"is none: {error}"
        return
    try:
        for entry in batch.entries:
            wire.check_records(entry.records)
    except WireError as error:
        yield f"has what not every reader can read: {error}"
    if (batch.kind, batch.base, batch.time, count) != (kind, base, micros, records):
        yield "says of itself something else than its row"


def _holes(contents: Contents, hole: Hole) -> Iterator[Finding]:
    if not contents.is_new(hole):
        return
    name = contents.room(hole.room).name
    for first, last in _places(contents, hole):
        offsets = f"offset {first}" if first == last else f"offsets {first} to {last}"
        yield Finding("batch", f"{offsets} of {name} cannot be read", name, first, last)


def _places(contents: Contents, hole: Hole) -> list[Span]:
    """The batches that the index has there; else the whole of it."""
    return contents.scanner.places(hole.room, hole.first, hole.last, PLACES_MAX) or [Span(hole.first, hole.last)]


# --- repair -------------------------------------------------------------------------------------


def repair(folder: Path, progress: TellProgress | None = None) -> Repaired | None:
    """Make a new log of all that is sound, with the log id, secret, offsets, sessions, cursors and groups of before.

    The old database stays in the folder under another name. Nothing is done, and None returned, where nothing is
    wrong. Raises StartError, and then all is as it was.
    """
    path = folder / schema.FILE
    with salvage.reading(folder, graft=True) as contents:
        if not contents.is_grafted and next(_findings(contents, _Tally(), progress), None) is None:
            return None
        _refuse_without_space(path)
        with Builder(path, contents.identity) as builder:
            repaired = _save(contents, builder, progress)
            if not repaired.batches and not contents.identity:  # another program's, if anything
                raise StartError(f"nothing can be read of {path}")
            contents.connection.close()
            builder.finish(before=lambda: _set_aside(path, repaired.kept))
            contents.folder.note(builder.log_id, contents.head)
            return repaired


def _save(contents: Contents, builder: Builder, progress: TellProgress | None) -> Repaired:
    detector, path = HoleDetector(contents), contents.path
    holes: list[Hole] = []
    batches = records = 0
    for room in contents.rooms.values():
        builder.room(room._replace(records=0, bytes=0, presence=0, presence_bytes=0))
    for row in _readable_rows(contents, progress):
        if not builder.knows(row.room):
            builder.room(contents.room(row.room))
        if hole := detector.before(row):
            holes.append(hole)
        builder.add(row)
        batches += 1
        records += row.records
    holes += detector.after_all()
    gaps = []
    for hole in holes:
        if hole.is_trimmed:
            continue
        builder.lost(hole.room, hole.first, hole.last)
        if contents.is_new(hole):
            gaps += [(contents.room(hole.room).name, *at) for at in _places(contents, hole)]
    builder.sessions(contents.sessions)
    builder.cursors(CursorRow(row.user, row.name, row.offset, row.time) for row in contents.cursors)
    builder.groups(contents.groups)
    builder.scheduled(contents.scheduled)
    builder.seen(contents.seen)
    builder.starts(contents.starts)
    return Repaired(
        batches,
        records,
        gaps,
        contents.sessions_lost,
        contents.cursors_lost,
        contents.groups_lost,
        contents.scheduled_lost,
        contents.identity is not None,
        path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}"),
    )


def _readable_rows(contents: Contents, progress: TellProgress | None) -> Iterator[stored.BatchRow]:
    """The sound rows, with records that every reader can read. What is no batch is left out: a hole is found there."""
    for row in salvage.sound_rows(contents, progress):
        try:
            frame = wire.mended(row.frame)
        except WireError:
            continue
        if frame == row.frame:
            yield row
        else:
            yield stored.BatchRow.sealed(row.base, row.room, row.kind, row.records, row.time, frame)


def _refuse_without_space(path: Path) -> None:
    disk = os.statvfs(path.parent)
    needed = path.stat().st_size + SPACE_KEPT_BYTES
    if disk.f_bavail * disk.f_frsize < needed:
        raise StartError(f"a repair needs {needed >> 20} MB of free space on the disk of {path.parent}")


def _set_aside(path: Path, kept: Path) -> None:
    """Give the old database, and what is in its WAL, another name: a WAL is never read with another database."""
    try:
        os.link(path, kept)
    except OSError:  # a file system without links
        shutil.copy2(path, kept)
    wal = path.with_name(f"{path.name}-wal")
    if wal.exists() and wal.stat().st_size:
        wal.rename(kept.with_name(f"{kept.name}-wal"))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
