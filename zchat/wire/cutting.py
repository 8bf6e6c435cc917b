"""Some of an entry's records, as the bytes that they are: what a group hands to one of its members.

Spec: docs/protocol.md, "Groups". Tests: tests/test_wire.py.
"""

import msgspec

from zchat.errors import WireError
from zchat.wire import nesting
from zchat.wire.checking import DECODING_ERRORS, text_of
from zchat.wire.records import RecordOrBody

_encoder = msgspec.msgpack.Encoder()
_record_decoder: msgspec.msgpack.Decoder[RecordOrBody] = msgspec.msgpack.Decoder(RecordOrBody)
_raws_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])


def count_of(records: msgspec.Raw) -> int:
    """How many records an entry has."""
    return nesting.count_of(bytes(memoryview(records)[:5]))


def split_records(records: msgspec.Raw) -> list[msgspec.Raw]:
    """Each of them. Raises WireError."""
    try:
        return _raws_decoder.decode(records)
    except DECODING_ERRORS as error:
        raise WireError("bad-frame", f"records: {text_of(error)}") from error


def joined_records(records: list[msgspec.Raw]) -> msgspec.Raw:
    """The records of an entry that has these."""
    return msgspec.Raw(_encoder.encode(records))


def encode_record(record: RecordOrBody) -> bytes:
    """One alone."""
    return _encoder.encode(record)


def decode_record(raw: msgspec.Raw) -> RecordOrBody:
    """One alone. Raises WireError."""
    try:
        return _record_decoder.decode(raw)
    except DECODING_ERRORS as error:
        raise WireError("bad-frame", f"record: {text_of(error)}") from error
