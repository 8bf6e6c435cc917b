"""What takes several requests, as steps: each one is carried out, and what comes of it says which is next.

    steps.send(answer) ─► Ask, Join, Listen … ─► StopIteration: done

Rules of this file
1. Who runs steps only waits: a thread, an event loop and the simulator run the same ones.
2. A step's answer is what the broker said, an ERROR too: the steps decide what it means.

Tests: tests/core/test_steps.py.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from zchat.core import Instant
from zchat.core.answers import Answer, Request

if TYPE_CHECKING:
    from zchat.core.client import ClientCore
    from zchat.core.listener import Listener

T = TypeVar("T")


class Ask(NamedTuple):
    """A request; done when it is answered."""

    request: Request


class BecomeMember(NamedTuple):
    """Become a member; done when that is answered, or was nothing to ask."""

    rooms: set[str]


class Listen(NamedTuple):
    """Subscribe; done, without an answer, once everything from then on will be delivered."""

    listener: Listener


Step: TypeAlias = Ask | BecomeMember | Listen
Steps: TypeAlias = Generator[Step, Answer, T]


def begin(step: Step, core: ClientCore, now: Instant) -> int:
    """Carry it out. Returns the number of the request whose answer it waits for; 0: it waits for none."""
    match step:
        case Ask(request):
            return core.ask(request, now)
        case BecomeMember(rooms):
            return core.join(rooms, now)
        case Listen(listener):
            core.listen(listener, now)
            return 0
