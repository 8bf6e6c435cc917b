"""Questions wait for their turn: one of each connection, and a bound of what waits."""

from __future__ import annotations

import pytest

from tests.core.cycle import Cycle, refused
from zchat import wire
from zchat.core.asked import TRIED_STEPS, Asked, QuestionQueue, Work
from zchat.errors import WireError


def working(steps: int) -> Work:
    """What takes so many steps."""
    for _ in range(steps - 1):
        yield
    return b"answer"


def numbers(
    asked: Asked, full: set[bytes] | None = None, steps: dict[int, int] | None = None
) -> list[tuple[bytes, int]]:
    """(connection, number of the request) in the order of their answers. Each takes one step, or so many."""
    found = []
    while (asker := asked.next(full or set())) is not None:
        number = asker.waiting[0].question.request
        asker.work = asker.work or working((steps or {}).get(number, 1))
        if asked.work(asker) is not None:
            found.append((asker.connection, number))
    return found


def stepped(waiting: Asked, full: set[bytes]) -> QuestionQueue:
    """Who was worked for, for a step, of what has no end."""
    asker = waiting.next(full)
    assert asker is not None
    asker.work = asker.work or working(1 << 60)
    assert waiting.work(asker) is None
    return asker


def asked(*questions: tuple[bytes, int], most: int = 100) -> Asked:
    waiting = Asked(most)
    for connection, number in questions:
        waiting.ask(connection, wire.Rooms(number))
    return waiting


def test_connections_take_turns() -> None:
    waiting = asked((b"a", 1), (b"a", 2), (b"a", 3), (b"b", 1), (b"c", 1), (b"b", 2))
    assert numbers(waiting) == [(b"a", 1), (b"b", 1), (b"c", 1), (b"a", 2), (b"b", 2), (b"a", 3)]
    assert not waiting.has_next(())


def test_what_is_short_does_not_wait_for_what_is_long() -> None:
    waiting = asked((b"long", 1), (b"short", 2), (b"short", 3), (b"long", 4))
    order = numbers(waiting, steps={1: 1000, 4: 1000})
    assert order == [(b"short", 2), (b"short", 3), (b"long", 1), (b"long", 4)]
    waiting = asked((b"long", 1))
    for _ in range(500):
        stepped(waiting, set())
    waiting.ask(b"short", wire.Rooms(1))
    assert {stepped(waiting, set()).connection for _ in range(2)} == {b"long", b"short"}


def test_of_what_is_long_the_one_that_had_least_is_next() -> None:
    waiting = asked((b"a", 1), (b"a", 2), (b"a", 3), (b"b", 4))
    order = numbers(waiting, steps={1: 900, 2: 900, 3: 900, 4: 300})
    assert order == [(b"a", 1), (b"b", 4), (b"a", 2), (b"a", 3)]


def test_what_is_half_made_is_dropped_when_who_asked_reads_no_more_or_has_gone() -> None:
    waiting = asked((b"a", 1), (b"b", 1))
    at_work = [stepped(waiting, set()) for _ in range(4 * TRIED_STEPS)][-1]
    other = stepped(waiting, {at_work.connection})
    assert other is not at_work and at_work.work is None
    waiting.forget(other.connection)
    assert stepped(waiting, set()) is at_work
    waiting.forget(at_work.connection)
    waiting.ask(at_work.connection, wire.Rooms(2))
    assert numbers(waiting) == [(at_work.connection, 2)]


def test_one_too_many_is_refused_and_changes_nothing() -> None:
    waiting = asked((b"a", 1), (b"a", 2), most=2)
    with pytest.raises(WireError) as caught:
        waiting.ask(b"a", wire.Rooms(3))
    assert caught.value.code == "busy"
    waiting.ask(b"b", wire.Rooms(1))
    assert numbers(waiting) == [(b"a", 1), (b"b", 1), (b"a", 2)]


def test_who_does_not_read_its_answers_is_passed_over_and_keeps_its_place() -> None:
    waiting = asked((b"a", 1), (b"a", 2), (b"b", 1))
    assert numbers(waiting, full={b"a"}) == [(b"b", 1)]
    assert waiting.has_next(()) and not waiting.has_next({b"a"})
    assert numbers(waiting) == [(b"a", 1), (b"a", 2)]


def test_who_has_gone_gets_no_answer() -> None:
    waiting = asked((b"a", 1), (b"b", 1))
    waiting.forget(b"a")
    assert numbers(waiting) == [(b"b", 1)]


def test_a_broker_answers_each_in_its_turn_and_refuses_one_too_many() -> None:
    cycle = Cycle(connection_questions_max=2)
    alice, bob = cycle.clients("alice", "bob")
    cycle.send(alice, wire.Rooms(1), wire.Who(2))
    cycle.send(bob, wire.Heads(1, ["**"]))
    cycle.send(alice, wire.Cursors(3))
    assert cycle.core.may_answer(()) and not cycle.core.may_answer({alice, bob})
    answers = [(to, getattr(reply, "request", reply)) for to, reply in cycle.take_replies()]
    assert answers == [
        (alice, wire.Error("request", 3, "busy", "2 questions are waiting")),
        (alice, 1),
        (bob, 1),
        (alice, 2),
    ]


def test_what_is_refused_waits_for_no_turn() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    refused(cycle, alice, wire.Heads(1, ["@bob"]), "denied")
    refused(cycle, alice, wire.Who(1, "General"), "bad-room")
