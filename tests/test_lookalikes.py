"""Names that look like others are told of, and those that do not are not."""

from __future__ import annotations

import pytest

from zchat.lookalikes import Lookalikes, doubts, mixture, shape


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("alice", "аӏісе"),
        ("Alice", "AIice"),
        ("bob", "b0b"),
        ("paul", "pau1"),
        ("tim", "tirn"),
        ("vera", "νerа"),
        ("w", "vv"),
    ],
)
def test_what_is_hard_to_tell_apart_has_one_shape(one: str, other: str) -> None:
    assert shape(one) == shape(other)


@pytest.mark.parametrize("names", [("alice", "alica"), ("李明", "李朋"), ("müller", "muller"), ("анна", "anna2")])
def test_what_is_easy_to_tell_apart_has_not(names: tuple[str, str]) -> None:
    assert shape(names[0]) != shape(names[1])


def test_scripts_that_look_alike_are_not_mixed_and_others_may_be() -> None:
    assert mixture("аlice") == "mixes Cyrillic and Latin letters"
    assert mixture("alicε") == "mixes Greek and Latin letters"
    for name in ("alice", "анна", "Ελένη", "李明-a", "ひらがなABC", "müller", "bot.7_x", "नमस्ते"):
        assert mixture(name) == ""


def test_each_name_is_doubted_once_when_it_is_seen_first() -> None:
    seen = Lookalikes()
    assert [seen.doubt(user) for user in ("alice", "ALICE", "aIice", "aIice", "bob", "bоb", "раул")] == [
        *("", "", "looks like alice", "", "", "looks like bob", ""),
    ]


def test_all_that_look_alike_are_named_in_a_list_and_two_spellings_of_one_user_are_none() -> None:
    assert doubts(["alice", "Alice", "bob", "aIice", "сarol"]) == {
        "alice": "looks like aIice",
        "aIice": "looks like alice",
        "сarol": "mixes Cyrillic and Latin letters",
    }
