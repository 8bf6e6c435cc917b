"""What a message on the wire is made of: a record as its sender wrote it, and batches of records.

Spec: docs/protocol.md, "Records and batches". Tests: tests/test_wire.py.
"""

from typing import Annotated, TypeAlias

import msgspec
from msgspec.structs import astuple

# Batch.kind
MESSAGES = 0
PRESENCE = 1  # joins and leaves, written by the broker only
VOLATILE_MESSAGES = 2  # base and prev are of a count, and no offsets


FILE_EVENT = "file"  # of a piece of a file: docs/protocol.md, "Files"
FILE_NAME, FILE_SIZE, FILE_ID, FILE_AT, FILE_SHA256 = "file-name", "file-size", "file-id", "file-at", "file-sha256"
SEALED_EVENT = "sealed"  # of a record that only who has the room's key can read: docs/protocol.md, "Sealed rooms"


class Record(msgspec.Struct, array_like=True, frozen=True):
    """One message as its sender wrote it, when it is more than a body."""

    body: bytes
    event: str = "message"
    headers: dict[str, str] | None = None


RecordOrBody: TypeAlias = bytes | Record

Natural = Annotated[int, msgspec.Meta(ge=0, le=(1 << 53) - 1)]  # offsets, times, numbers: OFFSET_MAX
ChannelNumber = Annotated[int, msgspec.Meta(ge=1, le=(1 << 32) - 1)]  # of a connection; 0 has no name on the wire

# Of what a client sends. A longer list is not decoded at all: 4 MiB of them would become some hundred MiB of objects.
Names: TypeAlias = Annotated[list[str], msgspec.Meta(max_length=4096)]  # above 1,024 the broker says what is wrong
TopicList: TypeAlias = Annotated[list[bytes], msgspec.Meta(max_length=4096)]
Listeners: TypeAlias = Annotated[
    list[tuple[Natural, Annotated[list[str], msgspec.Meta(max_length=1024)]]], msgspec.Meta(max_length=256)
]
Info: TypeAlias = Annotated[dict[str, str], msgspec.Meta(max_length=8)]


class Entry(msgspec.Struct, array_like=True):
    """One publish inside a batch, its records decoded."""

    user: str
    session: str
    seq: Natural
    records: list[RecordOrBody]

    def __eq__(self, other: object) -> bool:
        """Whatever it was decoded as."""
        return isinstance(other, Entry) and astuple(self) == astuple(other)


class BodyEntry(Entry, array_like=True):
    """One of which no record is more than a body: nobody has to look at each."""

    records: list[bytes]  # type: ignore[assignment]  # nobody adds to the list, so a narrower type is safe


class RawEntry(msgspec.Struct, array_like=True):
    """One publish inside a batch, its records as bytes."""

    user: str
    session: str
    seq: Natural
    records: msgspec.Raw


class BatchHead(msgspec.Struct, array_like=True):
    """The part of a batch that its place in the room's order follows from."""

    kind: Natural
    base: Natural  # offset of the first record; volatile: when the count began
    prev: Natural  # offset of the room's last record before this batch, 0: there is none; volatile: how many before it
    time: Natural  # microseconds since 1970, UTC; never goes back within a log


class Batch(BatchHead, array_like=True):
    """Consecutive records of one room, decoded."""

    entries: list[Entry]
    # Of messages: offset of the room's last one before it, for who hears no joins and leaves; None: it may be `prev`.
    prev_message: Natural | None = None

    def __eq__(self, other: object) -> bool:
        """Whatever it was decoded as."""
        return isinstance(other, Batch) and astuple(self) == astuple(other)


class BodyBatch(Batch, array_like=True):
    """One that has such entries alone."""

    entries: list[BodyEntry]  # type: ignore[assignment]  # nobody adds to the list, so a narrower type is safe


class RawBatch(BatchHead, array_like=True):
    """Consecutive records of one room, records as bytes: how the broker writes one."""

    entries: list[RawEntry]
    prev_message: Natural | None = None  # see Batch
