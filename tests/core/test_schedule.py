"""What is to be sent later: once each, whatever is said twice, refused, lost or killed in between."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.cycle import Cycle
from zchat import wire
from zchat.core import schedule
from zchat.core.schedule import DONE_KEPT_SECONDS

SECOND = 1_000_000


def later(name: str, seconds: float = 60.0, *records: Any, request: int = 7, room: str = "ops") -> wire.Schedule:
    raw = msgspec.Raw(wire.encode_records(records or (b"lunch?",)))
    return wire.Schedule(request, name, room, raw, 0, round(seconds * SECOND))


def kept(cycle: Cycle, connection: bytes, message: wire.ClientMessage) -> None:
    """It is asked for, committed and answered."""
    cycle.send(connection, message)
    cycle.commit()
    assert cycle.take_replies() == [(connection, wire.Done(getattr(message, "request", 0)))]


def listed(cycle: Cycle, connection: bytes) -> list[tuple[str, str, str]]:
    answer = cycle.ask(connection, wire.Scheduled(9))
    assert isinstance(answer, wire.ScheduledAre) and not answer.more
    return [(message.id, message.room, message.preview) for message in answer.messages]


def sent(cycle: Cycle) -> list[str]:
    cycle.commit()
    return [record for heard in cycle.take_heard() for record in heard.records]


def begun(**settings: Any) -> Cycle:
    cycle = Cycle(**settings)
    cycle.clients("ann", "bob")
    return cycle


def test_a_message_is_listed_until_it_is_due_and_then_sent_by_its_user() -> None:
    cycle = begun()
    kept(cycle, b"ann", later("one", 60))
    kept(cycle, b"ann", later("two", 30, wire.Record(b"tea", "tick", {"a": "b"}), room="kitchen"))
    assert listed(cycle, b"ann") == [("two", "kitchen", "tea"), ("one", "ops", "lunch?")]
    assert listed(cycle, b"bob") == []
    cycle.wait(29.9)
    assert sent(cycle) == []
    cycle.wait(0.2)
    assert sent(cycle) == ["ann tick: tea"] and listed(cycle, b"ann") == [("one", "ops", "lunch?")]
    cycle.wait(30)
    assert sent(cycle) == ["ann: lunch?"] and listed(cycle, b"ann") == []
    cycle.wait(1_000)
    assert sent(cycle) == []


def test_what_is_due_already_is_sent_at_once_and_by_a_time_too() -> None:
    cycle = begun()
    message = later("one")
    message.due, message.delay = cycle.now.micros - 5, 0
    kept(cycle, b"ann", message)
    cycle.wait(0.01)
    assert sent(cycle) == ["ann: lunch?"]


def test_what_is_said_again_is_one_also_after_it_was_sent_and_over_a_restart() -> None:
    cycle = begun()
    kept(cycle, b"ann", later("one", 10))
    kept(cycle, b"ann", later("one", 99, b"another", request=8))
    cycle.wait(11)
    assert sent(cycle) == ["ann: lunch?"]
    cycle.start()
    cycle.clients("ann")
    kept(cycle, b"ann", later("one", 0))
    cycle.wait(1)
    assert sent(cycle) == []
    cycle.wait(DONE_KEPT_SECONDS + 1)
    kept(cycle, b"ann", later("two", 0))
    cycle.wait(1)
    sent(cycle)
    assert [row.id for row in cycle.log.scheduled()] == ["two"], "what was done long ago is forgotten"


def test_what_is_taken_back_is_not_sent_and_nobody_takes_back_another_ones() -> None:
    cycle = begun()
    kept(cycle, b"ann", later("one", 10))
    kept(cycle, b"bob", wire.Cancel(8, "one"))
    assert listed(cycle, b"ann") == [("one", "ops", "lunch?")]
    kept(cycle, b"ann", wire.Cancel(8, "one"))
    assert listed(cycle, b"ann") == []
    assert cycle.ask(b"ann", wire.Cancel(9, "none")) == wire.Done(9)
    cycle.wait(11)
    assert sent(cycle) == []


@pytest.mark.parametrize("at", ["before", "with", "after"])
def test_a_broker_that_dies_sends_it_once(at: str) -> None:
    cycle = begun()
    kept(cycle, b"ann", later("one", 10))
    if at != "before":
        cycle.wait(11)
        append = cycle.begin_commit()
        assert append is not None and len(append.batches) == 1 and append.scheduled[0].records == b""
        if at == "after":
            cycle.end_commit()
    cycle.start()
    cycle.wait(11)
    assert sent(cycle) == ([] if at == "after" else ["ann: lunch?"])


def test_what_the_log_refuses_is_undone_and_tried_again() -> None:
    cycle = begun()
    cycle.send(b"ann", later("one", 10))
    cycle.fail()
    assert [code for *_, code in cycle.take_errors()] == ["log-full"]
    assert listed(cycle, b"ann") == []
    kept(cycle, b"ann", later("one", 10))
    cycle.wait(11)
    cycle.fail()
    cycle.take_replies()
    assert listed(cycle, b"ann") == [("one", "ops", "lunch?")] and sent(cycle) == []
    cycle.wait(1.1)
    assert sent(cycle) == ["ann: lunch?"]


def test_what_is_said_again_while_the_log_refuses_is_there_all_the_same() -> None:
    cycle = begun()
    kept(cycle, b"ann", later("one", 10))
    kept(cycle, b"ann", later("two", 10))
    kept(cycle, b"ann", wire.Cancel(8, "two"))
    cycle.send(b"ann", later("three", 10))
    assert cycle.ask(b"ann", later("one", 10, request=20)) == wire.Done(20), "it waits for no commit"
    assert cycle.ask(b"ann", wire.Cancel(21, "two")) == wire.Done(21)
    cycle.fail()
    assert [code for *_, code in cycle.take_errors()] == ["log-full"]
    assert listed(cycle, b"ann") == [("one", "ops", "lunch?")]


def test_what_is_said_again_while_it_is_being_sent_is_not_refused_with_that() -> None:
    cycle = begun()
    kept(cycle, b"ann", later("one", 10))
    cycle.wait(11)  # it is on its way to the log
    assert cycle.ask(b"ann", later("one", 10, request=20)) == wire.Done(20), "the log has it"
    cycle.fail()
    assert cycle.take_errors() == []
    cycle.wait(13)
    assert sent(cycle) == ["ann: lunch?"]


def test_what_one_address_and_all_may_have_is_bounded() -> None:
    cycle = begun(address_scheduled_max=2, address_scheduled_bytes_max=60)
    kept(cycle, b"ann", later("one"))
    assert cycle.ask(b"ann", later("big", 60, b"x" * 60)).code == "over-limit"
    kept(cycle, b"bob", later("two"))
    assert cycle.ask(b"ann", later("three")).code == "over-limit"
    kept(cycle, b"ann", wire.Cancel(8, "one"))
    kept(cycle, b"ann", later("three"))


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (later(""), "bad-request"),
        (later("x" * 65), "bad-request"),
        (later("a/b"), "bad-request"),
        (later("one", 60, b"a", b"b"), "too-many-records"),
        (later("one", room="a..b"), "bad-room"),
        (later("one", room="Ops"), "bad-room"),
        (later("one", 60, wire.Record(b"", "join")), "denied"),
        (wire.Schedule(7, "one", "ops", msgspec.Raw(wire.encode_records([b"x"])), 0, wire.OFFSET_MAX), "bad-request"),
        (wire.Cancel(7, "\x1b"), "bad-request"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(message: wire.ClientMessage, code: str) -> None:
    cycle = begun()
    answer = cycle.ask(b"ann", message)
    assert isinstance(answer, wire.Error) and (answer.about, answer.number, answer.code) == ("request", 7, code)
    assert listed(cycle, b"ann") == [] and cycle.core.next_deadline() is None


def test_a_long_list_comes_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "SCHEDULED_LISTED_MAX", 2)
    cycle = begun()
    for name in "cab":
        cycle.send(b"ann", later(name, 60))
    cycle.commit()
    cycle.take_replies()
    first = cycle.ask(b"ann", wire.Scheduled(1))
    assert ([message.id for message in first.messages], first.more) == (["a", "b"], True)
    rest = cycle.ask(b"ann", wire.Scheduled(1, first.messages[-1].due, "b"))
    assert ([message.id for message in rest.messages], rest.more) == (["c"], False)


def test_a_clock_that_is_set_forward_is_noticed_and_nothing_is_asked_of_an_empty_schedule() -> None:
    cycle = begun()
    assert cycle.core.next_deadline() is None
    kept(cycle, b"ann", later("one", 7_200))
    deadline = cycle.core.next_deadline()
    assert deadline is not None and deadline <= cycle.now.seconds + schedule.LOOK_SECONDS


def test_what_was_cancelled_leaves_nothing_to_wait_for_and_little_to_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "PASSED_OVER_MAX", 10)
    cycle = begun()
    kept(cycle, b"ann", later("soon", 10))
    for number in range(50):
        kept(cycle, b"ann", later(f"n{number}", 3_600))
        kept(cycle, b"ann", wire.Cancel(8, f"n{number}"))
    assert len(cycle.core._schedule._due) <= 12
    cycle.wait(11)
    assert sent(cycle) == ["ann: lunch?"] and cycle.core._schedule.next_deadline is None


Act = st.tuples(st.sampled_from(["later", "cancel", "wait", "commit", "fail", "kill"]), st.integers(0, 5))


@given(st.lists(Act, max_size=40))
def test_each_that_was_answered_is_sent_once_or_was_taken_back(acts: list[tuple[str, int]]) -> None:
    cycle = begun()
    wanted, taken_back, heard = set[str](), set[str](), list[str]()

    def settle() -> None:
        if cycle.append is None:
            cycle.commit()
        heard.extend(record for each in cycle.take_heard() for record in each.records)

    for act, number in acts:
        name = f"n{number}"
        if act in ("later", "cancel"):
            message = later(name, number, name.encode()) if act == "later" else wire.Cancel(8, name)
            cycle.send(b"ann", message)
            settle()
            (wanted if act == "later" else taken_back).add(name)
        elif act == "wait":
            cycle.wait(number)
            settle()
        elif act == "fail" and cycle.append is None and cycle.begin_commit() is not None:
            cycle.end_commit("log-full")
        elif act == "kill":
            cycle.start()
            cycle.hello("ann")
        cycle.take_replies()
    for _ in range(3):
        cycle.wait(10)
        settle()
    texts = [record.removeprefix("ann: ") for record in heard]
    assert len(texts) == len(set(texts)), "none twice"
    assert wanted - taken_back <= set(texts) <= wanted
