"""One member of a group: where it is, what it has, and how much more it takes.

    max_in_flight 8:  out 3   late 2 (its ack wait is over: they go to others, and it has them still)   free 3

Spec: docs/protocol.md, "Groups". Tests: tests/core/test_group_member.py.
"""

from __future__ import annotations

from zchat.core.channels import Endpoint
from zchat.core.session import Session

OUT_BYTES_MAX = 4 << 20  # of records that one member has

Range = tuple[int, int]  # first and last offset


class GroupMember:
    """A session that takes part, as often as it does."""

    __slots__ = (
        "ack_wait",
        "address",
        "asked",
        "endpoint",
        "late",
        "max_in_flight",
        "number",
        "out",
        "out_bytes",
        "served",
        "session",
    )

    def __init__(self, session: Session, number: int) -> None:
        self.session = session
        self.number = number  # what its client calls it
        self.address = ""  # for which it counts
        self.endpoint: Endpoint = b""  # where it said that it takes part: after a break it says so again
        self.asked = 0  # by which request
        self.max_in_flight = 0
        self.ack_wait = 0.0
        self.out = 0  # records that it has,
        self.out_bytes = 0  # and their bytes
        self.late: list[Range] = []  # it has these too, which go to others: its ack wait is over
        self.served = 0  # when it was handed something last, counted

    @property
    def is_there(self) -> bool:
        """Whether something can be handed to it."""
        return bool(self.endpoint) and self.session.connection == self.endpoint

    @property
    def free(self) -> int:
        """How many records it takes."""
        if not self.is_there or self.out_bytes >= OUT_BYTES_MAX:
            return 0
        late = sum([last - first + 1 for first, last in self.late]) if self.late else 0
        return self.max_in_flight - self.out - late

    def settled(self, first: int, last: int) -> None:
        """It has these no more."""
        if self.late:
            self.late = [part for each in self.late for part in _without(each, first, last)]


def _without(each: Range, first: int, last: int) -> list[Range]:
    """What is left of a range."""
    parts = [(each[0], min(each[1], first - 1)), (max(each[0], last + 1), each[1])]
    return [(begin, end) for begin, end in parts if begin <= end] if last >= first else [each]
