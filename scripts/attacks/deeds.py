"""What a peer of the storm sends in one state of its connection. Pure: bytes are made, nothing is sent.

    raw           before, or instead of, a greeting
    greetings     whole or cut anywhere
    commands      of ZMTP and others, with right and wrong lengths
    frames        sizes, flags, messages of many parts, messages that never end
    subscriptions of a publisher's port, and what is none
    letters       zchat's messages, right and changed, before and after HELLO

Rule of this file: one deed is at most some MB, most are some kB; floods.py is there for more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from random import Random

from attacks import letters, zmtp

NAMES = (b"READY", b"ERROR", b"PING", b"PONG", b"SUBSCRIBE", b"CANCEL", b"HELLO", b"WELCOME", b"INITIATE", b"MESSAGE",
         b"JOIN", b"LEAVE", b"", b"X", b"PI", b"PINGPONG", b"\0\0\0\0")  # fmt: skip
FRAME_BYTES_MAX = 4 << 20
BURST = 3_500  # small messages: more than any high-water mark that a broker may have
FIRST_NAMES = 8  # routing ids that a ROUTER of a program whose random numbers are never seeded begins with

Deed = Callable[[Random], bytes]


# --- the beginning --------------------------------------------------------------------------------


def noise(draw: Random) -> bytes:
    """Random bytes, or those of another protocol."""
    if draw.random() < 0.2:
        return draw.choice(
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"SSH-2.0-x\r\n", b"\n")
        )
    return draw.choice((b"", b"\xff", b"\xff" + bytes(8), b"\xff" + bytes(8) + b"\x7f")) + draw.randbytes(
        draw.choice((1, 10, 64, 1000, 50_000))
    )


def greeting(draw: Random) -> bytes:
    """Any greeting, whole or cut at any byte."""
    kind = draw.choice(zmtp.SOCKET_TYPES)
    name = routing_id(draw) or b""
    whole = draw.choice(
        (
            zmtp.greeting_1(name[:200]),
            zmtp.greeting_2(kind, name),
            zmtp.greeting_2(b"?"),
            zmtp.greeting(draw.randrange(3), draw.choice(zmtp.MECHANISMS)[:20], as_server=draw.randrange(2)),
            zmtp.greeting(draw.randrange(256), major=draw.randrange(256)),
            zmtp.handshake(kind, name),
        )
    )
    return whole[: draw.randrange(1, len(whole) + 1)] if draw.random() < 0.7 else whole


def routing_id(draw: Random) -> bytes | None:
    """None, an empty one, a long one, one that others have, or one of those that a ROUTER gives by itself."""
    how = draw.randrange(8)
    if how < 3:
        return None
    if how == 3:
        return b""
    if how == 4:
        return draw.randbytes(draw.choice((1, 5, 254, 255, 256, 1000)))
    if how == 5:
        return b"storm" + bytes([draw.randrange(3)])
    return b"\0" + given_id(draw)


def given_id(draw: Random) -> bytes:
    """Four bytes near the ids that a ROUTER counts up: anywhere, or from where unseeded random numbers begin."""
    if draw.random() < 0.3:
        return draw.randbytes(4)
    low, high = draw.choice(_unseeded())
    return ((low | high << 31) + draw.randrange(200) & 0xFFFFFFFF).to_bytes(4, "big")


@cache
def _unseeded() -> list[tuple[int, int]]:
    import ctypes

    libc = ctypes.CDLL(None)
    libc.srand(1)
    return [(libc.rand(), libc.rand()) for _ in range(FIRST_NAMES)]


# --- commands -------------------------------------------------------------------------------------


def command(draw: Random) -> bytes:
    """One of ZMTP's commands, mostly with something wrong in it."""
    how = draw.randrange(9)
    if how == 0:
        return zmtp.ping(draw.choice((0, 1, 10, 20, 65535)), draw.randbytes(draw.randrange(17)))
    if how == 1:
        return zmtp.command(b"PING", draw.randbytes(draw.choice((0, 1, 2, 17, 19, 300, 5000))))
    if how == 2:
        return zmtp.pong(draw.randbytes(draw.choice((0, 1, 16, 17, 300))))
    if how == 3:
        reason = draw.randbytes(draw.choice((0, 1, 255)))
        return zmtp.command(b"ERROR", bytes([draw.choice((len(reason), 0, 255, draw.randrange(256)))]) + reason)
    if how == 4:
        more = (draw.randbytes(draw.randrange(20)), draw.randbytes(draw.randrange(300)))
        return zmtp.ready(draw.choice(zmtp.SOCKET_TYPES), routing_id(draw), more)
    if how == 5:
        whole = zmtp.ready(draw.choice((*zmtp.SOCKET_TYPES, b"", b"NONE", b"D" * 300)), routing_id(draw))
        return whole[: draw.randrange(2, len(whole))]
    if how == 6:
        name = draw.choice((b"SUBSCRIBE", b"CANCEL"))
        return zmtp.command(name, topic(draw))
    flags = draw.choice((zmtp.COMMAND, zmtp.COMMAND | zmtp.MORE, 0x08 | zmtp.COMMAND, 0xFC, zmtp.COMMAND | 0x80))
    name = draw.choice(NAMES)
    length = draw.choice((None, None, 0, 1, 255, len(name) + 1))
    return zmtp.command(name, draw.randbytes(draw.choice((0, 1, 10, 600))), flags, name_length=length)


def commands(draw: Random) -> bytes:
    """Many of them."""
    return b"".join(command(draw) for _ in range(draw.choice((2, 10, 100))))


# --- frames ---------------------------------------------------------------------------------------


def frame(draw: Random) -> bytes:
    """A frame whose size or flags are out of the usual."""
    how = draw.randrange(6)
    body = draw.randbytes(draw.choice((0, 1, 3, 255, 256, 5000)))
    if how == 0:
        return zmtp.frame(body, draw.randrange(256))
    if how == 1:  # longer than it may be
        size = draw.choice((FRAME_BYTES_MAX + 1, 1 << 31, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1))
        return zmtp.frame(body, length=size, is_long=True)
    if how == 2:  # a short one said in the long way
        return zmtp.frame(body, is_long=True)
    if how == 3:  # it says more than comes, or less
        return zmtp.frame(body, length=draw.choice((len(body) + 1, len(body) // 2, 0)))
    if how == 4:
        return zmtp.frame(draw.randbytes(1000) * draw.choice((100, 1000, 4194)))
    return zmtp.frame_1(body, draw.randrange(4))


def parts(draw: Random) -> bytes:
    """A message of several frames, or of ever more."""
    each = draw.randbytes(draw.choice((0, 1, 100, 10_000)))
    return zmtp.multipart(*[each] * draw.choice((2, 3, 50, 300)), ends=draw.random() < 0.4)


def small_and_ping(draw: Random) -> bytes:
    """A queue's worth of small messages, a PING behind some of them."""
    message = zmtp.frame(draw.randbytes(draw.randrange(4)))
    ahead = draw.choice((100, 1500, BURST))
    return message * ahead + zmtp.ping(0, b"") + message * (BURST - ahead)


# --- of the publisher's port ------------------------------------------------------------------------


def topic(draw: Random) -> bytes:
    """Of a room, of all, private, or of none."""
    how = draw.randrange(6)
    if how == 0:
        return f"#{letters.room(draw)}\0".encode()
    if how == 1:
        return draw.choice((b"", b"#", b"@", b"+", b"\xff", b"#storm.", b"+#storm.", b"@storm\0"))
    if how == 2:
        return b"\xff" + draw.randbytes(16)
    return draw.randbytes(draw.choice((1, 20, 130, 500, 511, 512, 600)))


def subscription(draw: Random) -> bytes:
    """To subscribe, to cancel, the same again, or what is neither."""
    how = draw.randrange(6)
    if how == 0:
        return zmtp.frame(b"\1" + topic(draw)) * draw.choice((1, 2, 1000))
    if how == 1:
        return zmtp.frame(b"\0" + topic(draw)) * draw.choice((1, 100))
    if how == 2:
        wanted = topic(draw)
        return (zmtp.frame(b"\1" + wanted) + zmtp.frame(b"\0" + wanted)) * draw.choice((1, 100))
    if how == 3:
        return b"".join(zmtp.frame(b"\1" + topic(draw)) for _ in range(draw.choice((10, 200))))
    if how == 4:
        return zmtp.frame(draw.choice((b"", b"\2", b"x", b"\xff", b"\1" * 513)) + draw.randbytes(draw.randrange(20)))
    return zmtp.frame(b"\1" + topic(draw), zmtp.MORE) + zmtp.frame(b"\1" + topic(draw))


# --- of the port for messages -----------------------------------------------------------------------


def hello(draw: Random) -> bytes:
    """To begin a session, or to go on with one that is not there."""
    session, token = draw.choice((("", b""), ("", b""), ("storm", b"x" * 32), ("", b"x")))
    return zmtp.frame(letters.hello(draw.choice(("storm", f"storm-{draw.randrange(100)}")), session, token))


def letter(draw: Random) -> bytes:
    """Messages that are right."""
    first = draw.randrange(3)
    count = draw.choice((1, 5, 30))
    return b"".join(zmtp.frame(letters.message(*letters.legal(draw, first + number))) for number in range(count))


def wrong_letter(draw: Random) -> bytes:
    """Messages in which something was changed."""
    count = draw.choice((1, 5, 30))
    return b"".join(zmtp.frame(letters.changed(draw, number + 1)) for number in range(count))


def questions(draw: Random) -> bytes:
    """The same question very often: the program is busy for a while."""
    asked = letters.message(*letters.legal(draw, 1))
    return zmtp.frame(asked) * draw.choice((100, 300) if len(asked) < 1000 else (3,))


EVERYWHERE: tuple[Deed, ...] = (noise, greeting, command, commands, frame, parts, small_and_ping)
ROUTER: tuple[Deed, ...] = (hello, letter, letter, wrong_letter, wrong_letter, questions)
PUBLISHER: tuple[Deed, ...] = (subscription, subscription, subscription)
