"""What becomes of a commit: kept, or refused by the log, and then any order of both with everything else."""

from __future__ import annotations

from collections import Counter
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.core.cycle import Cycle, Heard
from tests.core.presence import who
from zchat import wire
from zchat.core.broker import Lookup
from zchat.core.log import whole
from zchat.core.memberships import RETRY_SECONDS
from zchat.core.session import LIVE, LOST
from zchat.errors import CODES


def joined(cycle: Cycle, connection: bytes, *rooms: str) -> None:
    cycle.send(connection, wire.Join(1, list(rooms)))
    cycle.commit()
    cycle.take_replies()
    cycle.take_broadcasts()


# --- publishes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["log-full", "log-read-only", "log-damaged", "log-failed"])
def test_a_publish_that_the_log_refuses_is_refused_and_not_broadcast(code: str) -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    frame = cycle.publish(alice, 1, "general", b"1", b"2")
    cycle.fail(code)
    assert cycle.take_errors() == [(alice, "publish", 1, code)]
    assert (cycle.take_broadcasts(), cycle.history(), cycle.core.head) == ([], [], 0)
    assert cycle.core.gathered_bytes == 0 and not cycle.core.is_committing
    cycle.core.received(alice, frame, cycle.now)
    assert cycle.take_errors() == [(alice, "publish", 1, code)]


def test_what_gathered_during_a_commit_that_fails_is_refused_with_it() -> None:
    cycle = Cycle()
    alice, bob = cycle.clients("alice", "bob")
    cycle.publish(alice, 1, "general", b"1")
    cycle.begin_commit()
    cycle.publish(bob, 1, "general", b"2")
    cycle.publish(alice, 2, "build", b"3")
    cycle.fail("log-full")
    told = [(connection, seq) for connection, _, seq, _ in cycle.take_errors()]
    assert told == [(alice, 1), (bob, 1), (alice, 2)]


def test_a_room_that_was_spoken_in_during_a_commit_that_fails_can_be_spoken_in_again() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.publish(alice, 1, "general", b"1")
    cycle.begin_commit()
    cycle.publish(alice, 2, "general", b"2")
    cycle.fail()
    cycle.take_replies()
    cycle.publish(alice, 3, "general", b"3")
    cycle.commit()
    assert cycle.take_heard() == [Heard("general", wire.MESSAGES, 1, 0, ["alice: 3"])]
    assert cycle.take_replies() == [(alice, wire.Ack([(3, 1)]))]


def test_the_offsets_of_what_was_refused_are_given_to_what_follows() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.publish(alice, 1, "a", b"kept")
    cycle.commit()
    cycle.publish(alice, 2, "a", b"refused")
    cycle.publish(alice, 3, "b", b"refused", b"refused")
    cycle.fail()
    cycle.publish(alice, 4, "b", b"kept")
    cycle.publish(alice, 5, "a", b"kept")
    cycle.commit()
    heard = [(each.room, each.base, each.prev) for each in cycle.take_heard()]
    assert heard == [("a", 1, 0), ("b", 2, 0), ("a", 3, 1)]


def test_a_volatile_message_needs_no_log_that_works() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.publish(alice, 1, "general", b"refused")
    cycle.publish(alice, 2, "general", b"gone", flags=wire.VOLATILE)
    cycle.fail()
    assert [heard.records for heard in cycle.take_heard()] == [["alice: gone"]]
    refusal, ack = cycle.take_replies()
    assert isinstance(refusal[1], wire.Error) and ack == (alice, wire.Ack([(2, 0)]))


def test_a_refusal_for_a_session_that_is_lost_is_told_when_it_asks_again() -> None:
    cycle = Cycle()
    welcome = cycle.hello("alice")
    frame = cycle.publish(b"alice", 1, "general", b"1")
    cycle.begin_commit()
    cycle.disconnect(b"alice")
    cycle.fail()
    assert cycle.take_replies() == []
    cycle.hello("alice", b"again", welcome.session, welcome.token)
    cycle.core.received(b"again", frame, cycle.now)
    assert cycle.take_errors() == [(b"again", "publish", 1, "log-full")]


# --- joins and leaves ---------------------------------------------------------------------------


def test_a_join_that_the_log_refuses_has_not_happened() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.send(alice, wire.Join(1, ["general"]))
    cycle.fail()
    assert cycle.take_errors() == [(alice, "request", 1, "log-full")]
    assert cycle.core.registry.members("general") == 0
    cycle.send(alice, wire.Join(2, ["general"]))
    cycle.commit()
    assert cycle.take_replies() == [(alice, wire.Done(2))]
    assert cycle.presence("general") == ["alice join: "]


def test_a_join_that_came_during_a_commit_that_fails_is_refused_with_it() -> None:
    cycle = Cycle()
    alice, bob = cycle.clients("alice", "bob")
    cycle.publish(bob, 1, "general", b"hi")
    cycle.begin_commit()
    cycle.send(alice, wire.Join(7, ["general"]))
    cycle.fail()
    assert cycle.take_errors() == [(bob, "publish", 1, "log-full"), (alice, "request", 7, "log-full")]
    assert cycle.core.registry.members("general") == 0


def test_a_leave_that_the_log_refuses_is_tried_again_until_it_is_kept() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    joined(cycle, alice, "general")
    cycle.send(alice, wire.Bye())
    cycle.take_replies()
    for _ in range(3):
        cycle.fail()
        assert cycle.core.take_append(cycle.now) is None  # it does not ask the log all the time
        cycle.wait(RETRY_SECONDS - 0.1)
        assert cycle.core.take_append(cycle.now) is None
        cycle.wait(0.1)
    assert [row.session for row in cycle.log.sessions()] == ["s1"]  # so that a restart would write it
    cycle.commit()
    assert cycle.presence("general") == ["alice join: ", "alice leave: bye"]
    assert cycle.log.sessions() == [] and cycle.core.next_deadline() is not None
    cycle.wait(1_000)
    cycle.commit()
    assert len(cycle.presence("general")) == 2


def test_a_leave_that_was_refused_goes_with_the_next_message_that_is_kept() -> None:
    cycle = Cycle()
    alice, bob = cycle.clients("alice", "bob")
    joined(cycle, alice, "general")
    cycle.send(alice, wire.Part(2, ["general"]))
    cycle.fail()
    assert cycle.take_errors() == [(alice, "request", 2, "log-full")]
    cycle.publish(bob, 1, "general", b"hi")
    cycle.commit()
    assert [heard.records for heard in cycle.take_heard()] == [["alice leave: bye"], ["bob: hi"]]


def test_a_join_and_its_leave_that_are_refused_together_are_both_undone() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.send(alice, wire.Join(1, ["general"]))
    cycle.begin_commit()
    cycle.send(alice, wire.Part(2, ["general"]))
    cycle.fail()
    cycle.take_replies()
    cycle.wait(10)
    cycle.commit()
    assert cycle.presence("general") == []


def test_who_joins_again_before_the_leave_is_kept_has_both_in_order() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    joined(cycle, alice, "general")
    cycle.send(alice, wire.Part(2, ["general"]))
    cycle.fail()
    cycle.send(alice, wire.Join(3, ["general"]))
    cycle.commit()
    assert cycle.presence("general") == ["alice join: ", "alice leave: bye", "alice join: "]
    assert [list(row.rooms) for row in cycle.log.sessions()] == [["general"]]


def test_a_leave_that_came_during_a_commit_that_fails_is_kept_later() -> None:
    cycle = Cycle()
    alice, bob = cycle.clients("alice", "bob")
    joined(cycle, alice, "general")
    cycle.publish(bob, 1, "general", b"hi")
    cycle.begin_commit()
    cycle.send(alice, wire.Part(2, ["general"]))
    cycle.fail()
    cycle.wait(RETRY_SECONDS)
    cycle.commit()
    assert cycle.presence("general") == ["alice join: ", "alice leave: bye"]


def test_a_broker_that_dies_while_its_log_refuses_a_leave_writes_it_once_after_its_restart() -> None:
    cycle = Cycle(grace_seconds=3.0, restart_grace_seconds=10.0)
    cycle.clients("alice")
    joined(cycle, b"alice", "general")
    cycle.disconnect(b"alice")
    cycle.wait(3.0)
    cycle.fail()
    cycle.start()
    cycle.wait(10.0)
    cycle.commit()
    assert cycle.presence("general") == ["alice join: ", "alice leave: lost"]


def test_sessions_that_ended_while_the_log_refused_are_forgotten_once_it_works() -> None:
    cycle = Cycle(grace_seconds=3.0, session_kept_seconds=50.0)
    alice, bob = cycle.clients("alice", "bob")
    cycle.publish(alice, 1, "general", b"")
    cycle.publish(bob, 1, "general", b"")
    cycle.commit()
    cycle.send(alice, wire.Bye())
    cycle.disconnect(bob)
    cycle.begin_commit()
    cycle.wait(3.0)
    cycle.fail()
    cycle.wait(50.0)
    cycle.commit()
    assert cycle.log.sessions() == []
    assert {user for user, _ in cycle.log.users_seen(9)} == {"bob", "alice"}


def test_a_session_that_ends_during_a_commit_that_fails_is_forgotten_too() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.publish(alice, 1, "general", b"kept")
    cycle.commit()
    cycle.publish(alice, 2, "general", b"refused")
    cycle.begin_commit()
    cycle.send(alice, wire.Bye())
    cycle.fail()
    cycle.wait(RETRY_SECONDS)
    cycle.commit()
    assert cycle.log.sessions() == []


def test_a_row_that_the_log_refused_is_written_later() -> None:
    cycle = Cycle(grace_seconds=3.0)
    (alice,) = cycle.clients("alice")
    cycle.publish(alice, 1, "general", b"kept")
    cycle.commit()
    cycle.wait(5.0)
    cycle.disconnect(alice)
    lost = cycle.now.micros
    cycle.wait(3.0)
    cycle.fail()
    cycle.wait(RETRY_SECONDS)
    cycle.commit()
    assert [(row.last_seq, row.seen) for row in cycle.log.sessions()] == [(1, lost)]


# --- any order of anything ----------------------------------------------------------------------

ROOMS = ["a", "b"]
PRESENCE = {"join", "leave"}


class AnyBroker(RuleBasedStateMachine):
    """Sessions that come, speak and go, a log that refuses now and then, and a broker that dies."""

    def __init__(self) -> None:
        super().__init__()
        self.cycle = Cycle(
            grace_seconds=3.0, restart_grace_seconds=6.0, session_kept_seconds=1e6, crowd_members=2, batch_bytes_max=150
        )
        self.numbers = count(1)
        self.tokens: dict[str, bytes] = {}
        self.connections: dict[str, bytes] = {}  # session -> where its client is; missing: cut off
        self.seqs: Counter[str] = Counter()
        self.unacked: dict[tuple[str, int], bytes] = {}  # session, seq -> frame
        self.acked: dict[tuple[str, int], int] = {}
        self.refused: set[tuple[str, int]] = set()
        self.heard: list[Heard] = []

    def pick(self, data: st.DataObject) -> str | None:
        return data.draw(st.sampled_from(sorted(self.connections))) if self.connections else None

    def carry(self) -> None:
        """What the shell does after each step."""
        self.heard += self.cycle.take_heard()
        sessions = {connection: session for session, connection in self.connections.items()}
        for read in self.cycle.core.take_reads():
            assert isinstance(read.request, Lookup) and self.cycle.core.read_done(read, 0.001)
            for seq in read.request.seqs:
                self.cycle.core.found(read.request.session, seq, whole(self.cycle.log.find(read.request.session, seq)))
        for connection, reply in self.cycle.take_replies():
            session = sessions.get(connection)
            if session is not None and isinstance(reply, wire.Ack):
                for seq, offset in reply.pairs:
                    assert self.acked.setdefault((session, seq), offset) == offset
                    self.unacked.pop((session, seq), None)
            elif session is not None and isinstance(reply, wire.Error) and reply.about == "publish":
                if CODES[reply.code].definite:
                    self.refused.add((session, reply.number))
                self.unacked.pop((session, reply.number), None)

    @rule()
    def hello(self) -> None:
        connection = b"c%d" % next(self.numbers)
        self.carry()
        welcome = self.cycle.hello("user", connection)
        self.connections[welcome.session] = connection
        self.tokens[welcome.session] = welcome.token

    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        """A client that was cut off, or that noticed it before the broker did, says hello and sends again."""
        if not self.tokens:
            return
        session = data.draw(st.sampled_from(sorted(self.tokens)))
        connection = b"c%d" % next(self.numbers)
        self.carry()
        assert self.cycle.hello("user", connection, session, self.tokens[session]).session == session
        self.connections[session] = connection
        for (of, _), frame in sorted(self.unacked.items()):
            if of == session:
                self.cycle.core.received(connection, frame, self.cycle.now)
        self.carry()

    @rule(data=st.data())
    def cut_off(self, data: st.DataObject) -> None:
        session = self.pick(data)
        if session is not None:
            self.cycle.disconnect(self.connections.pop(session))

    @rule(data=st.data())
    def bye(self, data: st.DataObject) -> None:
        session = self.pick(data)
        if session is not None and not any(of == session for of, _ in self.unacked):
            self.cycle.send(self.connections[session], wire.Bye())
            self.carry()
            del self.connections[session], self.tokens[session]

    @rule(data=st.data(), room=st.sampled_from(ROOMS), joins=st.booleans())
    def join_or_part(self, data: st.DataObject, room: str, joins: bool) -> None:
        session = self.pick(data)
        if session is not None:
            message = wire.Join(1, [room]) if joins else wire.Part(1, [room])
            self.cycle.send(self.connections[session], message)

    @rule(data=st.data(), room=st.sampled_from(ROOMS), records=st.integers(1, 3))
    def publish(self, data: st.DataObject, room: str, records: int) -> None:
        session = self.pick(data)
        if session is not None:
            self.seqs[session] += 1
            seq = self.seqs[session]
            body = f"{session}-{seq}".encode()
            self.unacked[session, seq] = self.cycle.publish(self.connections[session], seq, room, *[body] * records)

    @rule()
    def begin_commit(self) -> None:
        if self.cycle.append is None:
            self.cycle.begin_commit()

    @rule(works=st.sampled_from([True, True, False]))
    def end_commit(self, works: bool) -> None:
        if self.cycle.append is not None:
            self.cycle.end_commit("" if works else "log-full")
            self.carry()

    @rule(data=st.data(), works=st.sampled_from([True, False, False]), steps=st.integers(1, 4))
    def meanwhile(self, data: st.DataObject, works: bool, steps: int) -> None:
        """A commit, and what comes while it is under way."""
        self.begin_commit()
        for _ in range(steps):
            step = data.draw(st.sampled_from([self.publish, self.join_or_part, self.bye, self.cut_off, self.come_back]))
            if step == self.publish:
                self.publish(data, data.draw(st.sampled_from(ROOMS)), 1)
            elif step == self.join_or_part:
                self.join_or_part(data, data.draw(st.sampled_from(ROOMS)), data.draw(st.booleans()))
            else:
                step(data)
        self.end_commit(works)

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0, 6.0]))
    def wait(self, seconds: float) -> None:
        self.cycle.wait(seconds)
        self.carry()

    @rule()
    def restart(self) -> None:
        self.cycle.start()
        self.connections.clear()
        self.heard = self.cycle.history()

    @invariant()
    def what_is_broadcast_is_what_the_log_has_linked_room_by_room(self) -> None:
        assert self.heard == self.cycle.history()
        lasts = dict.fromkeys(ROOMS, 0)
        offset = 1
        for heard in self.heard:
            assert (heard.base, heard.prev) == (offset, lasts[heard.room])
            offset += len(heard.records)
            lasts[heard.room] = offset - 1
        assert self.cycle.core.head == offset - 1

    @invariant()
    def what_was_acked_is_in_the_log_once_and_what_was_refused_is_not(self) -> None:
        found: dict[tuple[str, int], list[int]] = {}
        for heard in self.heard:
            if heard.kind == wire.MESSAGES:
                for at, text in enumerate(heard.records):
                    session, seq = text.removeprefix("user: ").split("-")
                    found.setdefault((session, int(seq)), []).append(heard.base + at)
        for key, offsets in found.items():
            assert offsets == list(range(offsets[0], offsets[0] + len(offsets))) and len(offsets) <= 3
            assert key not in self.refused
        for key, offset in self.acked.items():
            assert found[key][0] == offset

    @invariant()
    def each_join_has_one_leave_and_those_without_are_the_members(self) -> None:
        members = self.members_by_the_log()
        for row in self.cycle.log.sessions():
            assert set(row.rooms) == {room for room, session in members if session == row.session}
        assert {session for _, session in members} <= {row.session for row in self.cycle.log.sessions()}

    def members_by_the_log(self) -> set[tuple[str, str]]:
        members: set[tuple[str, str]] = set()
        page = whole(self.cycle.log.read(["**"], 0, 0, 0, 1 << 40))
        for room, frame in page.batches:
            for entry in wire.decode_batch(frame).entries:
                for record in entry.records:
                    event = record.event if isinstance(record, wire.Record) else ""
                    if event in PRESENCE:
                        assert ((room, entry.session) in members) == (event == "leave")
                        members ^= {(room, entry.session)}
        return members

    def teardown(self) -> None:
        """The log works again and time passes: who is there is in the log, and who is not has left."""
        for _ in range(5):
            self.cycle.wait(10.0)
            self.cycle.commit()
            self.carry()
        registry = self.cycle.core.registry
        members = {(room, member.session) for room in registry.rooms() for member in who(registry, room)}
        states = {member.state for room in registry.rooms() for member in who(registry, room)}
        assert states <= {LIVE} and LOST not in states
        assert self.members_by_the_log() <= members  # the others are of a crowd
        for session, connection in self.connections.items():
            assert registry.of(connection) is registry.find(session)
        self.what_was_acked_is_in_the_log_once_and_what_was_refused_is_not()
        for session in {of for of, _ in self.unacked} & self.connections.keys():
            assert not any(of == session for of, _ in self.unacked), "neither acked nor refused"


AnyBroker.TestCase.settings = settings(deadline=None, max_examples=150, stateful_step_count=40)
TestAnyBroker = pytest.mark.slow(AnyBroker.TestCase)


# --- windows ------------------------------------------------------------------------------------


def test_a_window_is_a_share_of_what_may_wait_among_those_who_have_something_waiting() -> None:
    cycle = Cycle()
    users = cycle.clients(*(f"user{number}" for number in range(64)))

    def waiting(user: bytes) -> int:
        session = cycle.core.registry.of(user)
        return session.waiting_bytes if session else -1

    for seq, publishers in enumerate((users[:1], users[:16], users), start=1):
        for user in publishers:
            session = cycle.core.registry.of(user)
            assert session is not None
            cycle.publish(user, session.last_seq + 1, "general", b"x")
        cycle.begin_commit()
        assert min(map(waiting, publishers)) > 0
        cycle.take_replies()
        cycle.publish(users[0], 1_000_000 * seq, "volatile", b"x", flags=wire.VOLATILE)  # an ACK tells the window
        cycle.take_replies()
        assert cycle.window == min(4 << 20, (32 << 20) // len(publishers))
        cycle.end_commit()
        cycle.take_replies()
        assert max(map(waiting, publishers)) == 0


def test_who_has_more_waiting_than_any_window_allows_is_busy() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    session = cycle.core.registry.of(alice)
    assert session is not None
    for seq in range(1, 5):
        cycle.publish(alice, seq, "general", bytes(1 << 20))
    assert session.waiting_bytes > wire.WINDOW_BYTES_MAX and cycle.take_replies() == []
    cycle.publish(alice, 5, "general", b"more")
    assert cycle.take_errors() == [(alice, "publish", 5, "busy")]
    cycle.commit()
    cycle.take_replies()
    cycle.publish(alice, 6, "general", b"more")
    cycle.commit()
    assert [to for to, _ in cycle.take_replies()] == [alice] and session.waiting_bytes == 0


def test_who_has_more_publishes_waiting_than_is_told_is_busy() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    most = cycle.settings.in_flight_max
    for seq in range(1, most + 2):
        cycle.publish(alice, seq, "general", b"")
    assert cycle.take_errors() == [(alice, "publish", most + 1, "busy")]
    cycle.commit()
    cycle.take_replies()
    cycle.publish(alice, most + 2, "general", b"")
    cycle.commit()
    assert [to for to, _ in cycle.take_replies()] == [alice]
