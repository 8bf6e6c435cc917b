"""Hostile text made safe, people's text left alone."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchat.printable import cells, printable

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\x00b\x7fc\x9bd", r"a\x00b\x7fc\x9bd"),
        ("one\ntwo\r", r"one\ntwo\r"),
        ("\u202eevil\u2066\u200f", r"\u202eevil\u2066\u200f"),
        ("ad\u200bmin\ufeff\u00ad", r"ad\u200bmin\ufeff\xad"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("\ue000", r"\ue000"),
        ("\u3164\u115f\u034f", r"\u3164\u115f\u034f"),
        ("ad\u200dmin", r"ad\u200dmin"),
        ("\u200d会", r"\u200d会"),
        ("会\u200d", r"会\u200d"),
        ("会\u200d\u200d议", r"会\u200d\u200d议"),
        ("\ufe0f", r"\ufe0f"),
        ("❤\ufe0f\ufe0e", "❤\ufe0f" r"\ufe0e"),
    ],
)
def test_what_a_terminal_would_act_on_or_hide_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        'plain text, with \\ and "quotes"',
        "tab\tbetween",
        "你好，世界　全角空格",
        "no\u00a0break",
        "नमस्ते क्\u200dष",
        "می\u200cخواهم",
        "שלום",
        "❤\ufe0f",
        "👩\u200d👩\u200d👧",
        "👩🏽\u200d💻",
        "🏳\ufe0f\u200d🌈",
        "葛\U000e0100",
        "e\u0301",
    ],
)
def test_what_people_write_stays(text: str) -> None:
    assert printable(text) == text


def test_a_newline_stays_only_when_asked_for() -> None:
    assert printable("a\nb\r\x1b", newlines=True) == "a\nb" r"\r\x1b"
    assert printable("a\nb") == r"a\nb"


@given(ANY_TEXT, st.booleans())
def test_nothing_that_acts_or_hides_comes_out(text: str, newlines: bool) -> None:
    shown = printable(text, newlines=newlines)
    for character in shown.replace("\t", "").replace("\n", "" if newlines else "\n"):
        assert character.isprintable() or unicodedata.category(character) == "Zs" or character in "\u200c\u200d"
    shown.encode()  # no lone surrogate is left
    assert printable(shown, newlines=newlines) == shown
    assert ("\n" in shown) == (newlines and "\n" in text)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_plain_text_stays(text: str) -> None:
    assert printable(text) is text


def test_columns_of_wide_and_joined_characters() -> None:
    assert [cells(text) for text in ("abc", "漢字", "é", "e\u0301", "🎉", "")] == [3, 4, 1, 1, 2, 0]
