"""What a listener gets: one record of a room as a program sees it.

Rules of this file: records become messages here and nowhere else, many at a time, in C where a batch is plain.
Tests: tests/test_message.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from types import MappingProxyType
from typing import ClassVar, NamedTuple, Protocol, TypeAlias

import msgspec

from zchat import wire
from zchat.errors import UsageError
from zchat.expiry import has_expired
from zchat.wire.records import SEALED_EVENT

Opens: TypeAlias = "Callable[[str, str, wire.Record], wire.Record | str]"
"""Opens a record with the event `sealed` that this user sent to this room; or says what is to be shown in its place."""

NOT_OPENED = "sealed message"  # is shown of it where nothing opens any
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_BODIES = list[bytes]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message, or with event `join` or `leave` somebody coming or going (then `body` is a leave's reason).

    With event `sealed` it is of a sealed room and could not be opened; then `body` says why.
    """

    sealed: ClassVar[bool] = False  # it came sealed, and was opened: who wrote it had the room's key

    room: str
    offset: int  # its place in the broker's log; 0 for a volatile message
    user: str  # who wrote it
    time: int  # when the broker took it: microseconds since 1970, UTC
    event: str
    body: bytes
    headers: Mapping[str, str]
    session: str  # which session of the user wrote it

    def ack(self) -> None:
        """It is done, for its group. Raises UsageError for a message of no group, Closed."""
        raise UsageError("a message of no group has nobody to ack it to")

    def nack(self, delay: float = 0.0) -> None:
        """It is to be handed out again, to anybody, after `delay` seconds. Raises UsageError, Closed."""
        raise UsageError("a message of no group has nobody to be handed to again")

    @property
    def text(self) -> str:
        """The body as text; what is not UTF-8 is replaced."""
        return self.body.decode(errors="replace")

    @property
    def when(self) -> datetime:
        """The time as an aware datetime in UTC."""
        return _EPOCH + timedelta(microseconds=self.time)


class Settles(Protocol):
    """Who takes what became of a job."""

    def settle(self, job: Job, delay: float | None) -> None:
        """It is done (None), or is to be handed out again."""


class Job(Message, frozen=True, gc=True):
    """A message of a group, which one member of it alone was handed."""

    deliveries: int  # how often it was handed out, this time too
    _log: int  # of which log, counted
    _settles: Settles

    def ack(self) -> None:
        """It is done. To say it again changes nothing. Raises Closed."""
        self._settles.settle(self, None)

    def nack(self, delay: float = 0.0) -> None:
        """It is to be handed out again, to anybody, after `delay` seconds. Raises UsageError, Closed."""
        self._settles.settle(self, delay)

    def __repr__(self) -> str:
        """As any message's."""
        shown = [f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name[0] != "_"]
        return f"{type(self).__name__}({', '.join(shown)})"


class OpenedMessage(Message, frozen=True, gc=False):
    """A message that came sealed, and was opened. A class of its own: a field would make each message larger."""

    sealed: ClassVar[bool] = True


class OpenedJob(Job, frozen=True, gc=True):
    """The same of a message of a group."""

    sealed: ClassVar[bool] = True


_OPENED: dict[Callable[..., Message], Callable[..., Message]] = {Message: OpenedMessage, Job: OpenedJob}


class RoomState(NamedTuple):
    """A room with its last message, as `rooms` tells it that is asked for it."""

    name: str
    last: int  # offset of its last record, 0 for none
    members: int
    message: Message | None  # None: it has none, or none that is kept


def states_of(rooms: Iterable[wire.Room], lasts: Iterable[Message]) -> list[RoomState]:
    """Rooms, each with the message of it among `lasts`; one that came since the rooms were listed tells of its own."""
    of = {message.room: message for message in lasts}
    return [RoomState(room.name, room.last, room.members, of.get(room.name)) for room in rooms]


def alive(found: Iterable[Message], now: int) -> list[Message]:
    """Those that have not expired: `now` is what the broker's clock says."""
    return [message for message in found if not has_expired(message.headers, message.time, now)]


def message_of(room: str, told: wire.Called | wire.Replied, opens: Opens | None = None) -> Message:
    """What a server is asked, or says. Raises WireError."""
    record = wire.decode_record(told.record)
    known = wire.Record(record) if isinstance(record, bytes) else record
    return _of_record(Message, room, 0, told.user, told.time, known, told.session, opens)


def messages(
    room: str,
    batch: wire.Batch,
    first: int,
    without_session: str = "",
    *,
    last: int = 0,
    now: int = 0,
    opens: Opens | None = None,
) -> Iterator[Message]:
    """The messages of a batch from offset `first` on, leaving out those of one session; up to `last`, if that is not 0.

    `now` is what the broker's clock says: what has expired is left out, too. With 0 nothing has. `opens` opens what is
    sealed.
    """
    entries = _entries(room, batch, first, without_session, last, now, opens)
    return entries[0] if len(entries) == 1 else chain.from_iterable(entries)  # a generator would be resumed for each


def jobs(
    room: str,
    batch: wire.Batch,
    deliveries: int,
    log: int,
    settles: Settles,
    *,
    now: int = 0,
    opens: Opens | None = None,
) -> Iterator[Message]:
    """The messages of a batch for a member of a group; `now` and `opens` as above."""
    base, of, more = batch.base, [], (deliveries, log, settles)
    for entry in batch.entries:
        offsets = range(base, base + len(entry.records))
        of.append(_of_entry(room, batch.time, entry, entry.records, iter(offsets), now, opens, Job, *more))
        base += len(entry.records)
    return chain.from_iterable(of)


def _entries(
    room: str, batch: wire.Batch, first: int, without_session: str, last: int, now: int, opens: Opens | None
) -> list[Iterator[Message]]:
    of: list[Iterator[Message]] = []
    volatile = batch.kind == wire.VOLATILE_MESSAGES
    offset = batch.base
    for entry in batch.entries:
        records = entry.records
        count = len(records)
        begin, offset = offset, offset + count
        if entry.session == without_session:
            continue
        if begin < first and not volatile:
            if offset <= first:
                continue
            records = records[first - begin :]
            begin = first
        if 0 < last < offset - 1 and not volatile:
            records = records[: max(0, last + 1 - begin)]
        offsets = repeat(0) if volatile else iter(range(begin, offset))
        of.append(_of_entry(room, batch.time, entry, records, offsets, now, opens))
    return of


def _of_entry(
    room: str,
    time: int,
    entry: wire.Entry,
    records: list[wire.RecordOrBody],
    offsets: Iterator[int],
    now: int,
    opens: Opens | None,
    kind: Callable[..., Message] = Message,
    *more: object,
) -> Iterator[Message]:
    user, session = entry.user, entry.session
    if type(entry) is wire.BodyEntry or _are_bodies(records):  # nearly always: no Python code per record
        return map(
            kind,
            repeat(room),
            offsets,
            repeat(user),
            repeat(time),
            repeat("message"),
            records,
            repeat(NO_HEADERS),
            repeat(session),
            *map(repeat, more),
        )
    return (
        kind(room, offset, user, time, "message", record, NO_HEADERS, session, *more)
        if isinstance(record, bytes)
        else _of_record(kind, room, offset, user, time, record, session, opens, *more)
        for record, offset in zip(records, offsets, strict=False)
        if isinstance(record, bytes) or not record.headers or not now or not has_expired(record.headers, time, now)
    )


def _are_bodies(records: list[wire.RecordOrBody]) -> bool:
    """Whether no record of this entry is more than a body, though another entry's may be. No Python code per record."""
    try:
        msgspec.convert(records, _BODIES)
    except msgspec.ValidationError:
        return False
    return True


def _of_record(
    kind: Callable[..., Message],
    room: str,
    offset: int,
    user: str,
    time: int,
    record: wire.Record,
    session: str,
    opens: Opens | None,
    *more: object,
) -> Message:
    if record.event != SEALED_EVENT:
        return kind(room, offset, user, time, record.event, record.body, record.headers or NO_HEADERS, session, *more)
    opened = opens(room, user, record) if opens is not None else NOT_OPENED
    if isinstance(opened, str):  # what it is, in the place of what nobody could read
        return kind(room, offset, user, time, SEALED_EVENT, opened.encode(), NO_HEADERS, session, *more)
    headers = opened.headers or NO_HEADERS
    return _OPENED[kind](room, offset, user, time, opened.event, opened.body, headers, session, *more)
