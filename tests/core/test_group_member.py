"""One member: how much more it takes."""

from __future__ import annotations

import pytest

from zchat.core.group_member import OUT_BYTES_MAX, GroupMember
from zchat.core.session import Session


def member_of(most: int) -> GroupMember:
    member = GroupMember(Session("s", "ann", 1, 1), 1)
    member.session.connection = member.endpoint = b"here"
    member.max_in_flight = most
    return member


def test_it_takes_what_it_has_room_for_where_it_is_there() -> None:
    member = member_of(8)
    member.out, member.late = 3, [(5, 6)]
    assert member.is_there and member.free == 3
    member.out_bytes = OUT_BYTES_MAX
    assert member.free == 0
    member.out_bytes = 1
    member.session.connection = b"elsewhere"
    assert not member.is_there and member.free == 0
    member.session.connection = member.endpoint = b""
    assert not member.is_there


@pytest.mark.parametrize(
    ("first", "last", "late"),
    [
        (1, 9, [(20, 20)]),
        (5, 6, [(4, 4), (7, 7), (20, 20)]),
        (7, 30, [(4, 6)]),
        (9, 3, [(4, 7), (20, 20)]),
        (8, 19, [(4, 7), (20, 20)]),
    ],
)
def test_what_it_settles_late_it_has_no_more(first: int, last: int, late: list[tuple[int, int]]) -> None:
    member = member_of(8)
    member.late = [(4, 7), (20, 20)]
    member.settled(first, last)
    assert member.late == late
