"""What a rule keeps of a room: how many messages, and apart from them how many joins and leaves.

Rules of this file
1. A count and a size are of messages only: who only comes, reads and goes never removes one.
2. Joins and leaves go with the message after them, so what is removed is the beginning of a room. Beyond that
   the same numbers bind them, but some are kept also of a room that keeps little. They then go from between
   messages that stay, oldest first: above a mark they are all there.
3. A room's newest batch stays, and so does its newest batch of messages; but for a room that is purged, of which
   all batches go that end at or below an offset. That it was purged up to there is known from then on, and told.

    RetentionRule("ops", records=2)
        join 1, "a" 2, "b" 3, leave 4, "c" 5     -> 3, 4 and 5 stay; 1 and 2 are trimmed
        "a" 1, join 2, leave 3, … leave 2001     -> 1 stays, and of the others the newest thousand

Tests: tests/log/test_retention.py, and the contract.
"""

from __future__ import annotations

from typing import Protocol

from zchat import wire
from zchat.core.log import Gap
from zchat.settings import RetentionRule

PRESENCE_RECORDS_MIN = 1_000  # of joins and leaves are kept of any room,
PRESENCE_BYTES_MIN = 128 * 1024  # or so many bytes of them: less would be gaps for few who read


class Counted(Protocol):
    """What is known of a room."""

    @property
    def records(self) -> int:
        """All that are kept."""

    @property
    def bytes(self) -> int:
        """Of all frames that are kept."""

    @property
    def presence(self) -> int:
        """The joins and leaves among the records."""

    @property
    def presence_bytes(self) -> int:
        """Of their frames."""


class Rule:
    """A `RetentionRule` at a time."""

    def __init__(self, rule: RetentionRule, now: int) -> None:
        """`now`: microseconds since 1970."""
        self.pattern = rule.pattern
        self.upto = rule.upto  # an offset: whatever lies up to it goes, the newest too
        self.before = now - int(rule.age_seconds * 1_000_000) if rule.age_seconds else 0  # older goes
        self._records = rule.records
        self._bytes = rule.bytes
        self._presence = rule.records and max(rule.records, PRESENCE_RECORDS_MIN)
        self._presence_bytes = rule.bytes and max(rule.bytes, PRESENCE_BYTES_MIN)

    def has_too_much(self, room: Counted) -> bool:
        """Whether there are more messages than are kept."""
        too_many = self._records and room.records - room.presence > self._records
        return bool(too_many or (self._bytes and room.bytes - room.presence_bytes > self._bytes))

    def has_too_much_presence(self, room: Counted) -> bool:
        """Whether there are more joins and leaves than are kept."""
        too_many = self._presence and room.presence > self._presence
        return bool(too_many or (self._presence_bytes and room.presence_bytes > self._presence_bytes))

    def drops(self, room: Counted, kind: int, records: int, time: int) -> bool:
        """Whether the oldest batch of a room goes, though there may be too much of none."""
        if time < self.before:
            return True
        if kind == wire.PRESENCE:
            return self.has_too_much(room)
        too_many = self._records and room.records - room.presence - records >= self._records
        return bool(too_many or (self._bytes and room.bytes - room.presence_bytes > self._bytes))

    def drops_presence(self, room: Counted, records: int, time: int) -> bool:
        """Whether a room's oldest batch of joins or leaves goes, also from behind messages that stay."""
        too_many = self._presence and room.presence - records >= self._presence
        too_large = self._presence_bytes and room.presence_bytes > self._presence_bytes
        return bool(time < self.before or too_many or too_large)


def is_last_of_messages(room: Counted, kind: int, records: int) -> bool:
    """Whether a batch, the oldest of the room, is all that it has of messages."""
    return kind != wire.PRESENCE and room.records - room.presence <= records


def removed_of(room: str, first: int, last: int, purged: int) -> list[Gap]:
    """What was removed from `first` to `last`, by its reason: up to `purged` somebody had asked for it."""
    parts = [Gap(room, first, min(last, purged), "purged"), Gap(room, max(first, purged + 1), last, "trimmed")]
    return [part for part in parts if part.first <= part.last]
