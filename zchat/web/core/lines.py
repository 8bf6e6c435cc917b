"""Messages as clients get them: lines of JSON (plain HTTP, `/ws`, the page), events of an EventSource or of Socket.IO.

Rules of this file
1. A line is one object, whoever wrote the message; an EventSource's `id` is the offset, which browsers send back.
2. A body that is no text is told by its size and fetched by its offset.

    {"event":"message","room":"general","offset":41,"time":1790000000.5,"user":"alice","text":"hi"}

Spec: docs/web.md, "Plain HTTP". Tests: tests/web/test_asking.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from zchat.web.core import events, resuming

if TYPE_CHECKING:
    from zchat.message import Message

_JSON = msgspec.json.Encoder()
PRESENCE = ("join", "leave")
HIDDEN = frozenset({resuming.TAG, resuming.KEY})  # headers that are between gateways and clients


def written(value: Any) -> bytes:
    """An object as a line."""
    return _JSON.encode(value) + b"\n"


def line_of(message: Message) -> bytes:
    """A message as a line."""
    return written(facts_of(message))


def facts_of(message: Message) -> dict[str, Any]:
    """What a line tells of a message."""
    facts: dict[str, Any] = {
        "event": message.event,
        "room": message.room,
        "offset": message.offset,
        "time": message.time / 1_000_000,
        "user": message.user,
    }
    headers = shown(message.headers)
    if message.event == "leave":
        facts["reason"] = message.text
    elif message.event != "join":
        facts |= _content(message, headers)
    if headers:
        facts["headers"] = headers
    if resuming.KEY in message.headers:
        facts["id"] = message.headers[resuming.KEY]
    return facts


def event_of(message: Message) -> tuple[str, list[Any]]:
    """The event, with its arguments, that Socket.IO clients get for a record."""
    event, headers = message.event, message.headers
    if (event != "message" or events.ARGS in headers) and events.is_plain(event) and event not in PRESENCE:
        return event, events.arguments(event, message.body, headers)
    told: dict[str, Any] = {
        "room": message.room,
        "user": message.user,
        "offset": message.offset,
        "time": message.time / 1_000_000,
    }
    if event in PRESENCE:
        return event, [told | ({"reason": message.text} if event == "leave" else {})]
    if event != "message":
        told["event"] = event
    try:
        told["text"] = message.body.decode()
    except UnicodeDecodeError:
        told["data"] = message.body
    others = shown(headers)
    return "message", [told | ({"headers": others} if others else {})]


def shown(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that are anybody's business."""
    return {name: value for name, value in headers.items() if name not in HIDDEN}


def server_sent(message: Message) -> bytes:
    """A message as an event of an EventSource."""
    event = message.event.translate(_LINE_ENDS)
    if not event or event in events.CONNECTION_EVENTS or event == "open":
        event = "message"  # a browser would take it for news of the connection
    number = f"id: {message.offset}\n" if message.offset else ""
    return f"{number}event: {event}\ndata: ".encode() + line_of(message) + b"\n"


def server_sent_notice(event: str, facts: dict[str, Any]) -> bytes:
    """The same of what is no message."""
    return f"event: {event}\ndata: ".encode() + written(facts) + b"\n"


_LINE_ENDS = {ord("\n"): " ", ord("\r"): " ", 0: " "}


def _content(message: Message, headers: dict[str, str]) -> dict[str, Any]:
    kind = headers.pop(events.ARGS, "")
    headers.pop(events.PARTS, None)
    if kind == "json":
        return {"args": events.arguments(message.event, message.body, message.headers)}
    if "filename" not in headers and kind != "binary":
        try:
            return {"text": message.body.decode()}
        except UnicodeDecodeError:
            pass
    return {"bytes": len(message.body)}
