"""What a request of plain HTTP asks for: where to begin, as whom, and what becomes of what goes wrong.

Rules of this file: what it cannot read is a UsageError, which says what it may be.
Spec: docs/web.md, "Plain HTTP". Tests: tests/web/test_asking.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from zchat.errors import Closed, Refused, TimedOut, TooLarge, UsageError, ZchatError
from zchat.web.core.events import CONNECTION_EVENTS

NUMBER_MAX = (1 << 63) - 1
FORM = "application/x-www-form-urlencoded"  # what `curl -d` says of whatever it sends
NAMELESS = "web"  # who says nothing
HEADER_CHARACTERS_MAX = 256


class RoomQuery(NamedTuple):
    """Where to begin in a room, and whether to end there. With no start: with what comes from now on."""

    after: int | None
    last: int | None
    since: str | None
    is_poll: bool  # what is stored, and then the end
    is_presence: bool  # with joins and leaves


class Posted(NamedTuple):
    """What a request that publishes says besides its body."""

    user: str  # empty: it has not said
    event: str
    headers: dict[str, str]
    key: str


class HttpAnswer(NamedTuple):
    """What an error is answered with."""

    status: int
    error: str
    text: str


def room_query(query: Mapping[str, str], last_event_id: str | None = None) -> RoomQuery:
    """What is asked of a room. An EventSource that comes back says what it had last. Raises UsageError."""
    after, last, since = query.get("after"), query.get("last"), query.get("since")
    if last_event_id and last_event_id.isdigit():
        after, last, since = last_event_id, None, None
    if sum(each is not None for each in (after, last, since)) > 1:
        raise UsageError("after, last and since exclude each other")
    return RoomQuery(
        None if after is None else _number("after", after),
        None if last is None else _number("last", last),
        since,
        _flag(query.get("poll")),
        _flag(query.get("presence")),
    )


def posted(query: Mapping[str, str], headers: Mapping[str, str]) -> Posted:
    """Who publishes, and as what: by the query, or by headers. Raises UsageError."""
    user = query.get("user") or headers.get("x-user") or ""
    event = query.get("event") or headers.get("x-event") or "message"
    if event in CONNECTION_EVENTS:
        raise UsageError(f"event {event} is the gateway's own")
    told = {"content-type": headers.get("content-type", "").partition(";")[0].strip().lower()}
    told["filename"] = headers.get("x-filename") or query.get("filename", "")
    if told["content-type"] in (FORM, "text/plain"):
        told["content-type"] = ""
    for name, value in told.items():
        if len(value) > HEADER_CHARACTERS_MAX:
            raise UsageError(f"{name} is longer than {HEADER_CHARACTERS_MAX} characters")
    return Posted(
        user, event, {name: value for name, value in told.items() if value}, headers.get("idempotency-key", "")
    )


def answer_of(error: ZchatError) -> HttpAnswer:
    """The status of an error, and what is said of it."""
    if isinstance(error, TooLarge):
        return HttpAnswer(413, "too-large", str(error))
    if isinstance(error, UsageError):
        return HttpAnswer(400, getattr(error, "code", "usage"), str(error))
    if isinstance(error, Refused):
        status = {"denied": 403, "too-large": 413, "busy": 429}.get(error.code, 503)
        return HttpAnswer(400 if error.code.startswith("bad-") else status, error.code, str(error))
    if isinstance(error, TimedOut | Closed):
        return HttpAnswer(503, "unreachable", "the broker is not there; it may be stored all the same")
    return HttpAnswer(503, "failed", str(error))


def _number(what: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= NUMBER_MAX):
        raise UsageError(f"{what} is no whole number")
    return int(text)


def _flag(text: str | None) -> bool:
    if text not in (None, "", "0", "1", "true", "false", "yes", "no"):
        raise UsageError(f"{text} is neither 0 nor 1")
    return text in ("1", "true", "yes", "")
