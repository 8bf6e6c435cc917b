"""What the chat shows of a record: who, when, and text that is safe to show.

    event        kind       as
    message      said       alice: hello
    action       action     * alice waves          `/me waves`
    topic        topic      alice set the topic: v2 is coming
    join, leave  join …     folded (grouping.py)
    a file       file       alice sent notes.txt, 2.4 MB
    any other    event      alice [deploy]: v2

Rules of this file
1. Text of others passes `printable` here, once, and nowhere later.
2. What is kept of a record is bounded: a long text is cut, and says so. A file's bytes are not kept.

Tests: tests/chat/core/test_shown.py.
"""

from __future__ import annotations

from typing import NamedTuple

from zchat.errors import BadName
from zchat.message import Message
from zchat.names import inbox, room_name
from zchat.printable import printable
from zchat.wire.records import FILE_EVENT, FILE_ID, FILE_NAME, FILE_SHA256, FILE_SIZE

TEXT_CHARACTERS_MAX = 8_192
PRESENCE = ("join", "leave")
TO_HEADER = "to"  # of the copy that whoever sends a direct message keeps in the own inbox: whom it went to
_UNITS = ("kB", "MB", "GB", "TB")


class Shown(NamedTuple):
    """A record as the chat keeps it, or a line of the chat's own (kind `gap` or `note`)."""

    kind: str  # said, action, topic, join, leave, file, event, gap, note
    user: str
    time: int  # microseconds since 1970
    text: str
    offset: int = 0  # 0: of a volatile message, or of no record
    session: str = ""
    event: str = ""
    file_id: str = ""  # of a file in pieces


def shown(message: Message) -> Shown | None:
    """What is shown; None: nothing, as of a piece of a file that is not the last."""
    kind, text = message.event, message.text
    if FILE_NAME in message.headers and kind not in PRESENCE:
        if (size := _size_of_file(message)) is not None:
            return None if size < 0 else _made(message, "file", _file_text(message, size))
    elif kind == "message":
        kind = "said"
    if kind not in ("said", "action", "topic", *PRESENCE):
        kind = "said" if kind == "message" else "event"
    return _made(message, kind, text)


def note(text: str, time: int, kind: str = "note") -> Shown:
    """A line of the chat's own."""
    return Shown(kind, "", time, printable(text, newlines=True))


def peer_of(message: Message, me: str) -> str:
    """Whose conversation a record of the own inbox belongs to, as the name of his inbox.

    The header is whoever's that wrote it: where names are free, anybody's. Only the name of an inbox counts.
    """
    to = message.headers.get(TO_HEADER, "")
    if inbox(message.user) == inbox(me) and to.startswith("@"):
        try:
            return room_name(to)
        except BadName:
            pass
    return inbox(message.user)


def size_text(size: int) -> str:
    """`512 bytes`, `2.4 MB`."""
    if size < 1_000:
        return f"{size} byte{'' if size == 1 else 's'}"
    scaled, units = size / 1_000, list(_UNITS)
    while scaled >= 1_000 and len(units) > 1:
        scaled /= 1_000
        del units[0]
    return f"{scaled:.1f} {units[0]}"


def _made(message: Message, kind: str, text: str) -> Shown:
    if len(text) > TEXT_CHARACTERS_MAX:
        left = len(text) - TEXT_CHARACTERS_MAX
        text = f"{text[:TEXT_CHARACTERS_MAX]}\n… {left:,} more characters: zchat history shows all"
    return Shown(
        kind,
        printable(message.user),
        message.time,
        printable(text.rstrip("\n"), newlines=True).expandtabs(4),
        message.offset,
        message.session,
        printable(message.event),
        printable(message.headers.get(FILE_ID, "")),
    )


def _size_of_file(message: Message) -> int | None:
    """In bytes; -1 where more pieces are to come; None where it is a text that has the name of a file."""
    headers = message.headers
    if FILE_ID in headers:
        size = headers.get(FILE_SIZE, "")
        return int(size) if FILE_SHA256 in headers and size.isascii() and size.isdigit() and len(size) < 17 else -1
    try:
        message.body.decode()
    except UnicodeDecodeError:
        return len(message.body)
    return None if len(message.body) <= 1_000 and message.event != FILE_EVENT else len(message.body)


def _file_text(message: Message, size: int) -> str:
    return f"{message.headers[FILE_NAME]}, {size_text(size)}"
