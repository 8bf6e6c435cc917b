"""Protocol version 1: every message that a client and a broker exchange, declared once.

Rules of this file
1. A message is one frame: a msgpack array whose first element is the kind. Unknown trailing
   elements are ignored: that is how the protocol grows.
2. The broker decodes envelopes and never records: `Publish.records` stays raw bytes and is spliced
   into a `Batch`. What is stored is what is broadcast.
3. Decoders raise `WireError` and nothing else.

A record is either a bin (a body with event `message`: the common case, one element and no envelope)
or an array `[body, event, headers, content type]` whose later elements may be missing.

    PUBLISH  [2, seq, room, flags, [record, record, ...]]
    BATCH    [kind, base, prev, time, [[user, session, seq, [record, ...]], ...]]
              the first record has offset `base`, the second base + 1, and so on over the entries

Spec: docs/protocol.md. Tests: tests/test_wire.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from zchat.errors import WireError
from zchat.wire.messages import (
    IN_FLIGHT_MAX,
    OFFSET_MAX,
    PAGE_BYTES_MAX,
    PRIVATE_TOPIC,
    PUBLISH_BYTES_MAX,
    PUBLISH_RECORDS_MAX,
    QUIET,
    RECORD_BYTES_MAX,
    ROOMS_PER_MESSAGE_MAX,
    SESSION_KEPT_SECONDS,
    STARTS_MAX,
    UNKNOWN,
    VERSION,
    VOLATILE,
    Ack,
    At,
    BrokerMessage,
    Bye,
    ClientMessage,
    Cursor,
    Cursors,
    CursorsAre,
    Done,
    DropCursor,
    Error,
    Fetch,
    Goodbye,
    Heads,
    HeadsAre,
    Hello,
    HelloAgain,
    Join,
    Member,
    Page,
    Part,
    Position,
    Present,
    Publish,
    Room,
    Rooms,
    RoomsAre,
    Seek,
    SetCursor,
    Sync,
    Tail,
    Welcome,
    Who,
)
from zchat.wire.records import (
    MESSAGES,
    PRESENCE,
    VOLATILE_MESSAGES,
    Batch,
    BatchHead,
    Entry,
    Natural,
    RawBatch,
    RawEntry,
    Record,
    RecordOrBody,
)

__all__ = [
    "IN_FLIGHT_MAX",
    "MESSAGES",
    "OFFSET_MAX",
    "PAGE_BYTES_MAX",
    "PRESENCE",
    "PRIVATE_TOPIC",
    "PUBLISH_BYTES_MAX",
    "PUBLISH_RECORDS_MAX",
    "QUIET",
    "RECORD_BYTES_MAX",
    "ROOMS_PER_MESSAGE_MAX",
    "SESSION_KEPT_SECONDS",
    "STARTS_MAX",
    "UNKNOWN",
    "VERSION",
    "VOLATILE",
    "VOLATILE_MESSAGES",
    "Ack",
    "At",
    "Batch",
    "BatchHead",
    "BrokerMessage",
    "Bye",
    "ClientMessage",
    "Cursor",
    "Cursors",
    "CursorsAre",
    "Done",
    "DropCursor",
    "Encodable",
    "Entry",
    "Error",
    "Fetch",
    "Goodbye",
    "Heads",
    "HeadsAre",
    "Hello",
    "HelloAgain",
    "Join",
    "Member",
    "Natural",
    "Page",
    "Part",
    "Position",
    "Present",
    "Publish",
    "RawBatch",
    "RawEntry",
    "Record",
    "RecordOrBody",
    "Room",
    "Rooms",
    "RoomsAre",
    "Seek",
    "SetCursor",
    "Sync",
    "Tail",
    "Welcome",
    "Who",
    "decode_batch",
    "decode_bodies",
    "decode_broadcast",
    "decode_broker",
    "decode_client",
    "decode_raw_batch",
    "decode_records",
    "encode",
    "encode_records",
    "raw",
]

Encodable: TypeAlias = ClientMessage | BrokerMessage | Tail | Sync | RawBatch | Batch

_encoder = msgspec.msgpack.Encoder()
_client_decoder: msgspec.msgpack.Decoder[ClientMessage] = msgspec.msgpack.Decoder(ClientMessage)
_broker_decoder: msgspec.msgpack.Decoder[BrokerMessage] = msgspec.msgpack.Decoder(BrokerMessage)
_marker_decoder: msgspec.msgpack.Decoder[Tail | Sync] = msgspec.msgpack.Decoder(Tail | Sync)
_batch_decoder = msgspec.msgpack.Decoder(Batch)
_raw_batch_decoder = msgspec.msgpack.Decoder(RawBatch)
_records_decoder = msgspec.msgpack.Decoder(list[RecordOrBody])
_bodies_decoder = msgspec.msgpack.Decoder(list[bytes])
_raws_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])

# msgspec lets these two through besides its own MsgspecError, which is a ValueError.
_DECODING_ERRORS = (ValueError, RecursionError)


def encode(message: Encodable) -> bytes:
    """The frame of any message of this module."""
    return _encoder.encode(message)


def encode_records(records: Sequence[RecordOrBody]) -> bytes:
    """The `records` of one PUBLISH."""
    return _encoder.encode(records)


def raw(frame: bytes) -> msgspec.Raw:
    """Bytes that are msgpack already, to be spliced into a message."""
    return msgspec.Raw(frame)


def decode_bodies(raw: msgspec.Raw | bytes) -> list[bytes] | None:
    """The records of one PUBLISH when all are mere bodies; None when one is more, or when they make no sense."""
    try:
        return _bodies_decoder.decode(raw)
    except _DECODING_ERRORS:
        return None


def decode_records(raw: msgspec.Raw | bytes) -> list[RecordOrBody]:
    """The records of one PUBLISH or entry; the broker calls it to check and count them, in C throughout."""
    try:
        return _records_decoder.decode(raw)
    except _DECODING_ERRORS as error:
        raise WireError("bad-frame", f"records: {error}") from error


def decode_client(frame: bytes) -> ClientMessage:
    """What a client sent. Raises WireError with `bad-frame` or `unknown-kind`."""
    try:
        return _client_decoder.decode(frame)
    except _DECODING_ERRORS as error:
        raise _why(frame, _CLIENT_KINDS, error) from error


def decode_broker(frame: bytes) -> BrokerMessage:
    """What a broker's ROUTER sent. Raises WireError with `bad-frame` or `unknown-kind`."""
    try:
        return _broker_decoder.decode(frame)
    except _DECODING_ERRORS as error:
        raise _why(frame, _BROKER_KINDS, error) from error


def decode_broadcast(frame: bytes) -> Batch | Tail | Sync:
    """What a broker's XPUB sent. Raises WireError."""
    try:
        if frame[1:2] in _MARKERS:
            return _marker_decoder.decode(frame)
        return _batch_decoder.decode(frame)
    except _DECODING_ERRORS as error:
        raise WireError("bad-frame", f"broadcast: {error}") from error


def decode_batch(frame: bytes | msgspec.Raw) -> Batch:
    """A stored batch. Raises WireError."""
    try:
        return _batch_decoder.decode(frame)
    except _DECODING_ERRORS as error:
        raise WireError("bad-frame", f"batch: {error}") from error


def decode_raw_batch(frame: bytes) -> RawBatch:
    """A stored batch with its records left as bytes. Raises WireError."""
    try:
        return _raw_batch_decoder.decode(frame)
    except _DECODING_ERRORS as error:
        raise WireError("bad-frame", f"batch: {error}") from error


def _kinds(union: Any) -> frozenset[int]:
    return frozenset(struct.__struct_config__.tag for struct in union.__args__)


_CLIENT_KINDS = _kinds(ClientMessage)
_BROKER_KINDS = _kinds(BrokerMessage)
_MARKERS = frozenset(bytes([kind]) for kind in _kinds(Tail | Sync))  # a batch's kind is below 3


def _why(frame: bytes, kinds: frozenset[int], error: Exception) -> WireError:
    """Tell a kind that this version does not know from bytes that make no sense."""
    try:
        kind = msgspec.msgpack.decode(_raws_decoder.decode(frame)[0], type=int)
    except (*_DECODING_ERRORS, IndexError):
        return WireError("bad-frame", f"no message: {error}")
    if kind not in kinds:
        return WireError("unknown-kind", f"kind {kind} is not known here")
    return WireError("bad-frame", f"kind {kind}: {error}")
