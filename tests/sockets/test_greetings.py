"""Who says no HELLO, for how long that is borne, and of how many."""

from __future__ import annotations

from zchat.sockets.greetings import HELLO_BUSY_SECONDS, HELLO_SECONDS, Greetings
from zchat.sockets.peer import Peer


def came(greetings: Greetings, descriptor: int, seconds: float, host: str = "192.0.2.1") -> Peer:
    peer = Peer(descriptor, (host, 40_000 + descriptor), seconds)
    greetings.came(peer)
    return peer


def test_who_says_nothing_is_due_after_some_seconds_and_told_of_once() -> None:
    greetings = Greetings(10)
    silent, speaks, goes = (came(greetings, number, 100.0) for number in range(3))
    greetings.done(speaks)
    greetings.done(goes)
    assert greetings.overdue(100.0 + HELLO_SECONDS, dry=True) == []
    assert greetings.overdue(100.1 + HELLO_SECONDS, dry=True) == [silent]
    assert greetings.overdue(200.0, dry=True) == []


def test_while_what_came_is_not_all_read_there_is_more_patience() -> None:
    greetings = Greetings(1)
    first, second = came(greetings, 1, 0.0), came(greetings, 2, 0.0)
    assert greetings.overdue(HELLO_BUSY_SECONDS, dry=False) == []
    assert greetings.overdue(HELLO_BUSY_SECONDS + 0.1, dry=False) == [first, second]


def test_the_oldest_of_an_address_with_too_many_go_first() -> None:
    greetings = Greetings(2)
    many = [came(greetings, number, 0.0) for number in range(5)]
    came(greetings, 9, 0.0, "192.0.2.2")
    assert greetings.overdue(1.0, dry=True) == many[:3]
    assert greetings.overdue(1.0, dry=True) == []


def test_a_descriptor_that_is_used_again_is_another_peer() -> None:
    greetings = Greetings(10)
    former = came(greetings, 1, 0.0)
    greetings.done(former)
    again = came(greetings, 1, 4.0)
    greetings.done(former)
    assert greetings.overdue(5.1, dry=True) == []
    assert greetings.overdue(9.1, dry=True) == [again]
