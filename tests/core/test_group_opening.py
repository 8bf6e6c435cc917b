"""How a member of a group begins."""

from __future__ import annotations

from typing import Any

import pytest

from zchat import wire
from zchat.core.deliveries import Start
from zchat.core.group_opening import GroupBounds, GroupOpening
from zchat.core.steps import Ask, BecomeMember, Listen, TakePart
from zchat.errors import Refused

DONE = wire.Done(1)


def opened(start: Start, *answers: Any, joins: bool = True) -> tuple[list[Any], Any]:
    """What it did, and the worker that came of it."""
    steps, did, left = GroupOpening("jobs", "g", start, GroupBounds(8, 100, 2), joins=joins).steps(3), [], list(answers)
    try:
        step = next(steps)
        while True:
            did.append(type(step))
            step = steps.send(left.pop(0))
    except StopIteration as end:
        return did, end.value


@pytest.mark.parametrize("start", [Start(), Start(after=7)])
def test_it_is_heard_then_joined_then_a_member(start: Start) -> None:
    did, worker = opened(start, DONE, DONE, DONE)
    assert did == [Listen, BecomeMember, TakePart] and worker.is_joined and worker.after == start.after
    assert (worker.number, worker.max_in_flight, worker.ack_wait, worker.max_deliveries) == (3, 8, 100, 2)


@pytest.mark.parametrize("start", [Start(last=5), Start(since=9)])
def test_where_a_new_group_begins_is_asked_for(start: Start) -> None:
    did, worker = opened(start, wire.Position(1, 41, 50), DONE, DONE, joins=False)
    assert did == [Ask, Listen, TakePart] and worker.after == 41 and not worker.is_joined


def test_what_is_refused_is_raised() -> None:
    with pytest.raises(Refused, match="over-limit"):
        opened(Start(), DONE, DONE, wire.Error("request", 1, "over-limit", ""))
