"""Records with known elements that are right and unknown ones that some reader cannot read. None may be stored."""

from __future__ import annotations

import msgspec

from zchat import wire


def grown(*unknown: bytes) -> bytes:
    """The `records` of a PUBLISH: one record, with unknown elements as msgpack."""
    known = [b"\xc4\x04body", b"\xa6deploy", b"\x81\xa2by\xa2ci"]
    return b"\x91" + bytes([0x90 + len(known) + len(unknown)]) + b"".join([*known, *unknown])


KNOWN = wire.Record(b"body", "deploy", {"by": "ci"})  # what `grown` gives to those who do not know the rest

UNREADABLE = {
    **{f"{depth} arrays": grown(b"\x91" * depth + b"\xc0") for depth in (9, 978, 1_493, 4_000, 9_994, 100_000)},
    "the innermost is empty": grown(b"\x91" * 8 + b"\x90"),
    "maps in maps": grown(b"\x81\x01" * 9 + b"\xc0"),
    "10,000 maps": grown(b"\x81\x01" * 10_000 + b"\xc0"),
    "maps as keys, 10,000 deep": grown(b"\x81" * 10_000 + b"\x01" * 10_001),
    "arrays and maps in turn": grown(b"\x91\x81\xa1a" * 5 + b"\xc0"),
    "text that is no UTF-8": grown(b"\xa1\xff"),
    "half a surrogate pair": grown(b"\xa3\xed\xa0\x80"),
    "UTF-8 that is too long": grown(b"\xa2\xc0\x80"),
    "text cut in a character": grown(b"\xa2\xe4\xbd"),
    "a key that is no UTF-8": grown(b"\x81\xa1\xff\x01"),
    "a map as a key": grown(b"\x81\x81\x01\x02\x03"),
    "an array as a key": grown(b"\x81\x91\x01\x02"),
    "a map in an array as a key": grown(b"\x81\x91\x81\x01\x02\x03"),
    "nil as a key": grown(b"\x81\xc0\x01"),
    "a boolean as a key": grown(b"\x81\xc3\x01"),
    "a float as a key": grown(b"\x81\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00\x01"),
    "bytes as a key": grown(b"\x81\xc4\x01a\x01"),
    "an extension": grown(b"\xd4\x05\x00"),
    "an extension as a key": grown(b"\x81\xd4\x05\x00\x01"),
    "a time": grown(b"\xd6\xff\x00\x00\x00\x00"),
    "a time that is none": grown(b"\xc7\x0c\xff" + b"\xff" * 12),
    "a byte that is never used": grown(b"\xc1"),
    "too many bytes": grown(b"\xc5\x10\x00" + bytes(4096)),
    "too many bytes in two": grown(b"\xc5\x08\x00" + bytes(2048), b"\xc5\x08\x00" + bytes(2048)),
    "too many elements": b"\x91\xdc\x10\x04\xc4\x01a\xa1e\xc0" + b"\xc0" * 4097,
    "text as a body": b"\x91\x91\xa4body",
    "nil as a body": b"\x91\x91\xc0",
    "text as a record": b"\x91\xa4body",
    "an extension as a record": b"\x91\xd4\x05\x00",
    "an event that is no UTF-8": b"\x91\x92\xc4\x00\xa1\xff",
    "a header that is no UTF-8": b"\x91\x93\xc4\x00\xa1e\x81\xa1a\xa1\xff",
    "a header's name that is half a surrogate pair": b"\x91\x93\xc4\x00\xa1e\x81\xa3\xed\xb0\x80\xa1a",
    "a number as a header": b"\x91\x93\xc4\x00\xa1e\x81\xa1a\x01",
    "headers as an array": b"\x91\x93\xc4\x00\xa1e\x90",
    "nil as an event": b"\x91\x92\xc4\x00\xc0",
    "more bytes of elements than an element has": b"\x91\x93\xc4\x00\xa1e",
    "4 thousand million records": b"\xdd\xff\xff\xff\xff\xc4\x00",
    "4 thousand million elements": b"\x91\xdd\xff\xff\xff\xff\xc4\x00",
    "4 thousand million headers": b"\x91\x93\xc4\x00\xa1e\xdf\xff\xff\xff\xff",
    "4 GB of body": b"\x91\xc6\xff\xff\xff\xff",
    "something behind the records": b"\x91\xc4\x00\xc0",
}
# Those that a broker stored before it checked records whole, on some version of Python.
STORED_BEFORE = {
    name: records
    for name, records in UNREADABLE.items()
    if records.startswith(grown()[2:], 2) and name != "a byte that is never used"
}

READABLE = {
    "one of each kind": grown(msgspec.msgpack.encode([None, True, -1, 1 << 63, 1.5, "é", b"\xff", {"a": 1, 2: []}])),
    "8 arrays": grown(b"\x91" * 8 + b"\xc0"),
    "8 maps": grown(b"\x81\x01" * 8 + b"\xc0"),
    "no number": grown(b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00"),
    "many bytes": grown(b"\xc5\x0f\xfd" + bytes(4093)),
    "many elements": b"\x91\xdc\x10\x03\xc4\x01a\xa1e\xc0" + b"\xc0" * 4096,
    "control characters": grown(b"\xa2\x00\x1b"),
}
