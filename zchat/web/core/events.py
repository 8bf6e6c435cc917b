"""What a Socket.IO client emits, as a record of a room; and a record, as the event that Socket.IO clients get.

Rules of this file
1. An event comes out with the arguments that it went in with, text, numbers, objects and binary alike.
2. What a terminal wrote is an event, too; what a Socket.IO client wrote can be read on a terminal: one argument that is
   text or binary is the body as it is.
3. No record makes an event that a client takes for its connection's, or for one of the gateway's own.

    emit("score", "7")               event score, body 7
    emit("move", {"x": 1}, "b")      event move, body [{"x":1},"b"], header args: json
    emit("photo", <3 bytes>, "me")   event photo, body [{"_placeholder":true,"num":0},"me"] LF <3 bytes>,
                                     headers args: binary, parts: 3

Spec: docs/web.md, "Socket.IO". Tests: tests/web/test_events.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from zchat.errors import TimedOut, UsageError, ZchatError

DEPTH_MAX = 32  # arrays and objects in each other: what is deeper ends a parser somewhere
PARTS_MAX = 16  # binary ones of an event
NAME_BYTES_MAX = 128

CONNECTION_EVENTS = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener", "error"}
)
"""What clients take for news of their connection: nobody else may emit them."""
OWN_EVENTS = frozenset({"join", "leave", "who", "history", "joined", "left", "gap"})
"""What the gateway answers or says itself."""

ARGS, PARTS = "args", "parts"  # headers: how the arguments are written; the sizes of the binary ones
MARK, NUMBER = "_placeholder", "num"  # where a binary one stands, as Socket.IO writes it

_JSON = msgspec.json.Encoder()


class Spoken(NamedTuple):
    """A record to be published."""

    event: str
    body: bytes
    headers: dict[str, str]


class Chat(NamedTuple):
    """A chat message, as `message` takes it."""

    room: str  # empty: that of who says it
    body: bytes
    headers: dict[str, str]
    key: str  # one that is sent again under the same key is stored once; empty: none


def spoken(event: str, args: tuple[Any, ...] | list[Any]) -> Spoken:
    """The record of an event. Raises UsageError for what cannot be one."""
    check_name(event)
    if len(args) == 1 and isinstance(args[0], str):
        return Spoken(event, _utf8(args[0]), {})
    if len(args) == 1 and isinstance(args[0], bytes):
        return Spoken(event, args[0], {ARGS: "bytes"} if _is_text(args[0]) else {})
    parts: list[bytes] = []
    plain = [_taken_apart(each, parts, 1) for each in args]
    try:
        body = _JSON.encode(plain)
    except (TypeError, ValueError, UnicodeEncodeError, RecursionError) as error:
        raise UsageError(f"arguments that are no JSON: {error}") from None
    if not parts:
        return Spoken(event, body, {ARGS: "json"})
    sizes = ",".join(str(len(part)) for part in parts)
    return Spoken(event, b"\n".join([body, b"".join(parts)]), {ARGS: "binary", PARTS: sizes})


def chat(args: tuple[Any, ...] | list[Any]) -> Chat | None:
    """What `message` was emitted with, if it is a chat message: text, binary, or an object with `text` or `data`.

    Raises UsageError.
    """
    if len(args) != 1:
        return None
    said = args[0]
    if isinstance(said, str | bytes):
        return Chat("", _utf8(said) if isinstance(said, str) else said, {}, "")
    if not isinstance(said, dict) or not said.keys() <= {"room", "text", "data", "headers", "id"}:
        return None
    room, text, data, key = said.get("room", ""), said.get("text"), said.get("data"), said.get("id", "")
    if (text is None) == (data is None):
        return None
    headers = said.get("headers") or {}
    if not (isinstance(room, str) and isinstance(key, str) and isinstance(text, str | None)):
        raise UsageError("room, text and id of a message are text")
    if not isinstance(data, bytes | None):
        raise UsageError("data of a message is binary")
    if not isinstance(headers, dict) or not all(isinstance(each, str) for each in headers.values()):
        raise UsageError("headers of a message are text to text")
    return Chat(room, data or b"" if text is None else _utf8(text), dict(headers), key)


def arguments(event: str, body: bytes, headers: Mapping[str, str]) -> list[Any]:
    """The arguments that such a record was made of. What makes no sense is text, or binary, as it is."""
    kind = headers.get(ARGS)
    try:
        if kind == "json":
            return _array(body)
        if kind == "binary":
            return _put_together(body, headers.get(PARTS, ""))
    except (ValueError, RecursionError, msgspec.DecodeError):
        kind = None
    if kind == "bytes":
        return [body]
    try:
        return [body.decode()]
    except UnicodeDecodeError:
        return [body]


def is_plain(event: str) -> bool:
    """Whether a record of that event reaches Socket.IO clients as an event of that name."""
    return event not in CONNECTION_EVENTS and event not in OWN_EVENTS


def check_name(event: str) -> None:
    """Refuse the name of an event that nobody may emit. Raises UsageError."""
    if not event or len(event.encode(errors="replace")) > NAME_BYTES_MAX:
        raise UsageError(f"the name of an event has 1 to {NAME_BYTES_MAX} bytes")
    if not is_plain(event):
        raise UsageError(f"event {event} is the gateway's own")


# --- parts --------------------------------------------------------------------------------------


def told(error: ZchatError) -> dict[str, str]:
    """What a client is told of an error."""
    code = "busy" if isinstance(error, TimedOut) else "usage"
    return {"error": getattr(error, "code", code), "text": str(error)}


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise UsageError("text that no UTF-8 can hold") from None


def _is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _taken_apart(value: Any, parts: list[bytes], depth: int) -> Any:
    """The value with its binary parts taken out. Raises UsageError."""
    if depth > DEPTH_MAX:
        raise UsageError(f"more than {DEPTH_MAX} arrays and objects in each other")
    if isinstance(value, bytes | bytearray):
        if len(parts) == PARTS_MAX:
            raise UsageError(f"more than {PARTS_MAX} binary parts")
        parts.append(bytes(value))
        return {MARK: True, NUMBER: len(parts) - 1}
    if isinstance(value, list | tuple):
        return [_taken_apart(each, parts, depth + 1) for each in value]
    if isinstance(value, dict):
        if MARK in value:
            raise UsageError(f"{MARK} stands for a binary part")
        return {key: _taken_apart(each, parts, depth + 1) for key, each in value.items()}
    return value


def _array(text: bytes) -> list[Any]:
    found = msgspec.json.decode(text)
    if not isinstance(found, list) or _depth(found) > DEPTH_MAX + 1:
        raise ValueError
    return found


def _depth(value: Any) -> int:
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        each, depth = waiting.pop()
        deepest = max(deepest, depth)
        if isinstance(each, dict | list):
            waiting += [(inner, depth + 1) for inner in (each.values() if isinstance(each, dict) else each)]
    return deepest


def _put_together(body: bytes, sizes: str) -> list[Any]:
    text, _, rest = body.partition(b"\n")
    parts, at = [], 0
    for size in map(int, sizes.split(",")):
        if not 0 <= size <= len(rest) - at:
            raise ValueError
        parts.append(rest[at : at + size])
        at += size
    if at != len(rest) or len(parts) > PARTS_MAX:
        raise ValueError

    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(each) for each in value]
        if not isinstance(value, dict):
            return value
        if MARK in value:
            number = value.get(NUMBER)
            if not isinstance(number, int) or not 0 <= number < len(parts):
                raise ValueError
            return parts[number]
        return {key: filled(each) for key, each in value.items()}

    return [filled(each) for each in _array(text)]
