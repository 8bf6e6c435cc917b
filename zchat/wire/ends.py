"""The end of a stored batch: its last records as a batch of their own, for who asks for no more.

Rules of this file: records keep their bytes, unknown elements too; only the lists that they stand in are made anew.

Spec: docs/protocol.md, "How each room is". Tests: tests/test_wire.py.
"""

import msgspec

from zchat.errors import WireError
from zchat.wire.checking import DECODING_ERRORS, text_of
from zchat.wire.decoding import decode_raw_batch, encode
from zchat.wire.records import RawBatch, RawEntry

_records_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])
_encoder = msgspec.msgpack.Encoder()


def end_of(frame: bytes, records: int, wanted: int) -> bytes:
    """The last `wanted` of the `records` of a batch; the same frame where that is all of it.

    Its base is that of the first one left; `prev` stays, as nothing between is of another batch. Raises WireError.
    """
    if wanted >= records:
        return frame
    batch, kept, left = decode_raw_batch(frame), list[RawEntry](), wanted
    for entry in reversed(batch.entries):
        try:
            found = _records_decoder.decode(entry.records)
        except DECODING_ERRORS as error:
            raise WireError("bad-frame", f"records: {text_of(error)}") from error
        if len(found) > left:
            entry.records = msgspec.Raw(_encoder.encode(found[-left:]))
        kept.append(entry)
        left -= min(left, len(found))
        if not left:
            break
    base = batch.base + records - wanted
    return encode(RawBatch(batch.kind, base, batch.prev, batch.time, kept[::-1], batch.prev_message))
