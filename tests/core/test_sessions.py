"""Sessions on channels of a client's connection: who says HELLO when, what each is told, and what all share."""

from __future__ import annotations

from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from zchat import wire
from zchat.core import Instant
from zchat.core.client import AWAY, CLOSED, GREETING, READY, ClientCore
from zchat.core.gate import OUT_MAX
from zchat.core.listener import Listener
from zchat.core.listening import QUESTIONS_OUT_MAX
from zchat.core.ordering import LIVE, OrderedDelivery, Start
from zchat.core.publishing import Chunk
from zchat.core.sessions import MOVING_MAX, ChannelCore
from zchat.errors import Closed
from zchat.names import topic

NOON = 1_700_000_000_000_000
LIMITS = {"window_bytes": 1_000, "in_flight_max": 256, "session_kept_seconds": 86_400}
STARTS: list[tuple[str, int]] = [("A", 0)]


def at(seconds: float) -> Instant:
    return Instant(1_000.0 + seconds, NOON + round(seconds * 1e6))


class Talk:
    """A client's connection, and a broker that says what a test tells it to."""

    def __init__(self, *users: str) -> None:
        self.own = ClientCore("gate", {"pid": "7"}, (b"n%d" % number for number in count(1)))
        self.now = at(0)
        self.own.connected()
        self.welcome()
        self.sent()
        self.sessions = [self.own.sessions.open(user) for user in users]
        for session in self.sessions:
            self.sent()
            self.welcome(session)
        self.sent()

    def welcome(self, session: ChannelCore | None = None, *, resumed: bool = True, log_id: str = "log") -> None:
        if session is None:
            number = self.own._greeting.number
            told = wire.Welcome(1, "s0", b"t0", resumed, log_id, 40, 5556, dict(LIMITS), NOON, number, list(STARTS))
            self.own.received(wire.encode(told), self.now)
            return
        name = f"s{session.channel}"
        limits = {"session_kept_seconds": 86_400}
        told = wire.Welcome(1, name, b"t", resumed, log_id, 40, 5556, limits, NOON, session._greeting.number)
        self.hear(session, told)

    def hear(self, session: ChannelCore, message: wire.BrokerMessage) -> None:
        self.own.received(wire.for_channel(session.channel) + wire.encode(message), self.now)

    def sent(self) -> list[tuple[int, wire.ClientMessage]]:
        """(channel, message)."""
        found: list[tuple[int, wire.ClientMessage]] = []
        for frame in self.own.take_sends():
            message = wire.decode_client(frame)
            if isinstance(message, wire.From):
                found.append((message.channel, wire.decode_client(bytes(message.message))))
            else:
                found.append((0, message))
        return found

    def passes(self, seconds: float) -> None:
        self.now = Instant(self.now.seconds + seconds, self.now.micros + round(seconds * 1e6))
        self.own.elapsed(self.now)


def chunk_of(size: int = 10, room: str = "den", flags: int = 0) -> Chunk:
    chunk = Chunk(room, flags)
    chunk.records.append(bytes(size))
    return chunk


def listener_of(*patterns: str) -> Listener:
    return Listener(list(patterns), OrderedDelivery(list(patterns), Start(), False))


# --- hello --------------------------------------------------------------------------------------


def test_a_session_says_hello_on_its_channel_once_the_connection_is_there() -> None:
    own = ClientCore("gate", {"pid": "7"}, iter([b"n"]))
    session = own.sessions.open("ann")
    assert (own.take_sends(), session.state) == ([], AWAY)
    talk = Talk()
    ann = talk.own.sessions.open("ann")
    assert talk.sent() == [(1, wire.Hello(1, "ann", "", b"", {"pid": "7"}, 1, 0))]
    assert ann.state == GREETING
    talk.welcome(ann, resumed=False)
    assert ann.state == READY and ann.welcome is not None and talk.own.welcome is not None
    assert ann.welcome.session == "s1" and ann.welcome.starts is talk.own.welcome.starts
    assert ann.welcome.limits is talk.own.welcome.limits


def test_only_so_many_say_hello_at_a_time_and_again_after_a_break() -> None:
    talk = Talk()
    sessions = [talk.own.sessions.open(f"user-{number}") for number in range(MOVING_MAX + 20)]
    for _ in range(2):
        assert len(talk.sent()) == MOVING_MAX
        for session in sessions[:5]:
            talk.welcome(session)
        assert [type(message) for _, message in talk.sent()] == [wire.Hello] * 5
        for session in sessions[5:]:
            talk.welcome(session)
            talk.sent()
        assert all(session.state == READY for session in sessions)
        talk.own.disconnected("cut")
        assert all(session.state == AWAY for session in sessions) and talk.sent() == []
        talk.own.connected()
        assert [channel for channel, _ in talk.sent()] == [0]
        talk.welcome()


def test_one_that_is_refused_leaves_the_others_alone_and_its_place() -> None:
    talk = Talk("ann")
    (ann,) = talk.sessions
    waiting = [talk.own.sessions.open(f"user-{number}") for number in range(MOVING_MAX + 1)]
    talk.sent()
    talk.hear(waiting[0], wire.Error("connection", 0, "busy", "too many sessions"))
    assert [message.user for _, message in talk.sent() if isinstance(message, wire.Hello)] == [waiting[-1].user]
    assert waiting[0].refusal is not None and waiting[0].refusal.code == "busy"
    assert (talk.own.refusal, ann.refusal, waiting[1].refusal, ann.state) == (None, None, None, READY)
    talk.own.sessions.remove(waiting[0], Closed())
    talk.welcome(waiting[0])
    assert waiting[0].state == CLOSED


def test_one_that_was_there_and_is_told_busy_comes_back_later() -> None:
    talk = Talk("ann")
    (ann,) = talk.sessions
    for _ in range(3):
        talk.hear(ann, wire.HelloAgain())
        talk.sent()
        if ann.state == GREETING:
            talk.hear(ann, wire.Error("connection", 0, "busy", "later"))
    assert ann.refusal is None
    talk.passes(10.0)
    assert [type(message) for _, message in talk.sent()] == [wire.Hello]
    talk.welcome(ann)
    assert ann.state == READY


def test_one_that_was_taken_over_is_told_alone() -> None:
    talk = Talk("ann", "bob")
    ann, bob = talk.sessions
    talk.hear(ann, wire.Error("connection", 0, "session-taken", ""))
    assert ann.refusal is not None and bob.refusal is None and talk.own.refusal is None


def test_a_welcome_of_another_log_than_the_connections_makes_no_sense() -> None:
    talk = Talk()
    ann = talk.own.sessions.open("ann")
    talk.sent()
    talk.welcome(ann, log_id="another")
    assert ann.refusal is not None and talk.own.refusal is None


def test_what_is_said_on_a_channel_of_nobody_is_passed_over() -> None:
    talk = Talk("ann")
    talk.own.received(wire.for_channel(77) + wire.encode(wire.HelloAgain()), talk.now)
    nested = wire.for_channel(1) + wire.for_channel(1) + wire.encode(wire.HelloAgain())
    talk.own.received(nested, talk.now)
    assert talk.sent() == [] and talk.sessions[0].state == READY


# --- bye ----------------------------------------------------------------------------------------


def test_bye_on_a_channel_ends_that_session_alone() -> None:
    talk = Talk("ann", "bob")
    ann, bob = talk.sessions
    ann.bye()
    talk.own.sessions.touch(ann)
    assert talk.sent() == [(1, wire.Bye())]
    talk.hear(ann, wire.Goodbye("bye"))
    assert (ann.state, bob.state, talk.own.state) == (CLOSED, READY, READY)


def test_who_is_given_up_before_it_has_said_bye_leaves_nobody_behind() -> None:
    """The connection stays, so that the broker would take it for somebody who is there."""
    talk = Talk("anna", "ben", "carl")
    anna, ben, carl = talk.sessions
    talk.hear(anna, wire.HelloAgain())
    assert [type(said) for _, said in talk.sent()] == [wire.Hello] and anna.state == GREETING
    talk.own.sessions.remove(anna, Closed())
    assert talk.sent() == [(anna.channel, wire.Bye())]
    talk.own.sessions.remove(ben, Closed())
    assert talk.sent() == [(ben.channel, wire.Bye())], "it was welcomed before its program knew"
    carl.bye()
    talk.own.sessions.touch(carl)
    assert talk.sent() == [(carl.channel, wire.Bye())]
    talk.own.sessions.remove(carl, Closed())
    assert talk.sent() == [], "it has said it"


def test_the_connections_bye_comes_after_all_others_some_at_a_time() -> None:
    talk = Talk(*(f"user-{number}" for number in range(MOVING_MAX + 9)))
    talk.own.bye()
    assert len(talk.sent()) == MOVING_MAX
    for session in talk.sessions:
        talk.hear(session, wire.Goodbye("bye"))
        assert (0, wire.Bye()) not in talk.sent()
        talk.own.sessions.remove(session, Closed())
    assert talk.sent() == [(0, wire.Bye())]


def test_who_leaves_and_is_not_known_any_more_has_left() -> None:
    talk = Talk("ann")
    (ann,) = talk.sessions
    ann.bye()
    talk.hear(ann, wire.HelloAgain())
    assert ann.state == CLOSED
    assert [type(message) for _, message in talk.sent()] == [wire.Bye]


# --- after a break ------------------------------------------------------------------------------


def test_each_sends_what_it_has_unacked_and_asks_again_once_it_is_welcomed() -> None:
    talk = Talk("ann", "bob")
    ann, bob = talk.sessions
    for session in (ann, bob):
        session.publish(chunk_of(), talk.now)
        session.ask(wire.Rooms(0), talk.now)
        talk.own.sessions.touch(session)
    before = talk.sent()
    talk.own.disconnected("cut")
    talk.own.connected()
    talk.sent()
    talk.welcome()
    assert {type(message) for _, message in talk.sent()} == {wire.Hello}
    talk.welcome(bob)
    assert [each for each in talk.sent() if each[0] == 2] == [each for each in before if each[0] == 2]
    talk.welcome(ann)
    assert [each for each in talk.sent() if each[0] == 1] == [each for each in before if each[0] == 1]


def test_who_says_hello_again_over_the_same_connection_asks_again_what_a_listener_had_asked() -> None:
    talk = Talk("ann")
    (ann,) = talk.sessions
    ann.listen(listener_of("den"), talk.now)
    talk.own.take_subscriptions()
    talk.own.broadcast(b"\xffn1", wire.encode(wire.Sync(b"n1", 40, "A")), talk.now)
    talk.passes(31.0)
    talk.own.deliver(talk.now)
    asked = [each for each in talk.sent() if isinstance(each[1], wire.Heads)]
    assert len(asked) == 1
    talk.own.received(wire.encode(wire.HelloAgain()), talk.now)
    assert [channel for channel, _ in talk.sent()] == [0] and ann.state == AWAY
    talk.welcome()
    assert [type(message) for _, message in talk.sent()] == [wire.Hello]
    talk.welcome(ann)
    assert talk.sent() == asked


def test_another_log_is_told_to_each_also_where_its_welcome_comes_only_after_the_next_break() -> None:
    talk = Talk("ann", "bob")
    talk.own.disconnected("cut")
    talk.own.connected()
    talk.welcome(log_id="new")
    talk.welcome(talk.sessions[0], log_id="new", resumed=False)
    assert [session.broken is not None for session in talk.sessions] == [False, True]
    talk.own.disconnected("cut")
    talk.own.connected()
    talk.welcome(log_id="new")
    assert [session.broken is not None for session in talk.sessions] == [False, True]


# --- listening ----------------------------------------------------------------------------------


def test_one_batch_goes_to_the_listeners_of_all_sessions() -> None:
    talk = Talk("ann", "bob")
    heard = [listener_of("den"), listener_of("den"), listener_of("other")]
    for session, listener in zip([*talk.sessions, talk.sessions[0]], heard, strict=True):
        session.listen(listener, talk.now)
    introduction, *subscriptions = talk.own.take_subscriptions()
    assert introduction[1].startswith(wire.INTRODUCTION_TOPIC)
    assert [name for subscribes, name in subscriptions if subscribes] == [topic("den"), topic("other"), b"\xffn3"]
    talk.own.broadcast(b"\xffn3", wire.encode(wire.Sync(b"n3", 40, "A")), talk.now)
    assert all(listener.ordering.state == LIVE for listener in heard)
    talk.own.deliver(talk.now)
    batch = wire.Batch(wire.MESSAGES, 41, 40, NOON, [wire.Entry("ann", "s1", 1, [b"hi"])])
    talk.own.broadcast(topic("den"), wire.encode(batch), talk.now)
    delivered = talk.own.deliver(talk.now)
    assert [listener for listener, _ in delivered] == heard[:2]
    assert delivered[0][1][0].batch is delivered[1][1][0].batch


def test_what_listeners_ask_is_asked_by_their_session_and_not_all_at_once() -> None:
    talk = Talk(*(f"user-{number}" for number in range(100)))
    for session in talk.sessions:
        session.listen(listener_of("den"), talk.now)
    talk.own.take_subscriptions()
    talk.own.broadcast(b"\xffn100", wire.encode(wire.Sync(b"n100", 40, "A")), talk.now)
    talk.own.deliver(talk.now)
    talk.passes(31.0)
    asked = 0
    while True:
        talk.own.deliver(talk.now)
        heads = [(channel, message) for channel, message in talk.sent() if isinstance(message, wire.Heads)]
        assert len(heads) <= QUESTIONS_OUT_MAX
        if not heads:
            break
        asked += len(heads)
        for channel, message in heads:
            answer = wire.encode(wire.HeadsAre(message.request, 40, []))
            talk.own.received(wire.for_channel(channel) + answer, talk.now)
    assert asked == 100


def test_the_listeners_of_a_session_that_ended_are_gone_and_their_topics() -> None:
    talk = Talk("ann", "bob")
    ann, bob = talk.sessions
    for session, room in ((ann, "den"), (bob, "den"), (ann, "other")):
        session.listen(listener_of(room), talk.now)
    talk.own.take_subscriptions()
    talk.own.sessions.remove(ann, Closed())
    assert len(talk.own.listening.listeners) == 1
    assert [name for subscribes, name in talk.own.take_subscriptions() if not subscribes] == [topic("other")]


# --- what is shared -----------------------------------------------------------------------------


def test_the_window_is_the_connections_and_one_session_leaves_half_of_it_to_the_others() -> None:
    talk = Talk("ann", "bob")
    ann, bob = talk.sessions
    assert talk.own.has_room and ann.has_room and bob.has_room
    ann.publish(chunk_of(600), talk.now)
    assert (ann.has_room, bob.has_room, talk.own.has_room) == (False, True, True)
    bob.publish(chunk_of(600), talk.now)
    assert (ann.has_room, bob.has_room, talk.own.has_room) == (False, False, False)
    talk.hear(ann, wire.Ack([(1, 41)], 10_000))
    assert ann.has_room and bob.has_room and talk.own.has_room
    talk.own.sessions.remove(bob, Closed())
    assert talk.own._publishing.window.bytes == 0


def test_a_volatile_publish_on_a_channel_asks_for_its_ack() -> None:
    """Else thousands of sessions with one each would fill the window, and wait."""
    talk = Talk("ann")
    (ann,) = talk.sessions
    ann.publish(chunk_of(flags=wire.VOLATILE), talk.now)
    talk.own.sessions.touch(ann)
    ((_, message),) = talk.sent()
    assert isinstance(message, wire.Publish) and message.flags == wire.VOLATILE


def test_time_passes_for_who_waits_and_for_nobody_else() -> None:
    talk = Talk(*(f"user-{number}" for number in range(50)))
    talk.passes(1.0)
    talk.sent()
    assert len(talk.own.sessions._active) == 0
    waiting = talk.sessions[7]
    waiting.ask(wire.Rooms(0), talk.now)
    talk.own.sessions.touch(waiting)
    first = talk.sent()
    assert list(talk.own.sessions._active) == [waiting]
    talk.passes(5.0)
    assert talk.sent() == first  # asked again
    talk.hear(waiting, wire.RoomsAre(1, []))
    talk.sent()
    assert len(talk.own.sessions._active) == 0


# --- in any order -------------------------------------------------------------------------------


class AnyOrder(RuleBasedStateMachine):
    """Sessions that come and go over connections that break, whatever answer is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.talk = Talk()
        self.asked: list[tuple[int, wire.ClientMessage]] = []
        self.ended: set[ChannelCore] = set()

    def take(self) -> None:
        for channel, message in self.talk.sent():
            assert channel == 0 or self.talk.own.state == READY, "nothing on a channel before WELCOME"
            self.asked.append((channel, message))

    @property
    def there(self) -> list[ChannelCore]:
        return [session for session in self.talk.sessions if session not in self.ended]

    @rule(number=st.integers(1, 90))
    def open(self, number: int) -> None:
        for _ in range(number):
            self.talk.sessions.append(self.talk.own.sessions.open(f"user-{len(self.talk.sessions)}"))
        self.take()

    @rule(which=st.integers(0, 1 << 20))
    def publish(self, which: int) -> None:
        if self.there and (session := self.there[which % len(self.there)]).has_room:
            session.publish(chunk_of(), self.talk.now)
            self.talk.own.sessions.touch(session)
            self.take()

    @rule(which=st.integers(0, 1 << 20))
    def remove(self, which: int) -> None:
        if self.there:
            session = self.there[which % len(self.there)]
            self.ended.add(session)
            self.talk.own.sessions.remove(session, Closed())
            self.take()

    @rule(most=st.integers(1, 200))
    def answer(self, most: int) -> None:
        asked, self.asked = self.asked[:most], self.asked[most:]
        for channel, message in asked:
            session = next((each for each in self.talk.sessions if each.channel == channel), None)
            if isinstance(message, wire.Hello):
                self.talk.welcome(session)
            elif isinstance(message, wire.Publish) and session is not None:
                self.talk.hear(session, wire.Ack([(message.seq, 41)]))
        self.take()

    @rule()
    def lose(self) -> None:
        self.asked.clear()

    @rule()
    def cut(self) -> None:
        self.talk.own.disconnected("cut")
        self.take()
        self.asked.clear()
        self.talk.own.connected()
        self.take()

    @rule(seconds=st.sampled_from([0.1, 3.5, 20.0]))
    def passes(self, seconds: float) -> None:
        self.talk.passes(seconds)
        self.take()

    @invariant()
    def only_so_many_move(self) -> None:
        moving = [session for session in self.there if session.state == GREETING]
        assert len(moving) <= MOVING_MAX
        frames = sum(len(session._publishing._unacked) for session in [self.talk.own, *self.there])
        assert self.talk.own._publishing.window.frames == frames

    def teardown(self) -> None:
        """With an honest broker all are there in the end."""
        for _ in range(40):
            self.passes(4.0)
            while self.asked:
                self.answer(1_000)
        assert all(session.state == READY and session.is_idle for session in self.there)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


def test_what_has_waited_is_not_asked_by_a_session_that_has_to_say_hello_first() -> None:
    talk = Talk("ann", "ben")
    ann, ben = talk.sessions
    for _ in range(OUT_MAX):
        talk.own.sessions.touch(ann)
        ann.ask(wire.Rooms(0), talk.now)
    waiting = ben.ask(wire.Cursors(0), talk.now)
    talk.own.sessions.touch(ben)
    assert {channel for channel, _ in talk.sent()} == {ann.channel}
    talk.hear(ben, wire.HelloAgain())
    assert [type(message) for _, message in talk.sent()] == [wire.Hello]
    for number in range(1, 3):  # there is room again
        talk.hear(ann, wire.RoomsAre(number, []))
    talk.own.sessions.touch(ben)
    assert talk.sent() == []
    talk.welcome(ben)
    assert talk.sent() == [(ben.channel, wire.Cursors(waiting))]
