"""Floods that run into one limit each, of a broker where that is low, at a rate at which a client may well ask.

Rule of this file: a kind is called as the limit that it meets, so that it can be looked up whether it did.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, repeat

import msgspec

from attacks import letters, zmtp
from attacks.kinds import KINDS, Kind, _hello, _made
from attacks.knocking import Knocks
from attacks.letters import message
from attacks.pouring import Makes, Source

ASKED_BYTES = 60_000  # a second: a thousand messages or so
ROOM, NUMBER = "storm.0", object()
JOIN_GROUP, LATER, SERVE, FROM = 16, 23, 30, 15
YEAR_2096 = 4_000_000_000_000_000


def _each(*elements: object, kind: int) -> Makes:
    """After HELLO: a message of that kind again and again, its request counting up; None is a name that is new."""

    def make(number: int, request: int) -> bytes:
        named = [f"n{request}" if each is None else request if each is NUMBER else each for each in elements]
        return zmtp.frame(message(kind, request, *named))

    return _made(make, 20)


def _published(room: str, *bodies: bytes) -> Makes:
    def make(number: int, seq: int) -> bytes:
        return zmtp.frame(letters.publish(seq, room.replace("*", str(seq)), *bodies))

    return _made(make, 20)


def _joined(number: int, log_id: str) -> Iterator[bytes]:
    yield _hello("flood-0")
    for request in count(1):
        yield zmtp.frame(message(letters.JOIN, request, [f"storm.{request}"]))


def _cursors(number: int, log_id: str) -> Iterator[bytes]:
    yield _hello("flood-0")
    for request in count(1):
        yield zmtp.frame(message(letters.SET_CURSOR, request, f"c{request}", log_id, 0))


def _more_sessions(number: int, log_id: str) -> Iterator[bytes]:
    """Of one user, each on a channel of its own."""
    yield _hello("flood-0")
    for channel in count(1):
        yield zmtp.frame(message(FROM, channel, msgspec.Raw(letters.hello("flood-0"))))


def _subscriptions(number: int, log_id: str) -> Iterator[bytes]:
    yield from repeat(b"".join(zmtp.frame(b"\1#flood.%d\0" % each) for each in range(100)))


def _kind(what: str, makes: Makes, publisher: bool = False, **limits: float) -> Kind:
    source = Source(makes, publisher=publisher, kind=b"SUB" if publisher else b"DEALER")
    return Kind(what, (source,), rate=ASKED_BYTES, limits=limits)


def _of_limits(*kinds: Kind) -> dict[str, Kind]:
    """By the first limit of each."""
    return {next(iter(kind.limits)): kind for kind in kinds}


LIMITS = _of_limits(
    _kind("a message too large", _published(ROOM, bytes(200)), record_bytes_max=100),
    _kind("a PUBLISH of too many records", _published(ROOM, *[b"x"] * 5), publish_records_max=4),
    _kind("faster than a user may", _published(ROOM, b"x"), user_records_a_second_max=100, user_records_max=100),
    _kind("more bytes than a user may", _published(ROOM, b"x"), user_bytes_a_second_max=5_000, user_bytes_max=5_000),
    _kind("more than a user may store in a day", _published(ROOM, b"x"), user_day_bytes_max=60_000),
    _kind("new rooms of a user", _published("storm.*", b"x"), user_new_rooms_max=20, user_new_rooms_a_second_max=1),
    _kind("new rooms of all", _published("storm.*", b"x"), rooms_max=20),
    _kind("new sessions of a user", _more_sessions, user_sessions_max=20),
    _kind("too many rooms", _each([f"storm.{each}" for each in range(5)], kind=letters.JOIN), session_rooms_max=4),
    _kind("new cursors", _cursors, user_cursors_max=20),
    _kind("new groups of a user", _each(NUMBER, ROOM, None, 8, kind=JOIN_GROUP), user_groups_max=20),
    _kind("new groups of all", _each(NUMBER, ROOM, None, 8, kind=JOIN_GROUP), groups_max=20),
    _kind("members of a group", _each(NUMBER, ROOM, "g", 8, kind=JOIN_GROUP), user_group_members_max=20),
    _kind("a user's messages for later", _each(None, ROOM, [b"x"], YEAR_2096, kind=LATER), user_scheduled_max=20),
    _kind("new messages for later", _each(None, ROOM, [b"x"], YEAR_2096, kind=LATER), scheduled_max=20),
    _kind("a user's servers", _each(NUMBER, ROOM, kind=SERVE), user_servers_max=20),
    _kind("new servers", _each(NUMBER, ROOM, kind=SERVE), servers_max=20),
    _kind("rooms that a user is in", _joined, user_memberships_max=20),
    _kind("questions that wait", _each("", kind=letters.WHO), connection_questions_max=1),
    _kind("reads that wait", _each(["**"], 0, 0, kind=letters.FETCH), connection_reads_max=1),
    _kind(
        "reads, more than a user's share",
        _each(["**"], 0, 0, kind=letters.FETCH),
        user_read_seconds_a_second_max=0.2,
        user_read_seconds_max=0.2,
    ),
    _kind("ever more subscriptions", _subscriptions, True, connection_subscriptions_max=20),
    Kind("handshakes that fail, to a broker with keys", (Knocks(1_000, 100),), limits={"address_failures_max": 256}),
)
EVERY = {**KINDS, **LIMITS}
