"""The messages of what is to be sent later: it is handed over, listed and taken back.

Spec: docs/protocol.md, "Later". Tests: tests/test_wire.py.
"""

import msgspec

from zchat.wire.records import Natural

SCHEDULED_LISTED_MAX = 500  # in one SCHEDULED_ARE
PREVIEW_CHARACTERS = 80  # of a body


class Schedule(msgspec.Struct, array_like=True, tag=23):
    """Store a message at a time that is still to come; answered by DONE once that is stored. Said twice, it is one."""

    request: Natural
    id: str  # random, chosen by the client
    room: str
    records: msgspec.Raw  # one
    due: Natural  # microseconds since 1970; 0: by `delay`
    delay: Natural = 0  # microseconds from when the broker takes it


class Cancel(msgspec.Struct, array_like=True, tag=24):
    """Take it back; answered by DONE, also when there is none, or it was sent already."""

    request: Natural
    id: str


class Scheduled(msgspec.Struct, array_like=True, tag=25):
    """What this user has scheduled, the next due first; answered by SCHEDULED_ARE."""

    request: Natural
    due: Natural = 0  # what is due after this, or then with an `id` above
    id: str = ""


class ScheduledMessage(msgspec.Struct, array_like=True, frozen=True):
    """One message that is to be sent later."""

    id: str
    room: str
    due: Natural  # microseconds since 1970
    event: str
    preview: str  # the beginning of its body
    size: Natural  # bytes of its body


class ScheduledAre(msgspec.Struct, array_like=True, tag=53):
    """Answer to SCHEDULED."""

    request: Natural
    messages: list[ScheduledMessage]
    more: bool  # there are more behind the last of these
