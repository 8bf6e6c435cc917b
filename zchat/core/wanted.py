"""The rooms that one session is to be a member of, whatever its broker has been told.

Rules of this file
1. A room is wanted by as many as have joined it: the last that leaves it parts.
2. Who joins one that is asked for already asks too: it is told what comes of it, as the first one is.
3. What the broker refused for now is asked for again, as it is wanted then.

Tests: tests/core/test_wanted.py.
"""

from __future__ import annotations

from zchat import wire
from zchat.core import Instant
from zchat.core.requests import REPEAT_SECONDS

LEFT_MAX = wire.ROOMS_PER_MESSAGE_MAX  # rooms that the session left last are remembered


class WantedRooms:
    """Of one session."""

    __slots__ = ("_joined", "_left", "_settle_at", "_unsettled", "rooms")

    def __init__(self) -> None:
        self.rooms: dict[str, int] = {}  # room -> listeners and explicit joins that want it
        self._joined: set[str] = set()  # those of them that the broker has said it is in
        self._left: dict[str, None] = {}  # rooms that it is out of: an older copy of the log may have it in them
        self._unsettled: dict[str, None] = {}  # a JOIN or PART of them was refused, for now
        self._settle_at = 0.0  # when that is asked for again

    @property
    def left(self) -> list[str]:
        """The rooms that it was in, and is not to be in."""
        return sorted(self._left)

    @property
    def is_settled(self) -> bool:
        """Whether nothing was refused."""
        return not self._unsettled

    def join(self, rooms: set[str]) -> list[str]:
        """One more wants these. Returns those that are to be joined."""
        fresh = sorted(rooms - self._joined)
        for room in rooms:
            self._left.pop(room, None)
            self.rooms[room] = self.rooms.get(room, 0) + 1
        return fresh

    def part(self, rooms: set[str]) -> list[str]:
        """One less wants these. Returns those that are to be left."""
        over = []
        for room in sorted(rooms & self.rooms.keys()):
            self.rooms[room] -= 1
            if not self.rooms[room]:
                del self.rooms[room]
                over.append(room)
        self._joined.difference_update(over)
        self._left.update(dict.fromkeys(over))
        while len(self._left) > LEFT_MAX:
            del self._left[next(iter(self._left))]
        return over

    def answered(self, rooms: list[str], *, are_joined: bool) -> None:
        """What came of joining these."""
        if are_joined:
            self._joined.update(self.rooms.keys() & rooms)
        else:
            self._joined.difference_update(rooms)

    def refused(self, rooms: list[str], now: Instant) -> None:
        """To join or to leave these was refused, for now."""
        self._unsettled.update(dict.fromkeys(rooms))
        self._settle_at = now.seconds + REPEAT_SECONDS

    def due(self, now: Instant) -> tuple[list[str], list[str]]:
        """The rooms that are to be joined, and to be left, once more."""
        if not self._unsettled or self._settle_at > now.seconds:
            return [], []
        rooms, self._unsettled = self._unsettled.keys(), {}
        return sorted(rooms & self.rooms.keys()), sorted(rooms - self.rooms.keys())
