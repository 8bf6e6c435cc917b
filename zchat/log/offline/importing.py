"""A log made of JSON lines, as `exporting.py` writes them.

Rules of this file
1. What is imported is a new log, with an id of its own and the offsets, times and users of the old: exported
   again, it gives the same lines. Sessions and cursors are not in them; members stay without a leave.
2. Times never go back in a log: of a line whose time does, the time is that of the line before, and that is told.
3. Lines are a stream. One that makes no sense, or that no broker would have written, is told with its number, and
   then there is no log.

Tests: tests/log/offline/test_importing.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from zchat import wire
from zchat.errors import BadName, StartError, WireError
from zchat.log.offline.building import Builder
from zchat.log.offline.exporting import KINDS, micros
from zchat.log.offline.salvage import TellProgress
from zchat.log.sqlite import schema, stored
from zchat.log.sqlite.folder import Folder
from zchat.log.sqlite.state import RoomRow
from zchat.names import room_name, user_name

BATCH_BYTES_MAX = 128 * 1024  # as a broker joins records into one batch
IMPORTED_OFFSET_MAX = wire.OFFSET_MAX // 2  # the other half is left for what comes later
TIME_END = micros("2255-01-01T00:00:00Z")  # in that year microseconds pass OFFSET_MAX
SESSION_BYTES_MAX = 64  # a broker's have 16
EVENTS = ("join", "leave")  # of presence, and of nothing else
TOLD_LINES = 1_000
BOM = b"\xef\xbb\xbf"  # what some editors and shells begin a file with


class _Either(msgspec.Struct):
    """Any line of an import: what may be missing is."""

    room: str
    offset: wire.Natural = 0
    user: str = ""
    session: str = ""
    seq: wire.Natural = 0
    time: str = ""
    kind: str = "message"
    event: str = "message"
    headers: dict[str, str] | None = None
    body: str = ""
    body_base64: bytes = b""
    gap: str = ""
    first: wire.Natural = 0
    last: wire.Natural = 0


class Imported(NamedTuple):
    """What an import made."""

    log_id: str
    rooms: int
    records: int
    times_raised: int  # records whose time went back: it is that of the one before


_decode = msgspec.json.Decoder(_Either).decode


def import_lines(folder: Path, lines: Iterable[bytes], progress: TellProgress | None = None) -> Imported:
    """Make a log of the lines of an export in that folder, which must hold none. `progress`: lines taken, 0.

    Raises WireError for a line that is none, with its number, or StartError; then the folder holds no log.
    """
    path = folder / schema.FILE
    locked = Folder(folder)
    try:
        if path.exists():
            raise StartError(f"the folder {folder} holds a log already: import into another one")
        with Builder(path) as builder:
            importing = _Import(builder)
            number = 0
            try:
                for number, line in enumerate(lines, 1):
                    if number == 1:
                        line = line.removeprefix(BOM)
                    if line.strip():
                        importing.take(_decode(line))
                    if progress is not None and number % TOLD_LINES == 0:
                        progress(number, 0)
                importing.flush()
            except (ValueError, RecursionError, BadName, WireError) as error:
                raise WireError("bad-frame", f"line {number}: {error}") from error
            log_id = builder.log_id
            builder.finish()
        return Imported(log_id, len(importing.rooms), importing.records, importing.times_raised)
    finally:
        locked.close()


class _Import:
    """Joins records into batches: of one room, kind and time, offsets without a hole."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self.rooms: dict[str, int] = {}  # name -> id
        self._prevs: dict[int, int] = {}  # room -> last offset before the next batch, or of a gap before it;
        self._prev_messages: dict[int, int] = {}  # and of a message or gap
        self.records = self.times_raised = 0
        self._offset = 0  # of the last record
        self._time = 0
        self._key: tuple[str, str, str] | None = None  # room, kind, time of the batch that is open
        self._base = 0
        self._size = 0
        self._entries: list[tuple[tuple[str, str, int], list[wire.RecordOrBody]]] = []

    def take(self, line: _Either) -> None:
        """The next line. Raises ValueError, BadName or WireError."""
        if room_name(line.room) != line.room:
            raise ValueError(f'room "{line.room}" is not in its canonical form')
        if line.gap:
            self.flush()
            self._gap(line)
            return
        if line.offset <= self._offset:
            raise ValueError(f"offset {line.offset} is not above {self._offset}, the one before")
        _refuse_high(line.offset)
        if user_name(line.user) != line.user:
            raise ValueError(f'user "{line.user}" is not in its canonical form')
        key = (line.room, line.kind, line.time)
        publish = (line.user, line.session, line.seq)
        record, size = _record(line)
        is_next = key == self._key and line.offset == self._offset + 1
        if not is_next or self._size + size > BATCH_BYTES_MAX:
            _check_key(line)
            self.flush()
            self._key, self._base = key, line.offset
            self._check_place(line)
        entries = self._entries
        if not entries or entries[-1][0] != publish or len(entries[-1][1]) == wire.PUBLISH_RECORDS_MAX:
            entries.append((publish, []))
        self._entries[-1][1].append(record)
        self._size += size
        self._offset = line.offset
        self.records += 1

    def flush(self) -> None:
        """End the batch that is open."""
        if self._key is None:
            return
        name, kind_name, when = self._key
        kind = next(kind for kind, text in KINDS.items() if text == kind_name)
        room, count, time = self._room(name), self._offset - self._base + 1, micros(when)
        if time < self._time:
            self.times_raised += count
        self._time = max(self._time, time)
        entries = [
            wire.RawEntry(*publish, wire.raw(wire.encode_records(records))) for publish, records in self._entries
        ]
        prev_message = self._prev_messages.get(room, 0) if kind == wire.MESSAGES else None
        batch = wire.RawBatch(kind, self._base, self._prevs.get(room, 0), self._time, entries, prev_message)
        frame = wire.encode(batch)
        self._builder.add(stored.BatchRow.sealed(self._base, room, kind, count, self._time, frame))
        self._prevs[room] = self._offset
        if kind == wire.MESSAGES:
            self._prev_messages[room] = self._offset
        self._key, self._entries, self._size = None, [], 0

    def _check_place(self, line: _Either) -> None:
        if line.offset <= self._prevs.get(self.rooms.get(line.room, 0), 0):
            raise ValueError(f"offset {line.offset} of {line.room} lies in a gap")

    def _gap(self, line: _Either) -> None:
        """The batch after it says by its `prev` that something is missing, and so does the room's row."""
        if not 0 < line.first <= line.last:
            raise ValueError(f"a gap from {line.first} to {line.last}")
        _refuse_high(line.last)
        room = self._room(line.room)
        if line.gap == "purged" and line.first != 1:
            raise ValueError("a room is purged from its beginning")
        if line.gap in ("trimmed", "purged"):
            until = _time(line.time) if line.time else 0
            if line.first == 1:
                purged = line.last if line.gap == "purged" else 0
                self._builder.extend(room, line.last, trimmed=line.last, trimmed_time=until, purged=purged)
            else:
                self._builder.thinned(room, line.last, until)
        elif line.gap == "damaged":
            self._builder.extend(room, line.last)
            self._builder.lost(room, self._prevs.get(room, 0) + 1, line.last)
        else:
            raise ValueError(f'a gap is "trimmed", "purged" or "damaged", not "{line.gap}"')
        self._prevs[room] = max(self._prevs.get(room, 0), line.last)
        if line.gap == "damaged" or line.first == 1:  # else it is of joins and leaves alone
            self._prev_messages[room] = max(self._prev_messages.get(room, 0), line.last)

    def _room(self, name: str) -> int:
        room = self.rooms.get(name)
        if room is None:
            room = self.rooms[name] = len(self.rooms) + 1
            self._builder.room(RoomRow(room, name, 0, 0, 0, 0, 0))
        return room


def _refuse_high(offset: int) -> None:
    if offset > IMPORTED_OFFSET_MAX:
        raise ValueError(f"offset {offset} is above {IMPORTED_OFFSET_MAX}: none would be left for what comes later")


def _check_key(line: _Either) -> None:
    """What the lines of a batch have in common."""
    if line.kind not in KINDS.values():
        raise ValueError(f'kind "{line.kind}" is none of {", ".join(KINDS.values())}')
    _time(line.time)


def _time(text: str) -> int:
    time = micros(text)
    if not 0 <= time < TIME_END:
        raise ValueError(f'time "{text}" is not between 1970 and 2254')
    return time


def _record(line: _Either) -> tuple[wire.RecordOrBody, int]:
    """The record of a line, and about its size. Raises ValueError for what a broker refuses."""
    if line.body and line.body_base64:
        raise ValueError("a record has one body: body or body_base64")
    if len(line.session) > SESSION_BYTES_MAX:
        raise ValueError(f"session has {len(line.session)} characters, limit {SESSION_BYTES_MAX}")
    if (line.event in EVENTS) != (line.kind == KINDS[wire.PRESENCE]):
        raise ValueError(f'event "{line.event}" is not one of kind "{line.kind}"')
    body = line.body_base64 or line.body.encode()
    if len(body) > wire.RECORD_BYTES_MAX:
        raise ValueError(f"record is {len(body)} bytes, limit {wire.RECORD_BYTES_MAX}")
    if line.event == "message" and not line.headers:
        return body, len(body) + 16
    record = wire.Record(body, line.event, line.headers or None)
    size = len(wire.encode_records([record]))
    if size > wire.PUBLISH_BYTES_MAX:
        raise ValueError(f"record is {size} bytes with its headers, limit {wire.PUBLISH_BYTES_MAX}")
    return record, size
