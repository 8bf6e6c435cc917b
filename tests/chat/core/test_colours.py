"""Colours of users."""

from __future__ import annotations

from zchat.chat.core.colours import COLOURS, colour_of


def test_a_colour_is_of_the_name_in_any_case_and_all_are_used() -> None:
    assert colour_of("Ann") == colour_of("ann") == 11
    assert {colour_of(f"user{number}") for number in range(200)} == set(range(COLOURS))
