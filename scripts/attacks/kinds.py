"""The kinds of floods: what is sent, by how many connections, and what the log has before.

Rule of this file: a chunk is some 10 to 100 kB, and a new one is made each time where its content must differ.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, repeat
from typing import Any

import msgspec

from attacks import letters, zmtp
from attacks.knocking import Knocks
from attacks.letters import message
from attacks.pouring import Makes, Source

MB = 1_000_000
RATE = 10 * MB  # a second, of all connections together
FAST = 500 * MB  # as fast as it goes
AT_ONCE = 2_000  # questions
LARGE = 1 << 20
BRANCHES = 10  # segments of a pattern that are a name or a star


@dataclass(frozen=True)
class Log:
    """What is in the log at the start."""

    records: int
    rooms: int = 1
    body_bytes: int = 10


NOTHING = Log(0)
ROOMS_10K, ROOMS_50K = Log(10_000, 10_000), Log(50_000, 50_000)
LONG = Log(500_000, 100)
PAGES = Log(100, 1, LARGE - 100)


@dataclass(frozen=True)
class Kind:
    """One flood."""

    what: str  # for people
    sources: tuple[Source | Knocks, ...]
    log: Log = NOTHING
    rate: float = RATE
    limits: Mapping[str, float] = field(default_factory=dict)  # of the broker, beside the defaults


def _hello(user: str = "flood") -> bytes:
    return zmtp.frame(letters.hello(user))


def _after_hello(*chunks: bytes, times: int | None = None) -> Makes:
    """The same chunks again and again."""

    def makes(number: int, log_id: str) -> Iterator[bytes]:
        yield _hello(f"flood-{number}")
        for _ in repeat(None) if times is None else repeat(None, times):
            yield from chunks

    return makes


def _made(make: Callable[[int, int], bytes], each: int = 100) -> Makes:
    """After HELLO: message after message, made of the number of the connection and its own."""

    def makes(number: int, log_id: str) -> Iterator[bytes]:
        yield _hello(f"flood-{number}")
        for first in count(1, each):
            yield b"".join(make(number, first + more) for more in range(each))

    return makes


def _asked(*elements: Any) -> bytes:
    return zmtp.frame(message(*elements)) * AT_ONCE


def _nothing(number: int, log_id: str) -> Iterator[bytes]:
    return iter(())


def _only_hello(number: int, log_id: str) -> Iterator[bytes]:
    yield _hello(f"guest-{number}")


def _telling(number: int, log_id: str) -> Iterator[bytes]:
    yield _hello(f"guest-{number}")
    yield zmtp.frame(message(letters.REPORT, [[number, ["**", f"load.{each}"]] for each in range(64)]))


def _endless(number: int, log_id: str) -> Iterator[bytes]:
    yield from repeat(zmtp.frame(bytes(LARGE), zmtp.MORE))


def _topics(number: int, log_id: str) -> Iterator[bytes]:
    for first in range(0, 4_000, 100):
        yield b"".join(zmtp.frame(b"\1" + secrets.token_bytes(500)) for _ in range(first, first + 100))


def _churn(number: int, log_id: str) -> Iterator[bytes]:
    pairs = (zmtp.frame(b"\1#churn.%d\0" % each) + zmtp.frame(b"\0#churn.%d\0" % each) for each in range(500))
    yield from repeat(b"".join(pairs))


def _no_subscription(number: int, log_id: str) -> Iterator[bytes]:
    yield from repeat(zmtp.frame(b"\1#x\0") * 10 + zmtp.frame(b"no subscription"))


def _slow_listener(number: int, log_id: str) -> Iterator[bytes]:
    yield zmtp.frame(b"\1#slow.%d\0" % number)


def _sessions(number: int, log_id: str) -> Iterator[bytes]:
    refused = zmtp.frame(letters.publish(1, "Not Canonical", b"x"))
    for first in count():
        yield b"".join(_hello(f"flood-{(first * 100 + more) % 50}") + refused for more in range(100))


def _users(number: int, log_id: str) -> Iterator[bytes]:
    for first in count():
        yield b"".join(_hello(f"invented-{first * 100 + more}") for more in range(100))


def _cursors(number: int, log_id: str) -> Iterator[bytes]:
    for user in count():  # a user may have so many
        yield _hello(f"reader-{number}-{user}")
        for first in range(1, 1_000, 100):
            yield b"".join(
                zmtp.frame(message(letters.SET_CURSOR, first + more, f"c{first + more}", log_id, 0))
                for more in range(100)
            )


def _joins(number: int, turn: int) -> bytes:
    names = [f"hall.{number}.{each}" for each in range(20)]
    return zmtp.frame(message(letters.JOIN, turn, names)) + zmtp.frame(message(letters.PART, turn, names))


def _large_publishes(number: int, seq: int) -> bytes:
    return zmtp.frame(letters.publish(seq, f"slow.{seq % 5}", bytes(LARGE - 100)))


def _garbage(number: int, seq: int) -> bytes:
    return zmtp.frame(message(letters.PUBLISH, seq, "storm.0", 0, msgspec.Raw(secrets.token_bytes(200))))


def _branches(number: int, log_id: str) -> Iterator[bytes]:
    """Rooms and patterns that are alike for as long as they can be: a room is compared with each of them."""
    yield _hello(f"flood-{number}")
    beginning = ".".join("a" * (BRANCHES - 1))
    for first in range(1, 10_000, 500):
        yield b"".join(
            zmtp.frame(letters.publish(each, f"{beginning}.{number}-{each}", b"x"))
            for each in range(first, first + 500)
        )
    patterns = [".".join("*" if each >> at & 1 else "a" for at in range(BRANCHES)) for each in range(1 << BRANCHES)]
    for request in count(10_000):
        yield zmtp.frame(message(letters.HEADS, request, patterns))


def _telling_apart(number: int, log_id: str) -> Iterator[bytes]:
    """Listeners of patterns that nobody else has."""
    yield _hello(f"guest-{number}")
    yield zmtp.frame(message(letters.REPORT, [[0, [f"*.{number}-{each}"]] for each in range(64)]))


def _telling_much(number: int, log_id: str) -> Iterator[bytes]:
    """As many names as a session may tell."""
    yield _hello(f"guest-{number}")
    names = [f"{number:04}-{each:04}".ljust(64, "x") for each in range(1_000)]
    yield zmtp.frame(message(letters.REPORT, [[1, names]]))


def _crowding(number: int, log_id: str) -> Iterator[bytes]:
    """Into as many rooms as it may be, all of the crowd into the same, and out of them again."""
    yield _hello(f"guest-{number}")
    names = [f"hall.{each}" for each in range(1_024)]
    for turn in count(1):
        yield zmtp.frame(message(letters.JOIN, turn, names))
        yield zmtp.frame(message(letters.PART, turn, names))


def _long_names(number: int, log_id: str) -> Iterator[bytes]:
    yield _hello(f"guest-{number}")
    names = [f"{each:04}".ljust(120, "x") for each in range(1_024)]
    yield zmtp.frame(message(letters.JOIN, 1, names))


def _members_speak(number: int, log_id: str) -> Iterator[bytes]:
    """Small messages of sessions that are in many rooms."""
    yield from _long_names(number, log_id)
    for seq in count(1):
        yield zmtp.frame(letters.publish(seq, "speakers", b"x"))


def _headers(number: int, seq: int) -> bytes:
    headers = {f"{each:x}": "" for each in range(170_000)}
    return zmtp.frame(message(letters.PUBLISH, seq, "storm.0", 0, [[b"", "", headers]]))


_TINY = b"".join(zmtp.frame(b"xyz"[: 1 + each % 3]) for each in range(9_000))
# Each with a number of its own: what comes again is worked on once. More than there is is answered at once.
_FETCHES = b"".join(zmtp.frame(message(letters.FETCH, each, ["**"], 0, 0)) for each in range(1, 32))
_SEEKS = b"".join(zmtp.frame(message(letters.SEEK, each, ["**"], LONG.records - 1)) for each in range(1, 32))

KINDS: dict[str, Kind] = {
    "rooms-10000": Kind(
        "2,000 ROOMS at once, each second; 10,000 rooms",
        (Source(_after_hello(_asked(letters.ROOMS, 1)), every_seconds=1.0),),
        ROOMS_10K,
    ),
    "rooms-50000": Kind(
        "2,000 ROOMS at once, each second; 50,000 rooms",
        (Source(_after_hello(_asked(letters.ROOMS, 1)), every_seconds=1.0),),
        ROOMS_50K,
    ),
    "who": Kind(
        "2,000 WHO at once, each second; 300 sessions",
        (Source(_only_hello, 300), Source(_after_hello(_asked(letters.WHO, 1)), every_seconds=1.0)),
    ),
    "who-lag": Kind(
        "2,000 WHO with lag at once, each second; 300 sessions of 64 listeners, 10,000 rooms",
        (Source(_telling, 300), Source(_after_hello(_asked(letters.WHO, 1, "", True)), every_seconds=1.0)),
        ROOMS_10K,
    ),
    "heads": Kind(
        "2,000 HEADS of `**` at once, each second; 10,000 rooms",
        (Source(_after_hello(_asked(letters.HEADS, 1, ["**"])), every_seconds=1.0),),
        ROOMS_10K,
    ),
    "heads-patterns": Kind(
        "HEADS of 1,024 patterns that 10,000 rooms are like, again and again",
        (Source(_branches),),
    ),
    "who-lag-patterns": Kind(
        "2,000 WHO with lag at once, each second; 300 sessions of 64 listeners of patterns of their own, 10,000 rooms",
        (Source(_telling_apart, 300), Source(_after_hello(_asked(letters.WHO, 1, "", True)), every_seconds=1.0)),
        ROOMS_10K,
    ),
    "who-lag-names": Kind(
        "2,000 WHO with lag at once, each second; 1,500 sessions that listen to 1,000 rooms",
        (Source(_telling_much, 1_500), Source(_after_hello(_asked(letters.WHO, 1, "", True)), every_seconds=1.0)),
    ),
    "who-rooms": Kind(
        "2,000 WHO at once, each second; 300 sessions in 1,024 rooms with long names",
        (Source(_long_names, 300), Source(_after_hello(_asked(letters.WHO, 1)), every_seconds=1.0)),
    ),
    "crowding": Kind("500 sessions JOIN and PART 1,024 rooms", (Source(_crowding, 500),)),
    "members": Kind("small messages of 300 sessions that are in 1,024 rooms", (Source(_members_speak, 300),)),
    "headers": Kind("PUBLISH of 1 MiB of small headers", (Source(_made(_headers, 1)),)),
    "seeks": Kind(
        "10 connections with 31 SEEK of `**` to the second message, each second; 500,000 records",
        (Source(_after_hello(_SEEKS), 10, every_seconds=1.0),),
        LONG,
    ),
    "garbage": Kind("PUBLISH of 200 bytes that are no records", (Source(_made(_garbage)),)),
    "tiny": Kind("messages of 1 to 3 bytes", (Source(_after_hello(_TINY)),)),
    "tiny-no-hello": Kind("messages of 1 to 3 bytes, without HELLO", (Source(lambda number, log_id: repeat(_TINY)),)),
    "dribbled": Kind("messages of 1 to 3 bytes, a TCP segment each", (Source(_after_hello(_TINY), segment=5),)),
    "endless": Kind("frames of 1 MiB of a message that never ends", (Source(_endless),)),
    "endless-fast": Kind("the same, as fast as it goes", (Source(_endless),), rate=FAST),
    "pings": Kind("PINGs whose answers are not read", (Source(_after_hello(zmtp.ping() * 5_000), reads=False),)),
    "sessions": Kind("HELLO and a publish that is refused, again and again", (Source(_sessions),)),
    "users": Kind("HELLO of ever new users on one connection", (Source(_users),)),
    "new-rooms": Kind(
        "a message to an ever new room",
        (Source(_made(lambda number, seq: zmtp.frame(letters.publish(seq, f"new.{number}.{seq}", b"x")))),),
    ),
    "cursors": Kind("cursors of ever new users", (Source(_cursors),)),
    "joins": Kind("JOIN and PART of 20 rooms", (Source(_made(_joins, 20)),)),
    "silent": Kind(
        "600 connections without a word, and 200 without HELLO",
        (
            Source(_nothing, 300, greets=False),
            Source(_nothing, 300, greets=False, publisher=True),
            Source(_nothing, 200),
        ),
    ),
    "topics": Kind(
        "12 subscribers of 4,000 topics of 500 bytes, and their leaving",
        (Source(_topics, 12, publisher=True, kind=b"SUB"),),
        rate=FAST,
    ),
    "churn": Kind("subscribing and cancelling the same", (Source(_churn, publisher=True, kind=b"SUB"),)),
    "no-subscription": Kind(
        "what is no subscription, on 4 connections that come back",
        (Source(_no_subscription, 4, publisher=True, kind=b"SUB"),),
    ),
    "pages": Kind(
        "8 connections that FETCH pages of 1 MiB and never read",
        (Source(_after_hello(_FETCHES), 8, reads=False, every_seconds=0.3),),
        PAGES,
    ),
    "slow-listeners": Kind(
        "5 subscribers that never read, each of a room that gets messages of 1 MiB",
        (
            Source(_slow_listener, 5, publisher=True, kind=b"SUB", reads=False),
            Source(_made(_large_publishes, 1)),
        ),
        rate=FAST,
    ),
    "taken-name": Kind(
        "20 connections under one routing id that send frames of 1 MiB",
        (Source(_after_hello(zmtp.frame(bytes(LARGE))), 20, name=b"taken"),),
        rate=FAST,
    ),
}
TOGETHER = "all"
