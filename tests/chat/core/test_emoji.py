"""Emoji by name."""

from __future__ import annotations

from zchat.chat.core.emoji import SHORT, beginning, emoji, with_emoji
from zchat.printable import printable


def test_short_names_and_those_of_unicode() -> None:
    assert with_emoji("done :tada: :hot_pepper: 👍") == "done 🎉 🌶 👍"
    assert emoji("rocket") == "🚀" and emoji("nothing_of_the_kind") == ""
    assert beginning("sm") == ["smile", "smiley"]


def test_what_is_no_emoji_stays() -> None:
    for text in ("12:34:56", "a:b:c", ":no_such:", "`:tada:`", ":latin_small_letter_a:", "http://x:80/:y"):
        assert with_emoji(text) == text


def test_each_can_be_shown_as_it_is() -> None:
    assert all(printable(found) == found for found in SHORT.values())
