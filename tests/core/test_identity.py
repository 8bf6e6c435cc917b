"""Who each connection is, by its key."""

from __future__ import annotations

import pytest

from zchat.core.identity import Enrolment, Identities
from zchat.errors import WireError
from zchat.keys import Grant, KeyList

ALICE, WEB, EVE, BRIEF, INVITE, NEW = (str(number) * 32 for number in range(10, 16))
LISTED = KeyList(
    {
        ALICE: Grant("alice"),
        WEB: Grant("web", "web.*"),
        EVE: Grant("eve", is_revoked=True),
        BRIEF: Grant("brief", expires=100),
    },
    {INVITE: Grant("carol", "c.*", expires=200)},
)


@pytest.fixture
def identities() -> Identities:
    identities = Identities(LISTED)
    for key in (ALICE, WEB, EVE, BRIEF, INVITE):
        identities.came(key.encode(), "10.0.0.7", key)
    return identities


def test_an_invite_hears_nothing(identities: Identities) -> None:
    assert [identities.hears(key, 0.0) for key in (ALICE, EVE, INVITE, NEW)] == [
        "",
        "revoked-key",
        "unknown-key",
        "unknown-key",
    ]
    assert Identities().hears("", 0.0) == ""


def code_of(identities: Identities, key: str, user: str, seconds: float = 0.0) -> str:
    try:
        identities.check(key.encode(), user, seconds)
    except WireError as error:
        return error.code
    return ""


@pytest.mark.parametrize(
    ("key", "seconds", "code"),
    [
        (ALICE, 0, ""),
        (EVE, 0, "revoked-key"),
        (BRIEF, 99, ""),
        (BRIEF, 100, "revoked-key"),
        (INVITE, 199, ""),
        (INVITE, 200, "unknown-key"),
        (NEW, 0, "unknown-key"),
        ("", 0, "unknown-key"),
    ],
)
def test_who_is_let_in(identities: Identities, key: str, seconds: float, code: str) -> None:
    assert identities.admits(key, seconds) == code


@pytest.mark.parametrize(
    ("key", "user", "code"),
    [
        (ALICE, "alice", ""),
        (ALICE, "Alice", ""),
        (ALICE, "bob", "wrong-user"),
        (WEB, "web", ""),
        (WEB, "web.bob", ""),
        (WEB, "bob", "wrong-user"),
        (EVE, "eve", "revoked-key"),
        (INVITE, "carol", "unknown-key"),
        (NEW, "alice", "unknown-key"),
    ],
)
def test_the_user_of_a_session_is_the_keys(identities: Identities, key: str, user: str, code: str) -> None:
    assert code_of(identities, key, user) == code


def test_where_there_are_no_keys_every_name_is_free() -> None:
    identities = Identities()
    identities.came(b"c", "10.0.0.7", "")
    identities.check(b"c", "anybody", 0.0)
    assert not identities.has_keys and identities.admits("", 0.0) == "" and identities.may_be(b"c", "x", 0.0)
    assert list(identities.refused(1e12)) == [] and identities.address_of(b"c") == "10.0.0.7"
    with pytest.raises(WireError):
        identities.enrol(b"c", 1, bytes(32), 0, 0.0)


def enrol(identities: Identities, by: str, key: str = NEW, seconds: float = 0.0) -> Enrolment | None:
    return identities.enrol(by.encode(), 7, bytes.fromhex(key), 60, seconds)


def test_an_invite_is_good_for_one_key_of_its_user(identities: Identities) -> None:
    enrolment = enrol(identities, INVITE)
    assert enrolment is not None and enrolment.is_invite
    assert (enrolment.key, enrolment.grant, enrolment.by) == (NEW, Grant("carol", "c.*"), INVITE)
    with pytest.raises(WireError) as error:
        enrol(identities, INVITE)
    assert error.value.code == "busy"
    identities.enrolled(enrolment, kept=True)
    identities.changed(KeyList({**LISTED.users, NEW: enrolment.grant}, {}))
    assert enrol(identities, INVITE) is None, "said again, as the answer was lost"
    with pytest.raises(WireError) as error:
        enrol(identities, INVITE, "ff" * 32)
    assert error.value.code == "unknown-key"


def test_an_invite_whose_key_could_not_be_written_is_not_used_up(identities: Identities) -> None:
    enrolment = enrol(identities, INVITE)
    assert enrolment is not None
    identities.enrolled(enrolment, kept=False)
    assert enrol(identities, INVITE) == enrolment


def test_a_user_brings_a_new_key_and_the_old_one_ends_later(identities: Identities) -> None:
    enrolment = enrol(identities, ALICE, seconds=1000.5)
    assert enrolment is not None and not enrolment.is_invite
    assert enrolment.grant == Grant("alice") and enrolment.by_grant == Grant("alice", expires=1060)


def test_a_key_that_ends_brings_none_that_lasts(identities: Identities) -> None:
    enrolment = enrol(identities, BRIEF, seconds=50.0)
    assert enrolment is not None and enrolment.grant == Grant("brief", expires=100) == enrolment.by_grant


@pytest.mark.parametrize(("key", "code"), [(WEB, "bad-request"), (EVE, "bad-request"), ("10", "bad-request")])
def test_a_key_that_is_another_users_is_refused(identities: Identities, key: str, code: str) -> None:
    with pytest.raises(WireError) as error:
        enrol(identities, ALICE, key)
    assert error.value.code == code


def test_who_is_revoked_has_to_go_and_a_gateways_users_too(identities: Identities) -> None:
    assert [code for _, _, code in identities.refused(0.0)] == ["revoked-key"], "eve, who was there before"
    identities.disconnected(EVE.encode())
    identities.changed(KeyList({WEB: Grant("web", "web.a*"), ALICE: Grant("alicia")}, LISTED.invites))
    refused = {key for _, key, _ in identities.refused(0.0)}
    assert refused == {BRIEF}
    assert identities.may_be(WEB.encode(), "web.anna", 0.0) and not identities.may_be(WEB.encode(), "web.bob", 0.0)
    assert not identities.may_be(ALICE.encode(), "alice", 0.0) and identities.may_be(ALICE.encode(), "alicia", 0.0)


def test_who_may_come_back_has_a_key_or_a_gateway(identities: Identities) -> None:
    users = "alice", "Web", "web.x", "eve", "brief", "carol"
    assert [user for user in users if identities.is_known(user, 100.0)] == ["alice", "Web", "web.x"]
    assert Identities().is_known("anybody", 0.0)


def test_a_user_all_of_whose_keys_are_revoked_is_no_gateways_user_either() -> None:
    alice, guest = Grant("web.alice"), Grant("web.guest", expires=50)
    keys = {WEB: Grant("web", "web.*"), ALICE: alice, NEW: guest, BRIEF: alice._replace(is_revoked=True)}
    identities = Identities(KeyList(keys, {}))
    identities.came(WEB.encode(), "10.0.0.8", WEB)
    assert [code_of(identities, WEB, user) for user in ("web.alice", "web.guest", "web.x")] == ["", "", ""]
    keys[ALICE] = alice._replace(is_revoked=True)
    identities.changed(KeyList(keys, {}))
    assert [code_of(identities, WEB, user) for user in ("Web.Alice", "web.guest", "web")] == ["revoked-key", "", ""]
    assert not identities.may_be(WEB.encode(), "web.alice", 0.0) and not identities.is_known("web.alice", 0.0)
    assert identities.is_known("web.guest", 49.0) and not identities.is_known("web.guest", 50.0), "its time is over"
    assert identities.is_known("web.guest", 49.0), "the clock was set back"
    keys["ab" * 32] = alice  # she has joined anew
    identities.changed(KeyList(keys, {}))
    assert code_of(identities, WEB, "web.alice") == "" and identities.is_known("web.alice", 0.0)


def test_what_ends_is_looked_for_again_where_the_clock_was_set_back() -> None:
    identities = Identities(KeyList({BRIEF: Grant("brief", expires=100)}, {}))
    seen = [identities.may_have_ended(seconds) for seconds in (90.0, 95.0, 100.0, 105.0, 92.0, 99.0, 101.0)]
    assert seen == [True, False, True, False, True, False, True]


def test_it_is_looked_again_when_the_time_of_a_key_is_over() -> None:
    identities = Identities(LISTED)
    assert identities.may_have_ended(1.0), "the first time"
    assert not identities.may_have_ended(99.0) and identities.may_have_ended(100.0)
    assert not identities.may_have_ended(1e12)
    identities.changed(LISTED)
    assert identities.may_have_ended(2.0), "the files have changed"


def test_who_is_let_in_for_a_while_makes_no_key_that_stays_longer(identities: Identities) -> None:
    enrolment = identities.enrol(BRIEF.encode(), 1, bytes.fromhex("ab" * 32), 1_000, 50.0)
    assert enrolment is not None
    assert enrolment.grant == Grant("brief", expires=100) and enrolment.by_grant == Grant("brief", expires=100)


def test_a_user_brings_so_many_keys_in_a_day_and_others_bring_theirs(identities: Identities) -> None:
    def bring(key: str, number: int, seconds: float) -> None:
        enrolment = identities.enrol(key.encode(), number, number.to_bytes(32, "big"), 60, seconds)
        assert enrolment is not None
        identities.enrolled(enrolment, kept=True)

    for number in range(16):
        bring(ALICE, number, 0.0)
    with pytest.raises(WireError, match="too many new keys of this user") as caught:
        bring(ALICE, 16, 0.0)
    assert (caught.value.code, caught.value.limit) == ("busy", "user_enrolments_max")
    bring(WEB, 17, 0.0)
    bring(ALICE, 18, 86_400.0)
