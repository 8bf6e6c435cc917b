"""What reader threads are asked, and whose turn it is: FETCH, SEEK, LATEST, and where a publish is that is sent again.

Rules of this file
1. A connection has one read at work at a time. The next one is of the connection that has had least of the
   readers' time; one that asks after a pause has had as much as the one that was served last, no less and no more.
2. What waits is bounded, of a connection and of all. Where that is too much, it costs the connection that has most.
3. What a connection asked that has gone is dropped, also where a part of it is done.
4. A user may have so much of the readers' time, where the operator says so (read_paces.py): then its reads wait.
5. What a client sends again for want of an answer is worked on once. All repeats of a session that wait are
   one read.

    take -> a slice of it on a reader thread -> gave_way: it waits for its next turn
                                             -> done: answered

A read that goes on for long is worked on in slices (`zchat.log.Sliced`). A few reads that will be short are given out
ahead, so that no thread waits for the broker's loop; those of a connection whose last slice was long are not.

It has more than 300 lines because whose turn it is is read best in one piece.
Spec: docs/protocol.md, "Publish once". Tests: tests/core/test_reads.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple, TypeAlias

from zchat import wire
from zchat.core import Instant
from zchat.core.channels import Endpoint, connection_of
from zchat.core.read_paces import LIMIT, ReadPaces
from zchat.core.replies import Replies
from zchat.core.session import Session
from zchat.core.stocking import StockRead
from zchat.core.views import View
from zchat.core.words import asked_for
from zchat.errors import WireError, over_limit

READERS = 2  # threads
LOOKUPS_MAX = wire.IN_FLIGHT_MAX  # of one session; more are ignored, and looked up when they are sent again
GIVEN_OUT_MAX = 8  # so many pages, at most, wait in memory to be sent
GIVEN_OUT_SECONDS = 0.01  # of work, unless it is one read for each thread: who asks next waits for it
NEVER = Instant(0.0, 0)
SHORT_SECONDS = 0.001  # what the first read of a connection is thought to take


ReadRequest: TypeAlias = wire.Fetch | wire.Seek | wire.Latest | wire.Search


class Lookup(NamedTuple):
    """Where are these publishes of a session?"""

    session: str
    seqs: list[int]


class Read:
    """Something that a reader thread answers."""

    __slots__ = ("endpoint", "left", "request", "view")

    def __init__(self, endpoint: Endpoint, request: ReadRequest | Lookup | StockRead, view: View | None = None) -> None:
        self.endpoint = endpoint  # whose it is; of a group's nobody's
        self.request = request
        self.view = view  # what its session may have; None: it is no session's to see
        self.left: Any = None  # what is left to do of it; for who does it

    @property
    def connection(self) -> bytes:
        """That it came on."""
        return connection_of(self.endpoint)


class ReadQueue:
    """The reads of one connection that wait, and the one that is worked on."""

    __slots__ = ("at_work", "connection", "is_queued", "lookups", "seconds", "unanswered", "used", "waiting")

    def __init__(self, connection: bytes) -> None:
        self.connection = connection
        self.waiting: deque[Read] = deque()
        self.at_work: Read | None = None
        self.lookups: dict[str, Read] = {}  # session -> that one of the waiting which looks up its repeats
        self.unanswered = 0  # FETCH, SEEK and LATEST
        self.used = 0.0  # seconds of the readers, as far as they count still
        self.seconds = SHORT_SECONDS  # that its last slice took
        self.is_queued = False  # or held

    def has_asked(self, endpoint: Endpoint, message: ReadRequest) -> bool:
        """Whether the session there waits for the answer to that request."""
        reads = (*self.waiting, self.at_work) if self.at_work else self.waiting
        return any(read.request == message and read.endpoint == endpoint for read in reads)

    def is_begun(self, read: Read) -> None:
        """It is worked on: what is to be looked up from now on goes into another one."""
        if isinstance(read.request, Lookup) and self.lookups.get(read.request.session) is read:
            del self.lookups[read.request.session]


class Reads:
    """What waits for a reader."""

    def __init__(
        self, replies: Replies, connection_reads_max: int, reads_max: int, paces: ReadPaces | None = None
    ) -> None:
        """Without `paces` a user may have as much of the readers' time as there is."""
        self._paces = paces if paces is not None and paces.is_on else None
        self._late: list[tuple[float, int, ReadQueue]] = []  # a heap: when one of its users may have a reader again
        self._now = NEVER  # of the last `take`
        self._replies = replies
        self._connection_reads_max = connection_reads_max
        self._reads_max = reads_max
        self._queues: dict[bytes, ReadQueue] = {}
        self._lookups: dict[str, set[int]] = {}  # session -> `seq` of repeats
        self._waiting = 0
        self._queue: list[
            tuple[float, int, ReadQueue]
        ] = []  # a heap of those who wait: what they used, then first come
        self._held: list[ReadQueue] = []  # who would be next, and is full
        self._order = 0
        self._used = 0.0  # by the one that was served last, before that
        self._given_out: dict[Read, float] = {}  # and how long the slice may take

    # --- what is asked ----------------------------------------------------------------------

    def ask(self, endpoint: Endpoint, message: ReadRequest, view: View) -> None:
        """It is answered by a reader, then comes `done`. Raises WireError for one too many of its connection."""
        if isinstance(message, wire.Latest) and not 0 < message.count <= wire.LATEST_MAX:
            raise WireError("bad-request", f"the last {message.count} messages of each room, 1 to {wire.LATEST_MAX}")
        if isinstance(message, wire.Search):
            asked_for(message.words)
        queue = self._asker(endpoint)
        if queue.has_asked(endpoint, message):
            return  # it comes again for want of an answer
        if queue.unanswered >= self._connection_reads_max:
            raise over_limit("connection_reads_max", "busy", f"{queue.unanswered} reads are waiting")
        if not self._has_room(queue):
            raise over_limit("reads_max", "busy", f"{self._waiting} reads of all are waiting")
        queue.unanswered += 1
        self._add(queue, Read(endpoint, message, view))

    def look_up(self, session: Session, repeat: wire.Publish) -> None:
        """A publish that was sent again and is not remembered: the log tells; then comes `found`."""
        if repeat.flags & wire.VOLATILE:  # no log has it
            self._replies.refuse(session.connection, "publish", repeat.seq, "repeat-unknown")
            return
        lookups = self._lookups.get(session.id, set())
        if repeat.seq in lookups or len(lookups) >= LOOKUPS_MAX:
            return
        queue = self._asker(session.connection)
        lookup = queue.lookups.get(session.id)
        if lookup is not None:
            assert isinstance(lookup.request, Lookup)
            lookup.request.seqs.append(repeat.seq)
        elif self._has_room(queue):
            queue.lookups[session.id] = lookup = Read(session.connection, Lookup(session.id, [repeat.seq]))
            self._add(queue, lookup)
        else:
            return
        self._lookups.setdefault(session.id, lookups).add(repeat.seq)

    def forget(self, connection: bytes) -> None:
        """The connection is gone."""
        queue = self._queues.pop(connection, None)
        if queue is None:
            return
        self._waiting -= len(queue.waiting)
        for read in (*queue.waiting, *([queue.at_work] if queue.at_work else [])):
            self._looked_up(read)
        queue.waiting.clear()

    # --- what readers do --------------------------------------------------------------------

    def take(self, full: Container[bytes] = (), now: Instant = NEVER) -> list[Read]:
        """What readers are to begin now, or to go on with. Who is in `full` does not read its answers: it waits."""
        taken: list[Read] = []
        self._now = now
        while self._late and self._late[0][0] <= now.seconds:
            self._come_back(heappop(self._late)[2])
        if self._held:
            self._release(full)
        while self._queue and self._may_give_out(self._queue[0][2].seconds):
            used, _, queue = heappop(self._queue)
            if queue.waiting and queue.connection in full:
                self._held.append(queue)
                continue
            queue.is_queued = False
            if not queue.waiting:
                continue  # it has gone
            self._used = max(self._used, used)
            if (read := self._next(queue)) is None:
                continue
            self._waiting -= 1
            queue.at_work = read
            queue.is_begun(read)
            self._given_out[read] = queue.seconds
            taken.append(read)
        return taken

    def gave_way(self, read: Read, seconds: float) -> None:
        """A slice of it took so long, and it is not done."""
        queue = self._worked(read, seconds)
        if queue is not None:
            self._waiting += 1
            queue.waiting.appendleft(read)
            self._enqueue(queue)

    def done(self, read: Read, seconds: float) -> bool:
        """Its last slice took so long. Returns whether anybody waits for the answer."""
        queue = self._worked(read, seconds)
        if queue is None:
            return False
        if not isinstance(read.request, Lookup):
            queue.unanswered -= 1
        if queue.waiting:
            self._enqueue(queue)
        return True

    def found(self, session_id: str, session: Session | None, seq: int, offset: int, failure: str = "") -> None:
        """Where the log has that publish; 0: nowhere. `failure`: why that is not known."""
        self._forget_lookup(session_id, seq)
        if session is None:
            return
        if offset:
            self._replies.ack(session.connection, seq, offset)
        else:
            code = "log-failed" if failure else "repeat-unknown"
            self._replies.refuse(session.connection, "publish", seq, code, failure)

    @property
    def next_deadline(self) -> float | None:
        """When `take` has something that a user had to wait for."""
        return self._late[0][0] if self._late else None

    # --- parts ------------------------------------------------------------------------------

    def _asker(self, endpoint: Endpoint) -> ReadQueue:
        connection = connection_of(endpoint)
        return self._queues.get(connection) or ReadQueue(connection)

    def _add(self, queue: ReadQueue, read: Read) -> None:
        if not queue.waiting and not queue.at_work:
            queue.used = max(queue.used, self._used)
        self._queues[queue.connection] = queue
        self._waiting += 1
        queue.waiting.append(read)
        if self._late and (late := [entry for entry in self._late if entry[2] is queue]):
            self._late.remove(late[0])  # it may be another user's
            heapify(self._late)
            queue.is_queued = False
        if not queue.at_work:
            self._enqueue(queue)

    def _enqueue(self, queue: ReadQueue) -> None:
        if not queue.is_queued:
            queue.is_queued = True
            self._order += 1
            heappush(self._queue, (queue.used, self._order, queue))

    def _release(self, full: Container[bytes]) -> None:
        """Those who read again wait for their turn; what others had meanwhile is not made up for."""
        held, self._held = self._held, []
        for queue in held:
            if queue.waiting and queue.connection in full:
                self._held.append(queue)
            else:
                self._come_back(queue)

    def _come_back(self, queue: ReadQueue) -> None:
        """It waits for its turn again."""
        queue.used = max(queue.used, self._used)
        queue.is_queued = False
        self._enqueue(queue)

    def _next(self, queue: ReadQueue) -> Read | None:
        """The first of those that wait whose user may have a reader now; None: it comes back when one may."""
        if self._paces is None:
            return queue.waiting.popleft()
        dues = [self._paces.due(read.view.user, self._now) if read.view else 0.0 for read in queue.waiting]
        soonest = min(dues)
        if soonest <= self._now.seconds:
            at = next(at for at, due in enumerate(dues) if due <= self._now.seconds)
            read = queue.waiting[at]
            del queue.waiting[at]
            return read
        self._replies.limits.meet(LIMIT, queue.waiting[dues.index(soonest)].endpoint)
        queue.is_queued = True
        self._order += 1
        heappush(self._late, (soonest, self._order, queue))
        return None

    def _may_give_out(self, seconds: float) -> bool:
        """Whether a slice that may take so long can be begun, or will be soon."""
        given_out = self._given_out
        if len(given_out) < READERS:
            return True
        return len(given_out) < GIVEN_OUT_MAX and sum(given_out.values()) + seconds < GIVEN_OUT_SECONDS

    def _worked(self, read: Read, seconds: float) -> ReadQueue | None:
        """Who asked for it, if it is there still."""
        self._given_out.pop(read, None)
        if self._paces is not None and read.view is not None:
            self._paces.worked(read.view.user, seconds, self._now)
        queue = self._queues.get(read.connection)
        if queue is None or queue.at_work is not read:
            return None
        queue.at_work = None
        queue.seconds = seconds
        queue.used += seconds
        return queue

    def _has_room(self, queue: ReadQueue) -> bool:
        """Whether one more may wait. Where none may, who has few takes the place of the newest of who has most."""
        if self._waiting < self._reads_max:
            return True
        greediest = max(self._queues.values(), key=_waiting)
        if len(greediest.waiting) <= len(queue.waiting) + 1:
            return False
        read = greediest.waiting.pop()
        self._waiting -= 1
        greediest.is_begun(read)
        if isinstance(read.request, Lookup):
            self._looked_up(read)
        else:
            greediest.unanswered -= 1
            text = f"{self._reads_max} reads of all are waiting, most of them yours"
            assert not isinstance(read.request, StockRead), "groups have their own turns"
            self._replies.refuse_error(
                read.endpoint, "request", read.request.request, over_limit("reads_max", "busy", text)
            )
        return True

    def _looked_up(self, read: Read) -> None:
        """What it was to look up can be asked for again."""
        if isinstance(read.request, Lookup):
            for seq in read.request.seqs:
                self._forget_lookup(read.request.session, seq)

    def _forget_lookup(self, session_id: str, seq: int) -> None:
        lookups = self._lookups.get(session_id, set())
        lookups.discard(seq)
        if not lookups:
            self._lookups.pop(session_id, None)


def _waiting(queue: ReadQueue) -> int:
    return len(queue.waiting)
