"""Damage is told once."""

from __future__ import annotations

from zchat.log.sqlite.trouble import DAMAGES_TOLD_MAX, Trouble


def test_each_damage_is_told_once_and_what_was_trimmed_never() -> None:
    told: list[str] = []
    trouble = Trouble(told.append)
    for _ in range(2):
        trouble.met([("a", 3, 5, "damaged"), ("a", 1, 2, "trimmed"), ("b", 3, 5, "damaged")])
    assert told == [
        "damage in the log: offsets 3 to 5 of a cannot be read",
        "damage in the log: offsets 3 to 5 of b cannot be read",
    ]


def test_it_is_not_told_without_end() -> None:
    told: list[str] = []
    trouble = Trouble(told.append)
    trouble.met([("a", number, number, "damaged") for number in range(2 * DAMAGES_TOLD_MAX)])
    assert len(told) == DAMAGES_TOLD_MAX


def test_nobody_needs_to_listen() -> None:
    Trouble(None).met([("a", 1, 1, "damaged")])
