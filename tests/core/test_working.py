"""Members of groups at the client: what they hold, what they say when, and after which break."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.core.test_client_session import NOW, WELCOME, Plain
from tests.core.test_stock import frame_of
from zchat import wire
from zchat.core import Instant
from zchat.core.calling import Calling
from zchat.core.deliveries import Handed
from zchat.core.gaps import Notice
from zchat.core.gate import Gate
from zchat.core.greeting import Greeting
from zchat.core.listening import Listening
from zchat.core.publishing import Publishing
from zchat.core.timeline import Break, Timeline
from zchat.core.working import ACK, AGAIN_SECONDS, SETTLES_OUT_MAX, GroupWorker, Working


class Breaking(Plain):
    """One whose log breaks when it is told to."""

    broken: Break | None = None

    def _break_of(self, welcome: wire.Welcome) -> Break | None:
        return self.broken


class Member:
    """A session that is a member of a group."""

    def __init__(self, max_in_flight: int = 8) -> None:
        self.working = Working()
        greeting = Greeting("ann", {}, 0)
        self.session = Breaking(
            "ann", greeting, Publishing(), Listening(iter([b"n"])), Timeline(), Gate(), self.working, Calling()
        )
        self.welcome()
        self.worker = GroupWorker(self.working.next_number(), "jobs", "g", max_in_flight, 30_000, 5)
        self.session.listen(self.worker, NOW)
        self.number = self.working.join(self.worker, self.session, NOW)

    def welcome(self) -> None:
        self.session.connected()
        self.session.received(wire.encode(replace(WELCOME, hello=0)), NOW)

    def said(self) -> list[Any]:
        return [wire.decode_client(frame) for frame in self.session.take_sends()]

    def done(self, *numbers: int) -> None:
        for number in numbers:
            self.session.received(wire.encode(wire.Done(number)), NOW)

    def deliver(
        self, base: int, records: int, room: str = "jobs", member: int = 1, gaps: Any = (), deliveries: int = 1
    ) -> None:
        runs = [(deliveries, wire.raw(frame_of([[b"x"] * records], base)))] if records else []
        self.session.received(wire.encode(wire.Deliver(member, room, runs, list(gaps))), NOW)

    def put(self, first: int, last: int, delay: int = ACK, deliveries: int = 1) -> None:
        deliveries = 0 if delay == ACK else deliveries
        self.worker.outcomes.append((first, last, delay, deliveries, self.worker.log))
        self.working.settled(self.worker, NOW)

    def handed(self) -> list[tuple[int, int]]:
        items = [item for _, of in self.working.take() for item in of]
        return [(item.batch.base, item.last) if isinstance(item, Handed) else (item.offset, 0) for item in items]


@pytest.fixture
def member() -> Member:
    member = Member()
    (hello, join) = member.said()
    assert isinstance(hello, wire.Hello) and join == wire.JoinGroup(1, 1, "jobs", "g", 8, 30_000, 5)
    member.done(1)
    assert member.session.take_answers() == [(1, wire.Done(1))]
    return member


def test_what_is_handed_out_is_held_until_it_is_settled(member: Member) -> None:
    member.deliver(40, 3)
    member.deliver(50, 2, gaps=[("jobs", 1, 9, "trimmed")])
    assert member.handed() == [(40, 42), (50, 51), (1, 0)]
    member.put(40, 41)
    member.put(42, 42, 1_500)
    assert member.said() == [wire.Settle(2, 1, [(40, 41)]), wire.Settle(3, 1, [], [(42, 42, 1_500, 1)])]
    assert list(member.worker.held) == [(50, 51)]
    member.put(40, 51)
    assert member.said() == [wire.Settle(4, 1, [(50, 51)])], "what it does not hold it does not ack"
    member.put(50, 51)
    assert member.said() == []


def test_what_came_once_more_is_not_given_back_by_who_had_it_before(member: Member) -> None:
    """Its time was over while the program was at it, and it comes again, to the same member."""
    member.deliver(40, 4)
    member.deliver(41, 2, deliveries=2)
    member.put(40, 43, 100)
    (settle,) = member.said()
    assert settle.nacks == [(40, 40, 100, 1), (43, 43, 100, 1)] and list(member.worker.held) == [(41, 42)]
    member.put(41, 41)
    member.put(42, 42, 200, deliveries=2)
    assert member.said() == [wire.Settle(3, 1, [(41, 41)]), wire.Settle(4, 1, [], [(42, 42, 200, 2)])]
    member.deliver(41, 2, deliveries=3)
    member.put(41, 42, 0)
    assert member.said() == [] and list(member.worker.held) == [(41, 42)]
    member.put(41, 42, 0, deliveries=3)
    (settle,) = member.said()
    assert settle.nacks == [(41, 42, 0, 3)], "what lies side by side is one range"


def test_what_is_settled_gathers_while_some_have_no_answer(member: Member) -> None:
    member.deliver(1, 8)
    for offset in range(1, 9):
        member.put(offset, offset)
    assert len(member.said()) == SETTLES_OUT_MAX
    member.done(2)
    (settle,) = member.said()
    assert settle.acks == [(5, 8)] and member.session.take_answers() == [], "nobody waits for those answers"


@pytest.mark.parametrize(
    "deliver",
    [
        {"base": 1, "records": 30},
        {"base": 1, "records": 1, "room": "other"},
        {"base": 1, "records": 1, "member": 7},
    ],
)
def test_what_nobody_asked_for_is_passed_over(member: Member, deliver: dict[str, Any]) -> None:
    member.deliver(**deliver)
    bad = wire.encode(wire.Deliver(1, "jobs", [(1, wire.raw(b"\xc0")), (1, wire.raw(frame_of([[b"x"]], 1, 1)))]))
    member.session.received(bad, NOW)
    assert member.handed() == [] and not member.worker.held.count


def test_after_a_break_it_says_what_it_has_and_then_what_is_done(member: Member) -> None:
    member.deliver(40, 6)
    member.put(40, 40)
    member.said()
    member.session.disconnected("")
    member.put(41, 41)
    member.put(42, 42, 0)
    assert member.said() == []
    member.welcome()
    _, *said = member.said()
    assert [type(each) for each in said] == [wire.JoinGroup, wire.Settle, wire.Settle]
    assert said[0].holds == [(40, 45)] and said[0].request != 1, "an answer to another question"
    assert [(each.acks, each.nacks) for each in said[1:]] == [([(40, 40)], []), ([(41, 41)], [(42, 42, 0, 1)])]


def test_one_that_has_no_answer_yet_is_said_with_what_it_has() -> None:
    member = Member()
    member.deliver(40, 2)
    member.put(40, 40)
    member.session.disconnected("")
    member.welcome()
    *_, join, settle = member.said()
    assert settle.acks == [(40, 40)] and (join.request, join.holds) == (1, [(40, 41)])
    member.done(1)
    assert member.session.take_answers() == [(1, wire.Done(1))]


def test_who_asks_while_that_is_on_its_way_asks_once() -> None:
    member = Member()
    member.said()
    assert member.working.join(member.worker, member.session, NOW) == member.number and member.said() == []
    member.done(member.number)
    assert member.working.join(member.worker, member.session, NOW) > member.number, "that has been answered"


@pytest.mark.parametrize(("broken", "after"), [(Break(0, 0), 0), (Break(30, 45), 30)])
def test_of_another_log_nothing_that_it_has_means_anything(member: Member, broken: Break, after: int) -> None:
    member.deliver(40, 3)
    member.put(40, 40)
    member.said()
    member.session.disconnected("")
    member.worker.outcomes.append((41, 41, ACK, 0, member.worker.log))
    assert isinstance(member.session, Breaking)
    member.session.broken = broken
    member.welcome()
    _, join = member.said()
    assert isinstance(join, wire.JoinGroup) and (join.holds, join.after) == ([], after)
    ((_, (gap,)),) = member.working.take()
    assert isinstance(gap, Notice) and gap.kind == "gap" and gap.reason == "log" and gap.last == broken.last
    member.put(42, 42)
    assert member.said() == []


def test_who_is_refused_after_a_break_asks_again_and_tells(member: Member) -> None:
    member.session.disconnected("")
    member.welcome()
    join = member.said()[-1]
    member.session.received(wire.encode(wire.Error("request", join.request, "log-full", "no room")), NOW)
    ((_, (lost,)),) = member.working.take()
    assert isinstance(lost, Notice) and lost.kind == "lost" and "no room" in lost.reason
    assert not member.session.is_idle
    member.session.elapsed(Instant(NOW.seconds + AGAIN_SECONDS, 1))
    assert isinstance(member.said()[-1], wire.JoinGroup)


def test_who_leaves_says_first_what_is_done_and_is_handed_nothing_more(member: Member) -> None:
    member.deliver(40, 3)
    member.worker.outcomes.append((40, 40, ACK, 0, 0))
    member.working.leave(member.worker, member.session, NOW)
    settle, leave = member.said()
    assert settle.acks == [(40, 40)] and (leave.max_in_flight, leave.holds) == (0, [])
    member.handed()
    member.deliver(50, 1)
    assert member.handed() == []
    member.session.unlisten(member.worker, NOW)
    assert not member.working.of(member.session)


def test_consumers_are_looked_at_now_and_then_and_forgotten_with_their_session(member: Member) -> None:
    looked: list[int] = []
    member.worker.look = lambda: looked.append(1)
    member.session.elapsed(NOW)
    assert looked == [1]
    member.working.forget(member.session)
    member.session.elapsed(NOW)
    assert looked == [1]


def test_who_was_none_by_the_brokers_word_has_nothing_to_leave() -> None:
    member = Member()
    member.session.received(wire.encode(wire.Error("request", member.number, "denied", "")), NOW)
    member.said()
    member.session.unlisten(member.worker, NOW)
    assert member.said() == [] and member.session.is_idle


@pytest.mark.parametrize("says_so", [True, False])
def test_who_has_left_does_not_say_again_that_it_takes_part(says_so: bool) -> None:
    member = Member()  # its JOIN_GROUP has no answer
    if says_so:
        member.working.leave(member.worker, member.session, NOW)
    member.session.unlisten(member.worker, NOW)
    member.said()
    member.session.elapsed(Instant(NOW.seconds + 9.0, 9))
    member.session.disconnected("")
    member.welcome()
    assert [each.max_in_flight for each in member.said() if isinstance(each, wire.JoinGroup)] == [0]
