"""Who is let in and who has to go, as the core does it."""

from __future__ import annotations

import msgspec
import pytest

from tests.core.cycle import Cycle
from zchat import wire
from zchat.core.identity import Identities
from zchat.keys import Grant, KeyList

ALICE, BOB, WEB, INVITE, NEW = (str(number) * 32 for number in range(10, 15))
LISTED = KeyList(
    {ALICE: Grant("alice"), BOB: Grant("bob"), WEB: Grant("web", "web.*")}, {INVITE: Grant("carol", expires=1 << 40)}
)
ALICE_REVOKED = LISTED._replace(users=LISTED.users | {ALICE: Grant("alice", is_revoked=True)})


@pytest.fixture
def cycle() -> Cycle:
    return Cycle(identities=Identities(LISTED))


def come(cycle: Cycle, key: str, *messages: wire.ClientMessage) -> list[wire.BrokerMessage]:
    """Say that on the connection that is named like its key. Returns what is said to it."""
    for message in messages:
        cycle.core.received(key.encode(), wire.encode(message), cycle.now, "10.0.0.7", key)
    return [reply for to, reply in cycle.take_replies() if to == key.encode()]


def hello(user: str) -> wire.Hello:
    return wire.Hello(wire.VERSION, user)


def raw(message: wire.ClientMessage) -> msgspec.Raw:
    return wire.raw(wire.encode(message))


def lines(cycle: Cycle) -> list[str]:
    return [line.removeprefix("audit event=") for line in cycle.core.admission.audit.take()]


def test_a_session_has_the_keys_name_and_no_other(cycle: Cycle) -> None:
    (refused,) = come(cycle, ALICE, hello("bob"))
    assert isinstance(refused, wire.Error) and (refused.about, refused.code) == ("connection", "wrong-user")
    assert cycle.core.take_cutoffs() == [ALICE.encode()]
    (welcome,) = come(cycle, BOB, hello("bob"))
    assert isinstance(welcome, wire.Welcome)
    assert lines(cycle) == [
        f"refused user=bob key={ALICE[:16]} address=10.0.0.7 code=wrong-user",
        f"connected user=bob key={BOB[:16]} address=10.0.0.7",
    ]


def test_a_gateway_speaks_for_those_of_its_pattern_and_a_refusal_is_the_channels_alone(cycle: Cycle) -> None:
    come(cycle, WEB, hello("web"))
    (welcome,) = come(cycle, WEB, wire.From(1, raw(hello("web.ann"))))
    assert isinstance(welcome, wire.For) and isinstance(wire.decode_broker(bytes(welcome.message)), wire.Welcome)
    (refused,) = come(cycle, WEB, wire.From(2, raw(hello("alice"))))
    assert isinstance(refused, wire.For)
    error = wire.decode_broker(bytes(refused.message))
    assert isinstance(error, wire.Error) and error.code == "wrong-user"
    assert cycle.core.take_cutoffs() == []


def test_an_invite_enrols_one_key_and_does_nothing_else(cycle: Cycle) -> None:
    (refused,) = come(cycle, INVITE, hello("carol"))
    assert isinstance(refused, wire.Error) and refused.code == "unknown-key"
    assert come(cycle, INVITE, wire.Enroll(3, bytes.fromhex(NEW))) == [], "it is written first"
    (enrolment,) = cycle.core.admission.take_enrolments()
    listed = KeyList({**LISTED.users, NEW: enrolment.grant}, {})
    cycle.core.admission.enrolled(enrolment, listed, "", cycle.now)
    assert cycle.take_replies() == [(INVITE.encode(), wire.Done(3))]
    (welcome,) = come(cycle, NEW, hello("carol"))
    assert isinstance(welcome, wire.Welcome)
    assert f"enrolled user=carol key={NEW[:16]} by={INVITE[:16]}" in lines(cycle)


def test_what_cannot_be_written_is_refused(cycle: Cycle) -> None:
    come(cycle, INVITE, wire.Enroll(3, bytes.fromhex(NEW)))
    (enrolment,) = cycle.core.admission.take_enrolments()
    cycle.core.admission.enrolled(enrolment, None, "disk full", cycle.now)
    ((_, error),) = cycle.take_replies()
    assert isinstance(error, wire.Error) and (error.about, error.number, error.code) == ("request", 3, "keys-failed")


def test_a_revoked_key_ends_its_sessions_with_their_own_reason(cycle: Cycle) -> None:
    come(cycle, ALICE, hello("alice"), wire.Join(1, ["den"]))
    come(cycle, WEB, hello("web"), wire.From(1, raw(hello("web.ann"))), wire.From(1, raw(wire.Join(1, ["den"]))))
    come(cycle, BOB, hello("bob"), wire.Join(1, ["den"]))
    cycle.commit()
    cycle.take_replies()
    cycle.core.admission.changed(KeyList({BOB: Grant("bob"), ALICE: Grant("alice", is_revoked=True)}, {}), cycle.now)
    assert set(cycle.take_errors()) == {
        (ALICE.encode(), "connection", 0, "revoked-key"),
        (WEB.encode(), "connection", 0, "revoked-key"),
    }
    assert set(cycle.core.take_cutoffs()) == {ALICE.encode(), WEB.encode()}
    cycle.commit()
    left = [text for text in cycle.presence("den") if "leave" in text]
    assert sorted(left) == ["alice leave: revoked", "web.ann leave: revoked"]
    assert [session.user for session in cycle.core.registry.sessions_in("")] == ["bob"]


def test_who_was_cut_off_and_is_revoked_meanwhile_does_not_stay_for_the_grace_time(cycle: Cycle) -> None:
    come(cycle, ALICE, hello("alice"), wire.Join(1, ["den"]))
    come(cycle, BOB, hello("bob"), wire.Join(1, ["den"]))
    cycle.commit()
    for key in (ALICE, BOB):
        cycle.disconnect(key.encode())
    cycle.core.admission.changed(KeyList({BOB: Grant("bob")}, {}), cycle.now)
    cycle.commit()
    assert [text for text in cycle.presence("den") if "leave" in text] == ["alice leave: revoked"]


def test_a_gateways_users_go_that_it_may_not_be_any_more(cycle: Cycle) -> None:
    come(cycle, WEB, hello("web"), wire.From(1, raw(hello("web.ann"))), wire.From(2, raw(hello("web.ben"))))
    cycle.core.admission.changed(KeyList({WEB: Grant("web", "web.a*")}, {}), cycle.now)
    ((to, told),) = cycle.take_replies()
    assert to == WEB.encode() and isinstance(told, wire.For) and told.channel == 2
    assert sorted(session.user for session in cycle.core.registry.sessions_in("")) == ["web", "web.ann"]


def test_the_next_key_of_the_broker_is_told_to_those_who_are_there(cycle: Cycle) -> None:
    come(cycle, ALICE, hello("alice"))
    cycle.core.admission.changed(LISTED._replace(next_server="ab" * 32), cycle.now)
    told = wire.NextKey(bytes.fromhex("ab" * 32))
    assert cycle.take_replies() == [(ALICE.encode(), told)]
    first, welcome = come(cycle, BOB, hello("bob"))
    assert first == told and isinstance(welcome, wire.Welcome), "and to who comes later"
    cycle.core.admission.changed(LISTED._replace(next_server="ab" * 32), cycle.now)
    assert cycle.take_replies() == [], "it is told once"


def test_an_open_broker_has_none_of_it() -> None:
    cycle = Cycle()
    cycle.hello("anybody")
    error = cycle.ask(b"anybody", wire.Enroll(1, bytes(32)))
    assert isinstance(error, wire.Error) and error.code == "bad-request"
    cycle.core.admission.elapsed(cycle.now)
    assert cycle.take_replies() == []


def test_a_hello_that_is_refused_is_not_told_of_as_connected_and_one_that_comes_again_is_told_once() -> None:
    listed = KeyList({ALICE: Grant("alice", "*")}, {})
    cycle = Cycle(identities=Identities(listed), user_sessions_max=1)
    (refused,) = come(cycle, ALICE, hello("Not A Name\t"))
    assert isinstance(refused, wire.Error) and refused.code == "bad-user"
    assert not [line for line in lines(cycle) if line.startswith("connected")]
    come(cycle, BOB, hello("alice"))
    come(cycle, ALICE, hello("alice"), hello("alice"))
    assert [line for line in lines(cycle) if line.startswith("connected")] == [
        f"connected user=alice key={ALICE[:16]} address=10.0.0.7"
    ]


def test_who_meets_a_limit_is_told_of_without_secrets() -> None:
    cycle = Cycle(identities=Identities(LISTED), user_cursors_max=1)
    come(cycle, ALICE, hello("alice"))
    lines(cycle)
    come(cycle, ALICE, *[wire.SetCursor(number, f"c{number}", cycle.log.log_id, 0) for number in range(4)])
    for meeting, times in cycle.core.limits.take(cycle.now.seconds):
        cycle.core.admission.limited(meeting, times, cycle.now)
    assert lines(cycle) == ["limited limit=user_cursors_max user=alice address=10.0.0.7 times=3"]


def test_a_broker_without_keys_tells_of_nobody() -> None:
    cycle = Cycle(user_cursors_max=1)
    cycle.clients("ann")
    cycle.core.limits.note("user_cursors_max", "ann", "")
    for meeting, times in cycle.core.limits.take(cycle.now.seconds):
        cycle.core.admission.limited(meeting, times, cycle.now)
    assert lines(cycle) == []


def test_what_a_revoked_user_had_scheduled_is_not_sent(cycle: Cycle) -> None:
    records = wire.raw(wire.encode_records([b"later"]))
    for key, user in ((ALICE, "alice"), (BOB, "bob")):
        come(cycle, key, hello(user), wire.Schedule(1, "one", "den", records, 0, 5_000_000))
    cycle.commit()
    lines(cycle)
    cycle.core.admission.changed(ALICE_REVOKED, cycle.now)
    cycle.wait(6)
    cycle.commit()
    assert [record for heard in cycle.history("den") for record in heard.records] == ["bob: later"]
    assert "not-sent user=alice room=den code=revoked-key" in lines(cycle)


def test_who_has_joined_and_left_is_told_and_why(cycle: Cycle) -> None:
    come(cycle, ALICE, hello("alice"), wire.Join(1, ["den", "general"]), wire.Join(2, ["den"]))
    come(cycle, WEB, hello("web"), wire.From(1, raw(hello("web.ann"))), wire.From(1, raw(wire.Join(1, ["den"]))))
    come(cycle, ALICE, wire.Part(3, ["den", "nowhere"]))
    cycle.core.admission.changed(ALICE_REVOKED, cycle.now)
    told = [line for line in lines(cycle) if not line.startswith("connected")]
    assert told == [
        "joined user=alice room=den address=10.0.0.7",
        "joined user=alice room=general address=10.0.0.7",
        "joined user=web.ann room=den address=10.0.0.7",
        "left user=alice room=den address=10.0.0.7 reason=bye",
        f"key-changed user=alice key={ALICE[:16]} options=revoked",
        f"revoked user=alice key={ALICE[:16]}",
        "left user=alice room=general address=10.0.0.7 reason=revoked",
    ]


def test_who_is_refused_for_anything_else_than_his_key_is_no_one_who_has_connected(cycle: Cycle) -> None:
    come(cycle, ALICE, wire.Hello(wire.VERSION + 1, "alice"))
    come(cycle, BOB, wire.Hello(wire.VERSION, "bob", info={"x": "y" * 10_000}))
    assert lines(cycle) == [
        f"refused user=alice key={ALICE[:16]} address=10.0.0.7 code=unsupported-version",
        f"refused user=bob key={BOB[:16]} address=10.0.0.7 code=bad-frame",
    ]


def test_which_lines_of_the_keys_are_others_is_told_without_what_is_secret(cycle: Cycle) -> None:
    users = {ALICE: Grant("alice", "web.*", 1_800_000_000), NEW: Grant("carol"), WEB: LISTED.users[WEB]}
    cycle.core.admission.changed(KeyList(users, {INVITE: Grant("dan", expires=1 << 40)}), cycle.now)
    assert lines(cycle) == [
        f'key-changed user=alice key={ALICE[:16]} options="gateway=web.* expires=2027-01-15T08:00:00Z"',
        f"key-removed user=bob key={BOB[:16]}",
        f"key-added user=carol key={NEW[:16]}",
    ]
