"""The same simulation with a promise's mechanism switched off: what the checker must not let pass.

Rules of this file: what is sabotaged is a subclass or a function that only these runs take, never the product; nothing
here changes a core or an engine for any other test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.simulation.brokers import SimulatedBroker, WatchedCore
from tests.simulation.logs import SimulatedLog
from zchat import wire
from zchat.core import Instant
from zchat.core.answers import Missing, Stored, parts_of
from zchat.core.broker import BrokerCore
from zchat.core.broker_loop import BrokerLoop
from zchat.core.engine import Engine
from zchat.core.group import Run, WorkGroup
from zchat.core.group_member import GroupMember
from zchat.core.groups import BrokerGroups
from zchat.core.log import Append, GroupRow, Log
from zchat.core.ordering import LIVE, NEW, Delivery, Mark, Notice, OrderedDelivery
from zchat.core.port import CHANGES, SUB_CHANGES
from zchat.core.progress import Progress
from zchat.core.schedule import BrokerSchedule
from zchat.core.session import Session
from zchat.core.stock import StockBatch
from zchat.errors import LogError


class ForgetsSeq(WatchedCore):
    """Every publish is taken for a new one."""

    def received(self, connection: bytes, frame: bytes, now: Instant, address: str = "", key: str = "") -> None:
        """Forget the `seq` that it has."""
        message, session = wire.decode_client(frame), self.registry.of(connection)
        if isinstance(message, wire.Publish) and session is not None:
            session.last_seq = message.seq - 1
        BrokerCore.received(self, connection, frame, now, address, key)

    def take_replies(self) -> list[tuple[bytes, bytes]]:
        """Nobody looks."""
        return BrokerCore.take_replies(self)


class WithoutDedupe(SimulatedBroker):
    """See `ForgetsSeq`."""

    core_type = ForgetsSeq


class Unwatched(WatchedCore):
    """Its ACKs are not looked at."""

    take_replies = BrokerCore.take_replies


class TellsTooEarly(SimulatedLog):
    """What is under way to the log counts as kept."""

    def __init__(self, log: SimulatedLog) -> None:
        self.__dict__ = log.__dict__
        self._waiting: list[Append] = []

    def append(self, append: Append, done: Callable[[LogError | None], None]) -> None:
        """Tell at once. The log takes one append after the other, as ever."""
        self._waiting.append(append)
        if len(self._waiting) == 1:
            self._next()
        done(None)

    def append_now(self, append: Append) -> bool:
        """Never."""
        return False

    def _next(self) -> None:
        def kept(error: LogError | None) -> None:
            self._waiting.pop(0)
            if self._waiting:
                self._next()

        SimulatedLog.append(self, self._waiting[0], kept)

    def killed(self) -> None:
        """What waits is lost."""
        self._waiting.clear()
        super().killed()


class AcksBeforeCommit(SimulatedBroker):
    """See `TellsTooEarly`."""

    core_type = Unwatched

    def log_of_loop(self) -> Log:
        """It lies."""
        return TellsTooEarly(self.log)


class EndsAtOnce(BrokerLoop):
    """An end counts although there is more to be received."""

    def _take_ends(self, now: Instant, *, dry: bool) -> None:
        super()._take_ends(now, dry=True)


class WithoutWaitingForFrames(SimulatedBroker):
    """See `EndsAtOnce`."""

    loop_type = EndsAtOnce


class WithoutGapCheck(OrderedDelivery):
    """What comes is delivered, whatever is missing before it."""

    def broadcast(self, room: str, batch: wire.Batch, size: int) -> None:
        """As if nothing were ever before it."""
        batch.prev = 0
        super().broadcast(room, batch, size)

    def watermark(self, room: str, last: int) -> None:
        """It is not looked at."""

    def _check(self) -> None:
        self._doubtful = False
        self._go("doubt")
        self._filled(self.watermarks.low)


class WithoutSync(OrderedDelivery):
    """It counts as live at once, and begins with the first batch that happens to come."""

    @property
    def is_begun(self) -> bool:
        """At once."""
        return True

    def synced(self, head: int, time: int) -> None:
        """Nobody waits for it."""
        if self.state != NEW:
            super().synced(head, time)

    def broadcast(self, room: str, batch: wire.Batch, size: int) -> None:
        """The first one says where it is."""
        if self.state == NEW and batch.kind != wire.VOLATILE_MESSAGES:
            self._synced, self.state, self.watermarks.low = True, LIVE, batch.base - 1
        super().broadcast(room, batch, size)


class ChangesAfterCommands(Engine):
    """What happened to the connections is taken last: what is said meanwhile goes out on one that nobody knows of."""

    def turn(self, ready: int) -> None:
        """Keep it for the end of the turn."""
        super().turn(ready & ~(CHANGES | SUB_CHANGES))
        self._take_changes(ready, self._port.now())


class WithoutCounts(OrderedDelivery):
    """Nobody is told of volatile messages that were lost."""

    def take(self) -> list[Delivery | Notice | Mark]:
        """All else."""
        return [item for item in super().take() if not (isinstance(item, Notice) and item.reason == "volatile")]


class HighestOffset(Progress):
    """A cursor over several rooms moves to the highest offset that was handed over."""

    def __init__(self, patterns: list[str], cursor: str = "", *, follows: bool = True) -> None:
        super().__init__(patterns, cursor, follows=follows)
        self._one_room = True


def gaps_at_the_end(page: wire.Page, fetch: wire.Fetch, is_asked: Callable[[str], bool]) -> list[Stored | Missing]:
    """Gaps are told at the end of their page."""
    return sorted(parts_of(page, fetch, is_asked), key=lambda part: isinstance(part, Missing))


# --- tasks: each takes the place of a method ------------------------------------------------


def forgets_rows(self: BrokerGroups, group: WorkGroup) -> None:
    """What a group has done is not stored."""


_of_row, _give, _schedule = WorkGroup.of_row, WorkGroup._give, BrokerSchedule.schedule


@classmethod  # type: ignore[misc]
def goes_back_a_little(cls: type[WorkGroup], row: GroupRow, due: float) -> WorkGroup:
    """After a start a group is not where it was."""
    group = _of_row(row, due)
    group.upto = group.stock_upto = max(0, row.upto - 9)
    return group


def waits_for_no_ack(
    self: WorkGroup, run: Run, batch: StockBatch, member: GroupMember, due: float
) -> tuple[int, bytes, int]:
    """What is handed out goes to another one soon."""
    return _give(self, run, batch, member, due - member.ack_wait + 0.02)


def never_counts(
    self: WorkGroup, run: Run, batch: StockBatch, member: GroupMember, due: float
) -> tuple[int, bytes, int]:
    """Each time is the first."""
    run.deliveries = 0
    return _give(self, run, batch, member, due)


def loses_what_comes_again(self: WorkGroup, member: GroupMember, reason: str, now: Instant, **how: Any) -> None:
    """What a member had who has gone is done."""
    for run in [run for run in self.pending if run.holder is member]:
        self.ack(run.first, run.last)


def buries_at_once(self: WorkGroup, run: Run) -> bool:
    """Nothing is handed out twice."""
    return self.max_deliveries > 0


def sends_before_its_time(self: BrokerSchedule, entry: tuple[int, int, tuple[str, str]]) -> bool:
    """What is due later is due now."""
    row = self._rows.get(entry[2])
    if row is not None and row.records and entry[0]:
        self._due[0] = (0, *entry[1:])
    return row is not None and bool(row.records)


def passes_over_what_is_done(self: BrokerSchedule, session: Session, message: wire.Schedule, now: Instant) -> bool:
    """A SCHEDULE that is said again is a new one, where it was sent."""
    for key, row in [(key, row) for key, row in self._rows.items() if key[1] == message.id and not row.records]:
        self._rows.pop(key)
        self._done.pop(key, None)
        self._before.pop(key, None)
        del row
    return _schedule(self, session, message, now)


def acks_what_it_did_not_take_back(self: BrokerSchedule, session: Session, message: wire.Cancel, now: Instant) -> bool:
    """CANCEL changes nothing, and is answered."""
    return False
