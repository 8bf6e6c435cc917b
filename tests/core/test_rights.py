"""Rights: which rule has the word, what no rule names, and what is nobody's but one's own."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchat.core.rights import ADMIN, HISTORY, PRESENCE, READ, VERBS, WRITE, Rights, RoomRule, Rules
from zchat.errors import WireError
from zchat.names import matches


def rights(rooms: Mapping[str, Mapping[str, tuple[str, ...]]], *, is_open: bool = True) -> Rights:
    return Rights(Rules(is_open, tuple(RoomRule(pattern, who) for pattern, who in rooms.items())))


def may(of: Rights, user: str, room: str) -> list[str]:
    return [verb for verb in VERBS if of.may(user, verb, room)]


def test_without_rules_everybody_may_do_everything_but_with_another_users_inbox() -> None:
    of = Rights()
    assert may(of, "alice", "ops") == list(VERBS) and not of.has_rules
    assert may(of, "Alice", "@alice") == list(VERBS)
    assert may(of, "bob", "@alice") == [WRITE]
    assert of.is_public(READ, "ops") and not of.is_public(READ, "@alice")


def test_where_the_default_is_closed_nobody_may_do_what_no_rule_names() -> None:
    of = rights({"ops": {READ: ("alice",)}}, is_open=False)
    assert may(of, "alice", "ops") == [READ, PRESENCE, HISTORY]
    assert may(of, "bob", "ops") == may(of, "alice", "general") == []
    assert may(of, "bob", "@bob") == list(VERBS) and may(of, "alice", "@bob") == [WRITE]


def test_who_is_named_may_and_others_may_what_is_not_named() -> None:
    of = rights({"ops.**": {READ: ("alice", "ci.*")}})
    assert may(of, "alice", "ops.a") == list(VERBS)
    assert may(of, "ci.7", "ops.a.b") == list(VERBS)
    assert may(of, "bob", "ops.a") == [WRITE], "history and presence are as read, and admin needs both"
    assert may(of, "bob", "ops") == list(VERBS), "the pattern does not stand for it"


@pytest.mark.parametrize("order", [1, -1])
def test_the_most_exact_pattern_that_names_the_verb_has_the_word(order: int) -> None:
    said = [
        ("**", {READ: ("one",), WRITE: ("one",)}),
        ("ops.**", {READ: ("two",)}),
        ("ops.*", {READ: ("three",)}),
        ("*.b", {READ: ("four",)}),
        ("ops.b", {WRITE: ("five",)}),
    ]
    of = rights(dict(said[::order]), is_open=False)
    readers = {room: [user for user in ("one", "two", "three", "four", "five") if of.may(user, READ, room)]
               for room in ("x", "ops.b.c", "ops.b", "x.b")}  # fmt: skip
    assert readers == {"x": ["one"], "ops.b.c": ["two"], "ops.b": ["three"], "x.b": ["four"]}
    assert of.may("five", WRITE, "ops.b") and not of.may("one", WRITE, "ops.b") and of.may("one", WRITE, "x.b")


def test_admin_may_be_named_alone() -> None:
    of = rights({"a": {ADMIN: ("root",)}})
    assert may(of, "root", "a") == list(VERBS) and ADMIN not in may(of, "bob", "a")


def test_who_may_not_read_has_no_history_whatever_is_said_of_it() -> None:
    of = rights({"a": {READ: ("ann",), HISTORY: ("ann", "bob")}, "b": {READ: ("ann",), HISTORY: ("*",)}})
    assert [of.may(user, HISTORY, room) for room in "ab" for user in ("ann", "bob")] == [True, False, True, False]
    assert not of.is_public(HISTORY, "b") and of.may_of("ann", HISTORY)("b") and not of.may_of("bob", HISTORY)("b")


def test_nobody_is_a_list_too() -> None:
    of = rights({"a": {READ: ()}})
    assert may(of, "root", "a") == [WRITE]


def test_dead_letters_are_as_the_room_unless_a_rule_stands_for_them() -> None:
    of = rights({"jobs": {READ: ("alice",)}, "other.dead": {READ: ("*",)}, "other": {READ: ("alice",)}})
    assert of.may("alice", READ, "jobs.dead") and not of.may("bob", READ, "jobs.dead")
    assert of.may("bob", READ, "other.dead") and not of.may("bob", READ, "other")


def test_a_rule_for_all_rooms_opens_no_dead_letters_of_a_room_with_a_rule_of_its_own() -> None:
    everybody = {READ: ("*",), WRITE: ("*",)}
    of = rights({"**": everybody, "secret": {READ: ("alice",)}, "ops.**": {READ: ("alice",)}}, is_open=False)
    for room in ("secret.dead", "secret.dead.dead", "ops.x.dead", "ops.dead"):
        assert of.may("alice", READ, room) and not of.may("bob", READ, room) and of.may("bob", WRITE, room)
    assert of.may("bob", READ, "plain.dead") and of.may("bob", READ, "dead") and of.may("bob", READ, "secret.x")


def test_names_of_users_are_compared_as_names_are() -> None:
    of = rights({"a": {READ: ("straße", "web.*")}})
    assert of.may("STRASSE", READ, "a") == of.may("strasse", READ, "a")
    assert of.may("Web.Ann", READ, "a") and not of.may("web", READ, "a") and not of.may("xweb.a", READ, "a")


def test_what_is_refused_is_told_with_a_stable_code() -> None:
    of = rights({"a": {READ: ("alice",)}})
    of.check("alice", READ, "a")
    with pytest.raises(WireError, match="bob may not read a") as refused:
        of.check("bob", READ, "a")
    assert refused.value.code == "denied"


def test_other_rules_hold_at_once_and_users_in_the_same_lists_are_asked_for_as_one() -> None:
    of = rights({"a": {READ: ("alice", "ann")}})
    before = of.version
    of_ann, of_bob = of.may_of("ann", READ), of.may_of("bob", READ)
    assert of.may_of("alice", READ) is of_ann and of_ann is not of_bob
    assert (of_ann("a"), of_bob("a"), of_bob("b"), of_bob("@ann")) == (True, False, True, True)
    of.change(Rules())
    assert of.may("bob", READ, "a") and of.version > before and of.may_of("alice", READ) is of.may_of("bob", READ)
    assert not of_bob("a"), "who reads by rules that were, goes on by them"


SEGMENT = st.sampled_from(["a", "b", "c"])
ROOM = st.lists(SEGMENT, min_size=1, max_size=4).map(".".join)
PATTERN = st.builds(
    lambda parts, rest: ".".join([*parts, *rest]),
    st.lists(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=3),
    st.sampled_from([[], ["**"]]),
)
WHO = st.lists(st.sampled_from(["ann", "bob", "*"]), max_size=2).map(tuple)
RULE = st.dictionaries(st.sampled_from(VERBS), WHO, max_size=3)


@given(st.dictionaries(PATTERN, RULE, max_size=6), st.booleans(), st.sampled_from(["ann", "bob", "carol"]), ROOM)
def test_it_decides_as_the_rules_say(
    rooms: dict[str, dict[str, tuple[str, ...]]], is_open: bool, user: str, room: str
) -> None:
    def named(verb: str) -> bool | None:
        """By the most exact rule that names it."""
        fit = [
            (exactness(pattern), who[verb]) for pattern, who in rooms.items() if verb in who and matches(pattern, room)
        ]
        return None if not fit else bool({user, "*"} & set(min(fit)[1]))

    def exactness(pattern: str) -> list[int]:
        return [("*", "**").index(each) + 1 if "*" in each else 0 for each in pattern.split(".")]

    def first(*said: bool | None) -> bool:
        return next(each for each in said if each is not None)

    read, write = first(named(READ), is_open), first(named(WRITE), is_open)
    expected = {
        READ: read,
        WRITE: write,
        PRESENCE: first(named(PRESENCE), read),
        HISTORY: read and first(named(HISTORY), True),
        ADMIN: first(named(ADMIN), read and write),
    }
    of = rights(rooms, is_open=is_open)
    assert {verb: of.may(user, verb, room) for verb in VERBS} == expected
    everybody = {verb: of.is_public(verb, room) for verb in VERBS}
    assert all(of.may(user, verb, room) for verb in VERBS if everybody[verb])


def test_a_thousand_rules_cost_no_more_than_one() -> None:
    one = rights({"a.**": {READ: ("ann",)}})
    many = rights({f"a.r{number}.**": {READ: ("ann", f"u{number}")} for number in range(1_000)})

    def seconds(of: Rights) -> float:
        began = time.thread_time()
        for number in range(2_000):
            of.may("bob", READ, f"a.r{number % 100}.x")
        return time.thread_time() - began

    assert min(seconds(many) for _ in range(3)) < 10 * min(seconds(one) for _ in range(3))
