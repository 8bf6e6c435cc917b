"""One group of a room: which records are done, which are out, and which come again. Nobody is spoken to here.

Rules of this file
1. All up to `upto` were handed out, once at least. What of it is not in a pending run is done.
2. A run is consecutive records of one batch with one fate. It is cut where a part of it gets another one.
3. A record is out to one member at a time. It is pending until it is acked, or its dead letter is stored.

    upto 60    pending  41…44 out to m1, 1st    50…50 waits, 2nd         -> low 40; 45…49 and 51…60 are done
    m1 acks 41…42                               43…44 is pending still   -> low 42

    out --acked--> (done)      out --nacked, ack wait over, member gone--> waiting --due--> ready --handed out--> out
                               ready, handed out often enough --> dying --dead letter stored--> (done)

It has more than 300 lines because the fates of a record are read together. Who takes part: groups.py.
Spec: docs/protocol.md, "Groups". Tests: tests/core/test_group.py.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Container, Iterable, Iterator
from math import inf
from operator import attrgetter

from zchat.core import Instant
from zchat.core.group_member import GroupMember, Range
from zchat.core.log import GroupRow
from zchat.core.ranges import OffsetRanges
from zchat.core.stock import StockBatch

RUNS_MAX = 4_096  # pending ones of a group: above it nothing new is handed out
DUE_SECONDS = 0.01  # what is due is looked at so often at most

OUT, WAITING, READY, DYING, SETTLED = "out", "waiting", "ready", "dying", "settled"

_last = attrgetter("last")


class Run:
    """Pending records of one batch."""

    __slots__ = ("deliveries", "due", "first", "holder", "last", "reason", "size", "state")

    def __init__(self, first: int, last: int, deliveries: int, state: str, due: float) -> None:
        self.first = first
        self.last = last
        self.deliveries = deliveries
        self.state = state
        self.due = due  # when its ack wait is over, or it is ready
        self.size = 0  # bytes, of all
        self.holder: GroupMember | None = None
        self.reason = ""  # why it comes again

    @property
    def records(self) -> int:
        """How many."""
        return self.last - self.first + 1


class WorkGroup:
    """One group."""

    def __init__(self, room: str, name: str, upto: int) -> None:
        self.room = room
        self.name = name
        self.upto = upto
        self.max_deliveries = 0
        self.owner: tuple[str, str | None] = "", None  # user and address that made it, for which it counts, if known
        self.time = 0  # microseconds since 1970: when it was made or set last
        self.members: dict[tuple[str, int], GroupMember] = {}
        self.pending: list[Run] = []  # by offset
        self.ready: list[Run] = []  # to be read from the log, by offset
        self.again: deque[tuple[Run, StockBatch]] = deque()  # were read
        self.stock: deque[StockBatch] = deque()  # what is to be handed out for the first time
        self.stock_upto = upto  # all of the room up to here is in it, or was
        self.stock_bytes = 0
        self.due = inf  # when something changes by time, at the earliest
        self.is_reading = False
        self.runs_counted = 0  # of `pending`, among those of all groups
        self.read_at = 0.0  # not before: the log was in trouble
        self.redelivered = self.dead = 0

    @classmethod
    def of_row(cls, row: GroupRow, due: float) -> WorkGroup:
        """As the log has kept it: what was out comes again, but not before its members had time to come back."""
        group = cls(row.room, row.name, row.upto)
        group.max_deliveries, group.time = row.max_deliveries, row.time
        group.pending = [Run(first, last, deliveries, WAITING, due) for first, last, deliveries in row.pending]
        for run in group.pending:
            run.reason = "restart"
        group.due = due if group.pending else inf
        return group

    def row(self) -> GroupRow:
        """What the log keeps of it. What is dying is in the same commit as its dead letter."""
        pending: list[tuple[int, int, int]] = []
        for run in self.pending:
            if run.state == DYING:
                continue
            first, deliveries = run.first, run.deliveries
            if pending and pending[-1][1] == first - 1 and pending[-1][2] == deliveries:
                first = pending.pop()[0]
            pending.append((first, run.last, deliveries))
        return GroupRow(self.room, self.name, self.upto, self.max_deliveries, self.time, pending)

    @property
    def low(self) -> int:
        """All up to here is done."""
        return self.pending[0].first - 1 if self.pending else self.upto

    # --- handing out ------------------------------------------------------------------------

    def has_some(self) -> bool:
        """Whether something can be handed out without a look into the log."""
        return bool(self.again or self.stock)

    def records_there(self) -> int:
        """How many those are, about."""
        given = max(0, self.upto - self.stock[0].base + 1) if self.stock else 0
        again = sum([run.records for run, _ in self.again])
        return again + sum([batch.last - batch.base + 1 for batch in self.stock]) - given

    def put(self, batch: StockBatch) -> None:
        """What follows in the room."""
        self.stock.append(batch)
        self.stock_bytes += batch.size
        self.stock_upto = batch.last

    def hand_out(
        self, most: int, member: GroupMember, now: Instant, *, takes_new: bool
    ) -> tuple[int, bytes, int] | None:
        """At most so many records for a member: deliveries, batch, and how many. None: there are none.

        What is new only where it `takes_new`.
        """
        due = now.seconds + member.ack_wait
        while self.again:
            run, batch = self.again[0]
            if run.state != READY:
                self.again.popleft()  # it was acked after all
                continue
            if run.records > most:
                rest = self._insert_after(run, run.first + most)
                run.last = run.first + most - 1
                self.again[0] = (rest, batch)
            else:
                self.again.popleft()
            self.redelivered += run.records
            return self._give(run, batch, member, due)
        if not self.stock or not takes_new or len(self.pending) >= RUNS_MAX or self._reads_again(now):
            return None
        batch = self.stock[0]
        first = max(batch.base, self.upto + 1)
        last = min(batch.last, first + most - 1)
        if last == batch.last:
            self.stock.popleft()
            self.stock_bytes -= batch.size
        self.upto = last if self.stock else max(last, self.stock_upto)  # behind it are joins and leaves
        before = self.pending[-1] if self.pending else None
        if before and before.last == first - 1 and (before.holder, before.due, before.deliveries) == (member, due, 1):
            frame = batch.cut(first, last)  # it was handed out in the same breath
            before.last, before.size = last, before.size + len(frame)
            self._count(member, last - first + 1, len(frame))
            return 1, frame, last - first + 1
        run = Run(first, last, 0, READY, 0.0)
        self.pending.append(run)
        return self._give(run, batch, member, due)

    def _reads_again(self, now: Instant) -> bool:
        """Whether what comes again is about to be there: it goes before what is new."""
        is_asked = self.is_reading or any(run.state == READY for run in self.ready)
        return is_asked and now.seconds >= self.read_at

    def _give(self, run: Run, batch: StockBatch, member: GroupMember, due: float) -> tuple[int, bytes, int]:
        frame = batch.cut(run.first, run.last)
        run.state, run.holder, run.due, run.size = OUT, member, due, len(frame)
        run.deliveries += 1
        self.due = min(self.due, due)
        self._count(member, run.records, run.size)
        return run.deliveries, frame, run.records

    def _count(self, member: GroupMember, records: int, size: int) -> None:
        member.out += records
        member.out_bytes += size

    # --- what becomes of it -----------------------------------------------------------------

    def ack(self, first: int, last: int) -> int:
        """These are done, whoever has them. Returns how many were not."""
        done = 0
        for run in list(self._within(first, last)):
            if run.state == DYING:
                continue
            part = self._cut_out(run, first, last)
            done += part.records
            self._let_go(part, SETTLED)
            del self.pending[bisect_left(self.pending, part.last, key=_last)]
        return done

    def nack(self, member: GroupMember, first: int, last: int, delay: float, deliveries: int, now: Instant) -> None:
        """Of these, what the member has comes again, to anybody, after so many seconds.

        Not what it has been handed once more since, as its `deliveries` show: the nack crossed that on its way.
        """
        for run in list(self._within(first, last)):
            if run.holder is member and run.deliveries <= deliveries:
                self._again(self._cut_out(run, first, last), "nack", now.seconds + delay, now)

    def claim(self, member: GroupMember, holds: Iterable[Range], now: Instant) -> None:
        """The member has these, and nothing else of what it was handed: that was lost on the way, and does not count.

        What waits goes on with the member that has it.
        """
        held: list[Run] = []
        member.late = []
        told = OffsetRanges()  # each once: a run that was cut for one range is not to be cut again for another
        for first, last in holds:
            if first <= last:
                told.add(first, last)
        for first, last in told:
            for run in list(self._within(first, last)):
                if run.holder is member or run.state in (WAITING, READY):
                    held.append(self._cut_out(run, first, last))
                else:
                    member.late.append((max(first, run.first), min(last, run.last)))
        for run in held:
            if run.holder is None:
                run.state, run.holder = OUT, member
                self._count(member, run.records, run.size)
            run.due = now.seconds + member.ack_wait
            self.due = min(self.due, run.due)
        self.release(member, "lost", now, but=set(held))

    def release(
        self, member: GroupMember, reason: str, now: Instant, *, but: Container[Run] = (), counts: bool = False
    ) -> None:
        """What the member has comes again at once; unless it `counts`, as if it had not been handed out."""
        for run in self.pending:
            if run.holder is member and run not in but:
                run.deliveries -= not counts
                self._again(run, reason, now.seconds, now)

    def elapsed(self, now: Instant) -> None:
        """Time has passed: whose ack wait is over comes again, and what waited is ready."""
        due = self.read_at if self.read_at > now.seconds else inf
        for run in self.pending:
            if run.state == OUT and run.due <= now.seconds:
                if run.holder is not None:
                    run.holder.late.append((run.first, run.last))
                self._again(run, "ack wait over", now.seconds, now)
            elif run.state == WAITING and run.due <= now.seconds:
                self._is_ready(run)
            if run.state in (OUT, WAITING):
                due = min(due, run.due)
        self.due = max(due, now.seconds + DUE_SECONDS)

    def dies(self, run: Run) -> bool:
        """Whether it is not handed out any more."""
        return 0 < self.max_deliveries <= run.deliveries

    def comes_later(self, run: Run, seconds: float) -> None:
        """What was ready, or dying, waits until then."""
        run.state, run.due = WAITING, seconds
        self.due = min(self.due, seconds)

    def buried(self, run: Run) -> None:
        """Its dead letter is stored."""
        if run.state != DYING:
            return  # the group was moved meanwhile
        self.dead += run.records
        run.state = SETTLED
        del self.pending[bisect_left(self.pending, run.last, key=_last)]

    def move(self, after: int) -> None:
        """All up to there is done, and all above is to come."""
        for run in self.pending:
            self._let_go(run, SETTLED)
        self.pending.clear()
        self.ready.clear()
        self.upto = after
        self.due = inf
        self.forget_stock()

    def forget_stock(self) -> None:
        """What was read is read again when somebody is there for it."""
        self.stock.clear()
        self.stock_bytes, self.stock_upto = 0, self.upto
        for run, _ in self.again:
            if run.state == READY:
                self._is_ready(run)
        self.again.clear()

    # --- what is read -----------------------------------------------------------------------

    def cut_for(self, batch: StockBatch, wanted: list[Run]) -> list[Run]:
        """Of the runs that are wanted, those that the batch has; one that goes on in the next is cut."""
        found = []
        for run in self._within(batch.base, batch.last):
            if run.state == READY and run in wanted:
                if run.last > batch.last:
                    wanted.append(self._insert_after(run, batch.last + 1))
                    run.last = batch.last
                found.append(run)
        return found

    def is_lost(self, first: int, last: int) -> None:
        """These cannot be had any more: what is out may still be acked, and comes no more."""
        for run in list(self._within(first, last)):
            if run.state in (READY, WAITING):
                part = self._cut_out(run, first, last)
                part.state = SETTLED
                del self.pending[bisect_left(self.pending, part.last, key=_last)]

    def skip(self, last: int) -> None:
        """Nothing up to there is to come."""
        if not self.stock:
            self.upto = max(self.upto, last)

    # --- parts ------------------------------------------------------------------------------

    def _within(self, first: int, last: int) -> Iterator[Run]:
        at = bisect_left(self.pending, first, key=_last)
        while at < len(self.pending) and self.pending[at].first <= last:
            yield self.pending[at]
            at += 1

    def _cut_out(self, run: Run, first: int, last: int) -> Run:
        """The run of those records alone; what is before and behind stays as it was."""
        if run.last > last:
            self._split(run, last + 1)
        return self._split(run, first) if run.first < first else run

    def _split(self, run: Run, first: int) -> Run:
        """What lies from there on becomes a run of its own; what is ready is read by itself."""
        part = self._insert_after(run, first)
        run.last = first - 1
        if part.state == READY:
            self.ready.append(part)
        return part

    def _insert_after(self, run: Run, first: int) -> Run:
        """A run of what lies from there on, which the caller cuts off."""
        part = Run(first, run.last, run.deliveries, run.state, run.due)
        part.holder, part.reason = run.holder, run.reason
        part.size = run.size * part.records // run.records
        run.size -= part.size
        self.pending.insert(bisect_left(self.pending, run.last, key=_last) + 1, part)
        return part

    def _again(self, run: Run, reason: str, due: float, now: Instant) -> None:
        self._let_go(run, WAITING)
        run.reason, run.due = reason, due
        if due <= now.seconds:
            self._is_ready(run)
        else:
            self.due = min(self.due, due)

    def _is_ready(self, run: Run) -> None:
        run.state = READY
        self.ready.append(run)

    def _let_go(self, run: Run, state: str) -> None:
        member = run.holder
        if member is not None:
            member.out -= run.records
            member.out_bytes -= run.size
        run.holder, run.state = None, state
