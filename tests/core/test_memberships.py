"""Who comes and goes: hello and resume, joins and leaves as records, grace times, restarts."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from tests.core.cycle import PORT, PUBLISH_PORT, Cycle, Heard, refused
from tests.core.presence import who
from zchat import wire
from zchat.core import Instant
from zchat.core.log import SessionRow
from zchat.core.session import LIVE, LOST


def join(cycle: Cycle, connection: bytes, *rooms: str, request: int = 1) -> None:
    """Join and have it kept."""
    cycle.send(connection, wire.Join(request, list(rooms)))
    cycle.commit()
    assert cycle.take_replies() == [(connection, wire.Done(request))]
    cycle.take_broadcasts()


def users(cycle: Cycle, room: str) -> list[tuple[str, str]]:
    return [(member.user, member.state) for member in who(cycle.core.registry, room)]


# --- hello --------------------------------------------------------------------------------------


def test_a_hello_is_answered_with_all_that_a_client_must_know() -> None:
    cycle = Cycle(session_rooms_max=7)
    (bob,) = cycle.clients("bob")
    cycle.publish(bob, 1, "general", b"1", b"2")
    cycle.commit()
    cycle.take_replies()
    welcome = cycle.hello("alice")
    assert (welcome.version, welcome.session, welcome.resumed) == (wire.VERSION, "s2", False)
    assert (welcome.log_id, welcome.head, welcome.publish_port) == (cycle.log.log_id, 2, PUBLISH_PORT)
    assert (welcome.publish_host, welcome.port) == ("there", PORT)
    assert welcome.limits == cycle.settings.told() and welcome.limits["session_rooms_max"] == 7
    assert welcome.time >= cycle.now.micros


def test_what_a_client_says_of_itself_is_told_until_it_has_gone() -> None:
    cycle = Cycle()
    alice, _ = cycle.clients("alice", "bob")
    cycle.send(alice, wire.Hello(wire.VERSION, "alice", info={"program": "deploy"}))
    cycle.publish(alice, 1, "general", b"1")
    cycle.commit()
    assert [(member.user, member.info) for member in who(cycle.core.registry, "")] == [
        ("alice", {"program": "deploy"}),
        ("bob", {}),
    ]
    cycle.core.disconnected(alice, cycle.now)
    cycle.wait(cycle.settings.grace_seconds + 1)
    assert [(member.user, member.info) for member in who(cycle.core.registry, "")] == [("bob", {}), ("alice", {})]


def test_each_session_has_a_name_of_its_own() -> None:
    cycle = Cycle()
    assert cycle.hello("alice", b"1").session != cycle.hello("alice", b"2").session


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        (wire.Hello(wire.VERSION + 1, "alice"), "unsupported-version"),
        (wire.Hello(0, "alice"), "unsupported-version"),
        (wire.Hello(wire.VERSION, ""), "bad-user"),
        (wire.Hello(wire.VERSION, "a b"), "bad-user"),
        (wire.Hello(wire.VERSION, "@alice"), "bad-user"),
        (wire.Hello(wire.VERSION, "ａｌｉｃｅ"), "bad-user"),
        (wire.Hello(wire.VERSION, "x" * 65), "bad-user"),
        (wire.Hello(wire.VERSION, "alice", info={"program": "x" * wire.INFO_CHARACTERS_MAX}), "bad-frame"),
    ],
)
def test_a_hello_that_cannot_be_is_refused_and_its_connection_ended(hello: wire.Hello, code: str) -> None:
    cycle = Cycle()
    cycle.clients("bob")
    error = refused(cycle, b"stranger", hello, code)
    assert error.about == "connection"
    assert cycle.core.take_cutoffs() == [b"stranger"]
    assert cycle.core.take_cutoffs() == []


def test_a_hello_that_is_refused_does_not_touch_the_session_of_its_connection() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    refused(cycle, alice, wire.Hello(wire.VERSION, "a b"), "bad-user")


def test_a_hello_that_is_said_twice_begins_one_session() -> None:
    cycle = Cycle()
    first = cycle.hello("alice")
    again = cycle.hello("alice")
    assert (again.session, again.token) == (first.session, first.token)
    assert users(cycle, "") == [("alice", LIVE)]


def test_a_connection_that_speaks_for_another_session_has_lost_the_one_before() -> None:
    cycle = Cycle(grace_seconds=3.0)
    cycle.hello("alice", b"shared")
    join(cycle, b"shared", "general")
    cycle.hello("bob", b"shared")
    assert users(cycle, "") == [("alice", LOST), ("bob", LIVE)]
    cycle.wait(3.0)
    cycle.commit()
    assert cycle.presence("general") == ["alice join: ", "alice leave: lost"]


# --- resume -------------------------------------------------------------------------------------


def test_a_session_that_resumes_goes_on_unseen() -> None:
    cycle = Cycle(grace_seconds=3.0)
    welcome = cycle.hello("alice")
    join(cycle, b"alice", "general")
    cycle.disconnect(b"alice")
    cycle.wait(2.9)
    again = cycle.hello("alice", b"again", welcome.session, welcome.token)
    assert (again.session, again.resumed) == (welcome.session, True)
    cycle.wait(60)
    assert cycle.core.take_append(cycle.now) is None
    assert users(cycle, "general") == [("alice", LIVE)]


def test_a_session_that_resumes_before_the_break_was_seen_is_heard_on_the_new_connection_only() -> None:
    cycle = Cycle()
    welcome = cycle.hello("alice")
    assert cycle.hello("alice", b"again", welcome.session, welcome.token).resumed
    assert cycle.core.take_cutoffs() == [b"alice"]
    cycle.publish(b"alice", 1, "general", b"on the former one")
    cycle.send(b"alice", wire.Who(1), wire.Join(2, ["general"]), wire.Bye())
    cycle.core.received(b"alice", b"garbage", cycle.now)
    assert cycle.take_replies() == [] and cycle.core.take_append(cycle.now) is None
    cycle.disconnect(b"alice")
    assert users(cycle, "") == [("alice", LIVE)]
    cycle.publish(b"again", 1, "general", b"on the new one")
    cycle.commit()
    assert cycle.take_heard() == [Heard("general", wire.MESSAGES, 1, 0, ["alice: on the new one"])]


def test_the_ack_of_what_was_sent_before_the_break_goes_to_the_new_connection() -> None:
    cycle = Cycle()
    welcome = cycle.hello("alice")
    cycle.publish(b"alice", 1, "general", b"hi")
    cycle.begin_commit()
    cycle.disconnect(b"alice")
    cycle.hello("alice", b"again", welcome.session, welcome.token)
    cycle.end_commit()
    assert cycle.take_replies() == [(b"again", wire.Ack([(1, 1)]))]


def test_an_ack_for_a_session_that_is_lost_goes_to_nobody() -> None:
    cycle = Cycle()
    cycle.clients("alice")
    cycle.publish(b"alice", 1, "general", b"hi")
    cycle.begin_commit()
    cycle.disconnect(b"alice")
    cycle.end_commit()
    assert cycle.take_replies() == []


def test_an_ack_that_was_not_taken_before_the_break_goes_nowhere() -> None:
    cycle = Cycle()
    cycle.clients("alice")
    cycle.publish(b"alice", 1, "general", b"hi")
    cycle.commit()
    cycle.disconnect(b"alice")
    assert cycle.take_replies() == []


@pytest.mark.parametrize("wrong", ["token", "session", "user", "log"])
def test_a_token_that_does_not_fit_begins_another_session(wrong: str) -> None:
    cycle = Cycle()
    welcome = cycle.hello("alice")
    join(cycle, b"alice", "general")
    session = "s9" if wrong == "session" else welcome.session
    token = bytes(32) if wrong == "token" else welcome.token
    if wrong == "log":
        cycle.core = Cycle().core
    again = cycle.hello("mallory" if wrong == "user" else "alice", b"stranger", session, token)
    assert not again.resumed and (wrong == "log" or again.session not in (welcome.session, session))
    assert not cycle.core.registry.find(again.session).rooms  # type: ignore[union-attr]


def test_a_session_that_left_comes_back_to_its_seq_and_into_no_room() -> None:
    cycle = Cycle(grace_seconds=3.0)
    welcome = cycle.hello("alice")
    frame = cycle.publish(b"alice", 1, "general", b"once")
    cycle.commit()
    cycle.take_replies()
    join(cycle, b"alice", "general")
    cycle.disconnect(b"alice")
    cycle.wait(3.0)
    cycle.commit()
    again = cycle.hello("alice", b"again", welcome.session, welcome.token)
    assert (again.session, again.resumed) == (welcome.session, False)
    cycle.core.received(b"again", frame, cycle.now)
    assert cycle.take_replies() == [(b"again", wire.Ack([(1, 1)]))]


def test_a_session_is_known_for_the_time_that_it_is_kept_and_then_its_row_goes() -> None:
    cycle = Cycle(grace_seconds=3.0, session_kept_seconds=100.0)
    cycle.clients("alice")
    cycle.publish(b"alice", 1, "general", b"hi")
    cycle.disconnect(b"alice")
    cycle.wait(3.0)
    cycle.commit()
    assert [row.last_seq for row in cycle.log.sessions()] == [1]
    cycle.wait(100.0)
    cycle.commit()
    assert cycle.log.sessions() == []


# --- joins and leaves ---------------------------------------------------------------------------


def test_a_join_is_a_record_and_answered_once_it_is_kept() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.send(alice, wire.Join(7, ["general", "build"]))
    assert cycle.take_replies() == [] and users(cycle, "general") == [("alice", LIVE)]
    cycle.begin_commit()
    assert cycle.take_replies() == []
    cycle.end_commit()
    assert cycle.take_replies() == [(alice, wire.Done(7))]
    assert cycle.take_heard() == [
        Heard("general", wire.PRESENCE, 1, 0, ["alice join: "]),
        Heard("build", wire.PRESENCE, 2, 0, ["alice join: "]),
    ]
    assert cycle.log.sessions() == [
        SessionRow("s1", "alice", 0, cycle.now.micros, {"general": cycle.now.micros, "build": cycle.now.micros})
    ]


def test_joining_again_changes_nothing_and_is_answered() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    join(cycle, alice, "general")
    cycle.send(alice, wire.Join(2, ["general", "general"]))
    assert cycle.take_replies() == [(alice, wire.Done(2))]
    assert cycle.core.take_append(cycle.now) is None


def test_a_join_that_is_repeated_during_its_commit_is_answered_with_it() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.send(alice, wire.Join(1, ["general"]))
    cycle.begin_commit()
    cycle.send(alice, wire.Join(1, ["general"]))
    assert cycle.take_replies() == []
    cycle.end_commit()
    assert cycle.take_replies() == [(alice, wire.Done(1))] * 2
    assert cycle.presence("general") == ["alice join: "]


def test_a_part_is_a_leave_and_only_of_a_room_that_it_is_in() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    join(cycle, alice, "general", "build")
    cycle.send(alice, wire.Part(2, ["general", "general", "elsewhere"]))
    cycle.commit()
    assert cycle.take_replies() == [(alice, wire.Done(2))]
    assert cycle.take_heard() == [Heard("general", wire.PRESENCE, 3, 1, ["alice leave: bye"])]
    assert users(cycle, "general") == [] and users(cycle, "build") == [("alice", LIVE)]
    cycle.send(alice, wire.Part(3, ["general"]))
    assert cycle.take_replies() == [(alice, wire.Done(3))]


def test_a_join_and_its_part_in_one_cycle_are_both_written() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    cycle.send(alice, wire.Join(1, ["general"]), wire.Part(2, ["general"]), wire.Join(3, ["general"]))
    cycle.commit()
    assert cycle.presence("general") == ["alice join: ", "alice leave: bye", "alice join: "]
    assert cycle.take_replies() == [(alice, wire.Done(number)) for number in (1, 2, 3)]


def test_bye_leaves_all_rooms_at_once_and_ends_the_session_for_good() -> None:
    cycle = Cycle()
    welcome = cycle.hello("alice")
    join(cycle, b"alice", "general", "build")
    cycle.publish(b"alice", 1, "general", b"last words")
    cycle.send(b"alice", wire.Bye())
    assert cycle.take_replies() == [(b"alice", wire.Goodbye("bye"))]
    cycle.commit()
    assert cycle.take_replies() == [(b"alice", wire.Ack([(1, 3)]))]
    assert cycle.presence("general") == cycle.presence("build") == ["alice join: ", "alice leave: bye"]
    assert cycle.log.sessions() == []
    cycle.send(b"alice", wire.Who(1))
    assert cycle.take_replies() == [(b"alice", wire.HelloAgain())]
    assert not cycle.hello("alice", b"again", welcome.session, welcome.token).resumed


def test_a_session_that_begins_again_right_after_its_bye_keeps_its_row() -> None:
    cycle = Cycle()
    welcome = cycle.hello("alice")
    join(cycle, b"alice", "general")
    cycle.send(b"alice", wire.Bye())
    cycle.take_replies()
    assert cycle.hello("alice", b"again", welcome.session, welcome.token).session == welcome.session
    cycle.send(b"again", wire.Join(1, ["general"]))
    cycle.commit()
    assert [list(row.rooms) for row in cycle.log.sessions()] == [["general"]]


def test_a_lost_session_leaves_when_its_grace_time_is_over_and_not_before() -> None:
    cycle = Cycle(grace_seconds=3.0)
    cycle.clients("alice")
    join(cycle, b"alice", "general")
    cycle.disconnect(b"alice")
    cycle.wait(2.9)
    assert cycle.core.take_append(cycle.now) is None and users(cycle, "general") == [("alice", LOST)]
    cycle.wait(0.1)
    assert users(cycle, "general") == []
    cycle.commit()
    assert cycle.presence("general") == ["alice join: ", "alice leave: lost"]
    assert cycle.log.users_seen(10) == [("alice", cycle.now.micros - 3_000_000)]


def test_a_crowd_writes_no_joins_and_no_leaves() -> None:
    cycle = Cycle(crowd_members=2)
    alice, bob, carol = cycle.clients("alice", "bob", "carol")
    join(cycle, alice, "general")
    join(cycle, bob, "general")
    cycle.send(carol, wire.Join(1, ["general"]))
    assert cycle.take_replies() == [(carol, wire.Done(1))]
    assert len(users(cycle, "general")) == 3
    cycle.send(carol, wire.Part(2, ["general"]))
    assert cycle.take_replies() == [(carol, wire.Done(2))]
    cycle.send(carol, wire.Join(3, ["general"]))
    cycle.send(alice, wire.Part(4, ["general"]))
    cycle.send(bob, wire.Bye())
    cycle.commit()
    assert cycle.presence("general") == ["alice join: ", "bob join: ", "alice leave: bye", "bob leave: bye"]
    cycle.send(carol, wire.Bye())
    cycle.commit()
    assert len(cycle.presence("general")) == 4 and users(cycle, "general") == []


@pytest.mark.parametrize(
    ("rooms", "code"),
    [
        ([], "bad-request"),
        ([f"r{number}" for number in range(wire.ROOMS_PER_MESSAGE_MAX + 1)], "bad-request"),
        (["General"], "bad-room"),
        (["general", "a..b"], "bad-room"),
        (["general", "build.*"], "bad-room"),
        (["@bob"], "denied"),
        (["general", "@bob"], "denied"),
        (["a", "b", "c"], "too-many-rooms"),
    ],
)
def test_a_join_that_is_not_allowed_is_refused_whole(rooms: list[str], code: str) -> None:
    cycle = Cycle(session_rooms_max=3)
    (alice,) = cycle.clients("alice")
    join(cycle, alice, "build")
    error = refused(cycle, alice, wire.Join(9, rooms), code)
    assert (error.about, error.number) == ("request", 9)


def test_as_many_rooms_as_the_limit_can_be_joined_and_a_room_counts_once() -> None:
    cycle = Cycle(session_rooms_max=3)
    (alice,) = cycle.clients("alice")
    join(cycle, alice, "a", "b", "c", "a")
    refused(cycle, alice, wire.Join(2, ["d"]), "too-many-rooms")
    cycle.send(alice, wire.Part(3, ["a"]))
    cycle.commit()
    cycle.take_replies()
    join(cycle, alice, "d")


def test_everybody_may_be_in_the_inbox_of_their_own() -> None:
    cycle = Cycle()
    cycle.hello("Alice", b"alice")
    join(cycle, b"alice", "@alice")
    assert users(cycle, "@alice") == [("Alice", LIVE)]


# --- after a restart ----------------------------------------------------------------------------


def test_after_a_restart_who_resumes_goes_on_unseen_and_the_others_get_their_one_leave() -> None:
    cycle = Cycle(grace_seconds=3.0, restart_grace_seconds=10.0)
    welcome = cycle.hello("alice")
    cycle.clients("bob")
    join(cycle, b"alice", "general")
    join(cycle, b"bob", "general")
    cycle.start()
    assert users(cycle, "general") == [("alice", LOST), ("bob", LOST)]
    assert cycle.hello("alice", b"again", welcome.session, welcome.token).resumed
    cycle.wait(9.9)
    assert cycle.core.take_append(cycle.now) is None
    cycle.wait(0.1)
    cycle.commit()
    assert cycle.presence("general") == ["alice join: ", "bob join: ", "bob leave: lost"]
    assert users(cycle, "general") == [("alice", LIVE)]


def test_a_broker_that_dies_before_the_leave_is_kept_writes_it_after_its_restart() -> None:
    cycle = Cycle(grace_seconds=3.0, restart_grace_seconds=10.0)
    cycle.clients("alice")
    join(cycle, b"alice", "general")
    cycle.disconnect(b"alice")
    cycle.wait(3.0)
    cycle.begin_commit()
    cycle.start()
    cycle.wait(10.0)
    cycle.commit()
    assert cycle.presence("general") == ["alice join: ", "alice leave: lost"]


def test_a_broker_that_dies_before_the_join_is_kept_has_no_member() -> None:
    cycle = Cycle(restart_grace_seconds=10.0)
    (alice,) = cycle.clients("alice")
    cycle.send(alice, wire.Join(1, ["general"]))
    cycle.begin_commit()
    cycle.start()
    assert users(cycle, "general") == [] and cycle.core.next_deadline() is None


def test_who_has_gone_is_told_with_when_they_were_seen_also_after_a_restart() -> None:
    cycle = Cycle()
    (alice,) = cycle.clients("alice")
    join(cycle, alice, "general")
    cycle.wait(5.0)
    cycle.send(alice, wire.Bye())
    seen = cycle.now.micros
    cycle.commit()
    for _ in range(2):
        ((member),) = who(cycle.core.registry, "")
        assert (member.user, member.session, member.seen) == ("alice", "", seen)
        cycle.wait(5.0)
        cycle.start()


# --- what a stranger can make the broker keep ---------------------------------------------------


def test_a_connection_that_begins_sessions_again_and_again_is_told_busy_and_cut_off() -> None:
    cycle = Cycle(connection_sessions_max=3)
    for number in range(3):
        cycle.hello(f"user-{number}", b"c")
    error = refused(cycle, b"c", wire.Hello(wire.VERSION, "user-3"), "busy")
    assert (error.about, error.number) == ("connection", 0)
    assert cycle.core.take_cutoffs() == [b"c"]
    cycle.disconnect(b"c")
    cycle.hello("user-3", b"c")
    assert cycle.core.take_cutoffs() == []


def test_to_go_on_with_a_session_is_none_that_begins() -> None:
    cycle = Cycle(connection_sessions_max=1)
    welcome = cycle.hello("alice", b"c")
    for _ in range(9):
        assert cycle.hello("alice", b"c", welcome.session, welcome.token).resumed
        assert cycle.hello("alice", b"c").session == welcome.session


def test_an_address_begins_so_many_sessions_also_where_the_hello_is_not_the_first_frame() -> None:
    cycle = Cycle(address_makings_max=2)
    for number in range(2):
        connection = b"c%d" % number
        cycle.core.received(connection, wire.encode(wire.Who(1)), cycle.now, "10.0.0.1")
        assert cycle.take_replies() == [(connection, wire.HelloAgain())]
        cycle.core.received(connection, wire.encode(wire.Hello(wire.VERSION, "alice")), cycle.now)
        cycle.take_replies()
    assert {member.address for member in who(cycle.core.registry, "")} == {"10.0.0.1"}
    cycle.core.received(b"c2", wire.encode(wire.Hello(wire.VERSION, "alice")), cycle.now, "10.0.0.1")
    assert cycle.take_errors() == [(b"c2", "connection", 0, "busy")]
    cycle.core.received(b"c3", wire.encode(wire.Hello(wire.VERSION, "bob")), cycle.now, "10.0.0.2")
    assert isinstance(cycle.take_replies()[0][1], wire.Welcome)


def test_a_session_whose_publishes_were_all_refused_leaves_nothing_behind() -> None:
    cycle = Cycle(grace_seconds=3.0)
    before = cycle.facts()
    welcome = cycle.hello("alice")
    for seq in (1, 2):
        cycle.publish(b"alice", seq, "a..b", b"")
        cycle.publish(b"alice", seq, "a..b", b"")  # while it is here its refusal is told again
    assert cycle.take_errors() == [(b"alice", "publish", seq, "bad-room") for seq in (1, 1, 2, 2)]
    cycle.publish(b"alice", 3, "general", b"", flags=wire.VOLATILE)
    cycle.take_broadcasts()
    cycle.take_replies()
    cycle.disconnect(b"alice")
    for _ in range(2):
        cycle.wait(3.0)
    assert cycle.core.take_append(cycle.now) is None
    assert cycle.facts() == before
    again = cycle.hello("alice", b"again", welcome.session, welcome.token)
    assert (again.session, again.resumed) == (welcome.session, False)
    cycle.publish(b"again", 3, "general", b"as nothing was stored it is no repeat")
    cycle.commit()
    assert len(cycle.history()) == 1


def test_a_session_that_goes_while_its_publish_is_being_stored_is_kept() -> None:
    cycle = Cycle(grace_seconds=3.0)
    welcome = cycle.hello("alice")
    frame = cycle.publish(b"alice", 1, "general", b"once")
    cycle.begin_commit()
    cycle.disconnect(b"alice")
    for _ in range(2):
        cycle.wait(3.0)
    cycle.end_commit()
    cycle.commit()
    assert not cycle.hello("alice", b"again", welcome.session, welcome.token).resumed
    cycle.core.received(b"again", frame, cycle.now)
    assert cycle.take_replies() == [(b"again", wire.Ack([(1, 1)]))]


def go(cycle: Cycle, user: str, address: str) -> wire.Welcome:
    """A session that stores one message and does not come back."""
    connection = user.encode()
    cycle.core.received(connection, wire.encode(wire.Hello(wire.VERSION, user)), cycle.now, address)
    ((_, welcome),) = cycle.take_replies()
    assert isinstance(welcome, wire.Welcome)
    cycle.publish(connection, 1, "general", b"")
    cycle.commit()
    cycle.take_replies()
    cycle.disconnect(connection)
    cycle.wait(cycle.settings.grace_seconds)
    cycle.commit()
    return welcome


def test_sessions_that_have_gone_are_bounded_for_an_address_and_those_of_others_stay() -> None:
    cycle = Cycle(grace_seconds=3.0, address_gone_sessions_max=2, gone_sessions_max=5)
    honest = go(cycle, "honest", "10.0.0.1")
    last_heard = [(go(cycle, f"bad-{number}", "10.0.0.2"), cycle.now.micros)[1] for number in range(5)]
    assert [row.user for row in cycle.log.sessions() if row.user] == ["honest", "bad-3", "bad-4"]
    assert not cycle.hello("honest", b"again", honest.session, honest.token).resumed
    cycle.publish(b"again", 1, "general", b"again")
    assert cycle.take_replies() == [(b"again", wire.Ack([(1, 1)]))]
    forgotten_for = (cycle.now.micros - last_heard[2]) / 1e6 + 3.0
    assert cycle.hello("new").limits["session_kept_seconds"] == int(forgotten_for)


def test_who_was_forgotten_early_is_told_so_also_after_a_restart_until_its_time_would_be_over() -> None:
    cycle = Cycle(grace_seconds=3.0, session_kept_seconds=100.0, gone_sessions_max=2)
    welcome = go(cycle, "first", "10.0.0.1")
    for number in range(2):
        go(cycle, f"bad-{number}", f"10.0.0.{number}")
    for _ in range(2):
        again = cycle.hello("first", b"again", welcome.session, welcome.token)
        assert not again.resumed and again.limits["session_kept_seconds"] == 9
        cycle.send(b"again", wire.Bye())
        cycle.take_replies()
        cycle.commit()
        assert sorted(row.user for row in cycle.log.sessions()) == ["", "bad-0", "bad-1"]
        cycle.start()
    cycle.wait(91.0)
    assert cycle.hello("first", b"again", welcome.session, welcome.token).limits["session_kept_seconds"] == 100


def test_a_broker_that_starts_takes_no_more_rows_than_the_limit_the_latest_ones() -> None:
    cycle = Cycle(grace_seconds=3.0)
    for number in range(5):
        go(cycle, f"user-{number}", "10.0.0.1")
    (member,) = cycle.clients("member")
    join(cycle, member, "general")
    cycle.settings = replace(cycle.settings, gone_sessions_max=2)
    cycle.start()
    cycle.commit()
    assert [row.user for row in cycle.log.sessions() if row.user] == ["user-3", "user-4", "member"]
    assert cycle.hello("new").limits["session_kept_seconds"] == 9  # seconds since the third was heard last


def test_users_who_did_nothing_are_not_told_of_and_invented_ones_push_out_no_others() -> None:
    cycle = Cycle(grace_seconds=3.0, users_seen_max=5, address_users_seen_max=2)
    go(cycle, "honest", "10.0.0.1")
    for number in range(9):
        go(cycle, f"bad-{number}", "10.0.0.2")
    cycle.clients("silent")
    cycle.send(b"silent", wire.Bye())
    cycle.commit()
    assert [member.user for member in who(cycle.core.registry, "")] == ["honest", "bad-7", "bad-8"]
    assert "silent" not in dict(cycle.log.users_seen(99))


def test_the_outcomes_of_sessions_that_have_gone_are_bounded_and_then_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zchat.core.registry.GONE_OUTCOMES_MAX", 2)
    cycle = Cycle(grace_seconds=3.0)
    welcomes = [go(cycle, f"user-{number}", "10.0.0.1") for number in range(4)]
    for number, welcome in enumerate(welcomes):
        connection = b"again-%d" % number
        cycle.hello(f"user-{number}", connection, welcome.session, welcome.token)
        cycle.publish(connection, 1, "general", b"")
        assert cycle.take_replies() == ([] if number < 2 else [(connection, wire.Ack([(1, number + 1)]))])
        assert len(cycle.core.take_reads()) == (number < 2)


def test_joins_on_a_connection_have_an_allowance_and_a_part_is_always_taken() -> None:
    cycle = Cycle(connection_joins_max=3, connection_joins_a_second_max=1)
    (alice,) = cycle.clients("alice")
    join(cycle, alice, "a", "b")
    join(cycle, alice, "a", "b")  # changes nothing, and costs nothing
    refused(cycle, alice, wire.Join(3, ["c", "d"]), "busy")
    join(cycle, alice, "c")
    cycle.send(alice, wire.Part(4, ["a", "b", "c"]))
    cycle.commit()
    assert cycle.take_replies() == [(alice, wire.Done(4))] and users(cycle, "a") == []
    cycle.take_broadcasts()
    refused(cycle, alice, wire.Join(5, ["a"]), "busy")
    cycle.wait(1.0)
    join(cycle, alice, "a")


def test_a_join_that_would_make_too_many_rooms_is_refused_whole() -> None:
    cycle = Cycle(rooms_max=2)
    (alice,) = cycle.clients("alice")
    join(cycle, alice, "a")
    refused(cycle, alice, wire.Join(2, ["b", "c"]), "over-limit")
    join(cycle, alice, "a", "b")


def come(cycle: Cycle, address: str, *users: str) -> list[bytes]:
    """Sessions of these users, all of one address."""
    for user in users:
        cycle.core.received(user.encode(), wire.encode(wire.Hello(wire.VERSION, user)), cycle.now, address)
        cycle.take_replies()
    return [user.encode() for user in users]


# --- many at once -------------------------------------------------------------------------------


def test_a_crowd_that_goes_at_once_leaves_in_some_calls_and_who_comes_back_meanwhile_has_not_left() -> None:
    cycle = Cycle()
    clients = cycle.clients(*(f"guest-{number}" for number in range(4)))
    rooms = [f"room.{number}" for number in range(1_000)]
    for client in clients:
        cycle.send(client, wire.Join(1, rooms))
    cycle.commit()
    tokens = {}
    for client in clients:
        session = cycle.core.registry.of(client)
        assert session is not None
        tokens[session.user] = (session.id, cycle.core.registry.token(session))
        cycle.disconnect(client)
    cycle.take_replies()
    calls, there = 0, [4]
    cycle.now = Instant(cycle.now.seconds + 3.5, cycle.now.micros + 3_500_000)
    while (due := cycle.core.next_deadline()) is not None and due <= cycle.now.seconds:
        cycle.core.elapsed(cycle.now)
        calls += 1
        there.append(cycle.core.registry.members("room.0"))
        if calls == 1:
            last = cycle.core.registry.sessions_in("room.0")[-1]
            assert cycle.hello(last.user, b"again", *tokens[last.user]).resumed
    assert calls > 1 and all(before - after <= 2 for before, after in pairwise(there))
    assert [session.user for session in cycle.core.registry.sessions_in("room.999")] == [last.user]
    cycle.commit()
    assert sum("leave" in record for record in cycle.presence("room.0")) == 3


def test_memberships_are_bounded_in_all_and_of_an_address_and_come_back() -> None:
    cycle = Cycle(memberships_max=5, address_memberships_max=3)
    alice, bob, carol = *come(cycle, "10.0.0.1", "alice", "bob"), *come(cycle, "10.0.0.2", "carol")
    cycle.send(alice, wire.Join(1, ["a", "b"]))
    cycle.send(bob, wire.Join(1, ["a"]))
    cycle.commit()
    cycle.take_replies()
    cycle.take_broadcasts()
    refused(cycle, bob, wire.Join(2, ["b"]), "over-limit")
    cycle.send(bob, wire.Join(3, ["a"]))  # it is there already
    cycle.send(carol, wire.Join(3, ["a", "b"]))
    cycle.commit()
    assert wire.Done(3) in [reply for _, reply in cycle.take_replies()]
    cycle.take_broadcasts()
    refused(cycle, carol, wire.Join(4, ["c"]), "over-limit")
    cycle.send(alice, wire.Bye())
    cycle.send(carol, wire.Join(5, ["c"]))
    cycle.commit()
    assert (carol, wire.Done(5)) in cycle.take_replies()


def test_what_is_told_of_listeners_is_bounded_together() -> None:
    cycle = Cycle(listens_bytes_max=1_000, address_listens_bytes_max=500)
    alice, bob, carol = *come(cycle, "10.0.0.1", "alice", "bob"), *come(cycle, "10.0.0.2", "carol")
    told = {client: cycle.core.registry.of(client) for client in (alice, bob, carol)}
    for client in told:
        cycle.send(client, wire.Report([(1, ["a", "b", "c", "d"])]))
    assert [len(session.listens) for session in told.values() if session] == [1, 0, 1]
    cycle.send(alice, wire.Report([]))
    cycle.send(bob, wire.Report([(1, ["a", "b", "c", "d"])]))
    assert [len(session.listens) for session in told.values() if session] == [0, 1, 1]
    cycle.disconnect(bob)
    cycle.send(alice, wire.Report([(1, ["a", "b", "c", "d"])]))
    assert [len(session.listens) for session in told.values() if session] == [1, 0, 1]
