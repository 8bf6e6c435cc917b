"""What one connection to a broker sends, from its first byte to its last. Pure: bytes are made, nothing is sent.

    tcp      bytes of anything, cut anywhere, with an end of any kind
    zmtp     greetings of versions 1, 2 and 3, the handshakes of NULL, PLAIN and CURVE, commands and PINGs at any place
    frames   behind a right handshake: a HELLO and messages of all kinds, most of them plausible and some changed; on
             the other port subscriptions

Rules of this file
1. A course is right at first; then pieces of it are left out, doubled, exchanged, cut or changed. So every
   state is met, and left in every way.
2. The same random numbers make the same course.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from attacks import deeds, peers, zmtp

from fuzzing import messages

MESSAGES_MAX = 20
CUT, DOUBLED, SWAPPED, BITS = 0.1, 0.1, 0.1, 0.08  # how often that is done to a course
CURVE_HELLO_BYTES, CURVE_INITIATE_BYTES, PLAIN_TEXT_BYTES = 194, 249, 255


class Piece(NamedTuple):
    """Bytes that are sent at once; then so many are waited for, a moment, and what has come is read."""

    data: bytes
    awaited: int = 0


class Course(NamedTuple):
    """One connection."""

    publisher: bool  # to the port that publishes
    pieces: list[Piece]
    end: str  # one of `peers.ENDS`


def tcp(draw: Random) -> Course:
    """No ZMTP, or hardly any."""
    made = [Piece(deeds.noise(draw) if draw.random() < 0.6 else deeds.greeting(draw)) for _ in range(draw.randrange(4))]
    return _course(draw, draw.random() < 0.5, made)


def zmtp_only(draw: Random) -> Course:
    """A greeting, a handshake and commands."""
    publisher = draw.random() < 0.4
    kind = draw.choice((b"SUB", b"XSUB") if publisher else (b"DEALER", b"REQ", b"ROUTER"))
    if draw.random() < 0.2:
        kind = draw.choice(zmtp.SOCKET_TYPES)
    made = draw.choice(HANDSHAKES)(draw, kind)
    for _ in range(draw.randrange(6)):
        made.insert(draw.randrange(len(made) + 1), Piece(deeds.command(draw)))
    if draw.random() < 0.5:
        made.insert(draw.randrange(len(made) + 1), Piece(zmtp.ping(draw.randrange(100), draw.randbytes(16)), 1))
    made += [Piece(deeds.frame(draw)) for _ in range(draw.randrange(3))]
    return _course(draw, publisher, made)


def frames(draw: Random) -> Course:
    """What zchat's messages are in."""
    publisher = draw.random() < 0.25
    made = null(draw, b"SUB" if publisher else b"DEALER")
    if publisher:
        made += [Piece(_subscription(draw)) for _ in range(draw.randrange(1, 8))]
        return _course(draw, publisher, made)
    if draw.random() < 0.9:
        made.append(Piece(zmtp.frame(messages.encode(messages.hello(draw.choice(messages.USERS)))), 1))
    for number in range(1, draw.randrange(1, MESSAGES_MAX)):
        message = messages.plausible(draw, number)
        if draw.random() < 0.3:
            message = messages.changed(message, draw)
        made.append(Piece(zmtp.frame(messages.said(message, draw)), 1 if draw.random() < 0.2 else 0))
    return _course(draw, publisher, made)


def strangers(draw: Random) -> Course:
    """Any of these: a broker with keys takes nothing of it."""
    return draw.choice((tcp, zmtp_only, zmtp_only, frames))(draw)


class KeyedCourse(NamedTuple):
    """One connection of a key that is let in: messages of one frame or more, inside of its encryption."""

    publisher: bool
    messages: list[list[bytes]]


def keyed(draw: Random) -> KeyedCourse:
    """As `frames`, of users for whom the key speaks, and of others."""
    if draw.random() < 0.25:
        topics = (b"#fuzz.0\0", b"#", b"", b"+#", b"@keeper.0\0", b"\0s1\0" + bytes(16), b"\xff" + draw.randbytes(16))
        made = [
            draw.choice((b"\1", b"\1", b"\0", b"\2", b"")) + draw.choice(topics) for _ in range(draw.randrange(1, 8))
        ]
        return KeyedCourse(True, [[each] * draw.choice((1, 1, 1, 2)) for each in made])
    user = draw.choice((*messages.USERS, "keeper.0", "witness.0"))
    said = [[messages.encode(messages.hello(user))]]
    for number in range(1, draw.randrange(1, MESSAGES_MAX)):
        message = messages.plausible(draw, number)
        if message[0] == messages.ENROLL:
            message = [messages.ENROLL, number, draw.randbytes(31), 0]  # one that is right would end their own key
        elif draw.random() < 0.3:
            message = messages.changed(message, draw)
        said.append([messages.said(message, draw)] * draw.choice((1, 1, 1, 1, 1, 2)))
    return KeyedCourse(False, said)


LEVELS = {"tcp": tcp, "zmtp": zmtp_only, "frames": frames, "strangers": strangers}


# --- handshakes -----------------------------------------------------------------------------------


def one(draw: Random, kind: bytes) -> list[Piece]:
    """Of ZMTP 1.0."""
    return [Piece(zmtp.greeting_1(deeds.routing_id(draw) or b"")[:250], 1), Piece(zmtp.frame_1(draw.randbytes(9)))]


def two(draw: Random, kind: bytes) -> list[Piece]:
    """Of ZMTP 2.0."""
    return [Piece(zmtp.greeting_2(kind, deeds.routing_id(draw) or b""), 12), Piece(zmtp.frame(draw.randbytes(9)))]


def null(draw: Random, kind: bytes) -> list[Piece]:
    """Of ZMTP 3 without security."""
    greeting = zmtp.greeting(draw.randrange(2))
    return [Piece(greeting, zmtp.GREETING_BYTES), Piece(zmtp.ready(kind, deeds.routing_id(draw)), 1)]


def plain(draw: Random, kind: bytes) -> list[Piece]:
    """With a name and a password."""
    name, password = (draw.randbytes(draw.choice((0, 5, PLAIN_TEXT_BYTES))) for _ in range(2))
    words = bytes([len(name)]) + name + bytes([draw.choice((len(password), 0, 255))]) + password
    made = [
        Piece(zmtp.greeting(draw.randrange(2), b"PLAIN"), zmtp.GREETING_BYTES),
        Piece(zmtp.command(b"HELLO", words), 1),
    ]
    return [*made, Piece(zmtp.ready(kind).replace(b"\x05READY", b"\x08INITIATE"), 1)]


def curve(draw: Random, kind: bytes) -> list[Piece]:
    """With keys that are none, in boxes of the right size or nearly."""
    sizes = [size + draw.choice((0, 0, 0, -1, 1, 40)) for size in (CURVE_HELLO_BYTES, CURVE_INITIATE_BYTES)]
    hello = b"\1\0" + bytes(72) + draw.randbytes(max(0, sizes[0] - 74))
    made = [Piece(zmtp.greeting(draw.randrange(2), b"CURVE"), zmtp.GREETING_BYTES)]
    made.append(Piece(zmtp.command(b"HELLO", hello), 1))
    made.append(Piece(zmtp.command(b"INITIATE", draw.randbytes(sizes[1])), 1))
    return [*made, Piece(zmtp.command(b"MESSAGE", draw.randbytes(draw.choice((0, 8, 24, 25, 300)))))]


HANDSHAKES = (one, two, null, null, plain, curve, curve)


# --- inside ---------------------------------------------------------------------------------------


def _subscription(draw: Random) -> bytes:
    how = draw.random()
    if how < 0.3:
        return deeds.subscription(draw)[:5_000]
    topic = draw.choice((b"#fuzz.0\0", b"#fuzz.", b"#", b"+#", b"", b"@fuzz-0\0", b"\xff" + draw.randbytes(16)))
    if how < 0.4:
        return zmtp.command(draw.choice((b"SUBSCRIBE", b"CANCEL")), topic)
    return zmtp.frame(draw.choice((b"\1", b"\1", b"\0")) + topic)


def _course(draw: Random, publisher: bool, pieces: list[Piece]) -> Course:
    """With what is done to any course."""
    if pieces and draw.random() < CUT:
        at = draw.randrange(len(pieces))
        pieces[at:] = [Piece(pieces[at].data[: draw.randrange(len(pieces[at].data) + 1)])]
    if pieces and draw.random() < DOUBLED:
        at = draw.randrange(len(pieces))
        pieces.insert(at, pieces[at])
    if len(pieces) > 1 and draw.random() < SWAPPED:
        at = draw.randrange(1, len(pieces))
        pieces[at - 1], pieces[at] = pieces[at], pieces[at - 1]
    if pieces and draw.random() < BITS:
        at = draw.randrange(len(pieces))
        data = bytearray(pieces[at].data)
        for _ in range(draw.choice((1, 3))):
            if data:
                data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        pieces[at] = Piece(bytes(data), pieces[at].awaited)
    return Course(publisher, pieces, draw.choice([*peers.ENDS, "fin", "reset", "fin"]))
