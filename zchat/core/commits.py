"""What gathers for the next commit, and what waits for the one under way.

    publishes, joins, leaves, session rows, cursors  ->  Gathering  --take-->  Commit  ->  the log

Rules of this file
1. Records gather in open batches (core/rooms.py); offsets are given when a commit is taken, so one commit is under
   way at a time and the next one's offsets follow from it.
2. A commit is kept whole or not at all. What nobody is told the failure of (session rows, sessions that
   ended) is given back and goes with the next one.

Tests: tests/core/test_broker.py, tests/core/test_rooms.py.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from zchat import wire
from zchat.core.channels import Endpoint
from zchat.core.group import Run, WorkGroup
from zchat.core.log import Append, CursorRow, ScheduledRow, StoredBatch
from zchat.core.rooms import BrokerRoom, OpenBatch
from zchat.core.session import Session

WAITING_BYTES = 32 << 20  # of publishes wait for the log, when all have filled their windows,
WINDOW_BYTES_MIN = 64 << 10  # which are not smaller than this: then it is more

JOINED = ""  # in place of a leave's reason

# What a join and each leave are written as: a leave's body is its reason.
_PRESENCE_RECORDS = {
    JOINED: msgspec.Raw(wire.encode_records([wire.Record(b"", "join")])),
    "bye": msgspec.Raw(wire.encode_records([wire.Record(b"bye", "leave")])),
    "denied": msgspec.Raw(wire.encode_records([wire.Record(b"denied", "leave")])),
    "lost": msgspec.Raw(wire.encode_records([wire.Record(b"lost", "leave")])),
    "revoked": msgspec.Raw(wire.encode_records([wire.Record(b"revoked", "leave")])),  # its key
}
_PRESENCE_BYTES = 64  # about what one takes in a batch


class PresenceRecord(NamedTuple):
    """A join (`reason` is JOINED) or a leave on its way to its room's log."""

    session: Session
    room: BrokerRoom
    reason: str


class Commit(NamedTuple):
    """One commit on its way to the log, and who is told once it is there."""

    append: Append
    batches: list[OpenBatch]
    first: int  # the offset that its first record has
    presence: list[PresenceRecord]
    done: list[tuple[Endpoint, int]]  # whose, request: answered with DONE once it is kept
    sessions: dict[str, Session]  # whose rows are in it
    groups: dict[tuple[str, str], WorkGroup | None]  # the same
    dying: list[tuple[WorkGroup, Run]]  # whose dead letters are in it
    scheduled: dict[tuple[str, str], ScheduledRow | None]


class Gathering:
    """Everything that the next commit will have."""

    def __init__(self, batch_bytes_max: int) -> None:
        self._batch_bytes_max = batch_bytes_max
        self.batches: list[OpenBatch] = []
        self.presence: list[PresenceRecord] = []
        self.done: list[tuple[Endpoint, int]] = []
        self.sessions: dict[str, Session] = {}  # whose row changes
        self.ended: list[str] = []  # sessions whose row goes
        self.seen: dict[str, int] = {}
        self.cursors: dict[tuple[str, str], CursorRow | None] = {}  # None: dropped
        self.groups: dict[tuple[str, str], WorkGroup | None] = {}  # by room and name; None: removed
        self.dying: list[tuple[WorkGroup, Run]] = []
        self.scheduled: dict[tuple[str, str], ScheduledRow | None] = {}  # by owner and id; None: forgotten

    def __bool__(self) -> bool:
        """Whether there is anything to commit."""
        rows = self.sessions or self.ended or self.seen or self.groups or self.scheduled
        return bool(self.batches or self.done or rows)

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for what is in it."""
        return bool(self.done) or any(batch.kind == wire.MESSAGES for batch in self.batches)

    def window(self, under_way: Commit | None) -> int:
        """How many bytes a session may have waiting: WAITING_BYTES, shared by all sessions that have some waiting."""
        sessions = max(len(self.sessions), len(under_way.sessions) if under_way else 0, 1)
        return max(WINDOW_BYTES_MIN, min(WAITING_BYTES // sessions, wire.WINDOW_BYTES_MAX))

    def open_batch(self, room: BrokerRoom, kind: int) -> OpenBatch:
        """The open batch that the room's next record of this kind belongs to."""
        batch = room.open_batch
        if batch is None or batch.kind != kind or batch.size > self._batch_bytes_max:
            batch = room.open_batch = OpenBatch(room, kind)
            self.batches.append(batch)
        return batch

    def write_presence(self, record: PresenceRecord) -> None:
        """A join or leave becomes a record of its room."""
        self.presence.append(record)
        batch = self.open_batch(record.room, wire.PRESENCE)
        batch.add(record.session, 0, _PRESENCE_RECORDS[record.reason], 1, _PRESENCE_BYTES)

    def end(self, session: Session) -> None:
        """The session's row goes, if it has one."""
        self.sessions.pop(session.id, None)
        if session.has_row:
            self.ended.append(session.id)

    def take(self, offset: int, time: int) -> Commit:
        """All of it, with offsets from `offset` on; then it is empty."""
        first, stored = offset, []
        for batch in self.batches:
            room = batch.room
            batch.base = offset
            prev_message = room.given_message if batch.kind == wire.MESSAGES else None
            batch.frame = wire.encode(wire.RawBatch(batch.kind, offset, room.given, time, batch.entries, prev_message))
            stored.append(StoredBatch(offset, room.name, batch.kind, batch.records, time, batch.frame))
            offset += batch.records
            room.given = offset - 1
            if batch.kind == wire.MESSAGES:
                room.given_message = room.given
            room.open_batch = None
        for session in self.sessions.values():
            session.has_row = True
        append = Append(
            stored,
            [session.row() for session in self.sessions.values()],
            [ended for ended in self.ended if ended not in self.sessions],  # one may have begun again
            self.seen,
            [row for row in self.cursors.values() if row is not None],
            [key for key, row in self.cursors.items() if row is None],
            [group.row() for group in self.groups.values() if group is not None],
            [key for key, group in self.groups.items() if group is None],
            [due for due in self.scheduled.values() if due is not None],
            [key for key, due in self.scheduled.items() if due is None],
        )
        rows = self.sessions, self.groups, self.dying, self.scheduled
        commit = Commit(append, self.batches, first, self.presence, self.done, *rows)
        self.batches, self.presence, self.done, self.dying = [], [], [], []
        self.sessions, self.ended, self.seen, self.cursors, self.groups, self.scheduled = {}, [], {}, {}, {}, {}
        return commit

    def undo(self, commit: Commit) -> Commit:
        """The commit was not kept. It is undone, and so is what gathered meanwhile, as there may be a leave for a join
        that was in the commit. Returns all that somebody has to be told of; rows stay for the next commit.
        """
        batches = commit.batches + self.batches
        for batch in batches:
            batch.room.open_batch = None
            batch.room.given, batch.room.given_message = batch.room.last, batch.room.messages.last
        presence, done, dying = commit.presence + self.presence, commit.done + self.done, commit.dying + self.dying
        undone = Commit(commit.append, batches, commit.first, presence, done, {}, {}, dying, {})
        self.batches, self.presence, self.done, self.cursors, self.dying, self.scheduled = [], [], [], {}, [], {}
        self.groups = commit.groups | self.groups
        before = {name: session for name, session in commit.sessions.items() if name not in self.ended}
        self.sessions = before | self.sessions
        self.ended = [ended for ended in commit.append.ended if ended not in self.sessions] + self.ended
        self.seen = commit.append.seen | self.seen
        return undone
