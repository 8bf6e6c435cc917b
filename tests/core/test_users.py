"""A user is there as long as a session of it is; of those who have gone so many are remembered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from zchat.core.session import Session
from zchat.core.users import Users
from zchat.errors import WireError
from zchat.settings import Settings


def users(**limits: int) -> Users:
    return Users(replace(Settings(), **limits))  # type: ignore[arg-type]


def session(user: str, seen: int = 1, address: str = "10.0.0.1") -> Session:
    return Session("s", user, 0, seen, address=address, has_stored=True)


def test_a_user_has_gone_when_its_last_session_went_however_its_name_is_spelt() -> None:
    known = users()
    for name in ("alice", "ALICE", "bob"):
        known.came(name)
    known.went(session("alice", 5))
    assert known.gone() == []
    known.went(session("Alice", 7))
    assert known.gone() == [("Alice", 7)]
    known.came("alice")
    assert known.gone() == []


def test_who_stored_and_joined_nothing_is_not_told_of() -> None:
    known = users()
    known.came("alice")
    known.went(Session("s", "alice", 0, 1))
    assert known.gone() == []


def test_a_user_has_so_many_sessions() -> None:
    known = users(user_sessions_max=2)
    known.came("alice")
    known.may_come("Alice")
    known.came("alice")
    with pytest.raises(WireError, match="sessions of this user") as caught:
        known.may_come("ALICE")
    assert caught.value.code == "busy"
    known.may_come("bob")
    known.went(session("alice"))
    known.may_come("alice")


def test_so_many_are_remembered_in_all_and_of_an_address_and_what_a_log_knew_is_of_none() -> None:
    known = users(users_seen_max=3, address_users_seen_max=1)
    known.seen("old", 1)
    for name in ("eve", "mallory"):
        known.came(name)
        known.went(session(name, 2))
    assert known.gone() == [("old", 1), ("mallory", 2)]
