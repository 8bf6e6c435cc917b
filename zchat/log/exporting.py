"""A log as JSON lines, and a log from them.

Rules of this file
1. A line is a record, or a range of offsets that a room cannot give any more. Lines are in the order of the
   offsets; both ways are streams.
2. What is imported is a new log, with an id of its own and the offsets, times and users of the old: exported
   again, it gives the same lines. Sessions and cursors are not in them; members stay without a leave.

    {"room":"general","offset":7,"user":"alice","session":"…","seq":3,"time":"2026-09-20T12:34:56.123456Z",
     "kind":"message","event":"message","headers":{},"content_type":"","body":"hi"}
    … "kind":"presence","event":"leave","body":"lost"}      a join or leave
    … "body_base64":"/w=="}                                 a body that is no UTF-8, in place of `body`
    {"gap":"trimmed","room":"general","first":1,"last":6,"time":"…"}   what was removed is not younger, where known
    {"gap":"damaged","room":"general","first":8,"last":9}

Tests: tests/log/test_exporting.py.
"""

from __future__ import annotations

import time
from calendar import timegm
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import msgspec

from zchat import wire
from zchat.errors import BadName, StartError, WireError
from zchat.log import salvage, schema
from zchat.log.building import Builder
from zchat.log.folder import Folder
from zchat.log.salvage import Chain, Contents, Progress
from zchat.log.state import RoomRow
from zchat.names import room_name, user_name

KINDS = {wire.MESSAGES: "message", wire.PRESENCE: "presence"}
BATCH_BYTES_MAX = 128 * 1024  # as a broker joins records into one batch
TOLD_LINES = 1_000


class _Line(msgspec.Struct):
    """A record; one of the bodies is there."""

    room: str
    offset: int
    user: str
    session: str
    seq: int
    time: str
    kind: str
    event: str
    headers: dict[str, str]
    content_type: str
    body: str | msgspec.UnsetType = msgspec.UNSET
    body_base64: bytes | msgspec.UnsetType = msgspec.UNSET


class _Gap(msgspec.Struct, omit_defaults=True):
    gap: str
    room: str
    first: int
    last: int
    time: str = ""


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
    content_type: str = ""
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


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Either).decode


# --- export -------------------------------------------------------------------------------------


def export(folder: Path, progress: Progress | None = None) -> Iterator[bytes]:
    """The lines of the log in that folder, without their newlines. `progress`: offset reached, last offset.

    What cannot be read is a gap in them. Raises StartError at the first line when the folder is in use or holds
    nothing that can be read; the folder is locked until the last line was taken, or the iterator closed.
    """
    with salvage.reading(folder) as connection:
        contents = Contents(connection)
        chain = Chain(contents)
        for room in sorted(contents.rooms.values()):
            if room.trimmed:
                until = rfc3339(room.trimmed_time) if room.trimmed_time else ""
                yield _encode(_Gap("trimmed", room.name, 1, room.trimmed, until))
        for row in salvage.sound_rows(connection, contents, progress):
            if hole := chain.before(row):
                yield _encode(_Gap("damaged", contents.room(hole.room).name, hole.first, hole.last))
            yield from _lines(contents.room(row[1]).name, row)
        for hole in chain.after_all():
            yield _encode(_Gap("damaged", contents.room(hole.room).name, hole.first, hole.last))


def _lines(room: str, row: schema.Row) -> Iterator[bytes]:
    base, _, kind, records, micros, _, frame = row
    kind_name, when = KINDS.get(kind, str(kind)), rfc3339(micros)
    try:
        entries = wire.decode_batch(frame).entries
    except WireError:
        yield _encode(_Gap("damaged", room, base, base + records - 1))
        return
    offset = base
    for entry in entries:
        for record in entry.records:
            yield _encode(_line(room, offset, entry, when, kind_name, record))
            offset += 1


def _line(room: str, offset: int, entry: wire.Entry, when: str, kind: str, record: wire.RecordOrBody) -> _Line:
    whole = wire.Record(record) if isinstance(record, bytes) else record
    headers = whole.headers or {}
    line = _Line(
        room, offset, entry.user, entry.session, entry.seq, when, kind, whole.event, headers, whole.content_type
    )
    try:
        line.body = whole.body.decode()
    except UnicodeDecodeError:
        line.body_base64 = whole.body
    return line


# --- import -------------------------------------------------------------------------------------


def import_lines(folder: Path, lines: Iterable[bytes], progress: Progress | None = None) -> Imported:
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
                    if line.strip():
                        importing.take(_decode(line))
                    if progress is not None and number % TOLD_LINES == 0:
                        progress(number, 0)
                importing.flush()
            except (ValueError, RecursionError, BadName, WireError) as error:
                raise WireError("bad-frame", f"line {number}: {error}") from error
            log_id = builder.log_id
            builder.finish()
        return Imported(log_id, len(importing.rooms), importing.records)
    finally:
        locked.close()


class _Import:
    """Joins records into batches: of one room, kind and time, offsets without a hole."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self.rooms: dict[str, int] = {}  # name -> id
        self._prevs: dict[int, int] = {}  # room -> last offset before the next batch, or of a gap before it
        self.records = 0
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
        if user_name(line.user) != line.user:
            raise ValueError(f'user "{line.user}" is not in its canonical form')
        key = (line.room, line.kind, line.time)
        publish = (line.user, line.session, line.seq)
        record = _record(line)
        if key != self._key or line.offset != self._offset + 1 or self._size > BATCH_BYTES_MAX:
            self.flush()
            self._key, self._base = key, line.offset
        if not self._entries or self._entries[-1][0] != publish:
            self._entries.append((publish, []))
        self._entries[-1][1].append(record)
        self._size += len(line.body) + len(line.body_base64) + len(line.event) + 16
        self._offset = line.offset
        self.records += 1

    def flush(self) -> None:
        """End the batch that is open."""
        if self._key is None:
            return
        name, kind_name, when = self._key
        kind = next((kind for kind, text in KINDS.items() if text == kind_name), None)
        if kind is None:
            raise ValueError(f'kind "{kind_name}" is none of {", ".join(KINDS.values())}')
        self._time = max(self._time, micros(when))
        room, count = self._room(name), self._offset - self._base + 1
        if self._base <= self._prevs.get(room, 0):
            raise ValueError(f"offset {self._base} of {name} lies in a gap")
        entries = [
            wire.RawEntry(*publish, wire.raw(wire.encode_records(records))) for publish, records in self._entries
        ]
        frame = wire.encode(wire.RawBatch(kind, self._base, self._prevs.get(room, 0), self._time, entries))
        crc = schema.checksum(self._base, room, kind, count, self._time, frame)
        self._builder.add((self._base, room, kind, count, self._time, crc, frame))
        self._prevs[room] = self._offset
        self._key, self._entries, self._size = None, [], 0

    def _gap(self, line: _Either) -> None:
        """The batch after it says by its link that something is missing, and so does the room's row."""
        if not 0 < line.first <= line.last:
            raise ValueError(f"a gap from {line.first} to {line.last}")
        room = self._room(line.room)
        if line.gap == "trimmed":
            until = micros(line.time) if line.time else 0
            self._builder.extend(room, line.last, trimmed=line.last, trimmed_time=until)
        elif line.gap == "damaged":
            self._builder.extend(room, line.last)
            self._builder.lost(room, self._prevs.get(room, 0) + 1, line.last)
        else:
            raise ValueError(f'a gap is "trimmed" or "damaged", not "{line.gap}"')
        self._prevs[room] = max(self._prevs.get(room, 0), line.last)

    def _room(self, name: str) -> int:
        room = self.rooms.get(name)
        if room is None:
            room = self.rooms[name] = len(self.rooms) + 1
            self._builder.room(RoomRow(room, name, 0, 0, 0, 0, 0))
        return room


def _record(line: _Either) -> wire.RecordOrBody:
    body = line.body_base64 or line.body.encode()
    if line.event == "message" and not line.headers and not line.content_type:
        return body
    return wire.Record(body, line.event, line.headers or None, line.content_type)


# --- times --------------------------------------------------------------------------------------


def rfc3339(microseconds: int) -> str:
    """`2026-09-20T12:34:56.123456Z`."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return f"{_second(seconds)}.{rest:06d}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def micros(when: str) -> int:
    """The microseconds since 1970 of what `rfc3339` gives. Raises ValueError."""
    second, dot, rest = when.removesuffix("Z").partition(".")
    if not when.endswith("Z") or (dot and not (rest.isdecimal() and len(rest) <= 6)):
        raise ValueError(f'time "{when}" is not like 2026-09-20T12:34:56.123456Z')
    return _seconds(second) * 1_000_000 + int(rest.ljust(6, "0"))


@lru_cache(maxsize=1024)
def _seconds(second: str) -> int:
    return timegm(time.strptime(second, "%Y-%m-%dT%H:%M:%S"))
