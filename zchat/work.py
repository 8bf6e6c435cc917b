"""What a program hands to calls that share work or ask servers, checked before anything is sent.

Rules of this file: as of arguments.py. Tests: tests/test_groups.py, tests/test_requests.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypedDict

from zchat import wire
from zchat.arguments import F, SealRecord, flag_of, number_of, opening_of, record_of, text_of
from zchat.core.calling import RoomServer
from zchat.core.deliveries import Start
from zchat.core.steps import Steps
from zchat.core.working import Receiver
from zchat.errors import BadName, Refused, TooLarge, UsageError, ZchatError
from zchat.message import Message, Opens, message_of
from zchat.names import group_name, is_pattern, room_name

if TYPE_CHECKING:
    from zchat.core.group_opening import GroupOpening

FAILURE_CHARACTERS_MAX = 400  # the broker leaves out the rest


class GroupOptions(TypedDict, total=False):
    """How much of a group's work a subscription takes."""

    max_in_flight: int  # messages that it has without an outcome: those in its loop's hand and behind it. 16
    ack_wait: float  # seconds until what it has goes to another. 30
    max_deliveries: int  # of the group: after so many a message goes to the dead-letter room. 0: never. 5


def group_opening_of(
    patterns: tuple[str, ...], start: Start, group: str, sharing: GroupOptions, *, joins: bool, others: bool
) -> GroupOpening:
    """What `listen` opens for a member of a group; `others`: what only listeners can be told was."""
    if len(patterns) != 1:
        raise UsageError("a group is of one room")
    if others or start.last_per_room is not None:
        raise UsageError("presence, resume, echo and last_per_room are for listeners, and a group has none of them")
    room = room_name(text_of("room", patterns[0]))
    if is_pattern(room) or room.startswith("@"):
        raise BadName("room", room, "a group is of one room, and of no inbox")
    if unknown := sharing.keys() - GroupOptions.__annotations__.keys():
        raise UsageError(f"a group knows no {min(unknown)}")
    seconds = sharing.get("ack_wait", 30.0)
    try:
        wait = round(seconds * 1000)
    except (TypeError, ValueError, OverflowError):
        wait = -1
    if isinstance(seconds, bool) or not wire.ACK_WAIT_MS_MIN <= wait <= wire.ACK_WAIT_MS_MAX:
        raise UsageError("ack_wait is in seconds, from 0.1 to a day")
    most = number_of("max_in_flight", sharing.get("max_in_flight", 16))
    if not 1 <= most <= wire.GROUP_IN_FLIGHT_MAX:
        raise UsageError(f"max_in_flight is not in 1..{wire.GROUP_IN_FLIGHT_MAX}")
    from zchat.core.group_opening import GroupBounds, GroupOpening  # only who shares work pays for it

    bounds = GroupBounds(most, wait, number_of("max_deliveries", sharing.get("max_deliveries", 5)))
    return GroupOpening(room, group_of(group), start, bounds, joins=flag_of("join", joins))


def receiving(
    patterns: tuple[str, ...],
    start: Start,
    group: str | None,
    sharing: GroupOptions,
    *,
    echo: bool,
    presence: bool,
    resume: str | None,
    follows: bool,
    joins: bool,
) -> Callable[[wire.Welcome, int], Steps[Receiver]]:
    """What `listen` does, with the broker that said that WELCOME; the number is one for a member of a group."""
    flag_of("echo", echo)
    if group is not None:
        flag_of("auto_commit", follows)
        others = presence or resume is not None or not echo
        shared = group_opening_of(patterns, start, group, sharing, joins=joins, others=others)
        return lambda welcome, number: shared.steps(number)
    if sharing:
        raise UsageError(f"{min(sharing)} is for members of a group")
    opening_of(patterns, start, presence, resume, follows=follows, joins=joins)
    return lambda welcome, number: opening_of(patterns, start, presence, resume, follows=follows, joins=joins).steps(
        welcome
    )


def group_of(name: str) -> str:
    """The name of a group, made canonical."""
    return group_name(text_of("group", name))


def groups_of(room: str | None, group: str | None) -> wire.Groups:
    """What `groups` asks."""
    if group is not None and room is None:
        raise UsageError("a group is of a room: name that too")
    names = "" if room is None else room_name(text_of("room", room)), "" if group is None else group_of(group)
    return wire.Groups(0, *names)


def set_group_of(room: str, group: str, after: int | None) -> wire.SetGroup:
    """What moves or removes a group."""
    return wire.SetGroup(0, room_name(text_of("room", room)), group_of(group), after)


def call_of(
    room: str,
    body: bytes | str,
    event: str,
    headers: Mapping[str, str] | None,
    timeout: float | None,
    replies: int,
    retry: bool,
    seals: SealRecord,
) -> wire.Call:
    """What `request` asks."""
    record, size = seals(text_of("room", room), *record_of(body, event, headers))
    if size > wire.RECORD_BYTES_MAX:
        raise TooLarge(size, wire.RECORD_BYTES_MAX)
    seconds = wire.CALL_SECONDS_MAX if timeout is None else min(timeout, wire.CALL_SECONDS_MAX)
    many = number_of("replies", replies)
    if not 1 <= many <= wire.REPLIES_MAX:
        raise UsageError(f"replies is not in 1..{wire.REPLIES_MAX}")
    raw = wire.raw(wire.encode_record(record))
    is_again = flag_of("retry", retry)
    return wire.Call(0, room_name(text_of("room", room)), raw, max(1, round(seconds * 1000)), many, is_again)


def replies_of(call: wire.Call, replies: list[wire.Replied], opens: Opens | None) -> list[Message]:
    """What came in answer. Raises Refused where all have failed, WireError."""
    failed = next((each.error for each in replies if each.error), "")
    done = [message_of(call.room, each, opens) for each in replies if not each.error]
    if failed and not done:
        raise Refused("server-failed", failed)
    return done


def handler_of(value: F) -> F:
    """What answers requests. Raises UsageError."""
    if not callable(value):
        raise UsageError("handler is a function")
    return value


def served_of(
    number: int, room: str, group: str | None, max_in_flight: int, put: Callable[[wire.Called | None], None]
) -> RoomServer:
    """What `serve` serves."""
    most = number_of("max_in_flight", max_in_flight)
    if not 1 <= most <= wire.GROUP_IN_FLIGHT_MAX:
        raise UsageError(f"max_in_flight is not in 1..{wire.GROUP_IN_FLIGHT_MAX}")
    name = room_name(text_of("room", room))
    if is_pattern(name):
        raise BadName("room", name, "what is served is one room")
    return RoomServer(number, name, "" if group is None else group_of(group), most, put)


def said_of(answer: object, room: str, seals: SealRecord) -> wire.RecordOrBody:
    """What a handler has returned, as the record of a reply. Raises UsageError, TooLarge."""
    if answer is not None and not isinstance(answer, bytes | str | Message):
        raise UsageError("a handler returns bytes, text, a Message or nothing")
    said = (
        (answer.body, answer.event, answer.headers) if isinstance(answer, Message) else (answer or b"", "message", None)
    )
    record, size = seals(room, *record_of(*said))
    if size > wire.RECORD_BYTES_MAX:
        raise TooLarge(size, wire.RECORD_BYTES_MAX)
    return record


def failure_of(error: BaseException, room: str, is_sealed: Callable[[str], bool]) -> str:
    """What who asked is told of a handler that raised: of a sealed room no more than that, as it goes out open."""
    try:
        hides = is_sealed(room)
    except UsageError:
        hides = True
    if hides:
        return "it failed; as the room is sealed, only the server knows why"
    text = str(error) if isinstance(error, ZchatError) else f"{type(error).__name__}: {error}"
    return text[:FAILURE_CHARACTERS_MAX].encode(errors="backslashreplace").decode()
