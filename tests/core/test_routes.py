"""Who what comes on a topic is for: found by room and pattern, as if each listener had been asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zchat.core.listener import Listener
from zchat.core.ordering import OrderedDelivery, Start
from zchat.core.routes import TOPICS_CACHED_MAX, Routes
from zchat.names import matcher, topic, topic_prefix

ROOMS = ("a", "a.b", "a.c", "b", "b.x.y", "@ann")
PATTERNS = (["a"], ["b", "a"], ["a.*"], ["**"], ["a.**", "a.b"], ["@ann"], ["b.*.y", "b"])


def listener_of(*patterns: str) -> Listener:
    return Listener(list(patterns), OrderedDelivery(list(patterns), Start(), False))


def test_a_topic_is_subscribed_to_with_its_first_listener_and_given_up_with_its_last() -> None:
    routes = Routes()
    one, other = listener_of("a", "a", "b.*"), listener_of("a")
    routes.add(one)
    routes.add(other)
    assert routes.take() == [(True, topic("a")), (True, topic_prefix("b.*"))]
    routes.remove(one)
    assert routes.take() == [(False, topic_prefix("b.*"))]
    routes.remove(other)
    assert (routes.take(), routes.take()) == ([(False, topic("a"))], [])


def test_a_listener_is_found_once_however_many_of_its_patterns_fit() -> None:
    routes, listener = Routes(), listener_of("a.b", "a.*", "**")
    routes.add(listener)
    room, found = routes.of(topic("a.b"))
    assert (room, list(found)) == ("a.b", [listener])


def test_what_is_no_topic_of_a_room_is_for_nobody() -> None:
    routes = Routes()
    routes.add(listener_of("**"))
    for wrong in (b"", b"#", b"#a", b"#\xff\xfe\0", b"!a\0", b"#" + b"x" * 200 + b"\0"):
        assert list(routes.of(wrong)[1]) == []


def test_what_is_kept_of_topics_is_bounded() -> None:
    routes = Routes()
    routes.add(listener_of("**"))
    for number in range(TOPICS_CACHED_MAX + 10):
        assert len(list(routes.of(topic(f"room.{number}"))[1])) == 1
    assert len(routes._known) <= TOPICS_CACHED_MAX + 1


def test_nobody_asks_ten_thousand_listeners_whose_room_it_is() -> None:
    routes = Routes()
    for number in range(10_000):
        routes.add(listener_of(f"user.{number}", "all"))
    assert len(list(routes.of(topic("user.77"))[1])) == 1
    assert len(list(routes.of(topic("all"))[1])) == 10_000
    assert len(routes._patterns) == 0 and len(routes._rooms) == 10_001


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(PATTERNS)), max_size=30))
def test_the_listeners_of_a_room_are_those_whose_patterns_stand_for_it(steps: list[tuple[int, list[str]]]) -> None:
    routes, there, subscribed = Routes(), dict[int, Listener](), set[bytes]()
    for number, patterns in steps:
        if number in there:
            routes.remove(there.pop(number))
        else:
            there[number] = listener_of(*patterns)
            routes.add(there[number])
        for subscribes, name in routes.take():
            (subscribed.add if subscribes else subscribed.remove)(name)
        names = {name for each in there.values() for name in each.patterns}
        assert subscribed == {topic_prefix(name) for name in names if name != "@ann"}  # which comes another way
        assert all(("@ann" in each.patterns) == (b"@ann\0" in routes.direct_of(each)) for each in there.values())
        for room in ROOMS:
            found = list(routes.of(topic(room))[1])
            assert len(found) == len(set(found))
            assert set(found) == {each for each in there.values() if matcher(each.patterns)(room)}
