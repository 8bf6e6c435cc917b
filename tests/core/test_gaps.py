"""Gaps that wait to be told: parts of one hole are one gap."""

from __future__ import annotations

from zchat.core.gaps import Gaps, Notice


def gap(first: int, last: int, room: str = "general", reason: str = "damaged") -> Notice:
    return Notice("gap", first, last, room, reason=reason)


def test_the_parts_of_a_hole_are_one_gap() -> None:
    gaps = Gaps()
    assert gaps.add(gap(41, 60)) is None
    assert gaps.add(gap(61, 90)) is None
    assert gaps.take("general") == [gap(41, 90)]
    assert gaps.take("general") == []


def test_another_reason_is_another_gap() -> None:
    gaps = Gaps()
    gaps.add(gap(41, 60))
    assert gaps.add(gap(61, 90, reason="trimmed")) == gap(41, 60)
    assert gaps.take("general") == [gap(61, 90, reason="trimmed")]


def test_rooms_have_their_own() -> None:
    gaps = Gaps()
    gaps.add(gap(41, 60))
    gaps.add(gap(50, 55, "build"))
    assert gaps.take("quiet") == []
    assert gaps.take_all() == [gap(41, 60), gap(50, 55, "build")]
    assert gaps.take_all() == []
