"""Cursors that the broker keeps: seen once they are committed, by user, within their limits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.core.cycle import Cycle, refused
from zchat import wire


def log_with(records: int, **settings: Any) -> Cycle:
    """A broker whose log has so many records, and alice."""
    cycle = Cycle(**settings)
    (alice,) = cycle.clients("alice")
    cycle.publish(alice, 1, "general", *[b""] * records)
    cycle.commit()
    cycle.take_replies()
    cycle.take_broadcasts()
    return cycle


def names(cycle: Cycle, connection: bytes) -> dict[str, int]:
    answer = cycle.ask(connection, wire.Cursors(1))
    assert isinstance(answer, wire.CursorsAre) and answer.request == 1
    return {cursor.name: cursor.offset for cursor in answer.cursors}


def set_cursor(cycle: Cycle, connection: bytes, name: str, offset: int, request: int = 2) -> None:
    cycle.send(connection, wire.SetCursor(request, name, cycle.log.log_id, offset))


def test_a_cursor_is_there_and_answered_once_it_is_kept() -> None:
    cycle = log_with(9)
    set_cursor(cycle, b"alice", "laptop", 5)
    assert cycle.take_replies() == [] and names(cycle, b"alice") == {}
    cycle.begin_commit()
    assert cycle.take_replies() == [] and names(cycle, b"alice") == {}
    cycle.end_commit()
    assert cycle.take_replies() == [(b"alice", wire.Done(2))]
    answer = cycle.ask(b"alice", wire.Cursors(3))
    assert answer == wire.CursorsAre(3, [wire.Cursor("laptop", 5, cycle.now.micros)])


def test_a_cursor_may_stand_at_0_and_at_the_head() -> None:
    cycle = log_with(9)
    set_cursor(cycle, b"alice", "begin", 0)
    set_cursor(cycle, b"alice", "end", 9)
    cycle.commit()
    cycle.take_replies()
    assert names(cycle, b"alice") == {"begin": 0, "end": 9}


def test_the_later_of_two_in_one_cycle_counts() -> None:
    cycle = log_with(9)
    for offset in (5, 3):
        set_cursor(cycle, b"alice", "laptop", offset)
    cycle.send(b"alice", wire.DropCursor(3, "phone"))
    cycle.commit()
    assert len(cycle.take_replies()) == 3
    assert names(cycle, b"alice") == {"laptop": 3}
    set_cursor(cycle, b"alice", "laptop", 4)
    cycle.send(b"alice", wire.DropCursor(4, "laptop"))
    cycle.commit()
    cycle.take_replies()
    assert names(cycle, b"alice") == {} and cycle.log.cursors() == []


def test_a_cursor_that_is_dropped_is_gone_also_after_a_restart() -> None:
    cycle = log_with(9)
    set_cursor(cycle, b"alice", "laptop", 5)
    set_cursor(cycle, b"alice", "phone", 6)
    cycle.commit()
    cycle.send(b"alice", wire.DropCursor(3, "laptop"))
    cycle.commit()
    cycle.take_replies()
    assert names(cycle, b"alice") == {"phone": 6}
    cycle.start()
    cycle.hello("alice")
    assert names(cycle, b"alice") == {"phone": 6}


def test_a_cursor_belongs_to_the_user_in_any_session_and_to_no_other() -> None:
    cycle = log_with(9)
    set_cursor(cycle, b"alice", "laptop", 5)
    cycle.commit()
    cycle.take_replies()
    cycle.hello("Alice", b"elsewhere")
    cycle.hello("bob")
    assert names(cycle, b"elsewhere") == {"laptop": 5} and names(cycle, b"bob") == {}
    cycle.send(b"bob", wire.DropCursor(3, "laptop"))
    cycle.commit()
    cycle.take_replies()
    assert names(cycle, b"alice") == {"laptop": 5}


def test_a_name_is_folded_like_a_users() -> None:
    cycle = log_with(9)
    set_cursor(cycle, b"alice", "Laptop", 5)
    cycle.commit()
    cycle.send(b"alice", wire.DropCursor(3, "LAPTOP"))
    cycle.commit()
    cycle.take_replies()
    assert names(cycle, b"alice") == {}


def test_cursors_are_told_by_name() -> None:
    cycle = log_with(9)
    for name in ("c", "a", "b"):
        set_cursor(cycle, b"alice", name, 1)
        cycle.commit()
    cycle.take_replies()
    assert list(names(cycle, b"alice")) == ["a", "b", "c"]


def test_a_cursor_that_the_log_refuses_is_as_it_was() -> None:
    cycle = log_with(9)
    set_cursor(cycle, b"alice", "laptop", 5)
    cycle.commit()
    cycle.take_replies()
    set_cursor(cycle, b"alice", "laptop", 7)
    cycle.fail("log-full")
    assert cycle.take_errors() == [(b"alice", "request", 2, "log-full")]
    cycle.wait(60)
    cycle.commit()
    assert names(cycle, b"alice") == {"laptop": 5}


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (wire.SetCursor(9, "laptop", "another log", 5), "other-log"),
        (wire.SetCursor(9, "laptop", "", 5), "other-log"),
        (wire.SetCursor(9, "laptop", "?", 10), "bad-request"),
        (wire.SetCursor(9, "", "?", 5), "bad-cursor"),
        (wire.SetCursor(9, "a b", "?", 5), "bad-cursor"),
        (wire.SetCursor(9, "x" * 65, "?", 5), "bad-cursor"),
        (wire.SetCursor(9, "third", "?", 5), "too-many-cursors"),
        (wire.DropCursor(9, "a b"), "bad-cursor"),
    ],
)
def test_a_cursor_that_cannot_be_is_refused(message: wire.SetCursor | wire.DropCursor, code: str) -> None:
    cycle = log_with(9, user_cursors_max=2)
    for name in ("laptop", "phone"):
        set_cursor(cycle, b"alice", name, 5)
    cycle.commit()
    cycle.take_replies()
    if isinstance(message, wire.SetCursor) and message.log_id == "?":
        message = wire.SetCursor(9, message.name, cycle.log.log_id, message.offset)
    error = refused(cycle, b"alice", message, code)
    assert (error.about, error.number) == ("request", 9)


def test_at_the_limit_a_cursor_can_still_be_moved_and_another_user_has_a_limit_of_their_own() -> None:
    cycle = log_with(9, user_cursors_max=1)
    set_cursor(cycle, b"alice", "laptop", 5)
    cycle.commit()
    set_cursor(cycle, b"alice", "laptop", 6)
    cycle.commit()
    cycle.take_replies()
    cycle.hello("bob")
    set_cursor(cycle, b"alice", "laptop", 6)
    set_cursor(cycle, b"bob", "phone", 7)
    cycle.commit()
    assert cycle.take_replies() == [(b"alice", wire.Done(2)), (b"bob", wire.Done(2))]
    assert names(cycle, b"alice") == {"laptop": 6} and names(cycle, b"bob") == {"phone": 7}


def test_the_limit_holds_within_one_cycle_too() -> None:
    cycle = log_with(9, user_cursors_max=1)
    set_cursor(cycle, b"alice", "laptop", 5)
    refused_one = wire.SetCursor(9, "phone", cycle.log.log_id, 5)
    cycle.send(b"alice", refused_one)
    assert cycle.take_errors() == [(b"alice", "request", 9, "too-many-cursors")]


# --- what a stranger can make the broker keep ---------------------------------------------------


def test_there_are_so_many_cursors_in_all_and_those_that_are_there_can_be_moved() -> None:
    cycle = log_with(9, cursors_max=2)
    set_cursor(cycle, b"alice", "laptop", 5)
    cycle.commit()
    cycle.take_replies()
    cycle.hello("bob")
    set_cursor(cycle, b"bob", "phone", 5)
    for _ in range(2):  # while it gathers, and when it is kept
        cycle.send(b"bob", wire.SetCursor(9, "other", cycle.log.log_id, 5))
        assert (b"bob", "request", 9, "over-limit") in [
            (to, one.about, one.number, one.code) for to, one in cycle.take_replies() if isinstance(one, wire.Error)
        ]
        cycle.commit()
    set_cursor(cycle, b"bob", "phone", 7)
    cycle.send(b"alice", wire.DropCursor(3, "laptop"))
    cycle.commit()
    cycle.take_replies()
    set_cursor(cycle, b"alice", "other", 5)
    cycle.commit()
    assert cycle.take_replies() == [(b"alice", wire.Done(2))]
    assert {(row.user, row.name, row.offset) for row in cycle.log.cursors()} == {
        ("alice", "other", 5),
        ("bob", "phone", 7),
    }


def test_cursors_that_the_log_refused_are_not_counted() -> None:
    cycle = log_with(9, cursors_max=1, user_cursors_max=1)
    set_cursor(cycle, b"alice", "laptop", 5)
    cycle.fail("log-full")
    cycle.wait(60)
    cycle.take_replies()
    set_cursor(cycle, b"alice", "phone", 5)
    cycle.commit()
    assert cycle.take_replies() == [(b"alice", wire.Done(2))]


def test_new_cursors_of_an_address_have_an_allowance_and_moving_one_costs_nothing() -> None:
    cycle = log_with(9, address_makings_max=3)  # of which the session and the room took two
    for offset in range(9):
        set_cursor(cycle, b"alice", "laptop", offset)
        cycle.commit()
    cycle.take_replies()
    refused(cycle, b"alice", wire.SetCursor(9, "phone", cycle.log.log_id, 5), "busy")
    cycle.wait(0.02)
    set_cursor(cycle, b"alice", "phone", 5)
    cycle.commit()
    assert cycle.take_replies() == [(b"alice", wire.Done(2))]


def test_to_drop_what_is_not_there_writes_nothing() -> None:
    cycle = log_with(9)
    cycle.send(b"alice", *[wire.DropCursor(number, f"c{number}") for number in range(9)])
    assert cycle.take_replies() == [(b"alice", wire.Done(number)) for number in range(9)]
    assert cycle.core.take_append(cycle.now) is None


CURSORS = ["a", "b", "c", "d"]


class AnyCursors(RuleBasedStateMachine):
    """Cursors of two users are set and dropped, and the log keeps them or not: the limits are never passed."""

    def __init__(self) -> None:
        super().__init__()
        self.cycle = log_with(9, user_cursors_max=2, cursors_max=3)
        self.cycle.clients("bob")

    @rule(user=st.sampled_from([b"alice", b"bob"]), name=st.sampled_from(CURSORS), drops=st.booleans())
    def set_or_drop(self, user: bytes, name: str, drops: bool) -> None:
        known = {(row.user.encode(), row.name) for row in self.cycle.log.cursors()}
        if drops:
            self.cycle.send(user, wire.DropCursor(1, name))
        else:
            set_cursor(self.cycle, user, name, 5)
            codes = {one.code for _, one in self.cycle.take_replies() if isinstance(one, wire.Error)}
            assert codes <= {"too-many-cursors", "over-limit"}
            assert not codes or (user, name) not in known

    @rule()
    def begin_commit(self) -> None:
        if self.cycle.append is None:
            self.cycle.begin_commit()

    @rule(works=st.booleans())
    def end_commit(self, works: bool) -> None:
        if self.cycle.append is not None:
            self.cycle.end_commit("" if works else "log-full")
            self.cycle.take_replies()

    @rule()
    def restart(self) -> None:
        self.cycle.start()
        self.cycle.clients("alice", "bob")

    @invariant()
    def the_limits_hold(self) -> None:
        users = [row.user for row in self.cycle.log.cursors()]
        assert len(users) <= 3 and max(map(users.count, users), default=0) <= 2

    def teardown(self) -> None:
        """Once all is kept and dropped, there is room for as many as the limit again."""
        for _ in range(2):
            self.end_commit(True)
            self.cycle.wait(60)
            self.begin_commit()
        self.end_commit(True)
        for user in (b"alice", b"bob"):
            self.cycle.send(user, *[wire.DropCursor(1, name) for name in CURSORS])
        self.cycle.commit()
        self.cycle.take_replies()
        for user, name in ((b"alice", "a"), (b"alice", "b"), (b"bob", "a")):
            set_cursor(self.cycle, user, name, 5)
        self.cycle.commit()
        assert {type(one) for _, one in self.cycle.take_replies()} == {wire.Done}
        assert len(self.cycle.log.cursors()) == 3


AnyCursors.TestCase.settings = settings(deadline=None, max_examples=50, stateful_step_count=30)
TestAnyCursors = pytest.mark.slow(AnyCursors.TestCase)
