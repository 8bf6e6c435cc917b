"""What is asked: repeated until it is answered, and not once it was overtaken."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zchat import wire
from zchat.core import Instant
from zchat.core.answers import Answer, Request
from zchat.core.requests import REPEAT_SECONDS, Answered, Requests
from zchat.errors import WireError


def at(seconds: float) -> Instant:
    return Instant(1_000.0 + seconds, 0)


def asked(*requests: Request) -> Requests:
    """All of these, at 0, as 1, 2, 3 …"""
    found = Requests()
    for request in requests:
        assert wire.decode_client(found.add(request, at(0))) == request
    return found


def test_each_has_a_number_of_its_own_and_is_due_again_until_it_is_settled() -> None:
    requests = asked(wire.Rooms(0), wire.Cursors(0))
    assert list(requests) == [(1, wire.Rooms(1)), (2, wire.Cursors(2))]
    assert requests.due(at(REPEAT_SECONDS - 0.1)) == [] and requests.due(at(REPEAT_SECONDS)) == [1, 2]
    assert requests.again(1, (), at(REPEAT_SECONDS)) == wire.encode(wire.Rooms(1))
    assert requests.due(at(REPEAT_SECONDS)) == [2]
    requests.forget(2)
    requests.forget(7)
    assert requests.due(at(99)) == [1] and len(requests) == 1


def test_what_cannot_be_encoded_changes_nothing() -> None:
    requests = Requests()
    with pytest.raises(OverflowError):
        requests.add(wire.SetCursor(0, "x", "log", 1 << 70), at(0))
    assert len(requests) == 0
    requests.add(wire.SetCursor(0, "x", "log", 1), at(0))
    assert requests.again(2, (), at(9)) is not None


def test_an_answer_belongs_to_the_request_of_its_number_and_is_of_its_kind() -> None:
    requests = asked(wire.Rooms(0), wire.Seek(0, ["a"]))
    rooms, error = wire.RoomsAre(1, []), wire.Error("request", 1, "busy", "")
    assert requests.answered(1, rooms) == Answered(wire.Rooms(1), rooms)
    assert requests.answered(1, error) == Answered(wire.Rooms(1), error)
    assert requests.answered(3, rooms) is requests.answered(0, wire.Goodbye("bye")) is None
    wrong = requests.answered(2, rooms)
    assert (
        wrong is not None and isinstance(wrong.answer, WireError) and "RoomsAre in answer to Seek" in str(wrong.answer)
    )
    requests.forget(1)
    assert requests.answered(1, rooms) is None, "it was answered"


def test_a_join_or_part_that_was_overtaken_is_asked_no_more() -> None:
    requests = asked(wire.Join(0, ["a", "b"]), wire.Part(0, ["a", "c"]))
    assert requests.again(1, {"a"}, at(9)) == wire.encode(wire.Join(1, ["a"]))
    assert requests.again(2, {"a"}, at(9)) == wire.encode(wire.Part(2, ["c"]))
    assert requests.again(1, {"b"}, at(9)) is None and requests.again(2, {"c"}, at(9)) is None


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("xyz"), st.booleans()), min_size=1, max_size=12))
def test_of_all_that_changes_a_cursor_only_the_last_is_asked_again(changes: list[tuple[str, bool]]) -> None:
    requests = asked(
        *(wire.SetCursor(0, name, "log", 1) if sets else wire.DropCursor(0, name) for name, sets in changes)
    )
    last = {name: number for number, (name, _) in enumerate(changes, 1)}
    again = [number for number, _ in requests if requests.again(number, (), at(9)) is not None]
    assert again == sorted(last.values())


def test_answers_of_any_kind_leave_it_out_until_it_is_forgotten() -> None:
    requests = asked(wire.Rooms(0))
    answers: list[Answer] = [wire.Done(1), wire.Error("request", 1, "busy", ""), WireError("bad-frame", "no sense")]
    for answer in answers:
        requests.answered(1, answer)
    assert len(requests) == 1


def test_a_refusal_of_what_was_said_twice_is_not_certain() -> None:
    schedule = wire.Schedule(0, "x", "a", wire.raw(wire.encode_records([b"hi"])), 0, 1)
    requests, error = asked(schedule, wire.Rooms(0)), wire.Error("request", 1, "log-full", "no space")
    assert requests.answered(1, error) == Answered(schedule, error), "it waited for a connection"
    for number in (1, 2):
        requests.says(number)
    assert requests.answered(1, error) == Answered(schedule, error), "it was said once"
    for number in requests.due(at(9)):
        requests.says(number)
    answered = requests.answered(1, error)
    assert answered is not None and isinstance(answered.answer, wire.Error)
    assert answered.answer.code == "repeat-unknown" and "no space" in answered.answer.text
    of_rooms = wire.Error("request", 2, "busy", "")
    assert requests.answered(2, of_rooms) == Answered(wire.Rooms(2), of_rooms), "that changes nothing"
    requests.forget(1)
    assert requests.answered(1, error) is None
