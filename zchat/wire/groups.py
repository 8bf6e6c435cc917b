"""The messages of groups, which share the work of a room: who takes part, what is handed out, what became of it.

Spec: docs/protocol.md, "Groups". Tests: tests/test_wire.py.
"""

from typing import Annotated, NamedTuple, TypeAlias

import msgspec

from zchat.wire.records import Natural

GROUP_IN_FLIGHT_MAX = 65_536  # records that one member may have without an outcome
ACK_WAIT_MS_MIN, ACK_WAIT_MS_MAX = 100, 86_400_000  # a day

Ranges: TypeAlias = Annotated[list[tuple[Natural, Natural]], msgspec.Meta(max_length=4096)]  # first and last offset
Delays: TypeAlias = Annotated[list[tuple[Natural, Natural, Natural, Natural]], msgspec.Meta(max_length=4096)]


class Gap(NamedTuple):
    """Offsets of a room that a log had once, and does not have any more."""

    room: str
    first: Natural
    last: Natural
    reason: str  # "damaged", "trimmed" or "purged"; a newer broker may know others


class JoinGroup(msgspec.Struct, array_like=True, tag=16):
    """Take part in a group, or go on with it after a WELCOME; answered by DONE once that is stored.

    A group that is new begins after an offset; one that is there goes on where it is.
    """

    request: Natural
    member: Natural  # what the client calls it: a session may take part more than once
    room: str
    group: str
    max_in_flight: Natural  # records without an outcome; 0: it takes part no more
    ack_wait: Natural = 30_000  # milliseconds until what has no outcome is handed to another
    max_deliveries: Natural = 0  # of one record, of the group from now on; 0: no bound
    after: Natural | None = None  # None: with what is stored from now on
    holds: Ranges = []  # what it was handed and has not settled: all else that it was handed was lost on the way


class Settle(msgspec.Struct, array_like=True, tag=17):
    """What became of records that were handed out; answered by DONE once it is stored."""

    request: Natural
    member: Natural
    acks: Ranges
    nacks: Delays = []  # first, last, milliseconds: again, to any member, not before; the deliveries that it was told


class Groups(msgspec.Struct, array_like=True, tag=18):
    """The groups of the broker, of a room, or one with what is pending of it; answered by GROUPS_ARE."""

    request: Natural
    room: str = ""
    group: str = ""


class SetGroup(msgspec.Struct, array_like=True, tag=19):
    """Have a group go on after an offset, or remove it; answered by DONE once that is stored."""

    request: Natural
    room: str
    group: str
    after: Natural | None  # None: it goes


class Deliver(msgspec.Struct, array_like=True, tag=46):
    """Records for one member of a group, and what of the room cannot be had any more."""

    member: Natural
    room: str
    runs: list[tuple[Natural, msgspec.Raw]]  # how often they were handed out, this time too; and a batch of them
    gaps: list[Gap] = []


class PendingRun(msgspec.Struct, array_like=True, frozen=True):
    """Consecutive records of a group that were handed out and have no outcome."""

    first: Natural
    last: Natural
    deliveries: Natural
    user: str  # who has them; empty: they wait
    session: str


class Group(msgspec.Struct, array_like=True, frozen=True):
    """One group as `groups` tells it."""

    room: str
    name: str
    low: Natural  # all records up to here are done
    upto: Natural  # all up to here were handed out, once at least
    last: Natural  # offset of the room's last message
    members: Natural
    out: Natural  # records that a member has,
    waiting: Natural  # and that come again
    redelivered: Natural  # records that were handed out again since the broker was started,
    dead: Natural  # and that went to the dead-letter room
    pending: list[PendingRun] = []


class GroupsAre(msgspec.Struct, array_like=True, tag=47):
    """Answer to GROUPS."""

    request: Natural
    groups: list[Group]
