"""What a broker stores and passes on: the records of a PUBLISH, checked whole.

Rules of this file
1. What passes here can be read by each client in each language: nothing in it is left unchecked.
2. Records without unknown elements, nearly all, are checked in C in one call.
3. Elements that this version does not know are a later version's: kept, as far as they are plain.

Plain is: nil, booleans, integers, floats, text in UTF-8, bytes, and arrays and maps of those whose keys are text or
integers, nested at most NESTED_MAX times. Extensions are not: what a reader makes of one depends on its library.

Spec: docs/protocol.md, "How it grows". Tests: tests/test_wire.py.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import msgspec

from zchat.errors import WireError, over_limit
from zchat.wire.nesting import count_of
from zchat.wire.records import Record, RecordOrBody

UNKNOWN_BYTES_MAX = 4096  # of all unknown elements of a record,
UNKNOWN_BYTES_IN_ALL_MAX = 65_536  # and of all records of a PUBLISH: they are looked at one by one, in Python
NESTED_MAX = 8  # arrays and maps in each other, in an unknown element
SCALARS = frozenset({type(None), bool, int, float, str, bytes})
KEYS = frozenset({str, int})

# All that msgspec raises for wrong bytes. Its own errors are ValueErrors since 0.21.
DECODING_ERRORS = (ValueError, RecursionError, msgspec.MsgspecError)


class _Known(Record, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A record without unknown elements."""


class _Elements(msgspec.Struct, array_like=True, frozen=True):
    """The known elements of a record as bytes."""

    body: msgspec.Raw
    event: msgspec.Raw = msgspec.Raw()
    headers: msgspec.Raw = msgspec.Raw()


_known_decoder: msgspec.msgpack.Decoder[list[bytes | _Known]] = msgspec.msgpack.Decoder(list[bytes | _Known])
_records_decoder: msgspec.msgpack.Decoder[list[RecordOrBody]] = msgspec.msgpack.Decoder(list[RecordOrBody])
_raws_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])
_elements_decoder = msgspec.msgpack.Decoder(_Elements)
_decoder = msgspec.msgpack.Decoder()


def check_records(raw: msgspec.Raw | bytes, records_max: int | None = None) -> Sequence[RecordOrBody]:
    """The records of one PUBLISH or entry, if they may be stored; else raises WireError.

    Its code is `too-many-records` where there are more than `records_max`: then none is looked at.
    """
    if records_max is not None and len(raw) > records_max:
        count = count_of(bytes(memoryview(raw)[:5]))
        if count > records_max:
            raise over_limit("publish_records_max", "too-many-records", f"{count} records, limit {records_max}")
    try:
        return _known_decoder.decode(raw)
    except DECODING_ERRORS:
        pass
    try:
        records = _records_decoder.decode(raw)
        in_all = 0
        for number, record in enumerate(_raws_decoder.decode(raw)):
            if not isinstance(records[number], bytes):
                in_all += _check_unknown(bytes(record), f"record {number}")
                if in_all > UNKNOWN_BYTES_IN_ALL_MAX:
                    limit = UNKNOWN_BYTES_IN_ALL_MAX
                    raise WireError("bad-frame", f"records have more than {limit} bytes of unknown elements")
    except DECODING_ERRORS as error:
        raise WireError("bad-frame", f"records: {text_of(error)}") from error
    return records


def _check_unknown(record: bytes, name: str) -> int:
    """How many bytes its unknown elements have. Raises WireError, or one of DECODING_ERRORS."""
    known = _elements_decoder.decode(record)
    begin = {0xDC: 3, 0xDD: 5}.get(record[0], 1)  # behind an array's size
    begin += len(known.body) + len(known.event) + len(known.headers)
    size = len(record) - begin
    if size > UNKNOWN_BYTES_MAX:
        raise WireError("bad-frame", f"{name} has {size} bytes of unknown elements, limit {UNKNOWN_BYTES_MAX}")
    try:
        is_plain = not size or _is_plain(_decoder.decode(record)[len(_Elements.__struct_fields__) :])
    except TypeError:  # of msgspec up to 0.21.0: a key that is a map
        is_plain = False
    if not is_plain:
        raise WireError("bad-frame", f"{name} has unknown elements that are not plain, or nested too deeply")
    return size


def _is_plain(values: list[Any]) -> bool:
    """Whether each value is plain, to its depth."""
    for _ in range(NESTED_MAX + 1):
        arrays = [value for value in values if type(value) is list]
        maps = [value for value in values if type(value) is dict]
        if not {type(value) for value in values} - {list, dict} <= SCALARS:
            return False
        if not {type(key) for key in chain.from_iterable(maps)} <= KEYS:
            return False
        if not arrays and not maps:
            return True
        values = [*chain.from_iterable(arrays), *chain.from_iterable(each.values() for each in maps)]
    return False


def text_of(error: Exception) -> str:
    """One of DECODING_ERRORS for people. How deep is too deep differs between versions of Python."""
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
