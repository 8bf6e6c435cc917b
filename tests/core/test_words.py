"""Words of texts in any script, and what a search asks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchat import wire
from zchat.core.words import (
    ASKED_MAX,
    PHRASES_MAX,
    TEXT_BYTES_MAX,
    WORD_MAX,
    Finder,
    Phrase,
    asked_for,
    searched,
    words,
    words_of,
)
from zchat.errors import WireError
from zchat.wire.records import FILE_EVENT


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Deploy of build.linux: FAILED!", ["deploy", "of", "build", "linux", "failed"]),
        ("snake_case https://example.com/a?b=1", ["snake", "case", "https", "example", "com", "a", "b", "1"]),
        ("Café Straße ÅNGSTRÖM", ["cafe", "strasse", "angstrom"]),
        ("Москва не Йошкар", ["москва", "не", "иошкар"]),
        ("我们的会议 at 3pm", ["我", "们", "的", "会", "议", "at", "3pm"]),
        ("한국어 テスト", ["한", "국", "어", "テ", "ス", "ト"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),  # marks are part of a word
        ("ﬁne ＡＢＣ", ["fine", "abc"]),
        ("x" * 200, ["x" * WORD_MAX]),
        ("… !? 🎉", []),
        ("", []),
    ],
)
def test_words_have_no_case_no_accents_and_no_punctuation(text: str, found: list[str]) -> None:
    assert words(text) == found


@given(st.text())
def test_words_of_words_are_the_same_words(text: str) -> None:
    found = words(text)
    assert words(" ".join(found)) == found and all(found)


def test_what_is_no_text_has_no_words_and_of_a_long_text_only_the_beginning_counts() -> None:
    assert words_of(b"ok \xff\xfe") == []
    assert words_of("é".encode() * TEXT_BYTES_MAX) == ["e" * WORD_MAX]  # cut in the middle of a character
    assert words_of(b"a " * TEXT_BYTES_MAX + b"end")[-1] == "a"


def test_a_piece_of_a_file_has_no_words() -> None:
    assert searched(b"one") == searched(wire.Record(b"one", "note")) == b"one"
    assert searched(wire.Record(b"one", FILE_EVENT)) == b""


def test_what_is_asked_for_is_words_beginnings_and_phrases() -> None:
    assert asked_for('deploy fail* "No Space" "left on"* deploy') == [
        Phrase(("deploy",)),
        Phrase(("fail",), True),
        Phrase(("no", "space")),
        Phrase(("left", "on"), True),
    ]
    assert asked_for("build.linux 会议") == [Phrase(("build", "linux")), Phrase(("会", "议"))]
    assert asked_for('"open quote') == [Phrase(("open",)), Phrase(("quote",))]


@pytest.mark.parametrize(
    "asked", ["", "  ", "!!", '""', "x" * (ASKED_MAX + 1), " ".join(map(str, range(PHRASES_MAX + 1)))]
)
def test_nothing_or_too_much_is_refused(asked: str) -> None:
    with pytest.raises(WireError) as caught:
        asked_for(asked)
    assert caught.value.code == "bad-request"


@pytest.mark.parametrize(
    ("asked", "text", "is_found"),
    [
        ("space left", "no space left on device", True),
        ("left space", "no space left on device", True),
        ('"space left"', "no space left on device", True),
        ('"left space"', "no space left on device", False),
        ('"no space le"*', "no space left on device", True),
        ('"space no le"*', "no space left on device", False),
        ("dev*", "no space left on device", True),
        ("dev", "no space left on device", False),
        ("会议", "我们的会议", True),
        ("议会", "我们的会议", False),
        ("strasse", "Straße", True),
        ("café", "CAFE", True),
        ("kelvin k", "KELVIN \u212a", True),  # folds to a letter of ASCII
    ],
)
def test_a_message_is_found_that_has_all(asked: str, text: str, is_found: bool) -> None:
    assert Finder(asked_for(asked)).finds(text.encode()) is is_found


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_part_of_a_text_is_found_as_a_phrase(before: str, part: str) -> None:
    wanted = " ".join(words(part))
    if wanted and len(wanted) <= ASKED_MAX - 2:
        assert Finder(asked_for(f'"{wanted}"')).finds(f"{before} {wanted} end".encode())
