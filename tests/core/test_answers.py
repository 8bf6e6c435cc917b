"""What a broker may not answer: another kind, pages that do not go on, batches of other rooms or out of order."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from zchat import wire
from zchat.core.answers import (
    LIMIT_MAX,
    AllReplies,
    Answer,
    Missing,
    Request,
    Stored,
    check_kind,
    check_welcome,
    given,
    may_be_later,
    parts_of,
)
from zchat.errors import Refused, WireError
from zchat.names import matcher

FETCH = wire.Fetch(1, ["a", "b.*"], 40, 90)
REQUESTS: list[Request] = [
    wire.Join(1, ["a"]),
    wire.Part(1, ["a"]),
    FETCH,
    wire.Seek(1, ["a"]),
    wire.Heads(1, ["a"]),
    wire.Who(1),
    wire.Rooms(1),
    wire.Cursors(1),
    wire.SetCursor(1, "c", "log", 1),
    wire.DropCursor(1, "c"),
    wire.Latest(1, ["a"], 0, 90, 1),
    wire.Purge(1, "a"),
    wire.Search(1, "word", ["a"], 20),
    wire.Subscribe(1, [b"@ann\0"]),
    wire.JoinGroup(1, 1, "a", "g", 8),
    wire.Settle(1, 1, [(1, 2)]),
    wire.Groups(1),
    wire.SetGroup(1, "a", "g", 0),
    wire.Schedule(1, "x", "a", msgspec.Raw(wire.encode_records([b"x"])), 1),
    wire.Cancel(1, "x"),
    wire.Scheduled(1),
    wire.Serve(1, 1, "a"),
]
ANSWERS: dict[str, Answer] = {
    "Done": wire.Done(1),
    "Page": wire.Page(1, [], 90, False, []),
    "Position": wire.Position(1, 1, 2),
    "HeadsAre": wire.HeadsAre(1, 1, []),
    "Present": wire.Present(1, []),
    "RoomsAre": wire.RoomsAre(1, []),
    "CursorsAre": wire.CursorsAre(1, []),
    "GroupsAre": wire.GroupsAre(1, []),
    "ScheduledAre": wire.ScheduledAre(1, [], False),
    "Found": wire.Found(1, [], 0, False, 0),
    "AllReplies": AllReplies([]),
    "Goodbye": wire.Goodbye("bye"),
}
FITS = [
    *("Done", "Done", "Page", "Position", "HeadsAre", "Present", "RoomsAre", "CursorsAre", "Done", "Done"),
    *("Page", "Done", "Found", "Done", "Done", "Done", "GroupsAre", "Done", "Done", "Done", "ScheduledAre", "Done"),
]


def batch(base: int, prev: int = 0, records: int = 2, kind: int = wire.MESSAGES) -> wire.Batch:
    return wire.Batch(kind, base, prev, 7, [wire.Entry("ann", "s1", 1, [b"x"] * records)])


def frame(of: wire.Batch | bytes) -> Any:
    return wire.raw(of if isinstance(of, bytes) else wire.encode(of))


def page(*batches: tuple[str, Any], upto: int = 90, more: bool = False, gaps: Any = ()) -> wire.Page:
    return wire.Page(1, [(room, frame(each)) for room, each in batches], upto, more, list(gaps))


def parts(of: wire.Page, fetch: wire.Fetch = FETCH) -> list[Stored | Missing]:
    return parts_of(of, fetch, matcher(fetch.patterns))


def places(of: wire.Page) -> list[tuple[str, int, int, str]]:
    return [part if isinstance(part, Missing) else (part.room, part.batch.base, part.last, "") for part in parts(of)]


def test_every_request_has_its_answer_and_no_other() -> None:
    assert {type(request) for request in REQUESTS} == set(get_args(Request))
    for request, fits in zip(REQUESTS, FITS, strict=True):
        check_kind(request, wire.Error("request", 1, "busy", ""))
        for name, answer in ANSWERS.items():
            if name == fits:
                check_kind(request, answer)
                continue
            with pytest.raises(WireError):
                check_kind(request, answer)
        with pytest.raises(WireError, match="nonsense"):
            check_kind(request, WireError("bad-frame", "nonsense"))


def test_what_was_asked_for_is_given_and_all_else_is_an_error() -> None:
    for name, answer in ANSWERS.items():
        for kind in {type(each) for each in ANSWERS.values()}:
            if name == kind.__name__:
                assert given(answer, kind) is answer
                continue
            with pytest.raises(WireError, match=name):
                given(answer, kind)
    with pytest.raises(WireError, match="nonsense"):
        given(WireError("bad-frame", "nonsense"), wire.Done)
    with pytest.raises(Refused) as raised:
        given(wire.Error("request", 1, "denied", "no"), wire.Done)
    assert (raised.value.code, raised.value.text) == ("denied", "no")


def test_batches_and_gaps_come_in_the_order_of_offsets() -> None:
    gaps = [("b.x", 60, 69, "trimmed"), ("a", 41, 44, "damaged"), ("a", 80, 90, "trimmed")]
    found = places(page(("a", batch(45)), ("b.x", batch(70, 59)), gaps=gaps))
    assert found == [gaps[1], ("a", 45, 46, ""), gaps[0], ("b.x", 70, 71, ""), gaps[2]]


def test_a_page_may_begin_within_a_batch_end_within_one_and_be_empty() -> None:
    assert places(page(("a", batch(40)), ("a", batch(90, 41)))) == [("a", 40, 41, ""), ("a", 90, 91, "")]
    assert places(page(upto=41, more=True)) == places(page(upto=3)) == []


@pytest.mark.parametrize(
    "lie",
    [
        page(upto=40, more=True),
        page(upto=7, more=True),
        page(("a", batch(50)), ("a", batch(60, 51)), upto=59, more=True),
        page(upto=91),
        page(upto=(1 << 53) - 1, more=True),
        page(("a", batch(91))),
        page(("c", batch(50))),
        page(("b", batch(50))),
        page(("b." + "x" * 200, batch(50))),
        page(("a", batch(60)), ("a", batch(50))),
        page(("a", batch(60)), ("b.x", batch(61))),
        page(("a", batch(0))),
        page(("a", b"\xc1")),
        page(("a", b"")),
        page(gaps=[("c", 50, 60, "damaged")]),
        page(gaps=[("a", 0, 60, "damaged")]),
        page(gaps=[("a", 60, 50, "damaged")]),
        page(gaps=[("a", 50, 1 << 52, "damaged")]),
        page(("a", b"\x95\x00\x5b\x00\x00\x90")),
        page(("a", b"\x95\x00\xff\x00\x00\x90")),
    ],
)
def test_a_page_that_cannot_be_is_an_error(lie: wire.Page) -> None:
    with pytest.raises(WireError):
        parts(lie)


@pytest.mark.parametrize(
    "damaged",
    [
        wire.encode(batch(50))[:-3] + b"\xc1\xc1\xc1",
        wire.encode(batch(50))[:-2],
        wire.encode(batch(50))[:6],
        wire.encode(batch(50, prev=50)),
        wire.encode(batch(50, records=0)),
        wire.encode(wire.Batch(wire.MESSAGES, 50, 0, 7, [])),
    ],
)
def test_a_batch_that_makes_no_sense_is_a_gap_up_to_what_follows(damaged: bytes) -> None:
    assert places(page(("a", damaged))) == [("a", 50, 90, "damaged")]
    assert places(page(("a", damaged), ("b.x", batch(58)))) == [("a", 50, 57, "damaged"), ("b.x", 58, 59, "")]
    gaps = [("b.y", 55, 57, "trimmed")]
    told = places(page(("a", damaged), ("b.x", batch(58)), gaps=gaps))
    assert told == [("a", 50, 57, "damaged"), gaps[0], ("b.x", 58, 59, "")]


def test_what_a_newer_broker_may_add_passes() -> None:
    assert places(page(("a", batch(50, kind=9)), gaps=[("a", 60, 61, "moved")])) == [
        ("a", 50, 51, ""),
        ("a", 60, 61, "moved"),
    ]
    check_welcome(wire.Welcome(1, "s", b"t", False, "log", 1, 5556, {"of_tomorrow": 0}, 1))


@pytest.mark.parametrize("name", ["record_bytes_max", "window_bytes", "session_kept_seconds"])
def test_a_limit_that_makes_no_sense_is_an_error(name: str) -> None:
    for limit in (LIMIT_MAX + 1, 1 << 52, *([] if name == "session_kept_seconds" else [0])):
        with pytest.raises(WireError, match=name):
            check_welcome(wire.Welcome(1, "s", b"t", False, "log", 1, 5556, {name: limit}, 1))
    check_welcome(wire.Welcome(1, "s", b"t", False, "log", 1, 5556, {name: 1}, 1))


@pytest.mark.parametrize(
    "welcome",
    [
        wire.Welcome(2, "s", b"t", False, "log", 1, 5556, {}, 1),
        wire.Welcome(1, "s", b"t", False, "log", 1, 65_536, {}, 1),
        wire.Welcome(1, "s" * 257, b"t", False, "log", 1, 5556, {}, 1),
        wire.Welcome(1, "s", b"t" * 257, False, "log", 1, 5556, {}, 1),
        wire.Welcome(1, "s", b"t", False, "l" * 257, 1, 5556, {}, 1),
    ],
)
def test_a_welcome_that_nobody_can_go_by_is_an_error(welcome: wire.Welcome) -> None:
    with pytest.raises(WireError):
        check_welcome(welcome)


def test_what_may_be_granted_later_is_told_from_what_may_not() -> None:
    for code in ("busy", "over-limit", "log-full", "log-failed", "log-read-only"):
        assert may_be_later(wire.Error("request", 1, code, ""))
    assert may_be_later(WireError("bad-frame", "no sense"))
    for code in ("denied", "bad-room", "too-many-rooms"):
        assert not may_be_later(wire.Error("request", 1, code, ""))
    assert not may_be_later(wire.Done(1))
