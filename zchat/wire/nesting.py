"""Walks msgpack without recursion: for what is nested more deeply than a decoder in C follows.

Rules of this file
1. Nothing here knows the protocol. It sees values, and how many of them are inside another.
2. No frame makes it raise anything but ValueError, and it takes one step for each value.

A decoder gives up on a value that is nested some thousand times, at a depth that depends on the version of Python
and on who calls it, even where nobody asked for that value. `without_depth` makes such a frame one that each decoder
reads: whatever lies deeper than anything that the protocol has is replaced by nil.

Tests: tests/test_wire.py.
"""

DEPTH_MAX = 32  # arrays and maps in each other: a PAGE has 9, and 8 more may be in a record's unknown elements
WALKED_BYTES_MAX = 4 << 20  # 1 s of walking; larger than any PAGE
NIL = b"\xc0"


def without_depth(frame: bytes) -> bytes:
    """The frame with nil in place of each array or map that lies deeper than DEPTH_MAX. Raises ValueError."""
    if len(frame) > WALKED_BYTES_MAX:
        raise ValueError(f"{len(frame)} bytes are too many to be walked")
    pieces, copied, at = [], 0, 0
    waiting = [1]  # in each array or map that is open: the values that are still to come
    while waiting:
        if not waiting[-1]:
            waiting.pop()
            continue
        waiting[-1] -= 1
        begin = at
        at, inside = _value(frame, at)
        if len(waiting) <= DEPTH_MAX:
            waiting.append(inside)
        elif inside:
            at = _end(frame, at, inside)
            pieces += [frame[copied:begin], NIL]
            copied = at
    return b"".join([*pieces, frame[copied:]])


def first_elements(frame: bytes, count: int) -> bytes:
    """An array of the first elements of that array. Raises ValueError."""
    begin, inside = _value(frame, 0)
    if inside < count or frame[0] & 0xF0 != 0x90:  # a longer array is none of the protocol's
        raise ValueError(f"no array of {count} elements")
    return bytes([0x90 + count]) + frame[begin : _end(frame, begin, count)]


def count_of(begin: bytes) -> int:
    """How many elements an array says that it has, by its first five bytes; 0 for what is no array."""
    is_array = begin and (begin[0] & 0xF0 == 0x90 or begin[0] in (0xDC, 0xDD))
    return _value(begin, 0)[1] if is_array else 0


def _end(frame: bytes, at: int, values: int) -> int:
    """Where so many values end."""
    while values:
        at, inside = _value(frame, at)
        values += inside - 1
    return at


def _value(frame: bytes, at: int) -> tuple[int, int]:
    """Where the value that begins there ends, or what is inside of it begins; and how many values are inside."""
    if at >= len(frame):
        raise ValueError("the frame ends too soon")
    size, width, inside, each = _LAYOUTS[frame[at]]
    if width:
        length = int.from_bytes(frame[at + 1 : at + 1 + width])
        if each:
            inside = each * length
        else:
            size += length
    if not size:
        raise ValueError("a byte that begins no value")
    return at + size, inside


def _layouts() -> list[tuple[int, int, int, int]]:
    """For each first byte: the size of the value without what is inside of it; the width of a length behind that byte;
    how many values are inside; and how many there are for each of that length (0: the length counts bytes).
    """
    layouts = [(1, 0, 0, 0)] * 256  # small integers, nil, booleans
    for small in range(16):
        layouts[0x80 + small] = (1, 0, 2 * small, 0)  # map
        layouts[0x90 + small] = (1, 0, small, 0)  # array
    for small in range(32):
        layouts[0xA0 + small] = (1 + small, 0, 0, 0)  # str
    layouts[0xC1] = (0, 0, 0, 0)  # never used
    for power, width in enumerate((1, 2, 4)):
        layouts[0xC4 + power] = (1 + width, width, 0, 0)  # bin
        layouts[0xC7 + power] = (2 + width, width, 0, 0)  # ext
        layouts[0xD9 + power] = (1 + width, width, 0, 0)  # str
    for power, width in enumerate((2, 4)):
        layouts[0xDC + power] = (1 + width, width, 0, 1)  # array
        layouts[0xDE + power] = (1 + width, width, 0, 2)  # map
    layouts[0xCA], layouts[0xCB] = (5, 0, 0, 0), (9, 0, 0, 0)  # float
    for power, width in enumerate((1, 2, 4, 8)):
        layouts[0xCC + power] = layouts[0xD0 + power] = (1 + width, 0, 0, 0)  # integers
    for power in range(5):
        layouts[0xD4 + power] = (2 + (1 << power), 0, 0, 0)  # ext
    return layouts


_LAYOUTS = _layouts()
