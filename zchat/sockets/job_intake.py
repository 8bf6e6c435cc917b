"""What the consumer of one member of a group was handed, and what it has done with it; without waits.

Rules of this file
1. A message that nobody acked or nacked is done when the next one is taken, so the last one that was taken is not. With
   `auto_commit=False` it is done when `ack` is called.
2. At the end what was not handed over goes back, and so does the message in hand where it was left by an error.
3. `ack` and `nack` are called by any thread. The engine is told once, and collects them all.

Spec: docs/client.md, "Groups". Tests: tests/test_groups.py.
"""

from __future__ import annotations

from collections.abc import Collection

from zchat.core.client import CLOSED
from zchat.core.deliveries import Handed
from zchat.core.gaps import Notice
from zchat.core.ranges import OffsetRanges
from zchat.core.steps import Steps, TakeNoPart, done
from zchat.core.working import ACK, GroupWorker, Receiver, SettledRange
from zchat.errors import Closed, UsageError
from zchat.message import Job, Message, jobs
from zchat.sockets.incoming import Incoming, Item
from zchat.sockets.intake import Intake, TakenOut
from zchat.sockets.link import Link

DELAY_SECONDS_MAX = 86_400.0


class JobIntake:
    """Between what a member of a group is handed and its consumer; as `Intake` is for a listener."""

    of_group = True
    repeats_after = None  # of a cursor

    def __init__(self, link: Link, worker: GroupWorker, incoming: Incoming, *, follows: bool) -> None:
        self.incoming = incoming
        self.buffer = incoming.buffer  # the consumer alone takes from its left
        self.is_closed = False
        self.listener = worker
        self._link = link
        self._follows = follows  # what is taken is done when the next one is
        self._first = self._last = self._deliveries = self._log = 0  # of what is, or was, in the buffer
        self._taken = OffsetRanges()  # where it does not follow: what was taken and is not settled
        self._expired: Collection[int] = ()  # of what is, or was, in the buffer
        self._outcomes: list[SettledRange] = []  # that the engine has not collected
        self._is_told = False  # the engine is to collect them
        worker.look, worker.collect = self._look, self._collect

    def __repr__(self) -> str:
        """`of alice to jobs, group workers: open`."""
        worker = self.listener
        state = "closed" if self.is_closed or self._link.state == CLOSED else "open"
        return f"of {self._link.user} to {worker.room}, group {worker.group}: {state}"

    # --- taking -----------------------------------------------------------------------------

    @property
    def has_job_in_hand(self) -> bool:
        """Whether the last one that was taken is done once the consumer asks for more."""
        with self.incoming.lock:
            return self._follows and not self.buffer and 0 < self._first <= self._last_taken(None)

    def asks(self) -> bool:
        """The consumer has all of the buffer, and asks for more. False after the end."""
        with self.incoming.lock:
            if self.is_closed:
                return False
            if not self.buffer:
                self._done(self._last)
        return True

    def take(self, item: Item | None) -> Notice | None:
        """Put what came next into the buffer; a notice is to be told by who gets it from here.

        Raises TakenOut, or why the client broke.
        """
        with self.incoming.lock:
            if self.is_closed:
                raise TakenOut  # meanwhile: it is not handed over
            if item is None:
                if self._link.broke is not None:
                    raise self._link.broke
                raise TakenOut
            if isinstance(item, Handed) and item.log == self.listener.log:
                self._done(self._last)
                self._first, self._last, self._deliveries = item.batch.base, item.last, item.deliveries
                if item.log != self._log:
                    self._log = item.log
                    self._taken.clear()
                if not self._follows:
                    self._taken.add(item.batch.base, item.last)
                now, opens = self._link.broker_time, self._link.opens
                self.buffer.extend(jobs(item.room, item.batch, item.deliveries, item.log, self, now=now, opens=opens))
                self._expired = self._find_expired(item) if len(self.buffer) <= item.last - item.batch.base else ()
        return item if isinstance(item, Notice) else None

    def settle(self, job: Job, delay: float | None) -> None:
        """What became of a job. Raises UsageError, Closed."""
        if delay is not None and not 0.0 <= delay <= DELAY_SECONDS_MAX:
            raise UsageError(f"a delay is from 0 to {DELAY_SECONDS_MAX:g} seconds")
        with self.incoming.lock:
            if self.is_closed:
                raise Closed("the subscription is closed")
            if not self._follows:
                self._taken.remove(job.offset, job.offset)
            if delay is None:
                self._put(job.offset, job.offset, ACK, 0, job._log)
            else:
                self._put(job.offset, job.offset, round(delay * 1000), job.deliveries, job._log)

    def commit(self) -> None:
        """All that was handed over is done. Raises UsageError where it is by itself, Closed after the end."""
        if self._follows:
            raise UsageError("what is handed over is acked by itself; listen with auto_commit=False to do it")
        with self.incoming.lock:
            if self.is_closed:
                raise Closed("the subscription is closed")
            left = self.buffer[0].offset if self.buffer else self._last + 1
            rest = self._taken.remove(left, self._last)
            for first, last in self._taken:
                self._put(first, last, ACK, 0, self._log)
            self._taken.clear()
            for first, last in rest:
                self._taken.add(first, last)

    # --- its end ----------------------------------------------------------------------------

    def close(self, *, counts: bool) -> Steps[None] | None:
        """The end, unless it has ended. Returns the steps that store what is done, and give back the rest.

        Unless it `counts`, the message in hand is to be handed out again.
        """
        with self.incoming.lock:
            first = self.incoming.drop()
            last = self._last_taken(first)
            if counts:
                self._done(last)
            elif self._follows and self._first <= last:
                self._done(last - 1)
                self._put(last, last, 0, self._deliveries, self._log)
            self.is_closed = True
        return done(TakeNoPart(self.listener)) if self._link.is_ready else None

    # --- parts ------------------------------------------------------------------------------

    def _find_expired(self, item: Handed) -> Collection[int]:
        """What of it is not in the buffer: that is done, and nobody gets it."""
        expired = set(range(item.batch.base, item.last + 1)) - {job.offset for job in self.buffer}
        for offset in sorted(expired):
            self._taken.remove(offset, offset)
            self._put(offset, offset, ACK, 0, item.log)
        return expired

    def _last_taken(self, left: Message | None) -> int:
        """The offset of the message in hand; `left`: the first of those that were not taken."""
        offset = self._last if left is None else left.offset - 1
        while offset in self._expired:
            offset -= 1
        return offset

    def _look(self) -> None:
        """By the engine, now and then: what was taken before the last one is done."""
        with self.incoming.lock:
            self._done(self._last_taken(self.buffer[0] if self.buffer else None) - 1)

    def _done(self, last: int) -> None:
        """All of the batch up to there, if it follows by itself."""
        if self._follows and self._first <= last <= self._last:
            first, self._first = self._first, last + 1
            self._put(first, last, ACK, 0, self._log)

    def _put(self, first: int, last: int, delay: int, deliveries: int, log: int) -> None:
        """Under the lock. What lies side by side is one outcome."""
        outcomes = self._outcomes
        if outcomes and outcomes[-1][1:] == (first - 1, delay, deliveries, log):
            outcomes[-1] = (outcomes[-1][0], last, delay, deliveries, log)
        else:
            outcomes.append((first, last, delay, deliveries, log))
        if not self._is_told:
            self._is_told = True
            worker = self.listener
            self._link.later(lambda core, now: core.working.settled(worker, now))

    def _collect(self) -> list[SettledRange]:
        """By the engine."""
        with self.incoming.lock:
            outcomes, self._outcomes, self._is_told = self._outcomes, [], False
            return outcomes


def intake_of(link: Link, receiver: Receiver, incoming: Incoming, *, echo: bool, follows: bool) -> Intake | JobIntake:
    """For the consumer of a listener, or of a member of a group; `follows` is the latter's."""
    if isinstance(receiver, GroupWorker):
        return JobIntake(link, receiver, incoming, follows=follows)
    return Intake(link, receiver, incoming, echo=echo)
