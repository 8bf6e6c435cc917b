"""What goes out to a listener comes in order: gaps before what follows them, marks behind what they stand for."""

from __future__ import annotations

from zchat import wire
from zchat.core.deliveries import Delivery, Mark
from zchat.core.gaps import Notice
from zchat.core.telling import GAPS_HELD_MAX, Telling


def delivery(room: str, offset: int) -> Delivery:
    return Delivery(room, wire.Batch(wire.MESSAGES, offset, 0, 1, [wire.Entry("u", "s", 1, [b"x"])]), offset, offset, 9)


def gap(room: str, first: int, last: int, reason: str = "trimmed") -> Notice:
    return Notice("gap", first, last, room, reason=reason)


def test_a_gap_is_told_before_the_next_batch_of_its_room_as_one() -> None:
    telling = Telling(marks=False)
    telling.gap(gap("a", 1, 5))
    telling.gap(gap("b", 6, 6))
    telling.gap(gap("a", 7, 9))
    assert telling.take() == []
    telling.comes("a")
    telling.deliver(delivery("a", 10))
    assert telling.take() == [gap("a", 1, 9), delivery("a", 10)]
    telling.all_gaps()
    assert telling.take() == [gap("b", 6, 6)]


def test_a_gap_of_another_reason_is_another_gap() -> None:
    telling = Telling(marks=False)
    telling.gap(gap("a", 1, 5))
    telling.gap(gap("a", 6, 9, "damaged"))
    assert telling.take() == [gap("a", 1, 5)]


def test_gaps_of_too_many_rooms_are_told_as_they_are() -> None:
    telling = Telling(marks=False)
    for number in range(GAPS_HELD_MAX + 1):
        telling.gap(gap(f"r{number}", number + 1, number + 1))
    assert len(telling.take()) == GAPS_HELD_MAX + 1 and not len(telling.gaps)


def test_marks_are_for_who_wants_them_and_rise() -> None:
    without, telling = Telling(marks=False), Telling(marks=True)
    without.reached(40)
    assert without.take() == [] and not without.wants_mark
    telling.deliver(delivery("a", 40))
    telling.gap(gap("b", 38, 39))
    assert telling.wants_mark
    telling.reached(40)
    telling.reached(40)
    assert telling.take() == [delivery("a", 40), gap("b", 38, 39), Mark(40)] and not telling.wants_mark


def test_other_offsets_are_told_behind_all_of_the_former_log() -> None:
    telling = Telling(marks=True)
    telling.deliver(delivery("a", 40))
    telling.reached(40)
    telling.gap(gap("a", 41, 45))
    changed = Notice("gap", 46, 0, reason="log")
    telling.other_offsets(changed)
    telling.deliver(delivery("a", 3))
    telling.reached(3)
    assert telling.take() == [delivery("a", 40), Mark(40), gap("a", 41, 45), changed, delivery("a", 3), Mark(3)]


def test_what_happens_to_the_connection_is_told_once_and_in_its_place() -> None:
    telling = Telling(marks=False)
    telling.lost("before it was live")
    telling.live(40, is_synced=True)
    telling.lost("cut")
    telling.broken("silent")
    telling.stranger("another broker")
    telling.recovered(3)
    telling.live(50, is_synced=True)
    assert telling.take() == [
        Notice("live", 40),
        Notice("lost", reason="cut"),
        Notice("stranger", reason="another broker"),
        Notice("back", records=3),
    ]
