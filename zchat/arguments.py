"""What a program hands to a call: names, starts, bodies and numbers, checked before anything is sent.

Rules of this file: it raises UsageError or what is derived from it, and nothing else. Tests: tests/test_client.py.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from operator import index
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec

from zchat import times, wire
from zchat.address import Address, parse
from zchat.core.deliveries import Start
from zchat.core.steps import Steps, purge
from zchat.errors import BadName, TooLarge, UsageError, WireError
from zchat.expiry import Life, headers_with
from zchat.names import cursor_name, inbox, matcher, pattern_name, room_name, user_name
from zchat.printable import printable
from zchat.profile import meant
from zchat.times import Since
from zchat.wire.records import SEALED_EVENT

if TYPE_CHECKING:
    from zchat.core.history import History
    from zchat.core.opening import Opening
    from zchat.keys import Credentials

F = TypeVar("F", bound=Callable[..., Any])
SealRecord: TypeAlias = "Callable[[str, wire.RecordOrBody, int], tuple[wire.RecordOrBody, int]]"
"""A record as it is sent to a room, and its size: sealed, or as it is."""

CO_COROUTINE = 128  # inspect's; to import that takes 10 ms
NOT_PUBLISHED = ("join", "leave", SEALED_EVENT)  # events that a program cannot give to a message
SEARCH_LAST = 20  # messages that a search finds, where nothing else is asked
INFO_VALUE_CHARACTERS = 64  # of host and program; a broker takes 256 of all, names too


def whom(address: str | None, user: str | None) -> tuple[Address, str, Credentials | None]:
    """Where the broker is, who speaks, and with which key: as told, else as the environment says, else the profile,
    else here and the login name. An address may be a name in the profile. Raises BadAddress, BadName, UsageError."""
    where = meant(address, user)
    name = login_name() if where.user is None else text_of("user", where.user)
    return parse(where.address), user_name(name), where.credentials


def name_of(user: str) -> str:
    """A user's name, made canonical. Raises BadName."""
    return user_name(text_of("user", user))


def login_name() -> str:
    """The name that the system knows this user by. Raises BadName where it can be nobody's here: `DOMAIN\\alice`."""
    import getpass

    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        return "anonymous"
    try:
        return user_name(name)
    except BadName as error:
        raise BadName("login name", name, error.why) from None


def record_of(body: bytes | str, event: str, headers: Mapping[str, str] | None) -> tuple[wire.RecordOrBody, int]:
    """A record, and its size."""
    try:
        content = body.encode() if isinstance(body, str) else bytes(memoryview(body))  # bytes(5) would be five zeros
        if headers is not None and not isinstance(headers, Mapping):
            raise TypeError
        if event == "message" and not headers:
            return content, len(content)
        fields = dict(headers) if headers else None
        size = len(content) + sum(len(text.encode()) for pair in (fields or {}).items() for text in pair)
        size += len(event.encode())
    except (TypeError, AttributeError) as error:
        raise UsageError("a body is bytes or text, an event text, headers are text to text") from error
    except UnicodeEncodeError as error:
        raise UsageError(f"text that no UTF-8 can hold: {error.reason}") from error
    if not event or event in NOT_PUBLISHED:
        raise UsageError(f"event {event!r} cannot be published")
    return wire.Record(content, event, fields), size


def lasting(headers: Mapping[str, str] | None, expire: Life | None) -> Mapping[str, str] | None:
    """Headers of a message that expires, if it does."""
    if expire is None or (headers is not None and not isinstance(headers, Mapping)):  # which is told where it is used
        return headers
    return headers_with(headers, expire)


def start_of(after: int | None, last: int | None, since: Since | None, last_per_room: int | None) -> Start:
    """Where to begin, said once at most."""
    if sum(value is not None for value in (after, last, since, last_per_room)) > 1:
        raise UsageError("after, last, since and last_per_room exclude each other")
    if last_per_room is not None and not 0 < number_of("last_per_room", last_per_room) <= wire.LATEST_MAX:
        raise UsageError(f"last_per_room is not in 1..{wire.LATEST_MAX}")
    return Start(
        None if after is None else number_of("after", after),
        None if last is None else number_of("last", last) or None,
        None if since is None else _microseconds(since),
        last_per_room,
    )


def opening_of(
    patterns: tuple[str, ...], start: Start, presence: bool, resume: str | None, *, follows: bool, joins: bool
) -> Opening:
    """What `listen` opens; what is no name of a cursor, room or pattern is none of a broker's."""
    names = names_of(patterns, "listen to")
    if resume is not None and start.last_per_room is not None:
        raise UsageError("resume goes on where it was, which is no place in a list of last messages: no last_per_room")
    from zchat.core.opening import Opening  # only who listens pays for it

    flag_of("presence", presence), flag_of("auto_commit", follows), flag_of("join", joins)
    return Opening(names, start, presence, "" if resume is None else cursor_of(resume), follows=follows, joins=joins)


def history_of(patterns: tuple[str, ...], start: Start, limit: int | None, presence: bool) -> History:
    """What `history` reads."""
    from zchat.core.history import History  # only who reads pays for it

    names = names_of(patterns, "read")
    most = wire.OFFSET_MAX if limit is None else number_of("limit", limit)
    return History(names, start, flag_of("presence", presence), most)


def purge_of(room: str, upto: int | None, before: Since | None) -> Steps[None]:
    """What `purge` asks."""
    name = room_name(text_of("room", room))
    if upto is not None and before is not None:
        raise UsageError("upto and before exclude each other")
    if upto is not None and not number_of("upto", upto):
        raise UsageError("upto is an offset, from 1 on")
    return purge(name, upto or 0, None if before is None else _microseconds(before) or 1)


def search_of(
    words: str, patterns: tuple[str, ...], own_inbox: str, last: int, user: str | None, since: Since | None
) -> wire.Search:
    """What `search` asks; without rooms in all that the user may read."""
    from zchat.core.words import asked_for  # only who searches pays for it

    if not isinstance(words, str):
        raise UsageError("words to search for are text")
    names = names_of(patterns or ("**", own_inbox), "search")
    try:
        asked_for(words)
    except WireError as error:
        raise UsageError(str(error)) from None
    written_by = "" if user is None else user_name(text_of("user", user))
    begin = 0 if since is None else _microseconds(since)
    return wire.Search(0, words, names, number_of("last", last), 0, written_by, begin)


def who_of(room: str | None, lag: bool) -> wire.Who:
    """What `who` asks."""
    return wire.Who(0, "" if room is None else room_name(text_of("room", room)), flag_of("lag", lag))


def listed_of(patterns: tuple[str, ...]) -> Callable[[wire.Room], bool]:
    """Which rooms `rooms` lists: all where it names none."""
    if not patterns:
        return lambda room: True
    is_asked = matcher(names_of(patterns, "list"))
    return lambda room: is_asked(room.name)


def lasts_of(patterns: tuple[str, ...], user: str) -> History:
    """The last message of each of these rooms; without any, of all rooms and the inbox of that user."""
    from zchat.core.history import History

    names = names_of(patterns or ("**", inbox(user)), "list")
    return History(names, Start(last_per_room=1), False, wire.OFFSET_MAX)


def cursor_of(name: str) -> str:
    """The name of a cursor, made canonical."""
    return cursor_name(text_of("cursor", name))


def rooms_of(rooms: tuple[str, ...]) -> set[str]:
    """Rooms, made canonical; none is the pattern of several."""
    names_of(rooms, "join")
    return set(map(room_name, rooms))


def names_of(patterns: tuple[str, ...], verb: str) -> list[str]:
    """Rooms and patterns, made canonical."""
    if not patterns:
        raise UsageError(f"no room to {verb}")
    if len(patterns) > wire.ROOMS_PER_MESSAGE_MAX:
        raise UsageError(f"{len(patterns)} rooms and patterns, limit {wire.ROOMS_PER_MESSAGE_MAX}")
    return [pattern_name(text_of("pattern", pattern)) for pattern in patterns]


def text_of(kind: str, name: str) -> str:
    """A name, if it is text."""
    if not isinstance(name, str):
        raise BadName(kind, repr(name), "a name is text")
    return name


def flag_of(what: str, value: bool) -> bool:
    """True or False, and nothing that is taken for one of them: "no" would be true."""
    if not isinstance(value, bool):
        raise UsageError(f"{what} is True or False")
    return value


def function_of(what: str, value: F | None) -> F | None:
    """What is called later, by whom nobody would look for."""
    if value is not None and not callable(value):
        raise UsageError(f"{what} is a function")
    if getattr(getattr(value, "__code__", None), "co_flags", 0) & CO_COROUTINE:
        raise UsageError(f"{what} is a plain function: nobody would await it")
    return value


def number_of(what: str, value: int) -> int:
    """An offset or a count, as the wire and the log can have it."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = index(value)
    except TypeError:
        raise UsageError(f"{what} is no whole number") from None
    if not 0 <= number <= wire.OFFSET_MAX:
        raise UsageError(f"{what} is not in 0..{wire.OFFSET_MAX}")
    return number


def _microseconds(since: Since) -> int:
    """Since 1970; what is before is the beginning."""
    try:
        if isinstance(since, bool):
            raise TypeError
        if isinstance(since, str):
            since = times.moment(since, datetime.now(UTC))
        elif isinstance(since, timedelta):
            since = datetime.now(UTC) - since
        seconds = since.timestamp() if isinstance(since, datetime) else since
        microseconds = int((seconds + 0.0) * 1_000_000)
    except (TypeError, ValueError, OverflowError):
        microseconds = wire.OFFSET_MAX + 1
    if microseconds > wire.OFFSET_MAX:
        raise UsageError("since is no time that can be: seconds since 1970, a datetime, a timedelta, or text as '2h'")
    return max(0, microseconds)


def due_of(at: float | datetime | str | None, delay: float | timedelta | str | None) -> tuple[int, int]:
    """When something is to be sent: microseconds since 1970 or 0, and from when the broker takes it on."""
    if (at is None) == (delay is None):
        raise UsageError("one of at and delay says when it is to be sent")
    try:
        if isinstance(at, bool) or isinstance(delay, bool):
            raise TypeError
        if at is not None:
            if isinstance(at, str):
                at = times.coming(at, datetime.now(UTC))
            seconds = at.timestamp() if isinstance(at, datetime) else at
        else:
            assert delay is not None
            delay = times.duration(delay) if isinstance(delay, str) else delay
            seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
        micros = int((seconds + 0.0) * 1_000_000)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, UsageError):
            raise
        micros = -1
    if not 0 <= micros <= wire.OFFSET_MAX:
        raise UsageError(
            "at is a time: a datetime, seconds since 1970, text; delay a length: seconds, a timedelta, text"
        )
    return (max(1, micros), 0) if at is not None else (0, micros)


def scheduled_of(
    room: str, body: bytes | str, event: str, headers: Mapping[str, str] | None, due: tuple[int, int], seals: SealRecord
) -> wire.Schedule:
    """A message that is to be sent later, under an id that nobody else chooses."""
    record, size = seals(text_of("room", room), *record_of(body, event, headers))
    if size > wire.RECORD_BYTES_MAX:
        raise TooLarge(size, wire.RECORD_BYTES_MAX)
    records = msgspec.Raw(wire.encode_records([record]))
    return wire.Schedule(0, os.urandom(8).hex(), room_name(text_of("room", room)), records, *due)


def info() -> dict[str, str]:
    """What operators see of this client: text, and short enough for a broker, whatever the program is called."""
    told = {"host": socket.gethostname(), "pid": str(os.getpid()), "program": os.path.basename(sys.argv[0] or "")}
    return {name: printable(value)[:INFO_VALUE_CHARACTERS] for name, value in told.items()}
