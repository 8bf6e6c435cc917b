"""Tables of the index: what is written of a message, and what finds it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zchat.core.words import asked_for, words
from zchat.log.search import tables

ROWS = {
    1: ("deploy of build failed", "ops", "alice"),
    2: ("Café 会议", "build.linux.arm", "bob"),
    3: ("deploy", "@bob", "alice"),
    4: ("deploy again", "build", "bob"),
    tables.RANGE + 1: ("deploy the newest", "ops", "bob"),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / tables.FILE
    with closing(tables.make_file(path)) as index:
        for offset, (text, room, user) in ROWS.items():
            if tables.number_of(offset) not in tables.numbers(index):
                tables.make(index, tables.number_of(offset))
            row = offset, tables.text_of(words(text)), tables.room_words(room), tables.user_word(user)
            tables.add(index, tables.number_of(offset), [row])
        tables.finish(index, 0)
        tables.set_meta(index, upto=max(ROWS), log_id="log")
    return path


def find(path: Path, asked: str, *patterns: str, user: str = "") -> list[int]:
    with closing(tables.connect(path, "ro")) as index:
        expression = tables.expression(asked_for(asked), patterns, user)
        return [
            offset
            for number in tables.numbers(index)
            for offset in tables.find(index, number, expression, 0, 2 * tables.RANGE, 10)
        ]


@pytest.mark.parametrize(
    ("asked", "patterns", "user", "offsets"),
    [
        ("deploy", ["**"], "", [tables.RANGE + 1, 4, 1]),
        ("deploy", ["**", "@bob"], "", [tables.RANGE + 1, 4, 3, 1]),
        ("deploy", ["@bob"], "", [3]),
        ("deploy", ["build"], "", [4]),
        ("deploy", ["**"], "bob", [tables.RANGE + 1, 4]),
        ("cafe", ["build.**"], "", [2]),
        ("cafe", ["build.linux.*"], "", [2]),
        ("cafe", ["build"], "", []),
        ("会议", ["*.linux.arm"], "", [2]),
        ("议会", ["**"], "", []),
        ("dep*", ["ops"], "", [tables.RANGE + 1, 1]),
        ('"of build"', ["**"], "", [1]),
        ('"build of"', ["**"], "", []),
        ("caf*", ["**"], "", [2]),
    ],
)
def test_what_is_asked_for_is_found_newest_first(
    path: Path, asked: str, patterns: list[str], user: str, offsets: list[int]
) -> None:
    assert find(path, asked, *patterns, user=user) == offsets


@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_no_text_makes_an_expression_that_is_wrong(text: str, other: str) -> None:
    connection = sqlite3.connect(":memory:")
    with closing(connection):
        tables.make(connection, 0)
        if wanted := words(text):
            tables.add(connection, 0, [(1, tables.text_of([*words(other), *wanted]), tables.room_words("a"), "")])
            phrase = " ".join(wanted)[:200]
            assert tables.find(connection, 0, tables.expression(asked_for(f'"{phrase}"*'), ["**"], ""), 0, 9, 9) == [1]


def test_what_the_log_has_trimmed_goes_with_its_table(path: Path) -> None:
    with closing(tables.open_to_write(path)) as index:
        tables.drop(index, 0)
        assert tables.numbers(index) == [1]
        assert tables.meta(index) == {"upto": max(ROWS), "log_id": "log"}
    assert find(path, "deploy", "**") == [tables.RANGE + 1]


def test_the_file_is_for_its_owner_alone(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
