"""What subscribers subscribe to is counted in bytes: of each, and of all different topics together."""

from __future__ import annotations

from zchat.settings import Settings
from zchat.sockets.peer import Peer
from zchat.sockets.topics import Topics

SETTINGS = Settings(connection_subscriptions_max=4, connection_topic_bytes_max=40, topic_bytes_max=60)


def peers(count: int) -> list[Peer]:
    return [Peer(number, ("192.0.2.1", number), 0.0) for number in range(count)]


def test_a_peer_has_so_many_topics_of_so_many_bytes_and_one_more_is_why_it_goes() -> None:
    topics = Topics(SETTINGS)
    many, large = peers(2)
    assert [topics.add(many, b"%d" % number) for number in range(5)] == [
        None,
        None,
        None,
        None,
        ("connection_subscriptions_max", "subscribes to more than 4 topics"),
    ]
    assert topics.add(large, b"x" * 40) is None
    bytes_of_one = ("connection_topic_bytes_max", "subscribes to topics of more than 40 bytes")
    assert topics.add(large, b"y") == bytes_of_one


def test_a_topic_that_many_have_counts_once_and_until_the_last_has_gone() -> None:
    topics = Topics(SETTINGS)
    alice, bob = peers(2)
    for peer in (alice, bob, alice):  # to subscribe twice is the same
        topics.add(peer, b"general")
    assert (topics.bytes, alice.topic_bytes) == (7, 7)
    topics.remove(alice, b"general")
    topics.remove(alice, b"never had")
    assert (topics.bytes, alice.topic_bytes) == (7, 0)
    topics.forget(bob)
    assert (topics.bytes, bob.topics) == (0, set())


def test_when_all_have_too_much_together_the_one_with_most_is_named() -> None:
    topics = Topics(SETTINGS)
    small, large, other = everybody = peers(3)
    topics.add(small, b"a" * 20)
    topics.add(large, b"b" * 30)
    assert topics.largest_of(everybody) is None
    topics.add(other, b"c" * 11)
    found = topics.largest_of(everybody)
    assert found is not None and found[0] is large and found[1].limit == "topic_bytes_max"
    assert "more than 60 bytes together" in found[1].why
