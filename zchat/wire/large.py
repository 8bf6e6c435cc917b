"""Whether a large frame of a broker can be true, before it is decoded: as objects it takes thirty times its bytes.

Rules of this file
1. Small frames are not looked at: what they become is bounded by their size.
2. An honest broker's answers pass: all rooms, all sessions with their rooms, a page with a gap in each room.
3. What does not raises ValueError, as a decoder does.

Spec: docs/protocol.md, "What a client should not believe". Tests: tests/test_wire.py.
"""

import msgspec

from zchat.wire.nesting import count_of

LARGE_BYTES = 8 << 20  # of an answer or a broadcast
ELEMENTS_MAX = 1 << 20  # rooms, gaps; rooms of all members together: four times what a broker of ours keeps
MEMBERS_MAX = 1 << 17
INFO_BYTES_MAX = 2_048  # of a member: more than 256 characters can be

_PAGE, _HEADS_ARE, _PRESENT, _ROOMS_ARE, _FOR = 37, 39, 40, 41, 45


class _RawAnswer(msgspec.Struct, array_like=True):
    """The elements of an answer as bytes."""

    kind: int
    request: msgspec.Raw
    third: msgspec.Raw = msgspec.Raw()
    fourth: msgspec.Raw = msgspec.Raw()
    fifth: msgspec.Raw = msgspec.Raw()
    sixth: msgspec.Raw = msgspec.Raw()


class _RawMember(msgspec.Struct, array_like=True):
    """Its elements as bytes."""

    user: msgspec.Raw
    session: msgspec.Raw
    state: msgspec.Raw
    since: msgspec.Raw
    seen: msgspec.Raw
    rooms: msgspec.Raw
    address: msgspec.Raw = msgspec.Raw()
    lag: msgspec.Raw = msgspec.Raw()
    info: msgspec.Raw = msgspec.Raw()


_answer_decoder = msgspec.msgpack.Decoder(_RawAnswer)
_members_decoder = msgspec.msgpack.Decoder(list[_RawMember])


def check_large(frame: bytes) -> None:
    """Of an answer. Raises ValueError, or what a decoder raises."""
    if len(frame) <= LARGE_BYTES:
        return
    answer = _answer_decoder.decode(frame)
    if answer.kind == _FOR:
        answer = _answer_decoder.decode(answer.third)
    if answer.kind == _PAGE:
        if len(answer.third) > LARGE_BYTES:
            raise ValueError(f"a page with {len(answer.third)} bytes of batches")
        _check_count(answer.sixth, ELEMENTS_MAX)
    elif answer.kind == _HEADS_ARE:
        _check_count(answer.fourth, ELEMENTS_MAX)
    elif answer.kind == _ROOMS_ARE:
        _check_count(answer.third, ELEMENTS_MAX)
    elif answer.kind == _PRESENT:
        _check_count(answer.third, MEMBERS_MAX)
        members = _members_decoder.decode(answer.third)
        names = sum(_count(member.rooms) for member in members)
        if names > ELEMENTS_MAX:
            raise ValueError(f"{names} rooms of members")
        if any(len(member.info) > INFO_BYTES_MAX for member in members):
            raise ValueError(f"a member with more than {INFO_BYTES_MAX} bytes of info")
    else:
        raise ValueError(f"{len(frame)} bytes are too many")


def _check_count(array: msgspec.Raw, most: int) -> None:
    count = _count(array)
    if count > most:
        raise ValueError(f"a list of {count} elements")


def _count(array: msgspec.Raw) -> int:
    return count_of(bytes(memoryview(array)[:5]))
