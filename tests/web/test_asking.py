"""What a request of plain HTTP asks for, and what becomes of errors."""

from __future__ import annotations

import json

import pytest

from zchat.errors import Closed, Refused, TimedOut, TooLarge, UsageError, WireError
from zchat.message import NO_HEADERS, Message
from zchat.web.core import lines
from zchat.web.core.asking import Posted, RoomQuery, answer_of, posted, room_query


def test_where_to_begin_is_said_once() -> None:
    assert room_query({}) == RoomQuery(None, None, None, False, False)
    assert room_query({"since": "2h", "poll": "1"}) == RoomQuery(None, None, "2h", True, False)
    assert room_query({"last": "5", "poll": "", "presence": "true"}) == RoomQuery(None, 5, None, True, True)
    assert room_query({"since": "all"}, "41") == RoomQuery(41, None, None, False, False), "it comes back"
    assert room_query({"since": "all"}, "x").since == "all"


@pytest.mark.parametrize(
    "query", [{"after": "1", "last": "2"}, {"after": "-1"}, {"last": "x"}, {"last": "9" * 30}, {"poll": "perhaps"}]
)
def test_what_cannot_be_read_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        room_query(query)


def test_who_publishes_is_said_by_the_query_or_by_headers() -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert posted({}, form) == Posted("", "message", {}, "")
    assert posted({"user": "ci"}, {"x-user": "no", "x-event": "deploy"}) == Posted("ci", "deploy", {}, "")
    file = posted({}, {"content-type": "Image/PNG; x", "x-filename": "a.png", "idempotency-key": "k"})
    assert (file.headers, file.key) == ({"content-type": "image/png", "filename": "a.png"}, "k")
    for wrong in ({"x-event": "disconnect"}, {"x-filename": "x" * 300}):
        with pytest.raises(UsageError):
            posted({}, wrong)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (UsageError("x"), 400, "usage"),
        (TooLarge(2, 1), 413, "too-large"),
        (Refused("denied"), 403, "denied"),
        (Refused("busy"), 429, "busy"),
        (Refused("bad-room"), 400, "bad-room"),
        (Refused("log-full"), 503, "log-full"),
        (TimedOut("x", 1), 503, "unreachable"),
        (Closed(), 503, "unreachable"),
        (WireError("bad-frame", "x"), 503, "failed"),
    ],
)
def test_an_error_has_a_status(error: Exception, status: int, code: str) -> None:
    answer = answer_of(error)  # type: ignore[arg-type]
    assert (answer.status, answer.error) == (status, code)


def message(event: str, body: bytes, **headers: str) -> Message:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Message("general", 41, "anna", 1_500_000, event, body, named or NO_HEADERS, "s1")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (message("message", b"hi"), {"text": "hi"}),
        (message("message", b"\xff\x00"), {"bytes": 2}),
        (message("message", b"hi", filename="a.txt"), {"bytes": 2, "headers": {"filename": "a.txt"}}),
        (message("move", b'[1,"b"]', args="json", tag="x"), {"args": [1, "b"]}),
        (message("photo", b"[]\nabc", args="binary", parts="3"), {"bytes": 6}),
        (message("join", b""), {}),
        (message("leave", b"lost"), {"reason": "lost"}),
        (message("message", b"hi", idempotency_key="k"), {"text": "hi", "id": "k"}),
    ],
)
def test_a_line_tells_what_a_reader_needs(given: Message, told: dict[str, object]) -> None:
    common = {"event": given.event, "room": "general", "offset": 41, "time": 1.5, "user": "anna"}
    assert json.loads(lines.line_of(given)) == common | told and lines.line_of(given).count(b"\n") == 1


def test_an_event_of_an_event_source_is_one_and_never_news_of_the_connection() -> None:
    assert lines.server_sent(message("message", b"a\nb")).startswith(b'id: 41\nevent: message\ndata: {"event":')
    assert lines.server_sent(message("x\ndata: y\r\0", b"")).splitlines()[1] == b"event: x data: y  "
    for event in ("error", "open"):
        assert lines.server_sent(message(event, b"")).splitlines()[1] == b"event: message"
    assert lines.server_sent(message("e", b"a\n\nb")).count(b"\n\n") == 1
