"""What a listener gets: one record of a room as a program sees it.

Rules of this file: records become messages here and nowhere else, many at a time, in C where a batch is plain.
Tests: tests/test_message.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from zchat import wire

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message, or with event `join` or `leave` somebody coming or going (then `body` is a leave's reason)."""

    room: str
    offset: int  # its place in the broker's log; 0 for a volatile message
    user: str  # who wrote it
    time: int  # when the broker took it: microseconds since 1970, UTC
    event: str
    body: bytes
    headers: Mapping[str, str]
    session: str  # which session of the user wrote it

    @property
    def text(self) -> str:
        """The body as text; what is not UTF-8 is replaced."""
        return self.body.decode(errors="replace")

    @property
    def when(self) -> datetime:
        """The time as an aware datetime in UTC."""
        return _EPOCH + timedelta(microseconds=self.time)


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


def messages(room: str, batch: wire.Batch, first: int, without_session: str = "") -> Iterator[Message]:
    """The messages of a batch from offset `first` on, leaving out those of one session."""
    return chain.from_iterable(_entries(room, batch, first, without_session))  # a generator would be resumed for each


def _entries(room: str, batch: wire.Batch, first: int, without_session: str) -> Iterator[Iterator[Message]]:
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
        offsets = repeat(0) if volatile else iter(range(begin, offset))
        yield _of_entry(room, batch.time, entry, records, offsets)


def _of_entry(
    room: str, time: int, entry: wire.Entry, records: list[wire.RecordOrBody], offsets: Iterator[int]
) -> Iterator[Message]:
    user, session = entry.user, entry.session
    if set(map(type, records)) == {bytes}:  # the common case: no Python code per record
        return map(
            Message,
            repeat(room),
            offsets,
            repeat(user),
            repeat(time),
            repeat("message"),
            records,
            repeat(NO_HEADERS),
            repeat(session),
        )
    return (
        Message(room, offset, user, time, "message", record, NO_HEADERS, session)
        if isinstance(record, bytes)
        else Message(room, offset, user, time, record.event, record.body, record.headers or NO_HEADERS, session)
        for record, offset in zip(records, offsets, strict=False)
    )
