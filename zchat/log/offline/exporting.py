"""A log as JSON lines.

Rules of this file
1. A line is a record, or a range of offsets that a room cannot give any more. Lines are in the order of the
   offsets; they are a stream.
2. Sessions and cursors are not in them.

    {"room":"general","offset":7,"user":"alice","session":"…","seq":3,"time":"2026-09-20T12:34:56.123456Z",
     "kind":"message","event":"message","headers":{},"body":"hi"}
    … "kind":"presence","event":"leave","body":"lost"}      a join or leave
    … "body_base64":"/w=="}                                 a body that is no UTF-8, in place of `body`
    {"gap":"trimmed","room":"general","first":1,"last":6,"time":"…"}   what was removed is not younger, where known
    {"gap":"purged","room":"general","first":1,"last":4,"time":"…"}    somebody had it removed; before what was trimmed
    {"gap":"trimmed","room":"general","first":8,"last":9}              joins and leaves, removed behind what stays
    {"gap":"damaged","room":"general","first":12,"last":14}

Tests: tests/log/offline/test_exporting.py.
"""

from __future__ import annotations

import time
from calendar import timegm
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import msgspec

from zchat import wire
from zchat.errors import WireError
from zchat.log.offline import salvage
from zchat.log.offline.salvage import Contents, Hole, HoleDetector, TellProgress
from zchat.log.sqlite import stored

KINDS = {wire.MESSAGES: "message", wire.PRESENCE: "presence"}


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
    body: str | msgspec.UnsetType = msgspec.UNSET
    body_base64: bytes | msgspec.UnsetType = msgspec.UNSET


class _GapObject(msgspec.Struct, omit_defaults=True):
    gap: str
    room: str
    first: int
    last: int
    time: str = ""


_encode = msgspec.json.Encoder().encode


def export(folder: Path, progress: TellProgress | None = None) -> Iterator[bytes]:
    """The lines of the log in that folder, without their newlines. `progress`: offset reached, last offset.

    What cannot be read is a gap in them. Raises StartError at the first line when the folder is in use or holds
    nothing that can be read; the folder is locked until the last line was taken, or the iterator closed.
    """
    with salvage.reading(folder) as contents:
        detector = HoleDetector(contents)
        for room in sorted(contents.rooms.values()):
            until = rfc3339(room.trimmed_time) if room.trimmed_time else ""
            if room.purged:
                yield _encode(_GapObject("purged", room.name, 1, room.purged, until))
            if room.trimmed > room.purged:
                yield _encode(_GapObject("trimmed", room.name, 1, room.trimmed, until))
        for row in salvage.sound_rows(contents, progress):
            if hole := detector.before(row):
                yield _gap_line(contents, hole)
            yield from _lines(contents.room(row.room).name, row)
        for hole in detector.after_all():
            yield _gap_line(contents, hole)


def _gap_line(contents: Contents, hole: Hole) -> bytes:
    room = contents.room(hole.room)
    if not hole.is_trimmed:
        return _encode(_GapObject("damaged", room.name, hole.first, hole.last))
    until = rfc3339(room.presence_time) if hole.last == room.presence_trimmed else ""
    return _encode(_GapObject("trimmed", room.name, hole.first, hole.last, until))


def _lines(room: str, row: stored.BatchRow) -> Iterator[bytes]:
    base, _, kind, records, micros, _, frame = row
    kind_name, when = KINDS.get(kind, str(kind)), rfc3339(micros)
    try:
        entries = wire.decode_batch(frame).entries
    except WireError:
        yield _encode(_GapObject("damaged", room, base, base + records - 1))
        return
    offset = base
    for entry in entries:
        for record in entry.records:
            yield _encode(_line(room, offset, entry, when, kind_name, record))
            offset += 1


def _line(room: str, offset: int, entry: wire.Entry, when: str, kind: str, record: wire.RecordOrBody) -> _Line:
    whole = wire.Record(record) if isinstance(record, bytes) else record
    headers = whole.headers or {}
    line = _Line(room, offset, entry.user, entry.session, entry.seq, when, kind, whole.event, headers)
    try:
        line.body = whole.body.decode()
    except UnicodeDecodeError:
        line.body_base64 = whole.body
    return line


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
    if not when.endswith("Z") or not when.isascii() or (dot and not (rest.isdecimal() and len(rest) <= 6)):
        raise ValueError(f'time "{when}" is not like 2026-09-20T12:34:56.123456Z')
    return _seconds(second) * 1_000_000 + int(rest.ljust(6, "0"))


@lru_cache(maxsize=1024)
def _seconds(second: str) -> int:
    return timegm(time.strptime(second, "%Y-%m-%dT%H:%M:%S"))
