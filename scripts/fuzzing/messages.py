"""Every message that a client may send, as the test vectors have them: made plausible, or changed in one place or more.

    [5, 3, ["general"], 41, 44, 2]     the example of FETCH in tests/vectors/messages.json
    [5, 812, ["fuzz.2"], 0, 44, 2]     plausible: names and numbers that are there
    [5, 812, [["fuzz.2"]], 0, -1]      changed

Rules of this file
1. A message that is added to the protocol has vectors, and so is fuzzed without a word here.
2. Rooms, users and groups are the fuzzers' own: no honest client owes an account of them.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from attacks import letters

VECTORS = Path(__file__).resolve().parents[2] / "tests" / "vectors" / "messages.json"
HELLO, PUBLISH, FROM, ENROLL = 1, 2, 15, 22
ROOMS = ("fuzz.0", "fuzz.1", "fuzz.2", "fuzz.x.y", "vault", "@fuzz-0", "@fuzz-1", "fuzz.*", "fuzz.**", "**", "*")
USERS = ("fuzz-0", "fuzz-1", "fuzz-2")
WORDS = (*ROOMS, *USERS, "", "message", "typing", "workers", "c1", "5f3a", "word")
SMALL = (0, 0, 1, 1, 2, 3, 5, 8, 40, 100, 1000, 30_000)
BINS = (b"", b"x", b"hello", b"#fuzz.0\0", b"@fuzz-0\0", b"+#fuzz.", b"#")
DEPTH_MAX = 6
encode = msgspec.msgpack.encode


@cache
def examples() -> tuple[list[Any], ...]:
    """Those that a client sends."""
    rows = json.loads(VECTORS.read_text())
    return tuple(_meant(row["means"]) for row in rows if row["from"] == "client" and not row["what"])


def frames() -> list[bytes]:
    """Of all messages, also those that a broker sends."""
    return [bytes.fromhex(row["frame"]) for row in json.loads(VECTORS.read_text())]


def hello(user: str = USERS[0]) -> list[Any]:
    """To begin a session."""
    return [HELLO, 1, user, "", b"", {"program": "fuzz"}, 1, 0]


def plausible(draw: Random, number: int) -> list[Any]:
    """A message of any kind that the broker may well do. `number` is that of its request, or its `seq`."""
    message = draw.choice(examples())
    made = [message[0], *(_likely(each, draw) for each in message[1:])]
    if message[0] == HELLO:
        return hello(draw.choice(USERS)) if draw.random() < 0.5 else made
    if message[0] == FROM:
        inner = hello(draw.choice(USERS)) if draw.random() < 0.3 else plausible(draw, number)
        return [FROM, draw.choice((1, 2, 7)), inner if inner[0] != FROM else hello()]
    if len(made) > 1 and isinstance(made[1], int):
        made[1] = number
    return made


def changed(value: Any, draw: Random, depth: int = 0) -> Any:
    """The same with one thing in it another: an element that is odd, missing, twice, elsewhere, or nested."""
    if isinstance(value, list) and value and depth < DEPTH_MAX and draw.random() < 0.85:
        made, at = list(value), draw.randrange(len(value))
        how = draw.randrange(10)
        if how < 6:
            made[at] = changed(made[at], draw, depth + 1)
        elif how == 6:
            del made[at]
        elif how == 7:
            made.insert(at, made[draw.randrange(len(made))])
        elif how == 8:
            other = draw.randrange(len(made))
            made[at], made[other] = made[other], made[at]
        else:
            made[at] = [made[at]]
        return made
    if isinstance(value, bool | int) and draw.random() < 0.6:
        return draw.choice((value + 1, value - 1, -value, value * 2, *letters.NUMBERS))
    if isinstance(value, str) and draw.random() < 0.6:
        return draw.choice((value * 2, value[:-1], value.upper(), f"{value}\0", f".{value}", f"{value}.*", *WORDS))
    if isinstance(value, bytes) and value and draw.random() < 0.6:
        return letters.bytes_changed(value, draw)
    return letters.odd(draw)


def said(message: Any, draw: Random) -> bytes:
    """As a frame; now and then with bytes that were changed behind msgpack's back."""
    frame = written(message)
    return letters.bytes_changed(frame, draw) if draw.random() < 0.05 and frame else frame


def written(message: Any) -> bytes:
    """As msgpack, as far as it can be said in it."""
    try:
        return encode(message)
    except (OverflowError, ValueError, TypeError, RecursionError):
        return encode([1])


def _likely(value: Any, draw: Random) -> Any:
    """Of the same type, and something that there is."""
    if draw.random() < 0.3:
        return value
    if isinstance(value, bool):
        return draw.random() < 0.5
    if isinstance(value, int):
        return draw.choice(SMALL)
    if isinstance(value, str):
        return draw.choice(WORDS)
    if isinstance(value, bytes):
        return draw.choice(BINS)
    if isinstance(value, list):
        return [_likely(each, draw) for each in value]
    return value


def _meant(value: Any) -> Any:
    """JSON as the vectors have it: bytes are {"bin": "hexadecimal"}."""
    if isinstance(value, dict):
        return bytes.fromhex(value["bin"]) if value.keys() == {"bin"} else {k: _meant(v) for k, v in value.items()}
    return [_meant(each) for each in value] if isinstance(value, list) else value
