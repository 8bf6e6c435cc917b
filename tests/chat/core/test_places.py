"""Cursors of conversations."""

from __future__ import annotations

from zchat.chat.core.places import cursor_of, places_of
from zchat.names import cursor_name


def test_each_conversation_has_a_cursor_and_is_found_by_it() -> None:
    names = ["general", "build.linux", "@bob", "会议", "r" * 128, "@" + "u" * 64]
    cursors = [cursor_of(name) for name in names]
    assert len(set(cursors)) == len(names)
    assert [cursor_name(cursor) for cursor in cursors] == cursors, "they are canonical names"
    assert places_of([*cursors, "billing"], ["other", "r" * 128]) == sorted(names[:-1])


def test_a_long_name_that_is_in_no_list_is_not_found() -> None:
    assert places_of([cursor_of("r" * 128)], ["general"]) == []
