"""What waits for a gap to be filled: in order, and bounded in bytes."""

from __future__ import annotations

from tests.core.test_answers import batch
from zchat.core.held import HELD_BYTES_MAX, RECORD_BYTES, Held, cost


def test_it_gives_them_back_in_order() -> None:
    held = Held()
    for base in (1, 3, 5):
        assert held.add("a", batch(base), 10)
    bases = []
    while held:
        room, first, size = held.first
        assert (room, size) == ("a", 10)
        bases.append(first.base)
        held.pop()
    assert bases == [1, 3, 5] and held.bytes == 0


def test_past_its_bound_all_are_dropped() -> None:
    held = Held()
    assert held.add("a", batch(1), HELD_BYTES_MAX // 2)
    assert not held.add("a", batch(3), HELD_BYTES_MAX // 2)
    assert not held and held.bytes == 0


def test_many_small_records_count_by_what_they_take() -> None:
    assert cost(batch(1, records=1000)) - cost(batch(1, records=1)) == 999 * RECORD_BYTES
    held = Held()
    assert not held.add("a", batch(1, records=HELD_BYTES_MAX // RECORD_BYTES), 10)
