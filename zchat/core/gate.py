"""How many requests of a connection's sessions are out at a time: a broker refuses what is too much of one connection.

    sessions ask --enter--> sent at once, or waiting --leave, one by one--> sent

Rules of this file
1. Only what a broker works on for long is counted: reads of the log, and lists that it makes.
2. Who waits first goes first, whosever session it is.

Spec: docs/protocol.md, "Limits". Tests: tests/core/test_gate.py.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from zchat import wire
from zchat.core.answers import Request

OUT_MAX = 30  # a broker takes 32 reads of a connection
COUNTED = (
    *(wire.Fetch, wire.Seek, wire.Latest, wire.Search),
    *(wire.Heads, wire.Who, wire.Rooms, wire.Cursors, wire.Groups, wire.Scheduled),
)

SessionRequest = tuple[Hashable, int]  # the session, and the number of its request


class Gate:
    """Of one connection."""

    def __init__(self, out_max: int = OUT_MAX) -> None:
        self._out_max = out_max
        self._out: dict[SessionRequest, None] = {}
        self._waiting: OrderedDict[SessionRequest, None] = OrderedDict()

    def enter(self, session: Hashable, number: int, request: Request) -> bool:
        """It is asked, perhaps again. Returns whether it is to be sent now; else it waits, until `free` has it."""
        asked = session, number
        if not isinstance(request, COUNTED) or asked in self._out:
            return True
        if len(self._out) >= self._out_max:
            self._waiting[asked] = None
            return False
        self._waiting.pop(asked, None)
        self._out[asked] = None
        return True

    def leave(self, session: Hashable, number: int) -> None:
        """It was answered, or nobody waits for it any more."""
        self._out.pop((session, number), None)
        self._waiting.pop((session, number), None)

    def free(self) -> SessionRequest | None:
        """What is to be sent now that has waited; then `enter` for it. None: nothing, or there is no room."""
        if not self._waiting or len(self._out) >= self._out_max:
            return None
        return next(iter(self._waiting))

    def clear(self) -> None:
        """The connection is gone: all is asked again on the next one."""
        self._out.clear()
        self._waiting.clear()
