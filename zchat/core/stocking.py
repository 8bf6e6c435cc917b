"""What groups need of their rooms' logs: what follows in a room, and runs that come again; read beside the loop.

Rules of this file
1. A group has one read at a time, all of them a few. It is for what a member has room for, or for dead letters.
2. What was removed from the log is told as a gap, and waited for no more.
3. What waits in memory to be handed out is bounded, of a group and of all.

Spec: docs/protocol.md, "Groups". Tests: tests/core/test_stocking.py.
"""

from __future__ import annotations

from typing import NamedTuple

from zchat import wire
from zchat.core import Instant
from zchat.core.group import READY, RUNS_MAX, Run, WorkGroup
from zchat.core.rooms import BrokerRoom
from zchat.core.stock import StockBatch

STOCK_BYTES_MAX = 1 << 20  # of batches of one group that wait to be handed out,
STOCK_BYTES_IN_ALL_MAX = 64 << 20  # and of all
READ_BYTES = 256 << 10  # at once from the log
READS_MAX = 2  # at a time, of all groups
NEAR = 1_024  # offsets: runs that lie so near are read at once
AGAIN_SECONDS = 1.0  # what the log was in trouble with is tried again


class StockRead(NamedTuple):
    """What a group needs: what follows, or the runs that are wanted again."""

    group: WorkGroup
    after: int
    until: int
    wanted: list[Run]


class StockPage(NamedTuple):
    """What the log has of it."""

    batches: list[StockBatch]
    upto: int
    gaps: list[wire.Gap]


class Stocking:
    """Of all groups."""

    def __init__(self, rooms: dict[str, BrokerRoom]) -> None:
        self._rooms = rooms
        self._wanting: dict[WorkGroup, None] = {}  # need a read
        self._reading = 0
        self.bytes = 0  # that wait to be handed out

    @property
    def has_room(self) -> bool:
        """Whether more may wait."""
        return self.bytes < STOCK_BYTES_IN_ALL_MAX

    def store(self, group: WorkGroup, batch: StockBatch, prev: int) -> None:
        """The room has a batch more, behind `prev`. Where the group knows all up to there, it need not be read."""
        is_next = group.stock_upto >= prev and not group.is_reading
        if group.members and is_next and group.stock_bytes < STOCK_BYTES_MAX and self.has_room:
            self.bytes += batch.size
            group.put(batch)

    def look(self, group: WorkGroup, now: Instant) -> None:
        """It has more room, or less."""
        if self._read_for(group, now) is not None:
            self._wanting[group] = None

    def forget(self, group: WorkGroup) -> None:
        """Nobody is there for what it has."""
        self.bytes -= group.stock_bytes
        group.forget_stock()
        self._wanting.pop(group, None)

    def take(self, now: Instant) -> list[StockRead]:
        """What is to be read now; then `read` or `unread`."""
        found: list[StockRead] = []
        for group in list(self._wanting):
            if self._reading >= READS_MAX:
                break
            read = self._read_for(group, now)
            if read is not None and not read.wanted and not self.has_room:
                continue
            del self._wanting[group]
            if read is None:
                continue
            group.is_reading = True
            group.ready = [run for run in group.ready if run not in read.wanted]
            self._reading += 1
            found.append(read)
        return found

    def read(self, read: StockRead, page: StockPage) -> list[tuple[Run, StockBatch]]:
        """The log has that. Returns what is not to be handed out again, but to be buried."""
        group = read.group
        self._done(group)
        if not read.wanted and group.stock_upto != read.after:
            return []  # it was moved meanwhile
        before = group.stock_bytes
        for gap in page.gaps:
            group.is_lost(gap.first, gap.last)
        if read.wanted:
            dying = self._again(group, read, page)
        else:
            dying = []
            self._go_on(group, page)
        self.bytes += group.stock_bytes - before
        return dying

    def unread(self, read: StockRead, now: Instant) -> None:
        """The log could not be read: it is tried again."""
        group = read.group
        self._done(group)
        group.ready += read.wanted
        group.read_at = now.seconds + AGAIN_SECONDS
        group.due = min(group.due, group.read_at)

    # --- parts ------------------------------------------------------------------------------

    def _done(self, group: WorkGroup) -> None:
        self._reading -= 1
        group.is_reading = False

    def _go_on(self, group: WorkGroup, page: StockPage) -> None:
        if not page.batches:  # joins and leaves, and gaps: after a start the room's last record passes for a message
            group.skip(page.upto)
        first = min((batch.base for batch in page.batches), default=page.upto + 1)
        group.skip(max([gap.last for gap in page.gaps if gap.last < first], default=0))
        for batch in page.batches:
            group.put(batch)
        group.stock_upto = max(group.stock_upto, page.upto)

    def _again(self, group: WorkGroup, read: StockRead, page: StockPage) -> list[tuple[Run, StockBatch]]:
        wanted, found, dying = list(read.wanted), set[Run](), []
        for batch in page.batches:
            for run in group.cut_for(batch, wanted):
                found.add(run)
                if group.dies(run):
                    dying.append((run, batch))
                else:
                    group.again.append((run, batch))
        for run in wanted:
            if run.state == READY and run not in found:
                if run.first > page.upto:
                    group.ready.append(run)
                else:
                    group.is_lost(run.first, run.last)
        return dying

    def _read_for(self, group: WorkGroup, now: Instant) -> StockRead | None:
        """What is to be read for it now."""
        if group.is_reading or now.seconds < group.read_at:
            return None
        takes = any(member.free > 0 for member in group.members.values())
        if group.ready:
            group.ready = sorted({run for run in group.ready if run.state == READY}, key=_first)
            ready = [run for run in group.ready if group.dies(run) or (takes and not group.again)]
            if ready:
                wanted = ready[:1]
                for run in ready[1:]:
                    if run.first > wanted[-1].last + NEAR:
                        break
                    wanted.append(run)
                return StockRead(group, wanted[0].first - 1, wanted[-1].last, wanted)
        room = self._rooms.get(group.room)
        last = room.messages.last if room is not None else 0
        if takes and group.stock_upto < last and not group.stock and len(group.pending) < RUNS_MAX:
            return StockRead(group, group.stock_upto, last, [])
        return None


def _first(run: Run) -> int:
    return run.first
