"""Columns of a text."""

from __future__ import annotations

from zchat.chat.core.cells import cells


def test_wide_and_joined_characters() -> None:
    assert [cells(text) for text in ("abc", "漢字", "é", "e\u0301", "🎉", "")] == [3, 4, 1, 1, 2, 0]
