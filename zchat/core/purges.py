"""Rooms that are to be purged: what they have up to an offset goes from the log.

Rules of this file
1. What was broadcast by then goes, and nothing later.
2. What waits is bounded: one row for each room, handed to the log a few times a second.
3. A room of which nothing is left, and where nobody is, is not told of in ROOMS, until something is stored in it again.

Spec: docs/protocol.md, "Gaps". Tests: tests/core/test_purges.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from zchat import wire
from zchat.core.log import RetentionRule
from zchat.core.rooms import BrokerRoom
from zchat.errors import BadName, WireError
from zchat.names import room_name

WAITING_MAX = 256  # rooms
TAKEN_SECONDS = 0.1


class Purges:
    """What was asked for, and was not handed to the log."""

    def __init__(self, rooms: Mapping[str, BrokerRoom], empty: Iterable[str]) -> None:
        """`empty`: rooms that have no record when the broker starts."""
        self._rooms = rooms
        for name in empty:
            rooms[name].emptied = rooms[name].last
        self.upto: dict[str, int] = {}  # what waits: rooms, and up to which offset
        self._taken_at = 0.0

    def ask(self, purge: wire.Purge, head: int) -> None:
        """Raises BadName, WireError for what is no room, an offset that is not there yet, or too many at once."""
        name = purge.room
        if room_name(name) != name:
            raise BadName("room", name, "not in its canonical form")
        if purge.upto > head:
            raise WireError("bad-request", f"offset {purge.upto} is above the head, {head}")
        room = self._rooms.get(name)
        if room is None or not room.last:
            return
        if name not in self.upto and len(self.upto) >= WAITING_MAX:
            raise WireError("busy", f"{len(self.upto)} rooms are to be purged")
        upto = min(purge.upto or room.last, room.last)
        self.upto[name] = max(upto, self.upto.get(name, 0))
        if upto == room.last:
            room.emptied = upto

    def take(self, seconds: float) -> list[RetentionRule]:
        """What the log is to remove now."""
        if not self.upto or seconds - self._taken_at < TAKEN_SECONDS:
            return []
        self._taken_at = seconds
        taken, self.upto = self.upto, {}
        return [RetentionRule(name, upto=upto) for name, upto in taken.items()]
