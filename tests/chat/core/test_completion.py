"""What Tab offers."""

from __future__ import annotations

import pytest

from zchat.chat.core.completion import KnownNames, offers, path_before, users_first

NAMES = KnownNames(["Ben", "anna", "alice"], ["general", "ops", "ops.web"])


@pytest.mark.parametrize(
    ("before", "texts", "begin"),
    [
        ("@a", ["@anna ", "@alice "], 0),
        ("hi @be", ["@Ben "], 3),
        ("see #op", ["#ops ", "#ops.web "], 4),
        ("/jo", ["/join "], 0),
        ("/join o", ["ops ", "ops.web "], 6),
        ("/join #ge", ["general "], 7),
        ("/msg b", ["Ben "], 5),
        ("so :tad", ["🎉"], 3),
        ("al", ["alice: "], 0),
        ("ask al", ["alice "], 4),
        ("", [], 0),
        ("x :", [], 0),
        ("zzz", [], 0),
    ],
)
def test_words(before: str, texts: list[str], begin: int) -> None:
    found = offers(before, NAMES)
    assert [offer.text for offer in found] == texts
    assert all(offer.begin == begin for offer in found)


def test_an_empty_sign_offers_all() -> None:
    assert len(offers("@", NAMES)) == 3 and len(offers("#", NAMES)) == 3 and len(offers("/", NAMES)) > 5


def test_a_path_is_wanted_behind_file() -> None:
    assert path_before("/file ~/a b") == "~/a b" and path_before("/me /file x") is None


def test_who_spoke_last_is_offered_first_and_oneself_last() -> None:
    assert users_first(["ann", "ben", "Me"], ["zoe", "ann", "cat"], "me") == ["ben", "ann", "cat", "zoe", "Me"]
