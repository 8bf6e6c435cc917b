"""How a subscription is opened: what is asked, in which order, and what is forgiven."""

from __future__ import annotations

from typing import Any

import pytest

from zchat import wire
from zchat.core import Instant
from zchat.core.answers import Answer
from zchat.core.client import ClientCore
from zchat.core.listener import Listener
from zchat.core.opening import Opening
from zchat.core.ordering import LIVE, Notice, Start
from zchat.core.steps import Ask, BecomeMember, Listen, begin
from zchat.errors import Refused, WireError

WELCOME = wire.Welcome(wire.VERSION, "s1", b"token", False, "log", 40, 5556, {}, 1, 0, [("A", 0)])
DONE = wire.Done(1)
FULL = wire.Error("request", 1, "log-full", "")
NOW = Instant(1_000.0, 0)


def opened(opening: Opening, *answers: Answer, head: int = 40) -> tuple[list[Any], Listener]:
    """What it did, and what came of it; it went live at `head`."""
    steps, left = opening.steps(WELCOME), list(answers)
    did: list[Any] = []
    try:
        step = next(steps)
        while True:
            if isinstance(step, Listen):
                did.append("listen")
                assert isinstance(step.listener, Listener)
                step.listener.ordering.synced(head, 1)
                step = steps.send(DONE)
            else:
                did.append(step.request if isinstance(step, Ask) else step)
                step = steps.send(left.pop(0))
    except StopIteration as end:
        assert not left
        return did, end.value


def kept(offset: int) -> wire.CursorsAre:
    return wire.CursorsAre(1, [wire.Cursor("y", 7, 1), wire.Cursor("x", offset, 1)])


NONE = wire.CursorsAre(1, [wire.Cursor("y", 7, 1)])


def test_it_is_joined_once_it_is_live() -> None:
    did, listener = opened(Opening(["a", "b.*"], Start(), True), DONE)
    assert did == ["listen", BecomeMember({"a"})]
    assert listener.ordering.state == LIVE and not listener.progress.cursor


def test_who_only_observes_joins_nothing() -> None:
    did, listener = opened(Opening(["a", "b.*"], Start(), True, joins=False))
    assert did == ["listen"] and listener.ordering.state == LIVE and not listener.is_joined


@pytest.mark.parametrize("code", ["log-full", "log-read-only", "log-failed"])
def test_while_the_log_cannot_be_written_it_listens_all_the_same(code: str) -> None:
    opened(Opening(["a"], Start(), False), wire.Error("request", 1, code, ""))
    did, listener = opened(Opening(["a"], Start(), False, "x"), NONE, FULL, wire.Error("request", 1, code, ""))
    assert did == [wire.Cursors(0), "listen", BecomeMember({"a"}), wire.SetCursor(0, "x", "log", 40)]
    assert listener.progress.due(0, NOW) == 40, "it is stored as soon as it can"


@pytest.mark.parametrize("code", ["denied", "busy", "too-many-rooms", "too-many-cursors"])
def test_all_other_refusals_are_raised(code: str) -> None:
    error = wire.Error("request", 1, code, "")
    for answers in ([error], [NONE, error], [NONE, DONE, error]):
        with pytest.raises(Refused) as raised:
            opened(Opening(["a"], Start(), False, "x"), *answers)
        assert raised.value.code == code


def test_a_cursor_goes_on_where_it_is_and_no_start_counts() -> None:
    for start in (Start(), Start(after=3), Start(last=2), Start(since=1)):
        did, listener = opened(Opening(["a"], start, False, "x"), kept(30), DONE)
        assert did == [wire.Cursors(0), "listen", BecomeMember({"a"})]
        assert listener.progress.wanted == listener.progress.committed == (0, 30)
        assert listener.ordering.take_question() == wire.Fetch(0, ["a"], 30, 40)


def test_the_first_time_its_start_counts_and_is_stored() -> None:
    did, listener = opened(Opening(["a"], Start(after=30), False, "x"), NONE, DONE, DONE)
    assert did == [wire.Cursors(0), wire.SetCursor(0, "x", "log", 30), "listen", BecomeMember({"a"})]
    did, listener = opened(Opening(["a"], Start(last=2), True, "x"), NONE, wire.Position(1, 35, 40), DONE, DONE)
    assert did[1:3] == [wire.Seek(0, ["a"], 2), wire.SetCursor(0, "x", "log", 35)]
    assert listener.progress.wanted == (0, 35) and listener.progress.due(0, NOW) is None


def test_a_start_that_could_not_be_stored_is_stored_later() -> None:
    _, listener = opened(Opening(["a"], Start(after=30), False, "x"), NONE, FULL, DONE)
    assert listener.progress.due(0, NOW) == 30


def test_the_first_time_without_a_start_it_is_stored_where_it_went_live() -> None:
    did, listener = opened(Opening(["*"], Start(), False, "x"), NONE, DONE, DONE, head=44)
    assert did == [wire.Cursors(0), "listen", BecomeMember(set()), wire.SetCursor(0, "x", "log", 44)]
    assert listener.progress.wanted == listener.progress.committed == (0, 44)


def test_a_cursor_over_several_rooms_has_marks_and_no_other_listener() -> None:
    for patterns, cursor, marks in (
        (["a"], "x", False),
        (["*"], "x", True),
        (["a", "b"], "x", True),
        (["*"], "", False),
    ):
        answers = [kept(30), DONE] if cursor else [DONE]
        _, listener = opened(Opening(patterns, Start(after=30), False, cursor), *answers)
        listener.ordering.take_question()
        listener.ordering.answered(wire.Page(1, [], 40, False, []))
        assert bool([item for item in listener.ordering.take() if not isinstance(item, Notice)]) == marks


def test_above_the_head_it_asks_and_is_refused() -> None:
    with pytest.raises(Refused, match="above the head, 41"):
        opened(Opening(["a"], Start(after=42), False), wire.Position(1, 0, 41))
    did, _ = opened(Opening(["a"], Start(after=42), False), wire.Position(1, 0, 42), DONE, head=42)
    assert did[0] == wire.Seek(0, ["a"])


@pytest.mark.parametrize(
    "answers",
    [[DONE], [wire.Position(1, 1, 2)], [NONE, DONE], [NONE, wire.Position(1, 1, 2), kept(3)], [NONE, kept(3)]],
)
def test_an_answer_of_another_kind_is_an_error(answers: list[Answer]) -> None:
    with pytest.raises(WireError):
        opened(Opening(["a"], Start(last=2), False, "x"), *answers)


@pytest.mark.parametrize(
    ("log_id", "starts", "gap", "after"),
    [
        ("log 2", [("B", 0)], Notice("gap", 31, 0, reason="log", log_id="log 2"), 0),
        ("log", [("A", 0), ("B", 20)], Notice("gap", 21, 30, reason="log"), 20),
        ("log", [("A", 0), ("B", 30)], None, 30),
    ],
)
def test_where_the_log_is_not_what_it_was_the_offset_means_less(
    log_id: str, starts: list[tuple[str, int]], gap: Notice | None, after: int
) -> None:
    core = ClientCore("ann", {}, iter([b"n1", b"n2"]))
    core.connected()
    core.received(wire.encode(WELCOME), NOW)
    steps = Opening(["a"], Start(), False, "x").steps(WELCOME)
    next(steps)
    core.disconnected("")
    core.connected()
    core.received(wire.encode(wire.Welcome(1, "s2", b"token", False, log_id, 40, 5556, {}, 1, 0, starts)), NOW)
    listen = steps.send(kept(30))
    assert isinstance(listen, Listen)
    begin(listen, core, NOW)
    core.broadcast(wire.PRIVATE_TOPIC, wire.encode(wire.Sync(b"n1", 40, "B")), NOW)
    found = core.deliver(NOW)
    assert [item for _, items in found for item in items] == ([gap] if gap is not None else [])
    assert isinstance(listen.listener, Listener)
    assert listen.listener.ordering.question == wire.Fetch(1, ["a"], after, 40), "all above it is new"
