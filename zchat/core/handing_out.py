"""Divides what a group has to hand out among its members: who has most room first, and each a fair part.

    30 records, room for 8, 20 and 20      ->  20: a third, 10;  20: half of the rest, 10;  8: what it has room for, 8
                                               and the 2 that are left go round again

Rules of this file
1. Few records go to many, and many to who has room: a slow member holds nobody up.
2. What one member gets at a time is one message, up to a size.
3. Who does not read what it is sent gets nothing meanwhile.

Spec: docs/protocol.md, "Groups". Tests: tests/core/test_handing_out.py.
"""

from __future__ import annotations

from collections.abc import Container

import msgspec

from zchat import wire
from zchat.core import Instant
from zchat.core.channels import connection_of
from zchat.core.group import WorkGroup
from zchat.core.group_member import GroupMember
from zchat.core.replies import Replies

DELIVER_BYTES = 512 << 10  # in one message; then another one follows
FULL_SECONDS = 0.05  # who does not read is looked at again

Runs = list[tuple[int, msgspec.Raw]]


class HandingOut:
    """Of all groups."""

    def __init__(self, replies: Replies) -> None:
        self._replies = replies
        self._served = 0

    def hand_out(self, group: WorkGroup, full: Container[bytes], now: Instant, *, takes_new: bool) -> bool:
        """As much as its members take; what is new only where it `takes_new`. Returns whether there was anything."""
        out: dict[GroupMember, Runs] = {}
        while group.has_some():
            takers = [member for member in group.members.values() if member.free > 0]
            if any(connection_of(member.endpoint) in full for member in takers):
                takers = [member for member in takers if connection_of(member.endpoint) not in full]
                group.due = min(group.due, now.seconds + FULL_SECONDS)
            takers.sort(key=_most_room_then_longest_ago)
            there, given = group.records_there(), 0
            for number, member in enumerate(takers):
                share = max(1, -(-(there - given) // (len(takers) - number)))
                runs = out.setdefault(member, [])
                given += self._give(group, member, min(share, member.free), runs, now, takes_new=takes_new)
            if not given:
                break
        for member, runs in out.items():
            self._deliver(group, member, runs)
        return any(out.values())

    def tell(self, group: WorkGroup, gaps: list[wire.Gap]) -> None:
        """What cannot be had any more, to all who are there."""
        for member in group.members.values():
            if member.is_there:
                self._replies.reply(member.endpoint, wire.Deliver(member.number, group.room, [], gaps))

    # --- parts ------------------------------------------------------------------------------

    def _give(
        self, group: WorkGroup, member: GroupMember, share: int, runs: Runs, now: Instant, *, takes_new: bool
    ) -> int:
        given = 0
        while given < share and member.free > 0:
            handed = group.hand_out(share - given, member, now, takes_new=takes_new)
            if handed is None:
                break
            deliveries, frame, records = handed
            runs.append((deliveries, msgspec.Raw(frame)))
            given += records
        if given:
            self._served += 1
            member.served = self._served
        return given

    def _deliver(self, group: WorkGroup, member: GroupMember, runs: Runs) -> None:
        begin = size = 0
        for end, (_, frame) in enumerate(runs, 1):
            size += len(frame)
            if size > DELIVER_BYTES or end == len(runs):
                self._replies.reply(member.endpoint, wire.Deliver(member.number, group.room, runs[begin:end]))
                begin, size = end, 0


def _most_room_then_longest_ago(member: GroupMember) -> tuple[int, int]:
    return -member.free, member.served
