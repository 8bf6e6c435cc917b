"""What is unread, and where the line of what is new is."""

from __future__ import annotations

from tests.chat.core.made import said
from zchat.chat.core.conversation import Conversation


def test_what_others_said_is_unread_until_it_was_read() -> None:
    room = Conversation("general", "ann", read_upto=2)
    speaks = [
        room.take(record)
        for record in (
            said("ben", "old", 2),
            said("ben", "hi", 3),
            said("Ann", "mine", 4),
            said("ben", "", 5, kind="join"),
            said("ben", "@ann look", 6),
            said("ben", "a topic", 7, kind="topic"),
        )
    ]
    assert (room.unread, room.mentions, room.topic) == (2, 1, "a topic")
    assert speaks == [False, False, False, False, True, False]
    assert room.read(3) and (room.unread, room.mentions) == (1, 1)
    assert not room.read(3) and room.read(7) and (room.unread, room.mentions) == (0, 0)


def test_nothing_is_unread_where_one_comes_for_the_first_time() -> None:
    room = Conversation("general", "ann")
    room.take(said("ben", "ann!", 9))
    room.live(9)
    assert (room.read_upto, room.unread, room.mentions) == (9, 0, 0)
    room.take(said("ben", "more", 10))
    assert room.unread == 1


def test_each_direct_message_speaks_to_the_user() -> None:
    direct = Conversation("@ben", "ann")
    assert direct.take(said("ben", "hi", 1)) and not direct.take(said("ann", "hi", 2))
    direct.live(2)
    assert (direct.unread, direct.mentions, direct.title) == (1, 1, "@ben")


def test_the_line_of_what_is_new_stays_while_one_looks() -> None:
    room = Conversation("general", "ann", read_upto=1)
    room.take(said("ben", "hi", 2))
    room.entered()
    room.read(2)
    assert room.new_after == 1
    room.entered()
    assert room.new_after is None


def test_members_come_and_go() -> None:
    room = Conversation("general", "ann")
    room.take(said("ben", "", 1, kind="join"))
    assert [user for user, _ in room.members.users()] == ["ben"]
    room.take(said("ben", "", 2, kind="leave"))
    assert not room.members.users()
