"""Who is in a room."""

from __future__ import annotations

from zchat.chat.core.members import Members


def test_users_are_listed_once_and_lost_ones_last() -> None:
    members = Members()
    members.are(
        [("ben", "1", "live"), ("ben", "2", "lost"), ("Ann", "3", "lost"), ("zoe", "4", "gone"), ("cat", "5", "live")]
    )
    assert [(user, is_lost) for user, is_lost in members.users()] == [("ben", False), ("cat", False), ("Ann", True)]
    members.joined("Ann", "6")
    members.left("5")
    members.left("unknown")
    assert [(user, is_lost) for user, is_lost in members.users()] == [("Ann", False), ("ben", False)]
    assert len(members) == 2


def test_a_hostile_name_is_defused() -> None:
    members = Members()
    members.are([("a\x1b", "1", "live")])
    assert members.users()[0].user == "a\\x1b"
