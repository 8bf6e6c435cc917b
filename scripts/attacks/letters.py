"""zchat's messages as a stranger writes them: right ones, and right ones in which something was changed.

Spec: docs/protocol.md. Rule of this file: rooms are those of the storm, so that no honest listener owes an account
of them.
"""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec

HELLO, PUBLISH, JOIN, PART, FETCH, SEEK, HEADS, WHO, ROOMS, REPORT, BYE, CURSORS, SET_CURSOR, DROP_CURSOR = range(1, 15)
KINDS = range(HELLO, DROP_CURSOR + 1)
ROOM_COUNT = 50
OFFSET_MAX = (1 << 53) - 1
NUMBERS = (
    0,
    1,
    2,
    255,
    1 << 16,
    1 << 31,
    (1 << 32) - 1,
    1 << 52,
    OFFSET_MAX,
    1 << 53,
    1 << 63,
    (1 << 64) - 1,
    -1,
    -(1 << 63),
)
NESTED_MAX = 10_000
_encode = msgspec.msgpack.encode


def hello(user: str, session: str = "", token: bytes = b"") -> bytes:
    """A new session, or one to go on with."""
    return _encode([HELLO, 1, user, session, token, {"program": "storm"}, 1])


def publish(seq: int, room: str, *bodies: bytes, flags: int = 0) -> bytes:
    """One PUBLISH."""
    return _encode([PUBLISH, seq, room, flags, list(bodies)])


def message(*elements: Any) -> bytes:
    """Any message."""
    return _encode(elements)


def room(draw: Random) -> str:
    """One of the storm's."""
    return f"storm.{draw.randrange(ROOM_COUNT)}"


def legal(draw: Random, seq: int) -> list[Any]:
    """A message that a client may send. `seq` is that of its next publish, and the number of its request."""
    names = [room(draw) for _ in range(draw.choice((1, 1, 2, 20)))]
    patterns = draw.choice((names, ["storm.*"], ["**"], ["*", "storm.**"], names * 20))
    number = draw.choice((0, 1, 5, 1000, OFFSET_MAX))
    body = draw.randbytes(draw.choice((0, 1, 100, 5000)))
    records: list[Any] = [body] * draw.choice((1, 1, 3, 100))
    if draw.random() < 0.2:
        records.append([body, "event", {"key": "value"}, "text/plain"])
    made: dict[int, list[Any]] = {
        HELLO: [1, f"storm-{draw.randrange(1000)}", "", b"", {"host": "h"}, draw.randrange(5)],
        PUBLISH: [seq, names[0], draw.randrange(4), records],
        JOIN: [seq, names],
        PART: [seq, names],
        FETCH: [seq, patterns, draw.choice((0, number)), draw.choice((0, number)), draw.choice((0, 1, 10))],
        SEEK: [seq, patterns, draw.choice((0, number)), draw.choice((0, number)), draw.random() < 0.5],
        HEADS: [seq, patterns],
        WHO: [seq, draw.choice(("", names[0])), draw.random() < 0.5],
        ROOMS: [seq],
        REPORT: [[[number, patterns[:5]] for _ in range(draw.choice((1, 3, 64)))]],
        BYE: [],
        CURSORS: [seq],
        SET_CURSOR: [seq, f"c{draw.randrange(2000)}", "storm", draw.choice((0, number))],
        DROP_CURSOR: [seq, f"c{draw.randrange(2000)}"],
    }
    kinds = [*(kind for kind in KINDS if kind not in (HELLO, BYE)), PUBLISH, PUBLISH]
    kind = draw.choice(kinds if draw.random() < 0.97 else [HELLO, BYE])
    return [kind, *made[kind]]


def changed(draw: Random, seq: int) -> bytes:
    """A message in which something is not as it should be: an element, or bytes."""
    elements = legal(draw, seq)
    how = draw.randrange(8)
    at = draw.randrange(len(elements))
    if how == 0:
        elements[at] = odd(draw)
    elif how == 1:
        elements.append(odd(draw))  # of a later version, perhaps
    elif how == 2:
        del elements[at]
    elif how == 3:
        elements[0] = draw.choice((0, 15, 33, 66, 127, 128, OFFSET_MAX, -1, "1", None, [1]))
    elif how == 4 and isinstance(elements[-1], list) and elements[-1]:
        elements[-1][draw.randrange(len(elements[-1]))] = odd(draw)
    elif how == 5:
        return nested(elements, draw)
    frame = _encoded(elements)
    return frame if how < 6 else bytes_changed(frame, draw)


def odd(draw: Random) -> Any:
    """Something of another type or size than is expected."""
    kind = draw.randrange(9)
    if kind == 0:
        return draw.choice(NUMBERS)
    if kind == 1:
        return draw.choice(
            ("", "General", "a" * 129, "**", "*", "@storm", ".", "a..b", "\0", "\u202e", "ſ", "😀", "x" * 70_000)
        )
    if kind == 2:
        return draw.randbytes(draw.choice((0, 1, 16, 5000)))
    if kind == 3:
        return draw.choice((None, True, False, 0.5, float("nan"), float("inf")))
    if kind == 4:
        return {}
    if kind == 5:
        return {draw.choice(("a", b"a", 1)): draw.choice((1, "v", b"v", None))}
    if kind == 6:
        return [f"storm.{number}" for number in range(draw.choice((0, 1024, 1025, 3000)))]
    if kind == 7:
        return msgspec.Raw(b"\x91" * draw.choice((1, 100, 1100, 3000)) + b"\xc0")
    return msgspec.Raw(
        draw.choice((b"\xa2\xff\xfe", b"\xc1", b"\xd9\xff", b"\x81\x81\xc0\xc0\xc0", b"\xc7\x03\x01abc"))
    )


def nested(elements: list[Any], draw: Random) -> bytes:
    """With so many arrays in each other that a decoder may have to give up, as its last element."""
    depth = draw.choice((900, 1000, 1500, NESTED_MAX))
    inner = b"\x91" * depth + b"\xc0" if draw.random() < 0.7 else b"\x81\xa1k" * depth + b"\xc0"
    if elements[0] == PUBLISH and draw.random() < 0.5:  # inside of a record
        elements[-1] = [msgspec.Raw(b"\x95\xc4\x01x\xa1e\x80\xa0" + inner)]
    else:
        elements.append(msgspec.Raw(inner))
    return _encoded(elements)


def bytes_changed(frame: bytes, draw: Random) -> bytes:
    """Cut off, longer, with other bits, or with a length that promises too much."""
    data = bytearray(frame)
    how = draw.randrange(4)
    if how == 0:
        del data[draw.randrange(len(data)) :]
    elif how == 1:
        data += draw.randbytes(draw.choice((1, 10, 1000)))
    elif how == 2:
        for _ in range(draw.choice((1, 3, 10))):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    else:
        at = draw.randrange(len(data))
        data[at : at + 1] = draw.choice(
            (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdc\xff\xff")
        )
    return bytes(data)


def _encoded(elements: list[Any]) -> bytes:
    try:
        return _encode(elements)
    except (OverflowError, ValueError):
        return _encode(elements[:1])
