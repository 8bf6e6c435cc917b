"""What was typed, until it is in the conversation."""

from __future__ import annotations

from zchat.chat.core.outbox import TypedTexts


def test_it_goes_when_the_message_comes_before_or_after_it_is_stored() -> None:
    typed = TypedTexts()
    first, second = typed.add("hi"), typed.add("hi")
    typed.came(7, "hi", "message")
    assert typed.unsent == [second]
    typed.stored(first, 7)
    typed.stored(second, 8)
    assert second.state == "stored"
    typed.came(8, "hi", "message")
    assert typed.unsent == []


def test_an_offset_that_came_already_is_known_when_it_is_told() -> None:
    typed = TypedTexts()
    unsent = typed.add("hi :tada:")
    typed.came(7, "hi 🎉", "message")
    assert typed.unsent == [unsent]
    typed.stored(unsent, 7)
    assert typed.unsent == []


def test_what_failed_stays_until_it_is_sent_again() -> None:
    typed = TypedTexts()
    bad, good = typed.add("x" * 10), typed.add("waves", "action")
    typed.failed(bad, "too large")
    typed.came(3, "x" * 10, "message")
    assert [unsent.state for unsent in typed.unsent] == ["failed", "pending"] and bad.reason == "too large"
    assert typed.again() == [bad] and typed.unsent == [good] and typed.again() == []
    typed.came(4, "waves", "message")
    assert typed.unsent == [good], "another event"
