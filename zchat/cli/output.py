"""Messages as lines: for people, as JSON, by a template, or the bodies alone.

Rules of this file
1. A format makes the bytes of one message, without the newline; it knows no file and no clock.
2. Nothing that a terminal would act on is shown: text passes `printable`, and on a terminal so do
   raw bodies, and JSON escapes what is not printable.
3. A time is RFC 3339 in UTC with microseconds for programs, local time for people.

    [12:34:56] alice: hello             one room was asked for
    [12:34:56] #ops.web alice: hello    else
    [12:34:56] alice [deploy]: v2       another event than message
    [12:34:56] * alice left (lost)      --presence
    (not sealed) [12:34:56] eve: hi     in a room of which there is a key

Tests: tests/cli/test_output.py.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from zchat.printable import cells, printable

if TYPE_CHECKING:
    from zchat import Message, Notice

Format: TypeAlias = "Callable[[Message], bytes]"
UNMARKED = ("join", "leave", "sealed")  # events of messages that are never sealed, or say so themselves
HIDDEN = b""  # a line that is not printed: a piece of a file

SHOWN_CHARACTERS_MAX = 10_000  # of a body, on a terminal
NAME_COLOURS = (31, 32, 33, 34, 35, 36, 91, 92, 93, 94, 95, 96)

_UNPRINTABLE = re.compile(r"[^ -~]")


def choose(*, json: bool, template: str | None, raw: bool, one_room: bool, terminal: bool, log: KnownLog) -> Format:
    """The format that the options ask for."""
    if json:
        return json_lines(log, terminal=terminal)
    if template is not None:
        from zchat.cli.templates import by_template

        return by_template(template, log)
    if raw:
        return attrgetter("body")
    return people(show_room=not one_room, colour=terminal and coloured(os.environ), terminal=terminal)


def coloured(environment: os._Environ[str] | dict[str, str]) -> bool:
    """Whether a terminal may show colour."""
    return not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


# --- for people ---------------------------------------------------------------------------------


def people(*, show_room: bool, colour: bool, terminal: bool = False) -> Format:
    """A line for people; on a terminal no longer than they read."""
    name = _coloured_name if colour else printable
    most = SHOWN_CHARACTERS_MAX if terminal else sys.maxsize
    grey, plain = ("\x1b[2m", "\x1b[0m") if colour else ("", "")

    def line(message: Message) -> bytes:
        if message.headers and "file-name" in message.headers:
            shown = of_file(message)
            if shown is None:
                return HIDDEN
            message = shown
        room = f"#{printable(message.room)} " if show_room else ""
        head = f"{grey}[{_local_second(message.time // 1_000_000)}]{plain} {room}"
        user, event = name(message.user), message.event
        if event == "message":
            return f"{head}{user}: {_shown(message.text, most)}".encode()
        if event == "join":
            return f"{head}* {user} joined".encode()
        if event == "leave":
            reason = _shown(message.text, most)
            return f"{head}* {user} left{f' ({reason})' if reason not in ('', 'bye') else ''}".encode()
        return f"{head}{user} [{printable(event)}]: {_shown(message.text, most)}".encode()

    return line


def marked(line: Format, is_sealed: Callable[[str], bool]) -> Format:
    """The same, and what came open from a room that should be sealed says so: whoever runs the broker can write it."""

    def marked_line(message: Message) -> bytes:
        shown = line(message)
        if message.sealed or not shown or message.event in UNMARKED or not is_sealed(message.room):
            return shown
        return b"(not sealed) " + shown

    return marked_line


def of_file(message: Message) -> Message | None:
    """What people are shown of a message that has a file, or a piece of one: nothing until the last piece."""
    from zchat import files  # few messages have one

    if not files.is_piece(message):
        try:
            message.body.decode()
            return message
        except UnicodeDecodeError:
            return file_message(message, len(message.body))
    return file_message(message, files.size_of(message)) if files.is_last(message) else None


def file_message(message: Message, size: int, path: str = "") -> Message:
    """A message that tells of a file, and where it is."""
    told = f"{message.headers['file-name']}, {bytes_of(size)}{f', saved as {path}' if path else ''}"
    return msgspec.structs.replace(message, event="file", body=told.encode(errors="replace"), headers={})


def bytes_of(size: int) -> str:
    """`512 bytes`, `1.4 MB`."""
    if size < 1_000:
        return counted(size, "byte")
    for unit in ("kB", "MB"):
        size /= 1_000  # type: ignore[assignment]
        if size < 1_000:
            return f"{size:.1f} {unit}"
    return f"{size / 1_000:.1f} GB"


@lru_cache(maxsize=1024)
def _coloured_name(user: str) -> str:
    return f"\x1b[{NAME_COLOURS[sum(user.encode()) % len(NAME_COLOURS)]}m{printable(user)}\x1b[0m"


@lru_cache(maxsize=1024)
def _local_second(seconds: int) -> str:
    """Clock time, with the date when it is not today's."""
    then = time.localtime(seconds)
    return time.strftime("%H:%M:%S" if then[:3] == time.localtime()[:3] else "%Y-%m-%d %H:%M:%S", then)


def _shown(text: str, most: int) -> str:
    """What people see of a body: on a terminal a line without end would be the last that is seen."""
    if len(text) <= most:
        return printable(text)
    return f"{printable(text[:most])}… (of {len(text):,} characters; --json has all)"


# --- for programs -------------------------------------------------------------------------------


class _TextLine(msgspec.Struct):
    room: str
    offset: int | None
    place: str | None
    user: str
    time: str
    event: str
    body: str
    headers: dict[str, str]
    sealed: bool | msgspec.UnsetType = msgspec.UNSET


class _BytesLine(msgspec.Struct):
    room: str
    offset: int | None
    place: str | None
    user: str
    time: str
    event: str
    body_base64: bytes
    headers: dict[str, str]
    sealed: bool | msgspec.UnsetType = msgspec.UNSET


_encode = msgspec.json.Encoder().encode


class KnownLog:
    """The log that messages are of, as whoever prints them learns it."""

    def __init__(self, log_id: str = "") -> None:
        self.id = log_id


def place(offset: int, log_id: str) -> str | None:
    """`7@0ca8f08933b5a3be`: an offset that says of which log it is; none of a volatile message."""
    return f"{offset}@{log_id}" if offset else None


def json_lines(log: KnownLog, *, terminal: bool = False) -> Format:
    """The object of --json, where offset and place of a volatile message are null; what a terminal would not show is
    \\uXXXX there."""

    def line(message: Message) -> bytes:
        offset = message.offset
        head = (message.room, offset or None, place(offset, log.id), message.user, rfc3339(message.time), message.event)
        headers, sealed = dict(message.headers), message.sealed or msgspec.UNSET
        try:
            return _encode(_TextLine(*head, message.body.decode(), headers, sealed))
        except UnicodeDecodeError:
            return _encode(_BytesLine(*head, message.body, headers, sealed))

    return (lambda message: escaped(line(message).decode()).encode()) if terminal else line


def escaped(text: str) -> str:
    """JSON text with everything unprintable in its strings as \\uXXXX."""
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0].isprintable() else _escape(found[0]), text)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def object_line(facts: dict[str, Any], *, terminal: bool) -> bytes:
    """Any other object of --json, as one line without its newline."""
    line = _encode(facts)
    return escaped(line.decode()).encode() if terminal else line


def rfc3339(microseconds: int) -> str:
    """`2026-09-20T12:34:56.123456Z`."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return f"{_utc_second(seconds)}.{rest:06d}Z"


def local_time(microseconds: int) -> str:
    """Date and clock time for people; `-` for none."""
    seconds = microseconds // 1_000_000
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if microseconds else "-"


@lru_cache(maxsize=1024)
def _utc_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


# --- what is not a message ----------------------------------------------------------------------


def notice_text(notice: Notice) -> str:
    """One line on the state of a subscription."""
    if notice.kind == "live":
        return f"live from offset {notice.offset}"
    if notice.kind == "lost":
        return f"connection lost{f': {notice.reason}' if notice.reason else ''}; trying again"
    if notice.kind == "stranger":
        return f"{notice.reason}: nothing of it is printed; trying again"
    if notice.kind == "back":
        return f"back, {counted(notice.records, 'message')} recovered"
    if notice.kind == "recovered":
        return f"{counted(notice.records, 'message')} that had been dropped on the way recovered"
    if notice.reason == "log":
        if notice.last:
            return f"gap: the broker's log went back, offsets {notice.offset} to {notice.last} are gone or given anew"
        return "gap: the broker has another log than before, its offsets begin anew"
    if notice.reason == "volatile":
        return f"gap in {notice.room}: {counted(notice.records, 'volatile message')} lost on the way"
    return f"gap in {notice.room}: offsets {notice.offset} to {notice.last} cannot be had any more ({notice.reason})"


def gap_object(notice: Notice) -> dict[str, Any]:
    """A gap for programs."""
    return {
        "event": "gap",
        "room": notice.room or None,
        "first": notice.offset or None,
        "last": notice.last or None,
        "reason": notice.reason,
        "records": notice.records or None,
    }


def counted(number: int, thing: str) -> str:
    """`1 message`, `2 messages`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns for people; wide characters count two."""
    shown = [list(heads), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(cells, column)) for column in zip(*shown, strict=True)]
    lines = [
        "  ".join(cell + " " * (widths[at] - cells(cell)) for at, cell in enumerate(row)).rstrip() for row in shown
    ]
    return "".join(f"{line}\n" for line in lines)
