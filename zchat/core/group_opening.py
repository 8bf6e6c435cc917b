"""How a member of a group begins: where the group does, if it is new, and that its session is in the room.

    begins at a time, or with the last messages: SEEK ─► listen ─► JOIN ─► JOIN_GROUP, refused or done

Tests: tests/core/test_group_opening.py.
"""

from __future__ import annotations

from typing import NamedTuple

from zchat import wire
from zchat.core.answers import given
from zchat.core.deliveries import Start
from zchat.core.steps import Ask, BecomeMember, Listen, Steps, TakePart
from zchat.core.working import GroupWorker


class GroupBounds(NamedTuple):
    """What a member asks for."""

    max_in_flight: int
    ack_wait: int  # milliseconds
    max_deliveries: int


class GroupOpening:
    """What is to be opened."""

    def __init__(self, room: str, group: str, start: Start, bounds: GroupBounds, *, joins: bool) -> None:
        self._room = room
        self._group = group
        self._start = start
        self._bounds = bounds
        self._joins = joins

    def steps(self, number: int) -> Steps[GroupWorker]:
        """For a member of that number. Raises Refused, WireError."""
        worker = GroupWorker(number, self._room, self._group, *self._bounds)
        worker.after = self._start.after
        if self._start.last is not None or self._start.since is not None:
            question = self._start.seek([self._room], presence=False)
            worker.after = given((yield Ask(question)), wire.Position).after
        yield Listen(worker)
        if self._joins:
            worker.is_joined = True
            given((yield BecomeMember(worker.rooms)), wire.Done)
        given((yield TakePart(worker)), wire.Done)
        return worker
