"""The list of conversations."""

from __future__ import annotations

from tests.chat.core.made import said
from zchat.chat.core.rooms import Conversations, count_text


def made() -> Conversations:
    conversations = Conversations("ann")
    for name in ("@zoe", "ops", "general", "@ben"):
        conversations.open(name, 0)
    return conversations


def test_rooms_come_before_direct_messages_each_by_name() -> None:
    conversations = made()
    assert list(conversations.all) == ["general", "ops", "@ben", "@zoe"]
    assert conversations.open("ops") is conversations.all["ops"]
    assert conversations.beside("@zoe", 1) == "general" and conversations.beside("general", -1) == "@zoe"
    conversations.close("ops")
    assert conversations.beside("general", 1) == "@ben"


def test_where_one_is_spoken_to_comes_first() -> None:
    conversations = made()
    assert conversations.next_unread("general") == "general"
    conversations.all["ops"].take(said("ben", "hello", 1))
    assert conversations.next_unread("general") == "ops"
    conversations.all["@zoe"].take(said("zoe", "hello", 2))
    assert conversations.next_unread("general") == "@zoe" and conversations.spoken_to() == 1
    assert conversations.next_unread("@zoe") == "ops"


def test_counts_have_a_bound() -> None:
    room = made().all["ops"]
    assert count_text(room) == ""
    room.unread = 3
    assert count_text(room) == "3"
    room.is_more = True
    assert count_text(room) == "3+"
    room.unread = 100
    assert count_text(room) == "99+"
