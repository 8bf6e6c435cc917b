"""Who says no HELLO, for how long that is borne, and of how many."""

from __future__ import annotations

from zchat.settings import Settings
from zchat.sockets.greetings import HELLO_BUSY_SECONDS, HELLO_SECONDS, Greetings
from zchat.sockets.peer import Peer


def greetings_of(address: int, in_all: int = 100, *, ends: bool = True) -> Greetings:
    return Greetings(Settings(address_silent_max=address, silent_max=in_all), ends=ends)


def overdue(greetings: Greetings, seconds: float, *, dry: bool = True) -> list[Peer]:
    return [peer for peer, _ in greetings.overdue(seconds, dry=dry)]


def came(greetings: Greetings, descriptor: int, seconds: float, host: str = "192.0.2.1") -> Peer:
    peer = Peer(descriptor, (host, 40_000 + descriptor), seconds)
    greetings.came(peer)
    return peer


def test_who_says_nothing_is_due_after_some_seconds_and_told_of_once() -> None:
    greetings = greetings_of(10)
    silent, speaks, goes = (came(greetings, number, 100.0) for number in range(3))
    greetings.done(speaks)
    greetings.done(goes)
    assert overdue(greetings, 100.0 + HELLO_SECONDS) == []
    assert overdue(greetings, 100.1 + HELLO_SECONDS) == [silent]
    assert overdue(greetings, 200.0) == []


def test_while_what_came_is_not_all_read_there_is_more_patience() -> None:
    greetings = greetings_of(1)
    first, second = came(greetings, 1, 0.0), came(greetings, 2, 0.0)
    assert overdue(greetings, HELLO_BUSY_SECONDS, dry=False) == []
    assert overdue(greetings, HELLO_BUSY_SECONDS + 0.1, dry=False) == [first, second]


def test_the_oldest_of_an_address_with_too_many_go_first() -> None:
    greetings = greetings_of(2)
    many = [came(greetings, number, 0.0) for number in range(5)]
    came(greetings, 9, 0.0, "192.0.2.2")
    assert overdue(greetings, 1.0) == many[:3]
    assert overdue(greetings, 1.0) == []


def test_a_descriptor_that_is_used_again_is_another_peer() -> None:
    greetings = greetings_of(10)
    former = came(greetings, 1, 0.0)
    greetings.done(former)
    again = came(greetings, 1, 4.0)
    greetings.done(former)
    assert overdue(greetings, 5.1) == []
    assert overdue(greetings, 9.1) == [again]


def test_above_the_bound_of_all_the_address_with_most_loses_its_oldest() -> None:
    greetings = greetings_of(5, 6)
    many = [came(greetings, number, 0.0) for number in range(5)]
    few = [came(greetings, number, 0.0, "192.0.2.2") for number in range(5, 8)]
    assert greetings.overdue(1.0, dry=True) == [(many[0], "silent_max"), (many[1], "silent_max")]
    for peer in (*many, *few):
        greetings.done(peer)
    more = [came(greetings, number, 2.0, "192.0.2.2") for number in range(7)]
    assert greetings.overdue(3.0, dry=True) == [(more[0], "address_silent_max"), (more[1], "address_silent_max")]


def test_nothing_is_kept_of_those_who_come_speak_and_go_while_one_stays_silent() -> None:
    greetings = greetings_of(2, ends=False)
    stays = came(greetings, 1, 0.0)
    for number in range(2, 1_000):
        greetings.done(came(greetings, number, float(number), f"192.0.2.{number % 200}"))
        assert overdue(greetings, float(number)) == []
    assert list(greetings.silent.values()) == [stays]


def test_a_subscriber_may_take_its_time() -> None:
    greetings = greetings_of(2, ends=False)
    first = came(greetings, 1, 0.0)
    assert overdue(greetings, 1_000.0) == []
    came(greetings, 2, 0.0), came(greetings, 3, 0.0)
    assert overdue(greetings, 1_000.0) == [first]
