"""What was typed before."""

from __future__ import annotations

from zchat.chat.core.recall import KEPT_MAX, Recall


def test_back_and_forth_loses_nothing() -> None:
    recall = Recall()
    assert recall.older("x") is None and recall.newer() is None
    for line in ("one", "two", "two", ""):
        recall.add(line)
    assert [recall.older("draft"), recall.older("two"), recall.older("one")] == ["two", "one", None]
    assert [recall.newer(), recall.newer(), recall.newer()] == ["two", "draft", None]


def test_it_is_bounded() -> None:
    recall = Recall()
    for number in range(KEPT_MAX + 5):
        recall.add(str(number))
    lines = [recall.older("") for _ in range(KEPT_MAX + 1)]
    assert lines[-1] is None and lines[-2] == "5"
