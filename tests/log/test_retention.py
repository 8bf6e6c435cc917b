"""What a rule keeps of a room; that both logs do so is in the contract."""

from __future__ import annotations

import pytest

from zchat import wire
from zchat.log import retention
from zchat.log.retention import Rule, is_last_of_messages
from zchat.log.sqlite.state import RoomRow
from zchat.settings import RetentionRule

MESSAGES, PRESENCE = wire.MESSAGES, wire.PRESENCE


def room(messages: int = 0, size: int = 0, presence: int = 0, presence_size: int = 0) -> RoomRow:
    records, total = messages + presence, size + presence_size
    return RoomRow(1, "a", 99, 99, records, total, 0, presence=presence, presence_bytes=presence_size)


@pytest.mark.parametrize(
    ("rule", "kept", "too_much"),
    [
        (RetentionRule("a", records=5), room(5, 100, 5_000, 10**6), False),
        (RetentionRule("a", records=5), room(6), True),
        (RetentionRule("a", bytes=100), room(5, 100, 5, 10**6), False),
        (RetentionRule("a", bytes=100), room(5, 101), True),
        (RetentionRule("a", records=5, bytes=100), room(6, 50), True),
        (RetentionRule("a", age_seconds=1), room(10**9, 10**12), False),
    ],
)
def test_a_count_and_a_size_are_of_messages(rule: RetentionRule, kept: RoomRow, too_much: bool) -> None:
    assert Rule(rule, 0).has_too_much(kept) is too_much
    assert Rule(rule, 0).drops(kept, PRESENCE, 1, 0) is too_much


@pytest.mark.parametrize(
    ("rule", "kept", "too_much"),
    [
        (RetentionRule("a", records=5), room(presence=1_000), False),
        (RetentionRule("a", records=5), room(presence=1_001), True),
        (RetentionRule("a", records=2_000), room(presence=2_000), False),
        (RetentionRule("a", records=2_000), room(presence=2_001), True),
        (RetentionRule("a", bytes=5), room(presence=10, presence_size=retention.PRESENCE_BYTES_MIN), False),
        (RetentionRule("a", bytes=5), room(presence=10, presence_size=retention.PRESENCE_BYTES_MIN + 1), True),
        (RetentionRule("a", age_seconds=1), room(presence=10**9, presence_size=10**12), False),
    ],
)
def test_joins_and_leaves_are_bound_by_the_same_numbers_or_by_the_least_that_is_kept(
    rule: RetentionRule, kept: RoomRow, too_much: bool
) -> None:
    assert Rule(rule, 0).has_too_much_presence(kept) is too_much
    assert Rule(rule, 0).drops_presence(kept, 1, 0) is too_much
    assert not Rule(rule, 0).has_too_much(kept)


def test_batches_go_whole_and_as_many_stay_as_are_kept() -> None:
    rule = Rule(RetentionRule("a", records=1_000), 0)
    assert rule.drops(room(1_010), MESSAGES, 10, 0) and not rule.drops(room(1_010), MESSAGES, 11, 0)
    assert rule.drops_presence(room(presence=1_010), 10, 0)
    assert not rule.drops_presence(room(presence=1_010), 11, 0)


def test_what_is_older_goes() -> None:
    rule = Rule(RetentionRule("a", age_seconds=2), 5_000_000)
    for time in (2_999_999, 3_000_000):
        assert rule.drops(room(1), MESSAGES, 1, time) is (time < 3_000_000)
        assert rule.drops(room(1), PRESENCE, 1, time) is (time < 3_000_000)
        assert rule.drops_presence(room(1), 1, time) is (time < 3_000_000)


def test_the_last_batch_of_messages_is_known_by_the_count() -> None:
    assert is_last_of_messages(room(3, presence=50), MESSAGES, 3)
    assert not is_last_of_messages(room(4, presence=50), MESSAGES, 3)
    assert not is_last_of_messages(room(0, presence=3), PRESENCE, 3)
