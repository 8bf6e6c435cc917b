"""Bytes to messages and back.

Rules of this file
1. Whatever the bytes are, a decoder raises `WireError` and nothing else; a code of errors.py says why.
2. What is read of a log or of a broker comes out however deep its unknown elements are. A broker refuses such a frame
   of a client: to walk it would cost the others their time.

Spec: docs/protocol.md. Tests: tests/test_wire.py.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import msgspec

from zchat.errors import WireError
from zchat.wire.checking import DECODING_ERRORS, check_records, text_of
from zchat.wire.large import LARGE_BYTES, check_large
from zchat.wire.messages import (
    VERSION,
    BrokerMessage,
    Bye,
    ClientMessage,
    Direct,
    For,
    From,
    Hello,
    Publish,
    Report,
    Sync,
    Watermark,
)
from zchat.wire.nesting import first_elements, without_depth
from zchat.wire.records import Batch, BatchHead, BodyBatch, Natural, RawBatch, RecordOrBody

Encodable: TypeAlias = ClientMessage | BrokerMessage | Watermark | Sync | RawBatch | Batch
Decoded = TypeVar("Decoded")

HEAD_ELEMENTS = 4  # of a batch: what BatchHead has
CHANNEL_MAX = (1 << 32) - 1
REPLY = 29  # begins with the number of a call, which is no request of who says it
NUMBERED_BYTES_MAX = 1 + 2 * 9  # a short array's first byte, and two integers


class _Numbered(msgspec.Struct, array_like=True):
    """The first two elements of a request, an answer, or a PUBLISH."""

    kind: int
    number: Natural


class _Kind(msgspec.Struct, array_like=True):
    """The first element of a message."""

    kind: int


_encoder = msgspec.msgpack.Encoder()
_client_decoder: msgspec.msgpack.Decoder[ClientMessage] = msgspec.msgpack.Decoder(ClientMessage)
_broker_decoder: msgspec.msgpack.Decoder[BrokerMessage] = msgspec.msgpack.Decoder(BrokerMessage)
_marker_decoder: msgspec.msgpack.Decoder[Watermark | Sync] = msgspec.msgpack.Decoder(Watermark | Sync)
_batch_decoder, _body_batch_decoder = msgspec.msgpack.Decoder(Batch), msgspec.msgpack.Decoder(BodyBatch)
_raw_batch_decoder = msgspec.msgpack.Decoder(RawBatch)
_head_decoder = msgspec.msgpack.Decoder(BatchHead)
_records_decoder, _bodies_decoder = msgspec.msgpack.Decoder(list[RecordOrBody]), msgspec.msgpack.Decoder(list[bytes])
_numbered_decoder = msgspec.msgpack.Decoder(_Numbered)
_kind_decoder = msgspec.msgpack.Decoder(_Kind)

# --- to bytes -----------------------------------------------------------------------------------


def encode(message: Encodable) -> bytes:
    """The frame of any message of this module."""
    return _encoder.encode(message)


def encode_elements(elements: Sequence[Any]) -> bytes:
    """Some elements of a list that is made in pieces."""
    return _encoder.encode(elements)[_head_bytes(len(elements)) :]


def list_of(count: int, pieces: Sequence[bytes]) -> msgspec.Raw:
    """The list of so many elements, to be spliced into answers."""
    return msgspec.Raw(b"".join([b"\xdd" + count.to_bytes(4, "big"), *pieces]))


def encode_records(records: Sequence[RecordOrBody]) -> bytes:
    """The `records` of one PUBLISH."""
    return _encoder.encode(records)


def from_channel(channel: int) -> bytes:
    """What stands before a client's message that the session on a channel says."""
    return _head_of(_FROM, channel)


def for_channel(channel: int) -> bytes:
    """What stands before a broker's message to the session on a channel."""
    return _head_of(_FOR, channel)


def direct(topic: bytes, frame: bytes) -> bytes:
    """The frame that says a batch or marker of a topic to one session."""
    return _head_of(_DIRECT, topic) + frame


def raw(frame: bytes) -> msgspec.Raw:
    """Bytes that are msgpack already, to be spliced into a message."""
    return msgspec.Raw(frame)


# --- what a client sent -------------------------------------------------------------------------


def decode_client(frame: bytes) -> ClientMessage:
    """What a client sent. Raises WireError with `bad-frame`, `unknown-kind` or `unsupported-version`."""
    try:
        return _client_decoder.decode(frame)
    except DECODING_ERRORS as error:
        numbered = _numbered(frame)
        if numbered and numbered.kind == _HELLO and numbered.number != VERSION:  # whatever else that version has in it
            raise WireError("unsupported-version", f"version {numbered.number} is not spoken here") from error
        raise _why(frame, _CLIENT_KINDS, error) from error


def about(frame: bytes) -> tuple[str, int]:
    """What the ERROR is about that answers a client's frame which makes no sense, and its number.

    Both are read wherever the first two elements can be. Kinds that are added keep to it: what begins with a number
    behind its kind is a request.
    """
    numbered = _numbered(frame)
    if numbered is None or numbered.kind in _UNNUMBERED:
        return "connection", 0
    return ("publish" if numbered.kind == _PUBLISH else "request"), numbered.number


def channel_of(frame: bytes) -> int:
    """The channel of a client's FROM that makes no sense otherwise; 0 for none."""
    numbered = _numbered(frame)
    is_from = numbered is not None and numbered.kind == _FROM and 0 < numbered.number <= CHANNEL_MAX
    return numbered.number if numbered is not None and is_from else 0


def decode_bodies(raw: msgspec.Raw | bytes) -> list[bytes] | None:
    """The records of one PUBLISH when all are mere bodies; None when one is more, or when they make no sense."""
    try:
        return _bodies_decoder.decode(raw)
    except DECODING_ERRORS:
        return None


# --- what a broker sent or a log has ------------------------------------------------------------


def decode_broker(frame: bytes) -> BrokerMessage:
    """What a broker's ROUTER sent. Raises WireError with `bad-frame` or `unknown-kind`."""
    try:
        check_large(frame)
        return _read(_broker_decoder.decode, frame)
    except DECODING_ERRORS as error:
        raise _why(frame, _BROKER_KINDS, error) from error


def decode_broadcast(frame: bytes) -> Batch | Watermark | Sync:
    """What a broker's XPUB sent, or a DIRECT has in it. Raises WireError."""
    if len(frame) > LARGE_BYTES:
        raise WireError("bad-frame", f"broadcast: {len(frame)} bytes are too many")
    if frame[1:2] not in _MARKERS:
        return decode_batch(frame)
    try:
        return _read(_marker_decoder.decode, frame)
    except DECODING_ERRORS as error:
        raise WireError("bad-frame", f"broadcast: {text_of(error)}") from error


def decode_batch(frame: bytes | msgspec.Raw) -> Batch:
    """A batch; its entries are `BodyEntry` where no record is more than a body, as nearly always. Raises WireError."""
    try:
        return _body_batch_decoder.decode(frame)
    except DECODING_ERRORS:
        pass
    try:
        return _read(_batch_decoder.decode, frame)
    except DECODING_ERRORS as error:
        raise WireError("bad-frame", f"batch: {text_of(error)}") from error


def decode_raw_batch(frame: bytes) -> RawBatch:
    """A stored batch with its records left as bytes. Raises WireError."""
    try:
        return _read(_raw_batch_decoder.decode, frame)
    except DECODING_ERRORS as error:
        raise WireError("bad-frame", f"batch: {text_of(error)}") from error


def decode_head(frame: bytes | msgspec.Raw) -> BatchHead:
    """The head of a stored batch, whatever its entries are. Raises WireError."""
    try:
        return _head_decoder.decode(frame)
    except DECODING_ERRORS:
        pass
    try:
        return _head_decoder.decode(first_elements(bytes(frame), HEAD_ELEMENTS))
    except DECODING_ERRORS as error:
        raise WireError("bad-frame", f"batch: {text_of(error)}") from error


def decode_records(raw: msgspec.Raw | bytes) -> list[RecordOrBody]:
    """The records of one stored entry, without their unknown elements. Raises WireError.

    Those of a client, who may have sent anything, are for `check_records`.
    """
    try:
        return _read(_records_decoder.decode, raw)
    except DECODING_ERRORS as error:
        raise WireError("bad-frame", f"records: {text_of(error)}") from error


def mended(frame: bytes) -> bytes:
    """A stored batch as one that every reader can read; the same frame when it is one already.

    Entries with a record that `check_records` refuses lose the unknown elements of their records: what this version
    knows, stays. Raises WireError where more is wrong than that.
    """
    batch, is_changed = decode_raw_batch(frame), False
    for entry in batch.entries:
        try:
            check_records(entry.records)
        except WireError:
            entry.records, is_changed = raw(encode_records(decode_records(entry.records))), True
    return encode(batch) if is_changed else frame


def number_of(frame: bytes) -> int:
    """The request that an answer is for which makes no sense otherwise; 0 for none."""
    numbered = _numbered(frame)
    return numbered.number if numbered is not None and numbered.kind in _ANSWERS else 0


# --- parts --------------------------------------------------------------------------------------


def _read(decode: Callable[[bytes | msgspec.Raw], Decoded], frame: bytes | msgspec.Raw) -> Decoded:
    """Decode, also what is nested more deeply than the decoder follows."""
    try:
        return decode(frame)
    except RecursionError:
        return decode(without_depth(bytes(frame)))


def _numbered(frame: bytes) -> _Numbered | None:
    """Its first two elements, whatever comes behind them."""
    try:
        return _numbered_decoder.decode(frame)
    except DECODING_ERRORS:
        pass
    try:
        return _numbered_decoder.decode(first_elements(frame[:NUMBERED_BYTES_MAX], 2))
    except DECODING_ERRORS:
        return None


def _head_of(kind: Any, second: int | bytes) -> bytes:
    return b"\x93" + _encoder.encode(kind) + _encoder.encode(second)


def _head_bytes(count: int) -> int:
    """Of a list of so many elements."""
    return 1 if count < 16 else 3 if count < 1 << 16 else 5


def _kinds(union: Any) -> frozenset[int]:
    return frozenset(struct.__struct_config__.tag for struct in union.__args__)


_CLIENT_KINDS = _kinds(ClientMessage)
_HELLO, _PUBLISH = Hello.__struct_config__.tag, Publish.__struct_config__.tag
_ANSWERS = frozenset(
    each.__struct_config__.tag for each in BrokerMessage.__args__ if "request" in each.__struct_fields__
)
_DIRECT = Direct.__struct_config__.tag
_FROM, _FOR = From.__struct_config__.tag, For.__struct_config__.tag
_UNNUMBERED = frozenset([_HELLO, _FROM, *(each.__struct_config__.tag for each in (Report, Bye)), REPLY])
_BROKER_KINDS = _kinds(BrokerMessage)
_MARKERS = frozenset(bytes([kind]) for kind in _kinds(Watermark | Sync))  # a batch's kind is below 3


def _why(frame: bytes, kinds: frozenset[int], error: Exception) -> WireError:
    """Tell a kind that this version does not know from bytes that make no sense."""
    try:
        kind = _kind_decoder.decode(frame).kind
    except DECODING_ERRORS:
        return WireError("bad-frame", f"no message: {text_of(error)}")
    if kind not in kinds:
        return WireError("unknown-kind", f"kind {kind} is not known here")
    return WireError("bad-frame", f"kind {kind}: {text_of(error)}")
