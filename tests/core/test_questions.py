"""What is asked and nothing changes by: heads, rooms, who with lag, and reads on their way to a reader."""

from __future__ import annotations

import time

import pytest

from tests.core.cycle import BEGIN, Cycle, refused
from zchat import wire
from zchat.core.questions import LISTENS_BYTES_MAX, STEP
from zchat.core.rights import PRESENCE, RoomRule, Rules
from zchat.core.session import GONE, LIVE, LOST
from zchat.names import ROOM_BYTES_MAX


def spoken(cycle: Cycle, connection: bytes, *rooms: str) -> None:
    """One record in each room, in this order."""
    for room in rooms:
        session = cycle.core.registry.of(connection)
        assert session is not None
        cycle.publish(connection, session.last_seq + 1, room, b"")
        cycle.commit()
    cycle.take_replies()
    cycle.take_broadcasts()


def lag(cycle: Cycle, connection: bytes, user: str, room: str = "") -> int:
    members = cycle.ask(connection, wire.Who(1, room, True)).members
    return int(next(member.lag for member in members if member.user == user))


# --- heads --------------------------------------------------------------------------------------


def test_heads_are_the_last_offsets_of_the_rooms_that_match() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    spoken(cycle, alice, "general", "build.linux", "build.mac", "general", "@alice")
    for patterns, heads in [
        (["general"], {"general": 4}),
        (["general", "build.mac"], {"general": 4, "build.mac": 3}),
        (["build.*"], {"build.linux": 2, "build.mac": 3}),
        (["general", "nowhere"], {"general": 4}),
        (["**"], {"general": 4, "build.linux": 2, "build.mac": 3}),
        (["@alice"], {"@alice": 5}),
    ]:
        answer = cycle.ask(alice, wire.Heads(7, patterns))
        assert (answer.request, answer.head) == (7, 5)
        assert sorted(answer.rooms) == sorted((room, last, last) for room, last in heads.items())


def test_heads_tell_the_last_message_beside_the_last_record() -> None:
    cycle = Cycle()
    alice, bob = cycle.clients("alice", "bob")
    cycle.publish(alice, 1, "general", b"1")
    cycle.send(bob, wire.Join(1, ["general", "empty"]))
    cycle.commit()
    cycle.take_replies()
    assert sorted(cycle.ask(alice, wire.Heads(2, ["**"])).rooms) == [("empty", 3, 0), ("general", 2, 1)]
    cycle.start()  # what the last record is, is not known then
    (alice,) = cycle.clients("alice")
    assert sorted(cycle.ask(alice, wire.Heads(3, ["**"])).rooms) == [("empty", 3, 3), ("general", 2, 2)]


def test_heads_tell_what_was_broadcast_and_not_what_is_being_committed() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.publish(alice, 1, "general", b"1", b"2")
    cycle.begin_commit()
    assert cycle.ask(alice, wire.Heads(1, ["general"])).rooms == [("general", 0, 0)]
    cycle.end_commit()
    cycle.take_replies()
    answer = cycle.ask(alice, wire.Heads(2, ["general"]))
    assert (answer.head, answer.rooms) == (2, [("general", 2, 2)])


def branches(segments: int) -> list[str]:
    """All patterns of so many segments that are `a` or a star."""
    return [".".join("*" if each >> at & 1 else "a" for at in range(segments)) for each in range(1 << segments)]


def test_an_answer_is_made_in_short_steps_whatever_is_asked() -> None:
    cycle = Cycle(crowd_members=0)
    (alice,) = cycle.clients("alice")
    rooms = [".".join("a" * 9) + f".{number}" for number in range(1_000)]
    cycle.send(alice, wire.Join(1, rooms))
    cycle.send(alice, wire.Report([(0, [pattern]) for pattern in branches(6)]))
    cycle.take_replies()
    for question in (wire.Heads(2, branches(10)), wire.Who(3), wire.Who(4, "", True), wire.Rooms(5)):
        cycle.send(alice, question)
        steps = []
        while True:
            began = time.thread_time()
            if not cycle.core.answer(()):
                break
            steps.append(time.thread_time() - began)
        assert len(steps) > 1
        assert sorted(steps)[-3:][0] < 0.02, "but for what the machine does meanwhile"
        ((_, answer),) = cycle.take_replies()
        assert getattr(answer, "request", answer) == question.request


def test_what_many_ask_for_is_made_once_and_never_before_it_was_asked_for() -> None:
    cycle = Cycle(crowd_members=0)
    alice, bob = cycle.clients("alice", "bob")
    cycle.send(alice, wire.Join(1, [f"room.{number}" for number in range(500)]))
    cycle.take_replies()
    for _ in range(2):
        for client in (alice, bob):
            cycle.send(client, *(wire.Rooms(number) for number in range(100)))
        steps = 0
        while cycle.core.answer(()):
            steps += 1
        assert steps < 200 + 2 * 500 // STEP, "the rooms were looked at once"
        cycle.take_replies()
    cycle.send(alice, wire.Rooms(1))
    assert cycle.core.answer(())
    cycle.send(bob, wire.Join(2, ["another"]), wire.Rooms(3))
    answers = {reply.request: reply for _, reply in cycle.take_replies() if isinstance(reply, wire.RoomsAre)}
    assert answers[3].rooms[-1].name == "another", "what was begun before is no answer to that"


# --- who ----------------------------------------------------------------------------------------


def test_who_tells_of_members_with_their_rooms_and_their_address() -> None:
    cycle = Cycle()
    alice, bob = cycle.clients("alice", "bob")
    cycle.wait(1.0)
    cycle.send(alice, wire.Join(1, ["general", "build"]))
    cycle.commit()
    cycle.take_replies()
    cycle.wait(1.0)
    joined = BEGIN.micros + 1_000_000
    answer = cycle.ask(bob, wire.Who(3, "general"))
    assert answer == wire.Present(
        3, [wire.Member("alice", "s1", LIVE, joined, joined, ["build", "general"], "127.0.0.1")]
    )
    assert cycle.ask(bob, wire.Who(4, "nowhere")).members == []


def test_who_without_a_room_tells_of_every_session_and_of_users_who_have_gone() -> None:
    cycle = Cycle()
    alice, bob, carol = cycle.clients("alice", "bob", "carol")
    cycle.disconnect(bob)
    cycle.publish(carol, 1, "general", b"last words")
    cycle.send(carol, wire.Bye())
    cycle.take_replies()
    members = cycle.ask(alice, wire.Who(1)).members
    assert [(member.user, member.state) for member in members] == [("alice", LIVE), ("bob", LOST), ("carol", GONE)]


def test_seen_is_when_anything_came_last() -> None:
    cycle = Cycle()
    alice, bob = cycle.clients("alice", "bob")
    cycle.wait(5.0)
    cycle.send(alice, wire.Report([]))
    seen = {member.user: member.seen - BEGIN.micros for member in cycle.ask(bob, wire.Who(1)).members}
    assert seen == {"alice": 5_000_000, "bob": 5_000_000}
    cycle.wait(5.0)
    seen = {member.user: member.seen - BEGIN.micros for member in cycle.ask(bob, wire.Who(1)).members}
    assert seen == {"alice": 5_000_000, "bob": 10_000_000}


# --- lag ----------------------------------------------------------------------------------------


def test_lag_is_how_far_a_listener_is_behind_the_last_of_its_rooms() -> None:
    cycle = Cycle()
    alice, bob = cycle.clients("alice", "bob")
    spoken(cycle, alice, "general", "build.linux", "general", "elsewhere")
    assert lag(cycle, alice, "bob") == wire.UNKNOWN
    for listeners, behind in [
        ([(1, ["general"])], 2),
        ([(3, ["general"])], 0),
        ([(9, ["general"])], 0),
        ([(1, ["build.*"])], 1),
        ([(2, ["**"])], 2),
        ([(1, ["nowhere"])], 0),
        ([(0, ["build.*", "general"])], 3),
        ([(3, ["general"]), (0, ["build.*"]), (4, ["**"])], 2),  # of the one that is furthest behind
        ([], wire.UNKNOWN),
    ]:
        cycle.send(bob, wire.Report(listeners))
        assert lag(cycle, alice, "bob") == behind, listeners


def test_lag_is_told_of_members_too_and_only_when_it_is_asked_for() -> None:
    cycle = Cycle()
    alice, bob = cycle.clients("alice", "bob")
    cycle.send(bob, wire.Join(1, ["general"]))
    cycle.commit()
    cycle.take_replies()
    spoken(cycle, alice, "general")
    cycle.send(bob, wire.Report([(0, ["general"])]))
    assert lag(cycle, alice, "bob", "general") == 2
    assert cycle.ask(alice, wire.Who(1, "general")).members[0].lag == wire.UNKNOWN


def test_joins_and_leaves_are_no_lag() -> None:
    cycle = Cycle()
    alice, bob, carol = cycle.clients("alice", "bob", "carol")
    spoken(cycle, alice, "general")
    cycle.send(bob, wire.Report([(1, ["general"])]))
    cycle.send(alice, wire.Report([(0, ["gener.*", "general"])]))
    cycle.send(carol, wire.Join(1, ["general"]), wire.Report([(0, ["**"])]))
    cycle.commit()
    cycle.take_replies()
    assert [lag(cycle, alice, user) for user in ("bob", "alice", "carol")] == [0, 1, 1]


def test_at_changes_nothing_else_and_is_not_answered() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.send(alice, wire.Report([(7, ["general"])]))
    assert cycle.take_replies() == [] and cycle.core.take_append(cycle.now) is None


def test_lag_tells_nothing_of_an_inbox_of_another() -> None:
    cycle = Cycle()
    alice, bob = cycle.clients("alice", "bob")
    spoken(cycle, alice, "@bob", "@bob")
    cycle.send(alice, wire.Report([(0, ["@bob"])]))
    assert lag(cycle, bob, "alice") == 0


# --- rooms --------------------------------------------------------------------------------------


def test_rooms_are_those_with_a_record_or_a_member_and_no_inbox_of_another() -> None:
    cycle = Cycle(crowd_members=0)  # so that a join is no record
    alice, bob = cycle.clients("alice", "bob")
    spoken(cycle, alice, "general", "@alice", "@bob")
    cycle.send(bob, wire.Join(1, ["quiet", "general"]))
    cycle.publish(bob, 1, "fleeting", b"", flags=wire.VOLATILE)
    cycle.publish(bob, 2, "quiet", b"", flags=wire.VOLATILE)
    cycle.take_broadcasts()
    cycle.take_replies()
    answer = cycle.ask(alice, wire.Rooms(4))
    assert answer.request == 4
    assert set(answer.rooms) == {
        wire.Room("general", 1, 1),
        wire.Room("quiet", 0, 1),
        wire.Room("@alice", 2, 0),
    }


def test_rooms_tell_nothing_of_joins_to_who_may_not_see_who_is_there() -> None:
    cycle = Cycle(rules=Rules(True, (RoomRule("**", {PRESENCE: ("alice",)}),)))
    alice, bob = cycle.clients("alice", "bob")
    spoken(cycle, alice, "general")
    cycle.send(alice, wire.Join(1, ["general", "empty"]))
    cycle.commit()
    cycle.take_replies()
    assert {room.members for room in cycle.ask(alice, wire.Rooms(4)).rooms} == {1}
    assert cycle.ask(bob, wire.Rooms(4)).rooms == [wire.Room("general", 1, 0)]


# --- reads --------------------------------------------------------------------------------------


def test_fetch_and_seek_go_to_a_reader() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    fetch, seek = wire.Fetch(1, ["build.*", "@alice"], 3, 9), wire.Seek(2, ["**"], 5)
    cycle.send(alice, fetch, seek)
    for request in (fetch, seek):
        (read,) = cycle.core.take_reads()
        assert (read.connection, read.request) == (alice, request)
        assert cycle.core.read_done(read, 0.001)
    assert cycle.core.take_reads() == [] and cycle.take_replies() == []


def test_a_connection_has_a_bounded_number_of_reads_waiting() -> None:
    cycle = Cycle(connection_reads_max=2)
    alice, bob = cycle.clients("alice", "bob")
    for number in (1, 2):
        cycle.send(alice, wire.Fetch(number, ["a"], 0, 0))
    (first,) = cycle.core.take_reads()
    error = refused(cycle, alice, wire.Seek(3, ["a"], 1), "busy")
    assert (error.about, error.number) == ("request", 3)
    cycle.send(bob, wire.Fetch(1, ["a"], 0, 0))
    (bobs,) = cycle.core.take_reads()
    assert (first.connection, bobs.connection) == (alice, bob)
    assert cycle.core.read_done(first, 0.001)
    cycle.send(alice, wire.Fetch(4, ["a"], 0, 0))
    (second,) = cycle.core.take_reads()
    assert isinstance(second.request, wire.Fetch) and second.request.request == 2
    refused(cycle, alice, wire.Fetch(5, ["a"], 0, 0), "busy")


def test_a_new_connection_waits_for_no_read_of_the_one_before() -> None:
    cycle = Cycle(connection_reads_max=1)
    (alice,) = cycle.clients("alice")
    cycle.send(alice, wire.Fetch(1, ["a"], 0, 0))
    cycle.core.take_reads()
    cycle.disconnect(alice)
    cycle.hello("alice")
    cycle.send(alice, wire.Fetch(1, ["a"], 0, 0))
    assert len(cycle.core.take_reads()) == 1


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "code"),
    [
        ([], "bad-request"),
        (["a"] * (wire.ROOMS_PER_MESSAGE_MAX + 1), "bad-request"),
        (["General"], "bad-room"),
        (["a", "a..b"], "bad-room"),
        (["**.a"], "bad-room"),
        (["@*"], "bad-room"),
        (["@Bob"], "bad-room"),
        (["@bob"], "denied"),
        (["a", "@bob"], "denied"),
    ],
)
def test_a_question_about_what_may_not_be_read_is_refused(patterns: list[str], code: str) -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    questions: list[wire.ClientMessage] = [
        wire.Fetch(9, patterns, 0, 0),
        wire.Seek(9, patterns, 1),
        wire.Heads(9, patterns),
    ]
    if len(patterns) == 1:
        questions.append(wire.Who(9, patterns[0]))
    for question in questions:
        error = refused(cycle, alice, question, code)
        assert (error.about, error.number) == ("request", 9)


def test_names_that_can_stand_for_no_room_are_no_lag_and_are_not_kept_when_they_are_long() -> None:
    cycle = Cycle()
    alice, bob = cycle.clients("alice", "bob")
    spoken(cycle, alice, "general", "general")
    names = ["", "..", "a..b", "**.**", "*" * 128, "*." * 1_000_000, "x" * 1_000_000, "\0", "General", "general"]
    cycle.send(bob, wire.Report([(1, names)]))
    lags = {member.user: member.lag for member in cycle.ask(alice, wire.Who(1, "", True)).members}
    assert lags == {"alice": wire.UNKNOWN, "bob": 1}
    (session,) = [found for each in (alice, bob) if (found := cycle.core.registry.of(each)) and found.user == "bob"]
    assert max(len(name) for _, kept in session.listens for name in kept) <= ROOM_BYTES_MAX


def test_what_is_kept_of_an_at_is_bounded_in_bytes_and_listeners_are_left_out_whole() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    session = cycle.core.registry.of(alice)
    assert session is not None
    usual = [f"build.area-{number}.project" for number in range(1_024)]
    cycle.send(alice, wire.Report([(7, usual), (8, ["x" * 100] * 1_024), (9, ["small"])]))
    assert session.listens == [(7, usual)]
    cycle.send(alice, wire.Report([(at, ["é" * 60] * 1_000) for at in range(64)]))
    assert sum(len(name.encode()) for _, names in session.listens for name in names) <= LISTENS_BYTES_MAX
    cycle.disconnect(alice)
    assert session.listens == []
