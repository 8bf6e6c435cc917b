"""A room as the broker's cycle sees it: where its log stands, and the open batch that gathers records.

    records of a cycle  ->  open batches (one room, one kind, up to a size)  ->  one batch each  ->  a feed of the room

Rules of this file
1. An open batch belongs to one room and one kind; those of a room are closed in the order in which they were opened.
2. A room is there for good once something of it is stored, and as long as it has a member. One that only carries
   volatile messages, or whose first record was not kept, goes again; it is not counted.
3. Joins and leaves have a feed of their own: who does not ask for them gets no message by them.

Tests: tests/core/test_rooms.py.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count

import msgspec

from zchat.core import Instant
from zchat.core.allowances import Allowances
from zchat.core.session import Session
from zchat.errors import BadName, over_limit
from zchat.names import room_name, topic
from zchat.wire import PRESENCE, PRESENCE_TOPIC, RawEntry

DUE_MAX = 512  # watermarks at once: each is a message, and tens of thousands of rooms may have been made at once


class OpenBatch:
    """Consecutive records of one room on their way to one batch."""

    __slots__ = (
        "base",
        "counts",
        "entries",
        "frame",
        "kind",
        "records",
        "room",
        "sessions",
        "size",
        "sizes",
        "waiting",
    )

    def __init__(self, room: BrokerRoom, kind: int) -> None:
        self.room = room
        self.kind = kind
        self.entries: list[RawEntry] = []
        self.sessions: list[Session] = []  # who wrote each entry
        self.counts: list[int] = []  # records of each entry
        self.sizes: list[int] = []  # bytes of each entry
        self.records = 0
        self.size = 0  # bytes of all
        self.base = 0  # given when it becomes a batch
        self.frame = b""
        self.waiting: list[tuple[Session, int, int]] = []  # of a volatile one, not acked: session, seq, bytes

    def add(self, session: Session, seq: int, records: msgspec.Raw, count: int, size: int) -> None:
        """One publish, or one join or leave."""
        self.entries.append(RawEntry(session.user, session.id, seq, records))
        self.sessions.append(session)
        self.counts.append(count)
        self.sizes.append(size)
        self.records += count
        self.size += size


class Feed:
    """One of a room's two topics: that of its messages, or that of joins and leaves."""

    __slots__ = ("is_direct", "last", "quiet", "rules", "topic", "watermark_due", "watermark_entry")

    def __init__(self, topic: bytes, last: int) -> None:
        self.topic = topic
        self.is_direct, self.rules = True, -1  # until it is looked at: ways.py
        self.last = last  # offset of the last record that was broadcast on it
        self.quiet = 0.0  # seconds from the last watermark, or from its last batch, to the next one
        self.watermark_due = 0.0
        self.watermark_entry = 0.0  # when `Watermarks` looks at it next; 0: never


class BrokerRoom:
    """One room that has a record, a member or an open batch."""

    __slots__ = (
        "emptied",
        "given",
        "given_message",
        "is_counted",
        "last",
        "messages",
        "name",
        "open_batch",
        "presence",
        "volatile_batch",
    )

    def __init__(self, name: str, last: int) -> None:
        self.name = name
        self.last = last  # offset of the last record that was broadcast
        self.given = self.given_message = last  # of the last record and message that have one, committed or not
        # After a start of the broker the last record may be no message: who listens fetches, and misses none.
        self.messages = Feed(topic(name), last)
        self.presence: Feed | None = None  # once it is needed
        self.emptied = 0  # nothing is left up to this offset
        self.is_counted = bool(last)  # among the rooms that the broker keeps
        self.open_batch: OpenBatch | None = None
        self.volatile_batch: OpenBatch | None = None

    @property
    def has_records(self) -> bool:
        """Whether anything is stored of it, as far as is known."""
        return self.last > self.emptied

    @property
    def topic(self) -> bytes:
        """Of its messages."""
        return self.messages.topic

    def feed(self, kind: int) -> Feed:
        """Where batches of that kind go."""
        if kind != PRESENCE:
            return self.messages
        if self.presence is None:
            self.presence = Feed(PRESENCE_TOPIC + self.topic, 0)
        return self.presence


class BrokerRooms(dict[str, BrokerRoom]):
    """All rooms of a broker, by name."""

    def __init__(self, lasts: dict[str, int], allowances: Allowances, rooms_max: int) -> None:
        super().__init__((name, BrokerRoom(name, last)) for name, last in lasts.items())
        self._allowances = allowances
        self._rooms_max = rooms_max
        self._counted = len(self)

    def open(self, name: str) -> BrokerRoom:
        """The room of that name, made when it is new. Raises BadName when the name is not canonical."""
        room = self.get(name)
        if room is None:
            if room_name(name) != name:
                raise BadName("room", name, "not in its canonical form")
            room = self[name] = BrokerRoom(name, 0)
        return room

    def admit(self, names: list[str], maker: Session | None, now: Instant) -> list[BrokerRoom]:
        """The rooms of these names, all different, which get a record or a member; by the broker itself: nobody's.

        Raises BadName, and WireError when they would be too many; then nothing is kept.
        """
        fresh = [name for name in names if (room := self.get(name)) is None or not room.is_counted]
        for name in fresh:
            if room_name(name) != name:
                raise BadName("room", name, "not in its canonical form")
        if fresh and self._counted + len(fresh) > self._rooms_max:
            raise over_limit(
                "rooms_max", "over-limit", f"the broker keeps {self._counted} rooms, limit {self._rooms_max}"
            )
        user, address = ("", "") if maker is None else (maker.user, maker.address)
        self._allowances.make_rooms(user, address, len(fresh), now)
        for name in fresh:
            self.open(name).is_counted = True
        self._counted += len(fresh)
        return [self[name] for name in names]

    def forget(self, room: BrokerRoom, members: int) -> None:
        """What it had was volatile, or was not kept: the room is forgotten if it has nothing else."""
        if room.given or room.open_batch or room.volatile_batch or members:
            return
        if self.pop(room.name, None) is not None:
            self._counted -= room.is_counted
            room.is_counted = False


class Watermarks:
    """When each quiet feed gets its watermark: after `first` seconds, then twice that, up to `last`."""

    def __init__(self, first: float, last: float) -> None:
        self._first = first
        self._last = last
        self._due: list[tuple[float, int, Feed]] = []  # heap of (when, tie-break, feed)
        self._ties = count()

    def spoke(self, feed: Feed, seconds: float) -> None:
        """A batch was broadcast on it."""
        feed.quiet = self._first
        feed.watermark_due = due = seconds + self._first
        if not feed.watermark_entry or due < feed.watermark_entry:  # else it is looked at early enough
            self._look_at(feed, due)

    def due(self, seconds: float) -> list[Feed]:
        """The feeds that get a marker now. Where many are due they come in some calls."""
        feeds: list[Feed] = []
        while len(feeds) < DUE_MAX and self._due and self._due[0][0] <= seconds:
            when, _, feed = heappop(self._due)
            if when != feed.watermark_entry:
                continue  # an earlier look took its place
            feed.watermark_entry = 0.0
            if feed.watermark_due <= seconds:
                feeds.append(feed)
                feed.quiet *= 2
                feed.watermark_due = seconds + feed.quiet
            if feed.quiet <= self._last:
                self._look_at(feed, feed.watermark_due)
        return feeds

    def next_deadline(self) -> float | None:
        """When `due` is to be asked next."""
        return self._due[0][0] if self._due else None

    def _look_at(self, feed: Feed, when: float) -> None:
        feed.watermark_entry = when
        heappush(self._due, (when, next(self._ties), feed))
