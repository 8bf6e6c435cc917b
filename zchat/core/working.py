"""Taking part in groups, at the client: what each member of this connection has been handed, and what became of it.

    DELIVER --delivered--> the member's consumer --settled, by the program's threads--> SETTLE

Rules of this file
1. What a program settles gathers while some SETTLEs have no answer: many acks are one message, and one commit.
2. After each WELCOME it is said what a member has, with what it has settled and no answer came for: all else was lost
   on the way. Then that is settled again: a broker that was started anew knows the member by then.
3. Where the log is another one, or went back, what a member has means nothing any more, nor do its acks.
4. A broker may lie: no member holds more than it asked for, and what it was not handed it does not ack.

It has more than 300 lines because what a member has, and what is said of it, is one thing.
Spec: docs/protocol.md, "Groups". Tests: tests/core/test_working.py.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from math import inf
from typing import TYPE_CHECKING, TypeAlias

from zchat import wire
from zchat.core import Instant, answers
from zchat.core.answers import Answer, refusal
from zchat.core.deliveries import Handed
from zchat.core.gaps import Notice
from zchat.core.ranges import OffsetRanges, OffsetSpan
from zchat.errors import WireError

if TYPE_CHECKING:
    from zchat.core.client_session import SessionCore
    from zchat.core.listener import Listener
    from zchat.core.timeline import Break

SETTLES_OUT_MAX = 4  # of one member, that have no answer: then what is settled gathers
RANGES_MAX = 4_096  # in a SETTLE or JOIN_GROUP
AGAIN_SECONDS = 3.0  # after a refusal that came once it had been a member
ACK = -1  # in place of the delay of a nack, in milliseconds

Receiver: TypeAlias = "Listener | GroupWorker"  # whose consumer gets something

# First and last offset, ACK or a delay, of which delivery (0: an ack), and of which log.
SettledRange = tuple[int, int, int, int, int]


class GroupWorker:
    """One member of a group."""

    is_begun = True  # nothing is to be waited for besides its JOIN_GROUP,
    refused = None  # which says what there is to be refused

    def __init__(
        self, number: int, room: str, group: str, max_in_flight: int, ack_wait: int, max_deliveries: int
    ) -> None:
        self.number = number
        self.room = room
        self.patterns = [room]  # as a listener has them
        self.rooms = {room}  # to be joined
        self.is_joined = False
        self.group = group
        self.max_in_flight = max_in_flight
        self.ack_wait = ack_wait  # milliseconds
        self.max_deliveries = max_deliveries
        self.after: int | None = None  # where the group begins, if it is new
        self.session: SessionCore | None = None
        self.log = 0  # counts the logs that it met
        self.held = OffsetRanges()
        self.again: dict[int, int] = {}  # of those, what was handed out before -> how often it was by now
        self.outcomes: list[SettledRange] = []  # that wait to be said
        self.collect: Callable[[], list[SettledRange]] = list  # what the program's threads have put since
        self.joining: wire.JoinGroup | None = None  # has no answer
        self.has_left = False
        self.is_member = False
        self.refused_until = 0.0  # then it asks again to take part
        self.look: Callable[[], object] = _nothing  # has the consumer put what is done
        self.settling: dict[int, wire.Settle] = {}  # by number: have no answer


class Working:
    """The members of all groups that sessions of one connection take part in."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._workers: dict[int, GroupWorker] = {}
        self._of: dict[SessionCore, dict[GroupWorker, None]] = {}  # the members that each session is
        self._asked: dict[tuple[SessionCore, int], GroupWorker] = {}  # by session and number of the request
        self._items: dict[GroupWorker, list[Handed | Notice]] = {}

    def next_number(self) -> int:
        """Of a new member."""
        return next(self._numbers)

    def of(self, session: SessionCore) -> list[GroupWorker]:
        """The members that a session is."""
        return list(self._of.get(session, ()))

    # --- what the program wants -------------------------------------------------------------

    def add(self, worker: GroupWorker, session: SessionCore) -> None:
        """There is somebody who takes what it is handed."""
        worker.session = session
        self._workers[worker.number] = worker
        self._of.setdefault(session, {})[worker] = None

    def remove(self, worker: GroupWorker) -> None:
        """Nothing is known of it any more."""
        self._workers.pop(worker.number, None)
        self._items.pop(worker, None)
        self._asked = {asked: of for asked, of in self._asked.items() if of is not worker}
        if worker.session is not None:
            for number in worker.settling:
                worker.session.forget(number)
            self._forget_joining(worker)
            of_session = self._of.get(worker.session, {})
            of_session.pop(worker, None)
            if not of_session:
                self._of.pop(worker.session, None)

    def forget(self, session: SessionCore) -> None:
        """The session has ended."""
        for worker in self.of(session):
            self.remove(worker)

    def join(self, worker: GroupWorker, session: SessionCore, now: Instant) -> int:
        """Take part. Returns the number of the request.

        One that is on its way, since the last WELCOME, is enough: it would be said again with what it had then.
        """
        if worker.joining is not None:
            return worker.joining.request
        worker.joining = self._joining(worker)
        number = session.ask(worker.joining, now)
        self._asked[session, number] = worker
        return number

    def leave(self, worker: GroupWorker, session: SessionCore, now: Instant) -> int:
        """Take part no more, once all that was settled is said. Returns the number of the request."""
        worker.has_left = True
        self._forget_joining(worker)
        self._settle(worker, session, now, at_once=True)
        request = self._joining(worker)
        request.max_in_flight, request.holds = 0, []
        return session.ask(request, now)

    def end(self, worker: GroupWorker, session: SessionCore, now: Instant) -> None:
        """There is nobody who takes any more. Where that was not said, the broker is told when it is there.

        That is so where it was away, or where the member was given up before it was one.
        """
        if not worker.has_left and (worker.is_member or worker.joining is not None):
            self.leave(worker, session, now)
        self.remove(worker)

    def settled(self, worker: GroupWorker, now: Instant) -> None:
        """The program has put an outcome."""
        if worker.session is not None:
            self._settle(worker, worker.session, now)

    # --- what happens -----------------------------------------------------------------------

    def delivered(self, message: wire.Deliver, session: SessionCore) -> None:
        """The broker hands out."""
        worker = self._workers.get(message.member)
        if worker is None or worker.session is not session or worker.room != message.room or worker.has_left:
            return
        items: list[Handed | Notice] = []
        for deliveries, frame in message.runs:
            try:
                batch = wire.decode_batch(frame)
                last = answers.last_of(batch)
            except WireError:
                continue  # it comes again, and is a dead letter in the end
            if batch.kind != wire.MESSAGES or worker.held.count + last - batch.base >= 2 * worker.max_in_flight:
                continue
            worker.held.add(batch.base, last)
            if deliveries > 1:
                worker.again.update(dict.fromkeys(range(batch.base, last + 1), deliveries))
            items.append(Handed(worker.room, batch, last, len(frame), deliveries, worker.log))
        for _, first, last, reason in message.gaps:
            items.append(Notice("gap", first, last, worker.room, reason=reason[: answers.NAME_MAX]))
        if items:
            self._items.setdefault(worker, []).extend(items)

    def answered(self, session: SessionCore, number: int, answer: Answer, now: Instant) -> bool:
        """A request of a session has its answer. Returns whether nobody else waits for it."""
        worker = self._asked.pop((session, number), None)
        if worker is None:
            return False
        if number not in worker.settling:
            worker.joining = None
            if isinstance(answer, wire.Done):
                worker.is_member = True
            elif worker.is_member and isinstance(
                answer, wire.Error | WireError
            ):  # it was one before a break, and is to be one again
                worker.refused_until = now.seconds + AGAIN_SECONDS
                self._tell(worker, Notice("lost", reason=refusal(answer)))
            return False
        del worker.settling[number]
        self._settle(worker, session, now)
        return True

    def welcomed(self, session: SessionCore, broken: Break | None, now: Instant) -> None:
        """A session is about to say again what has no answer. What is asked here is said with it, and in that order."""
        for worker in self.of(session):
            if broken is not None:
                self._forget(worker, session, broken)
            self._settle(worker, session, now, at_once=True, is_put=True)
            if worker.has_left:
                continue
            if worker.joining is None:
                worker.joining = self._joining(worker)
                self._asked[session, session.put(worker.joining, now)] = worker
            else:
                session.put_last(worker.joining.request)
                worker.joining.holds = _holds(worker)
            for number in worker.settling:
                session.put_last(number)

    def elapsed(self, session: SessionCore, now: Instant) -> None:
        """Time has passed: who was refused asks again, and what consumers have done is said."""
        for worker in self.of(session):
            if 0.0 < worker.refused_until <= now.seconds:
                worker.refused_until = 0.0
                self.join(worker, session, now)
            worker.look()

    # --- what to do -------------------------------------------------------------------------

    @property
    def has_some(self) -> bool:
        """Whether `take` has some."""
        return bool(self._items)

    def take(self) -> list[tuple[GroupWorker, list[Handed | Notice]]]:
        """What each is handed, and told."""
        items, self._items = self._items, {}
        return list(items.items())

    # --- parts ------------------------------------------------------------------------------

    def _forget_joining(self, worker: GroupWorker) -> None:
        """It is not said again: the broker would hand out to somebody who is not there."""
        if worker.joining is not None and worker.session is not None:
            worker.session.forget(worker.joining.request)
            worker.joining = None

    def _joining(self, worker: GroupWorker) -> wire.JoinGroup:
        return wire.JoinGroup(
            0,
            worker.number,
            worker.room,
            worker.group,
            worker.max_in_flight,
            worker.ack_wait,
            worker.max_deliveries,
            worker.after,
            _holds(worker),
        )

    def _settle(
        self, worker: GroupWorker, session: SessionCore, now: Instant, *, at_once: bool = False, is_put: bool = False
    ) -> None:
        """Say what the program has done, unless that waits for the answer to what was said before."""
        worker.outcomes += worker.collect()
        while worker.outcomes and (at_once or (session.is_ready and len(worker.settling) < SETTLES_OUT_MAX)):
            acks, nacks = OffsetRanges(), list[tuple[int, int, int, int]]()
            some, worker.outcomes = worker.outcomes[: RANGES_MAX // 2], worker.outcomes[RANGES_MAX // 2 :]
            for first, last, delay, deliveries, log in some:
                if log != worker.log:
                    continue
                for part in _held(worker, first, last, inf if delay == ACK else deliveries):
                    if delay == ACK:
                        acks.add(*part)
                    else:
                        nacks.append((*part, delay, deliveries))
            if acks or nacks:
                settle = wire.Settle(0, worker.number, list(acks)[:RANGES_MAX], nacks[:RANGES_MAX])
                number = session.put(settle, now) if is_put else session.ask(settle, now)
                self._asked[session, number] = worker
                worker.settling[number] = settle

    def _forget(self, worker: GroupWorker, session: SessionCore, broken: Break) -> None:
        for number in worker.settling:
            session.forget(number)
            self._asked.pop((session, number), None)
        worker.settling.clear()
        worker.held.clear()
        worker.again.clear()
        worker.outcomes.clear()
        worker.log += 1
        worker.after = broken.upto
        log_id = session.welcome.log_id if session.welcome is not None and not broken.last else ""
        gap = Notice("gap", broken.upto + 1 if broken.last else 0, broken.last, reason="log", log_id=log_id)
        self._items.pop(worker, None)
        self._tell(worker, gap)

    def _tell(self, worker: GroupWorker, notice: Notice) -> None:
        self._items.setdefault(worker, []).append(notice)


def _nothing() -> None:
    """There is no consumer yet."""


def _holds(worker: GroupWorker) -> list[OffsetSpan]:
    """What it has, and what it has settled without an answer."""
    holds = OffsetRanges()
    for settle in worker.settling.values():
        for first, last, *_ in [*settle.acks, *settle.nacks]:
            holds.add(first, last)
    for first, last in worker.held:
        holds.add(first, last)
    return list(holds)[:RANGES_MAX]


def _held(worker: GroupWorker, first: int, last: int, deliveries: float) -> list[OffsetSpan]:
    """What of these it holds, and holds no more from now on. Not what was handed out more often than so by now."""
    if not worker.again:
        return worker.held.remove(first, last)
    parts: list[OffsetSpan] = []
    for begin, end in worker.held.remove(first, last):
        for offset in range(begin, end + 1):
            if worker.again.get(offset, 0) > deliveries:
                worker.held.add(offset, offset)
            else:
                worker.again.pop(offset, None)
                begins = parts.pop()[0] if parts and parts[-1][1] == offset - 1 else offset
                parts.append((begins, offset))
    return parts
