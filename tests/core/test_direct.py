"""Listening to what comes on the DEALER: subscribed to before anything counts as live, and again after each break."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from itertools import count
from time import process_time

import pytest

from tests.core.test_listening import NOON, WELCOME, at, batch_of, listener_of, nonces, private
from zchat import wire
from zchat.core import Instant
from zchat.core.answers import Answer, Request
from zchat.core.listening import SILENCE_SECONDS, UNANSWERED, Listening
from zchat.core.ordering import CHECKING, LIVE, NEW, Delivery, Notice
from zchat.errors import WireError
from zchat.names import topic

INBOX = topic("@alice")
LATE = wire.PRESENCE_TOPIC + INBOX


class Session:
    """Who asks for listeners."""

    def __init__(self) -> None:
        self.is_ready = True
        self.asked: list[Request] = []
        self.forgotten: list[int] = []

    def ask(self, request: Request, now: Instant) -> int:
        request.request = len(self.asked) + 1
        self.asked.append(request)
        return request.request

    def forget(self, number: int) -> None:
        self.forgotten.append(number)


class Bench:
    """A connection with one session, and what comes on it."""

    def __init__(self) -> None:
        self.session = Session()
        self.listening = Listening(nonces())

    def listen(self, *patterns: str, presence: bool = False, session: Session | None = None):  # type: ignore[no-untyped-def]
        listener = listener_of(*patterns, presence=presence)
        listener.session = session or self.session
        self.listening.listen(listener, at(0))
        return listener

    def turn(self) -> list[bytes]:
        """The topics that the SUB subscribes to; the session has asked what is to be asked."""
        self.listening.subscribe(at(0))
        return [name for subscribes, name in self.listening.take_subscriptions() if subscribes]

    def answer(self, answer: Answer | None = None, number: int = 0, session: Session | None = None) -> bool:
        session = session or self.session
        number = number or len(session.asked)
        return self.listening.subscribed(session, number, answer or wire.Done(number), at(0))

    def sync(self, number: int, head: int = 40) -> None:
        self.listening.synced(wire.Sync(b"n%d" % number, head), WELCOME, at(0))

    def hear(self, batch: wire.Batch, session: Session | None = None, on: bytes = INBOX) -> None:
        self.listening.heard(on, wire.encode(batch), session or self.session)

    def delivered(self) -> list[int]:
        taken = self.listening.take_deliveries()
        return [item.first for _, items in taken for item in items if isinstance(item, Delivery)]

    def live(self, *patterns: str):  # type: ignore[no-untyped-def]
        listener = self.listen(*patterns)
        self.turn()
        self.answer()
        self.turn()
        self.sync(self.listening.handshake.rounds)
        assert listener.ordering.state == LIVE
        self.delivered()
        return listener


@pytest.fixture
def bench() -> Iterator[Bench]:
    yield Bench()


def test_it_subscribes_on_the_dealer_and_takes_a_nonce_once_that_is_done(bench: Bench) -> None:
    listener = bench.listen("@alice")
    assert bench.turn() == [] and bench.session.asked == [wire.Subscribe(1, [INBOX])]
    assert bench.turn() == [] and len(bench.session.asked) == 1
    assert bench.answer() and bench.turn() == [private(1)]
    assert listener.ordering.state == NEW
    bench.sync(1)
    assert listener.ordering.state == LIVE
    bench.hear(batch_of(41, 0))
    assert bench.delivered() == [41]


def test_rooms_are_subscribed_to_meanwhile_and_live_only_with_the_inbox(bench: Bench) -> None:
    both, room = bench.listen("@alice", "general", presence=True), bench.listen("general")
    assert sorted(bench.turn()) == sorted([topic("general"), wire.PRESENCE_TOPIC + topic("general"), private(1)])
    assert bench.session.asked == [wire.Subscribe(1, [LATE, INBOX])]
    bench.sync(1)
    assert (both.ordering.state, room.ordering.state) == (NEW, LIVE)
    assert bench.turn() == []  # nobody waits for a nonce that would say nothing
    bench.answer()
    assert bench.turn() == [private(2)]
    bench.sync(2, 44)
    assert both.ordering.state == LIVE and both.ordering.began == 44


def test_a_nonce_that_is_out_when_the_answer_comes_is_too_early(bench: Bench) -> None:
    bench.listen("general")
    assert private(1) in bench.turn()
    listener = bench.listen("@alice")
    bench.turn()
    bench.answer()
    assert bench.turn() == []  # the next one is for it
    bench.sync(1)
    assert listener.ordering.state == NEW and bench.turn() == [private(2)]
    bench.sync(2)
    assert listener.ordering.state == LIVE


def test_what_overtakes_the_sync_is_fetched(bench: Bench) -> None:
    listener = bench.listen("@alice")
    bench.turn()
    bench.answer()
    bench.turn()
    bench.hear(batch_of(41, 0))  # on the DEALER, before the SYNC that says 40 on the SUB
    bench.sync(1)
    assert listener.ordering.state == CHECKING
    ((_, question),) = bench.listening.take_questions(at(0))
    assert question == wire.Heads(0, ["@alice"]) and bench.delivered() == []
    listener.ordering.answered(wire.HeadsAre(0, 41, [("@alice", 41, 41)]))
    assert listener.ordering.take_question() == wire.Fetch(0, ["@alice"], 40, 41)


@pytest.mark.parametrize("batch", [batch_of(39, 0), wire.Batch(wire.VOLATILE_MESSAGES, 99, 0, NOON, [])])
def test_what_lies_below_the_sync_or_has_no_place_is_not(bench: Bench, batch: wire.Batch) -> None:
    listener = bench.listen("@alice")
    bench.turn()
    bench.answer()
    bench.turn()
    bench.hear(batch)
    bench.sync(1)
    assert listener.ordering.state == LIVE


def test_what_is_said_to_one_session_is_for_its_listeners_alone(bench: Bench) -> None:
    other = Session()
    first, second = bench.listen("@alice"), bench.listen("@alice", session=other)
    bench.turn()
    bench.answer()
    bench.answer(session=other)
    assert bench.turn() == [private(2)]
    bench.sync(2)
    assert (first.ordering.state, second.ordering.state) == (LIVE, LIVE)
    bench.hear(batch_of(41, 0))
    bench.listening.heard(INBOX, wire.encode(batch_of(43, 41))[:-1], other)  # a batch that makes no sense is missing
    ((listener, question),) = bench.listening.take_questions(at(0))
    assert listener is second and question == wire.Fetch(0, ["@alice"], 40, 43)
    assert bench.delivered() == [41]
    bench.hear(batch_of(44, 0), Session())  # of a session that listens to nothing
    assert bench.delivered() == []


def test_more_and_less_is_asked_with_all_of_it_and_what_was_out_counts_no_more(bench: Bench) -> None:
    first = bench.listen("@alice")
    bench.turn()
    second = bench.listen("@alice", presence=True)
    bench.turn()
    assert bench.session.asked == [wire.Subscribe(1, [INBOX]), wire.Subscribe(2, [LATE, INBOX])]
    assert bench.session.forgotten == [1]
    assert bench.answer(number=1) and bench.turn() == []  # the answer to the first, all the same
    bench.answer()
    bench.turn()
    bench.sync(1)
    assert (first.ordering.state, second.ordering.state) == (LIVE, LIVE)
    third = bench.listen("@alice")
    assert bench.turn() == [private(2)] and len(bench.session.asked) == 2  # it is in place
    bench.sync(2)
    assert third.ordering.state == LIVE
    bench.listening.unlisten(second)
    bench.turn()
    assert bench.session.asked[2] == wire.Subscribe(3, [INBOX])
    for listener in (first, third):
        bench.listening.unlisten(listener)
    bench.turn()
    assert bench.session.asked[3] == wire.Subscribe(4, [])


def test_one_that_ends_before_it_was_asked_for_is_not_asked_for(bench: Bench) -> None:
    bench.listening.unlisten(bench.listen("@alice"))
    bench.turn()
    assert bench.session.asked == []


def test_after_a_break_it_subscribes_again_and_compares_the_heads(bench: Bench) -> None:
    listener = bench.live("@alice")
    bench.listening.lost("away")
    bench.session.is_ready = False
    bench.turn()
    assert len(bench.session.asked) == 1
    bench.session.is_ready = True
    bench.listening.is_ready(bench.session)
    bench.listening.back(at(1), None)
    rounds = bench.listening.handshake.rounds
    bench.turn()
    assert bench.session.asked[1] == wire.Subscribe(2, [INBOX])
    bench.sync(rounds)  # taken before it had subscribed
    assert not listener.ordering.is_synced
    assert bench.answer(number=1) and not listener.ordering.is_synced  # of the connection before
    bench.answer()
    bench.turn()
    bench.sync(rounds + 1)
    assert listener.ordering.state == CHECKING


def test_what_is_out_when_a_session_begins_anew_is_not_repeated_beside_what_it_asks_then(bench: Bench) -> None:
    bench.listen("@alice")
    bench.turn()
    bench.listening.is_ready(bench.session)
    assert bench.session.forgotten == [1]
    bench.turn()
    bench.listening.lost("away")
    assert len(bench.session.asked) == 2 and bench.session.forgotten == [1, 2]


def test_a_session_that_said_hello_again_has_lost_what_came_meanwhile(bench: Bench) -> None:
    inbox, room = bench.live("@alice"), bench.listen("general")
    bench.turn()
    bench.sync(2)
    bench.listening.is_ready(bench.session)  # WELCOME, without a break of either connection
    assert (inbox.ordering.is_synced, room.ordering.is_synced) == (False, True)
    bench.turn()
    bench.answer()
    bench.turn()
    bench.sync(3)
    assert (inbox.ordering.state, room.ordering.state) == (CHECKING, LIVE)


def test_when_only_the_sub_breaks_what_is_in_place_stays(bench: Bench) -> None:
    listener = bench.live("@alice")
    bench.listening.unsubscribed(at(1))
    bench.turn()
    assert len(bench.session.asked) == 1
    bench.sync(2)
    assert listener.ordering.state == CHECKING


def test_what_is_refused_for_good_is_told_and_not_waited_for(bench: Bench) -> None:
    listener = bench.listen("@bob")
    bench.turn()
    assert bench.answer(wire.Error("request", 1, "denied", "only its user reads @bob"))
    bench.turn()
    bench.sync(1)
    assert listener.ordering.state == LIVE
    (notice, *_) = listener.ordering.take()
    assert isinstance(notice, Notice) and "only its user reads @bob [denied]" in notice.reason
    assert listener.refused is not None and listener.refused.code == "denied"
    bench.listening.unlisten(listener)
    again = bench.listen("@bob")
    bench.turn()
    assert again.ordering.state == NEW and bench.session.asked[-1] == wire.Subscribe(2, [topic("@bob")])


def test_what_is_refused_changes_nothing_of_what_is_in_place(bench: Bench) -> None:
    listener, denied = bench.live("@alice"), bench.listen("@bob")
    bench.turn()
    bench.answer(wire.Error("request", 2, "denied", "only its user reads @bob"))
    assert denied.refused is not None and listener.refused is None
    bench.turn()
    assert len(bench.session.asked) == 2  # nothing else is to be asked
    bench.hear(batch_of(41, 0))
    assert bench.delivered() == [41]
    third = bench.listen("@alice")
    assert len(bench.session.asked) == 2 and bench.turn() == []  # the next nonce is for it
    bench.sync(2)
    bench.turn()
    bench.sync(3)
    assert third.ordering.state == LIVE


@pytest.mark.parametrize("answer", [wire.Error("request", 1, "busy", "later"), WireError("bad-frame", "nonsense")])
def test_what_is_refused_for_now_is_asked_again(bench: Bench, answer: Answer) -> None:
    listener = bench.listen("@alice")
    bench.turn()
    assert not bench.answer(answer)  # the session asks again
    assert listener.ordering.state == NEW and bench.turn() == []
    assert bench.answer() and bench.turn() == [private(1)]


def test_a_broker_that_does_not_answer_is_told_of_and_waited_for(bench: Bench) -> None:
    listener = bench.listen("@alice")
    bench.turn()
    bench.listening.elapsed(at(SILENCE_SECONDS - 1))
    assert bench.listening.trouble == ""
    bench.listening.elapsed(at(SILENCE_SECONDS + 1))
    assert bench.listening.trouble == UNANSWERED
    bench.answer()
    bench.turn()
    bench.sync(1)
    assert bench.listening.trouble == "" and listener.ordering.state == LIVE


def test_a_session_that_has_ended_leaves_nothing(bench: Bench) -> None:
    numbers = count()
    for _ in range(3):
        session = Session()
        bench.listen("@alice", session=session)
        if next(numbers) == 1:
            bench.turn()
        bench.listening.forget(session)
    direct = bench.listening._direct
    assert not any((direct._of, direct._wanted, direct.changed, direct._asked, direct._in_place))
    assert bench.turn() == []


def test_thousands_of_sessions_come_back_in_a_time_that_grows_with_their_number_only(bench: Bench) -> None:
    def seconds(number: int) -> float:
        bench, sessions = Bench(), [Session() for _ in range(number)]
        for session in sessions:
            session.is_ready = False
            bench.listen("@alice", session=session)
        gc.collect()  # else it may be at work meanwhile, with all that other tests have left
        gc.disable()
        began = process_time()
        for session in sessions:  # one after the other, with a turn after each
            session.is_ready = True
            bench.listening.is_ready(session)
            bench.listening.subscribe(at(0))
            bench.answer(session=session)
        took = process_time() - began
        gc.enable()
        assert all(session.asked == [wire.Subscribe(1, [INBOX])] for session in sessions)
        return took

    assert min(seconds(4_000) for _ in range(3)) < 9 * min(seconds(1_000) for _ in range(3))
