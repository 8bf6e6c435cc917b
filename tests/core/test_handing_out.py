"""How what is there is divided among members."""

from __future__ import annotations

import pytest

from tests.core.test_stock import frame_of
from zchat import wire
from zchat.core import Instant
from zchat.core.group import WorkGroup
from zchat.core.group_member import OUT_BYTES_MAX, GroupMember
from zchat.core.handing_out import DELIVER_BYTES, HandingOut
from zchat.core.replies import Replies
from zchat.core.session import Session
from zchat.core.stock import StockBatch

NOW = Instant(5.0, 5)


def group_of(*rooms: int) -> WorkGroup:
    """One with a member for each, who has room for so many."""
    group = WorkGroup("jobs", "g", 0)
    for number, most in enumerate(rooms):
        member = GroupMember(Session(f"s{number}", f"u{number}", 1, 1), number)
        member.session.connection = member.endpoint = b"%d" % number
        member.max_in_flight, member.ack_wait = most, 30.0
        group.members[member.session.id, number] = member
    return group


def put(group: WorkGroup, *batches: list[bytes]) -> None:
    for records in batches:
        frame = frame_of([[*records]], group.stock_upto + 1)
        group.put(StockBatch(frame, group.stock_upto + 1, len(records)))


def sent(replies: Replies) -> dict[bytes, list[int]]:
    """How many records each message has, by connection."""
    found: dict[bytes, list[int]] = {}
    for connection, frame in replies.take(0):
        deliver = wire.decode_broker(frame)
        assert isinstance(deliver, wire.Deliver)
        records = sum(len(entry.records) for _, raw in deliver.runs for entry in wire.decode_batch(raw).entries)
        found.setdefault(connection, []).append(records)
    return found


@pytest.mark.parametrize(
    ("rooms", "jobs", "shares"),
    [
        ((8, 20, 20), 30, [8, 11, 11]),
        ((8, 20, 20), 100, [8, 20, 20]),
        ((5, 5, 5), 2, [1, 1]),
        ((100, 1), 10, [9, 1]),
        ((0, 7), 3, [3]),
        ((), 3, []),
    ],
)
def test_each_gets_a_fair_part_of_what_is_there(rooms: tuple[int, ...], jobs: int, shares: list[int]) -> None:
    replies, group = Replies(), group_of(*rooms)
    put(group, [b"x"] * jobs)
    assert HandingOut(replies).hand_out(group, (), NOW, takes_new=True) == bool(shares)
    assert sorted(sum(each) for each in sent(replies).values()) == sorted(shares)
    assert sorted(member.out for member in group.members.values() if member.out) == sorted(shares)


def test_few_go_round_among_all() -> None:
    replies, group, handing_out = Replies(), group_of(5, 5, 5), HandingOut(Replies())
    for _ in range(3):
        put(group, [b"x"])
        handing_out.hand_out(group, (), NOW, takes_new=True)
    assert [member.out for member in group.members.values()] == [1, 1, 1] and not replies.take(0)


def test_many_are_one_message_up_to_a_size_and_a_member_has_so_many_bytes_at_most() -> None:
    replies, group = Replies(), group_of(100)
    put(group, *[[bytes(DELIVER_BYTES // 4)]] * 60)
    HandingOut(replies).hand_out(group, (), NOW, takes_new=True)
    (member,) = group.members.values()
    assert OUT_BYTES_MAX <= member.out_bytes < OUT_BYTES_MAX + DELIVER_BYTES
    assert set(sent(replies)[b"0"][:-1]) == {4}


def test_who_does_not_read_is_looked_at_again_and_who_is_not_there_gets_nothing() -> None:
    replies, group = Replies(), group_of(9, 9)
    put(group, [b"x"] * 4)
    members = list(group.members.values())
    members[1].session.connection = b"elsewhere"
    assert not HandingOut(replies).hand_out(group, {b"0"}, NOW, takes_new=True)
    assert group.due == pytest.approx(5.05)
    assert not HandingOut(replies).hand_out(group, (), NOW, takes_new=False), "nothing new"
    HandingOut(replies).tell(group, [wire.Gap("jobs", 1, 2, "trimmed")])
    ((to, _),) = replies.take(0)
    assert to == b"0"
