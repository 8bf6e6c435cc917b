"""Many sessions over one connection, at the broker: each as if it had a connection of its own, and bounds for all."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.cycle import Cycle
from tests.core.presence import who
from zchat import wire
from zchat.core.channels import Carrier, Channel, connection_of, reply_to

GATE = b"gate"  # a connection with channels
encode, decode = msgspec.msgpack.encode, msgspec.msgpack.decode


class Gateway:
    """One connection of a broker, and what its channels say and hear."""

    def __init__(self, cycle: Cycle) -> None:
        self.cycle = cycle
        cycle.hello("gateway", GATE)

    def say(self, channel: int, *messages: wire.ClientMessage | bytes) -> None:
        for message in messages:
            frame = message if isinstance(message, bytes) else wire.encode(message)
            self.cycle.core.received(GATE, wire.from_channel(channel) + frame, self.cycle.now)

    def hear(self) -> list[tuple[int, wire.BrokerMessage]]:
        """(channel, message) of all replies; they come over this connection alone."""
        found = []
        for connection, message in self.cycle.take_replies():
            assert connection == GATE
            found.append((0, message))
            if isinstance(message, wire.For):
                found[-1] = message.channel, wire.decode_broker(bytes(message.message))
        return found

    def hello(self, channel: int, user: str, session: str = "", token: bytes = b"") -> wire.Welcome:
        self.say(channel, wire.Hello(wire.VERSION, user, session, token))
        ((to, welcome),) = self.hear()
        assert to == channel and isinstance(welcome, wire.Welcome), welcome
        return welcome

    def ask(self, channel: int, message: wire.ClientMessage | bytes) -> Any:
        self.say(channel, message)
        ((to, answer),) = self.hear()
        assert to == channel
        return answer

    def refused(self, channel: int, message: wire.ClientMessage | bytes) -> tuple[str, int, str]:
        answer = self.ask(channel, message)
        assert isinstance(answer, wire.Error), answer
        return answer.about, answer.number, answer.code


@pytest.fixture
def gate() -> Gateway:
    return Gateway(Cycle())


def publish(seq: int, room: str, *bodies: bytes) -> wire.Publish:
    return wire.Publish(seq, room, 0, wire.raw(wire.encode_records(bodies)))


# --- endpoints ----------------------------------------------------------------------------------


def test_a_reply_to_a_channel_is_wrapped_and_one_to_a_connection_is_not() -> None:
    done = wire.encode(wire.Done(3))
    assert reply_to(b"c", done) == (b"c", done)
    for number in (1, 127, 128, 65_536, (1 << 32) - 1):
        connection, frame = reply_to(Channel(b"c", number), done)
        assert (connection, wire.decode_broker(frame)) == (b"c", wire.For(number, wire.raw(done)))
    assert connection_of(b"c") == connection_of(Channel(b"c", 7)) == b"c"


def test_a_carrier_counts_what_waits() -> None:
    carrier = Carrier()
    carrier.add(1, 100)
    carrier.add(2, 50)
    carrier.add(-1, -100)
    assert (carrier.waiting, carrier.waiting_bytes) == (2, 50)


# --- sessions on channels -----------------------------------------------------------------------


def test_each_channel_has_a_session_of_its_own(gate: Gateway) -> None:
    alice, bob = gate.hello(1, "alice"), gate.hello(2, "bob")
    gate.say(1, wire.Join(1, ["den"]))
    gate.say(2, wire.Join(1, ["den"]), publish(1, "den", b"hi"))
    gate.cycle.commit()
    assert {(channel, type(message)) for channel, message in gate.hear()} == {
        (1, wire.Done),
        (2, wire.Done),
        (2, wire.Ack),
    }
    members = who(gate.cycle.core.registry, "den")
    assert {(member.user, member.session) for member in members} == {("alice", alice.session), ("bob", bob.session)}


def test_welcome_on_a_channel_tells_what_is_the_sessions_own(gate: Gateway) -> None:
    own = gate.cycle.hello("gateway", GATE)
    welcome = gate.hello(1, "alice")
    assert (welcome.log_id, welcome.head, welcome.publish_port) == (own.log_id, own.head, own.publish_port)
    assert welcome.starts == [] and welcome.limits.keys() == {"session_kept_seconds"}


def test_a_session_goes_on_over_another_channel_another_connection_and_a_channel_again(gate: Gateway) -> None:
    known = gate.hello(1, "alice")
    gate.say(1, wire.Join(1, ["den"]))
    gate.cycle.commit()
    gate.hear()
    gate.say(2, wire.Hello(wire.VERSION, "alice", known.session, known.token, number=1))
    (to, taken), (at, welcome) = gate.hear()
    assert (to, at) == (1, 2) and isinstance(welcome, wire.Welcome) and welcome.resumed
    assert isinstance(taken, wire.Error) and (taken.about, taken.code) == ("connection", "session-taken")
    assert gate.cycle.core.take_cutoffs() == []
    assert gate.ask(1, wire.Who(1)) == wire.HelloAgain()
    gate.cycle.send(b"own", wire.Hello(wire.VERSION, "alice", known.session, known.token, number=2))
    (_, taken), (own, welcome) = gate.cycle.take_replies()
    assert own == b"own" and isinstance(welcome, wire.Welcome) and welcome.resumed
    gate.say(9, wire.Hello(wire.VERSION, "alice", known.session, known.token, number=3))
    replies = gate.cycle.take_replies()
    assert [connection for connection, _ in replies] == [b"own", GATE]
    assert gate.cycle.core.take_cutoffs() == [b"own"]
    members = who(gate.cycle.core.registry, "den")
    assert [member.session for member in members] == [known.session]


def test_bye_on_a_channel_ends_that_session_alone(gate: Gateway) -> None:
    gate.hello(1, "alice"), gate.hello(2, "bob")
    assert gate.ask(1, wire.Bye()) == wire.Goodbye("bye")
    assert gate.ask(1, wire.Who(1)) == wire.HelloAgain()
    assert isinstance(gate.ask(2, wire.Who(1)), wire.Present)
    gate.hello(1, "carol")


def test_an_end_of_the_connection_loses_all_its_sessions_and_each_comes_back_for_itself(gate: Gateway) -> None:
    welcomes = {channel: gate.hello(channel, f"user-{channel}") for channel in (1, 2, 3)}
    for channel in welcomes:
        gate.say(channel, wire.Join(1, ["den"]))
    gate.cycle.commit()
    gate.hear()
    gate.cycle.disconnect(GATE)
    members = who(gate.cycle.core.registry, "den")
    assert [member.state for member in members] == ["lost"] * 3
    gate.cycle.hello("gateway", GATE)
    for channel, known in list(welcomes.items())[:2]:
        assert gate.hello(channel, f"user-{channel}", known.session, known.token).resumed
    gate.cycle.wait(10.0)
    gate.cycle.commit()
    members = who(gate.cycle.core.registry, "den")
    assert {member.session for member in members} == {welcomes[1].session, welcomes[2].session}
    assert [record for heard in gate.cycle.take_heard() for record in heard.records][3:] == ["user-3 leave: lost"]


def test_bye_of_the_connection_leaves_those_of_its_channels_to_their_grace_time(gate: Gateway) -> None:
    gate.hello(1, "alice")
    gate.say(1, wire.Join(1, ["den"]))
    gate.cycle.commit()
    gate.hear()
    gate.cycle.send(GATE, wire.Bye())
    assert gate.hear() == [(0, wire.Goodbye("bye"))]
    assert [member.state for member in who(gate.cycle.core.registry, "den")] == ["lost"]
    gate.say(1, wire.Who(1))
    assert gate.hear() == [(0, wire.HelloAgain())]


def test_a_stopping_broker_says_goodbye_once_to_a_connection(gate: Gateway) -> None:
    gate.hello(1, "alice"), gate.hello(2, "bob")
    gate.cycle.core.stopping()
    assert gate.hear() == [(0, wire.Goodbye("stopping"))]


def test_questions_and_reads_of_two_sessions_with_the_same_number_are_answered_to_each() -> None:
    cycle = Cycle()
    gate = Gateway(cycle)
    gate.hello(1, "alice"), gate.hello(2, "bob")
    for channel in (1, 2):
        gate.say(channel, wire.Heads(1, ["den"]), wire.Fetch(2, ["den"], 0), wire.Fetch(2, ["den"], 0))
    assert sorted(channel for channel, _ in gate.hear()) == [1, 2]
    reads = cycle.core.take_reads()
    for read in reads:
        cycle.core.read_done(read, 0.001)
    reads += cycle.core.take_reads()
    assert [(read.connection, read.endpoint) for read in reads] == [(GATE, Channel(GATE, 1)), (GATE, Channel(GATE, 2))]


# --- what makes no sense ------------------------------------------------------------------------


def test_nobody_speaks_on_a_channel_before_hello(gate: Gateway) -> None:
    for message in (wire.Join(1, ["den"]), publish(1, "den", b"hi"), wire.Bye()):
        assert gate.ask(7, message) == wire.HelloAgain()
    cycle = Cycle()
    cycle.core.received(b"c", wire.from_channel(1) + wire.encode(wire.Hello(1, "alice")), cycle.now)
    assert cycle.take_replies() == [(b"c", wire.HelloAgain())]


@pytest.mark.parametrize("has_session", [True, False])
@pytest.mark.parametrize(
    ("inner", "refusal"),
    [
        (wire.encode(wire.From(3, wire.raw(wire.encode(wire.Rooms(1))))), ("connection", 0, "bad-frame")),
        (encode([8, 1, "fz", 7]), ("request", 1, "bad-frame")),
        (encode([2, 4, "den", 0]), ("publish", 4, "bad-frame")),
        (encode([32, 5]), ("request", 5, "unknown-kind")),
        (encode("text"), ("connection", 0, "bad-frame")),
        (b"\xc1garbage", ("connection", 0, "bad-frame")),
        (b"", ("connection", 0, "bad-frame")),
        (encode([1, 2, "alice"]), ("connection", 0, "unsupported-version")),
        (encode([1, 1, "no name"]), ("connection", 0, "bad-user")),
    ],
)
def test_what_is_wrong_in_a_from_is_refused_on_its_channel(
    gate: Gateway, inner: bytes, refusal: tuple[str, int, str], has_session: bool
) -> None:
    if has_session:
        gate.hello(7, "alice")
    elif inner[:2] == b"\x93\x0f":
        refusal = ("hello again", 0, "")
    answer = gate.ask(7, inner)
    told = (answer.about, answer.number, answer.code) if isinstance(answer, wire.Error) else ("hello again", 0, "")
    assert told == refusal
    assert gate.cycle.core.take_cutoffs() == []
    assert isinstance(gate.cycle.ask(GATE, wire.Rooms(1)), wire.RoomsAre)
    if has_session:
        assert isinstance(gate.ask(7, wire.Rooms(1)), wire.RoomsAre)


@pytest.mark.parametrize("frame", [[15], [15, 0, [9, 1]], [15, -1, [9, 1]], [15, 1 << 32, [9, 1]], [15, "1", [9, 1]]])
def test_a_from_without_a_channel_is_refused_about_the_connection(gate: Gateway, frame: list[Any]) -> None:
    gate.cycle.core.received(GATE, encode(frame), gate.cycle.now)
    ((channel, error),) = gate.hear()
    assert channel == 0 and isinstance(error, wire.Error)
    assert (error.about, error.number, error.code) == ("connection", 0, "bad-frame")


@given(st.binary(max_size=40))
def test_no_bytes_on_a_channel_raise_or_touch_another_session(inner: bytes) -> None:
    gate = Gateway(Cycle())
    gate.hello(1, "alice"), gate.hello(2, "bob")
    gate.say(1, inner)
    for channel, message in gate.hear():
        assert channel in (0, 1), message
    assert isinstance(gate.ask(2, wire.Rooms(1)), wire.RoomsAre)


# --- bounds -------------------------------------------------------------------------------------


def test_ten_thousand_sessions_begin_on_a_connection_and_join_a_room() -> None:
    gate = Gateway(Cycle())
    for channel in range(1, 10_001):
        gate.say(channel, wire.Hello(wire.VERSION, f"user-{channel}"), wire.Join(1, ["den"]))
    gate.cycle.commit()
    assert {type(message) for _, message in gate.hear()} == {wire.Welcome, wire.Done}
    assert gate.cycle.core.registry.members("den") == 10_000
    gate.cycle.disconnect(GATE)
    gate.cycle.wait(10.0)
    for _ in range(30):
        gate.cycle.wait(0.1)
    assert gate.cycle.core.registry.members("den") == 0


def test_a_connection_has_so_many_channels_at_a_time() -> None:
    gate = Gateway(Cycle(connection_channels_max=2, connection_channels_a_second_max=1_000_000))
    known = gate.hello(1, "alice")
    gate.hello(2, "bob")
    assert gate.refused(3, wire.Hello(wire.VERSION, "carol")) == ("connection", 0, "over-limit")
    assert gate.cycle.core.take_cutoffs() == []
    assert gate.hello(1, "alice", known.session, known.token).resumed
    gate.ask(2, wire.Bye())
    gate.cycle.wait(1.0)
    gate.hello(3, "carol")


def test_sessions_that_begin_on_channels_again_and_again_are_told_busy() -> None:
    gate = Gateway(Cycle(connection_channels_max=3, connection_channels_a_second_max=1))
    for number in range(3):
        gate.hello(1, f"user-{number}")
    assert gate.refused(1, wire.Hello(wire.VERSION, "user-3")) == ("connection", 0, "busy")
    assert gate.cycle.core.take_cutoffs() == []
    gate.cycle.wait(1.0)
    gate.hello(1, "user-3")


def test_live_and_lost_sessions_of_one_user_have_a_bound_and_other_users_come() -> None:
    cycle = Cycle(user_sessions_max=2, grace_seconds=3.0)
    known = cycle.hello("alice", b"a")
    cycle.hello("ALICE", b"b")
    cycle.send(b"c", wire.Hello(wire.VERSION, "Alice"))
    assert cycle.take_errors() == [(b"c", "connection", 0, "busy")]
    cycle.hello("bob", b"d")
    cycle.disconnect(b"a")
    assert cycle.hello("alice", b"e", known.session, known.token).resumed, "one that is lost comes back"
    cycle.disconnect(b"b")
    cycle.wait(4.0)
    cycle.hello("alice", b"f")


@pytest.mark.parametrize("bound", ["sessions_max", "address_sessions_max"])
def test_live_and_lost_sessions_have_a_bound_in_all_and_for_an_address(bound: str) -> None:
    settings: dict[str, Any] = {bound: 2}
    cycle = Cycle(**settings)
    known = cycle.hello("alice", b"a")
    cycle.hello("bob", b"b")
    cycle.send(b"c", wire.Hello(wire.VERSION, "carol"))
    assert cycle.take_errors() == [(b"c", "connection", 0, "busy")]
    assert cycle.core.take_cutoffs() == [b"c"]
    cycle.disconnect(b"a")
    assert cycle.hello("alice", b"a", known.session, known.token).resumed  # it is one of them already
    cycle.send(b"b", wire.Bye())
    cycle.take_replies()
    cycle.hello("carol", b"c")


def test_what_waits_for_the_log_is_counted_for_the_connection() -> None:
    gate = Gateway(Cycle(in_flight_max=3))
    gate.cycle.publish(GATE, 1, "den", b"of the connection itself")
    gate.hello(1, "alice"), gate.hello(2, "bob")
    gate.say(1, publish(1, "den", b"1"))
    gate.say(2, publish(1, "den", b"2"))
    assert gate.refused(1, publish(2, "den", b"3")) == ("publish", 2, "busy")
    gate.cycle.publish(GATE, 2, "den", b"4")
    assert [(channel, type(message)) for channel, message in gate.hear()] == [(0, wire.Error)]
    gate.cycle.commit()
    assert sorted(channel for channel, _ in gate.hear()) == [0, 1, 2]
    gate.say(1, publish(3, "den", b"5"))
    gate.cycle.commit()
    assert [type(message) for _, message in gate.hear()] == [wire.Ack]


def test_what_a_session_has_waiting_goes_with_it_to_another_connection() -> None:
    cycle = Cycle(in_flight_max=2)
    gate = Gateway(cycle)
    known = gate.hello(1, "alice")
    gate.say(1, publish(1, "den", b"1"), publish(2, "den", b"2"))
    cycle.send(b"own", wire.Hello(wire.VERSION, "alice", known.session, known.token))
    assert [connection for connection, _ in cycle.take_replies()] == [GATE, b"own"]
    gate.hello(2, "bob")
    gate.say(2, publish(1, "den", b"3"))
    cycle.publish(b"own", 3, "den", b"4")
    assert [(connection, type(reply)) for connection, reply in cycle.take_replies()] == [(b"own", wire.Error)]
    cycle.commit()
    assert {connection for connection, _ in cycle.take_replies()} == {b"own", GATE}
    carrier = cycle.core.registry.of(Channel(GATE, 2))
    assert carrier is not None and carrier.carrier is not None and carrier.carrier.waiting == 0


# --- as if each had its own ---------------------------------------------------------------------

USERS = ("ann", "bob", "eve")
ACTIONS = st.one_of(
    st.tuples(st.sampled_from(USERS), st.just("hello")),
    st.tuples(st.sampled_from(USERS), st.just("publish")),
    st.tuples(st.sampled_from(USERS), st.sampled_from(("join", "part")), st.sampled_from(("den", "a.b", "@ann", "No"))),
    st.tuples(st.sampled_from(USERS), st.sampled_from(("bye", "rooms", "heads", "cursor"))),
    st.tuples(st.just(""), st.sampled_from(("commit", "fail", "wait"))),
)


class Sides:
    """The same sessions, at one broker on connections of their own, at another on channels of one connection."""

    def __init__(self) -> None:
        self.own, self.gate = Cycle(), Gateway(Cycle())
        self.own.hello("gateway", GATE)
        self.seqs = dict.fromkeys(USERS, 0)
        self.request = 0

    def do(self, user: str, what: str, room: str = "") -> None:
        if not user:
            for cycle in (self.own, self.gate.cycle):
                if what == "commit":
                    cycle.commit()
                elif what == "wait":
                    cycle.wait(1.0)
                elif cycle.begin_commit() is not None:
                    cycle.end_commit("log-full")
        else:
            message = self.message(user, what, room)
            self.own.send(user.encode(), message)
            self.gate.say(USERS.index(user) + 1, message)
        heard: dict[str, list[Any]] = {each: [] for each in USERS}
        for connection, reply in self.own.take_replies():
            heard[connection.decode()].append(plain(reply))
        through: dict[str, list[Any]] = {each: [] for each in USERS}
        for channel, reply in self.gate.hear():
            through[USERS[channel - 1]].append(plain(reply))
        assert heard == through
        assert self.own.take_heard() == self.gate.cycle.take_heard()

    def message(self, user: str, what: str, room: str) -> wire.ClientMessage:
        self.request += 1
        match what:
            case "hello":
                return wire.Hello(wire.VERSION, user)
            case "publish":
                self.seqs[user] += 1
                return publish(self.seqs[user], "den", b"%d" % self.seqs[user])
            case "join":
                return wire.Join(self.request, [room])
            case "part":
                return wire.Part(self.request, [room])
            case "rooms":
                return wire.Rooms(self.request)
            case "heads":
                return wire.Heads(self.request, ["**"])
            case "cursor":
                return wire.SetCursor(self.request, "here", "no log", 0)
            case _:
                return wire.Bye()


def plain(reply: wire.BrokerMessage) -> Any:
    """What both sides have to say alike."""
    if isinstance(reply, wire.Welcome):
        return "welcome", reply.session, reply.resumed, reply.head
    if isinstance(reply, wire.Ack):
        return reply.pairs
    if isinstance(reply, wire.Error):
        return reply.about, reply.number, reply.code
    return reply


@given(st.lists(ACTIONS, max_size=30))
def test_a_session_on_a_channel_is_answered_as_one_with_a_connection(actions: list[tuple[str, ...]]) -> None:
    sides = Sides()
    for action in actions:
        sides.do(*action)
