"""What a visitor is shown of a message: a line of text; with --raw the bytes themselves.

    alice: hello            in the room that one types in       * bob joined
    #ops alice: hello       in another room of one's            * bob left (lost)
    (private) alice: hello  in one's inbox                      alice [deploy]: v2

Rules of this file
1. A line of text moves no cursor, starts no escape sequence and ends once: zchat/printable.py.
2. Nobody can look like somebody else, or like the gateway: names have no space, no colon and no star.
3. Chunks come out as they went in: the end that a chunk had travels in a header, unless it was a newline.

Docs: docs/doors.md. Tests: tests/tcp/test_shown.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from zchat.message import NO_HEADERS, Message
from zchat.printable import printable

LINE_END_HEADER = "line-end"  # of a chunk that had another than a newline: one of these
LINE_ENDS = {"none": b"", "crlf": b"\r\n"}
_NAMES = {end: name for name, end in LINE_ENDS.items()}

PRESENCE_EVENTS = ("join", "leave")
PRESENCE_LINES_MAX = 5  # joins and leaves at once; more are counted
NAMES_MAX = 100  # shown of those who are in a room


def line(message: Message, prefix: str = "") -> str:
    """A message, a join or a leave, as a line without its end."""
    user, event = printable(message.user), message.event
    if event == "join":
        return f"{prefix}* {user} joined"
    if event == "leave":
        reason = printable(message.text)
        return f"{prefix}* {user} left{f' ({reason})' if reason not in ('', 'bye') else ''}"
    about = "" if event == "message" else f" [{printable(event)}]"
    return f"{prefix}{user}{about}: {printable(message.text)}"


def lines(messages: Sequence[Message], prefix: str = "") -> list[str]:
    """Several, in order. Of many joins and leaves only their number is shown: a crowd comes and goes at once."""
    presence = [message.event for message in messages if message.event in PRESENCE_EVENTS]
    if len(presence) <= PRESENCE_LINES_MAX:
        return [line(message, prefix) for message in messages]
    joined = presence.count("join")
    counted = [
        f"{number:,} {word}" for number, word in ((joined, "joined"), (len(presence) - joined, "left")) if number
    ]
    spoken = [line(message, prefix) for message in messages if message.event not in PRESENCE_EVENTS]
    return [f"{prefix}* {', '.join(counted)}", *spoken]


def names(users: Iterable[str]) -> str:
    """Who is there, each once."""
    found = sorted(set(users), key=str.casefold)
    more = f" and {len(found) - NAMES_MAX:,} more" if len(found) > NAMES_MAX else ""
    return f"{', '.join(map(printable, found[:NAMES_MAX])) or 'nobody'}{more}"


# --- with --raw ---------------------------------------------------------------------------------


def headers_of(end: bytes) -> Mapping[str, str]:
    """What travels with a chunk that had this end."""
    return NO_HEADERS if end == b"\n" else {LINE_END_HEADER: _NAMES[end]}


def raw(message: Message) -> bytes:
    """The bytes of a chunk, and a newline after whatever else is said in the room."""
    return message.body + LINE_ENDS.get(message.headers.get(LINE_END_HEADER, ""), b"\n")
