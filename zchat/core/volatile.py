"""Volatile records are counted, so that a listener can tell how many of a room it lost.

    the broker:  base 900, prev 0   two records     a listener:  heard
                 base 900, prev 2   three records                (dropped on the way)
                 base 900, prev 5   one record                   3 are lost, then heard

Rules of this file
1. A volatile batch says how many volatile records of its room were broadcast before it (`prev`), and which count that
   is (`base`, a number that no other count has). Both ends keep a bounded number of rooms.
2. A room that the broker has forgotten begins a new count, so a loss is never told that was none, nor one that is too
   large: what was lost of the count before is not known then, and of the new one all is that came before.

Spec: docs/protocol.md, "Volatile". Tests: tests/core/test_volatile.py.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

from zchat import wire
from zchat.core import answers
from zchat.core.deliveries import Delivery
from zchat.core.gaps import Notice

ROOMS_COUNTED_MAX = 65_536  # at the broker; those that were quiet for longest are forgotten first
ROOMS_HEARD_MAX = 50_000  # at a listener; then all are forgotten


class Counts:
    """At the broker: the volatile records of each room."""

    def __init__(self, start: str, rooms_max: int = ROOMS_COUNTED_MAX) -> None:
        """`start` is the random name of this start of the broker: the counts of two starts are never the same."""
        self._rooms_max = rooms_max
        self._rooms: OrderedDict[str, tuple[int, int]] = OrderedDict()  # (base, count), the latest last
        self._begun = int.from_bytes(blake2b(start.encode(), digest_size=6).digest())  # the latest count

    def add(self, room: str, records: int) -> tuple[int, int]:
        """So many are broadcast now. Returns `base` and `prev` of their batch."""
        known = self._rooms.get(room)
        if known is None:
            self._begun += 1
            known = self._begun, 0
            if len(self._rooms) == self._rooms_max:
                self._rooms.popitem(last=False)
        base, prev = known
        self._rooms[room] = base, prev + records
        self._rooms.move_to_end(room)
        return base, prev


class Heard:
    """At one listener: how far each room's count has been heard, and what is to be told of it."""

    def __init__(self) -> None:
        self._rooms: dict[str, tuple[int, int]] = {}  # (base, count) up to which all was heard, or told of
        self._passed_over: dict[str, tuple[int, int]] = {}  # the same of what came while it takes no more

    def batch(self, room: str, batch: wire.Batch, size: int, *, paused: bool) -> list[Delivery | Notice]:
        """A batch came: what is to be delivered. While the listener takes no more, nothing: that is told later."""
        base, prev = batch.base, batch.prev
        reached = base, prev + answers.count(batch)
        if len(self._rooms) > ROOMS_HEARD_MAX:
            self._rooms.clear()
            self._passed_over.clear()
        known = self._passed_over.get(room) or self._rooms.get(room, (base, prev))
        if base == known[0] and prev < known[1]:
            return []  # a repeat
        if paused:
            self._rooms.setdefault(room, (base, prev))
            self._passed_over[room] = reached
            return []
        self._rooms[room] = reached
        return [*_lost(room, known, base, prev), Delivery(room, batch, 0, 0, size)]

    def paused(self, paused: bool) -> list[Notice]:
        """The listener takes no more, or takes more again: what it lost meanwhile."""
        lost: list[Notice] = []
        if not paused:
            for room, (base, count) in self._passed_over.items():
                lost += _lost(room, self._rooms[room], base, count)
            self._rooms |= self._passed_over
            self._passed_over.clear()
        return lost


def _lost(room: str, known: tuple[int, int], base: int, count: int) -> list[Notice]:
    """What is to be told when the room's count is there, and the listener had heard it up to `known`."""
    lost = count - known[1] if base == known[0] else count
    return [Notice("gap", room=room, records=lost, reason="volatile")] if lost > 0 else []
