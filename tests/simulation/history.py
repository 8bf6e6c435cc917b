"""What happened in a run, as the checker reads it: who sent what, what the logs hold, what listeners got.

Rules of this file
1. It knows nothing of the simulator: scripts/torture.py writes the same histories of real processes.
2. Everything large is an iterable that is read once, so a history of millions of records can be a file.
3. A message is known by its writer and number; a writer's numbers count up from 1 without a gap.

`unknown` is an outcome too: the writer died or closed before it knew, and both are right then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from zlib import crc32

ACKED, REFUSED, UNKNOWN = "acked", "refused", "unknown"
MESSAGE, JOIN, LEAVE = "message", "join", "leave"


class Sent(NamedTuple):
    """One message as its writer knows it in the end."""

    writer: str
    number: int
    room: str
    body: int  # `digest` of its bytes
    outcome: str  # ACKED, REFUSED (for certain not stored), or UNKNOWN
    offset: int = 0  # of an acked one; 0: volatile
    volatile: bool = False


class Record(NamedTuple):
    """One record, in a log or at a listener."""

    room: str
    offset: int  # 0: volatile
    event: str  # MESSAGE, JOIN or LEAVE
    writer: str  # of a join or leave: the session
    number: int = 0  # of a message
    body: int = 0


class Gap(NamedTuple):
    """What cannot be had any more: of a log, or as a listener was told."""

    room: str
    first: int
    last: int


class Lost(NamedTuple):
    """So many volatile records of a room did not reach a listener, as it was told."""

    room: str
    records: int


class Volatile(NamedTuple):
    """A volatile record as it was broadcast."""

    broker: int  # which start of one
    writer: str
    number: int


class Begun(NamedTuple):
    """From here on a listener is owed what its log has above `after`; nothing up to `not_above` was asked for."""

    log: str
    after: int
    not_above: int = 0


class Continued(NamedTuple):
    """The log is a copy from here on, with the same records as far as the listener has got."""

    log: str


class Reached(NamedTuple):
    """A listener was told that it has everything up to here, so its cursor may go there."""

    offset: int


Item = Begun | Continued | Record | Gap | Lost | Reached


class Listening(NamedTuple):
    """What one listener got, in order. `complete`: it was there until the end, and has to have all."""

    name: str
    patterns: tuple[str, ...]
    presence: bool
    items: Iterable[Item]
    complete: bool


class Log(NamedTuple):
    """What one log holds in the end, in its order."""

    name: str
    records: Iterable[Record]
    gone: tuple[Gap, ...] = ()  # what it held once
    members: dict[str, set[str]] | None = None  # room -> sessions that are in it in the end, when that is known
    crowded: frozenset[str] = frozenset()  # rooms in which not every join was written


class History(NamedTuple):
    """One run. Read in this order."""

    sent: Iterable[Sent]
    logs: Iterable[Log]
    listeners: Iterable[Listening]
    volatile: Mapping[str, Sequence[Volatile]] = {}  # room -> its volatile records as they were broadcast, when known


def digest(body: bytes) -> int:
    """What bodies are compared by."""
    return crc32(body)
