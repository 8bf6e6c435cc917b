"""The sessions on channels of a connection as its engine has them: what each publishes, and who is told.

    programs --outbox--> a line --its session--> the connection's engine
             <--news----

Rules of this file
1. What a line has to send is known from a queue of those that have something: nobody asks each of them.
2. They take turns, a chunk each. One that may send no more leaves the queue until an outcome gives it room.
3. The end of a line is the end of its session alone.

Tests: tests/core/test_lines.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from zchat import wire
from zchat.core import Instant
from zchat.core.answers import Answer
from zchat.core.client import AWAY, CLOSED, READY, ClientCore
from zchat.core.port import Consumer, Outgoing
from zchat.core.publishing import Chunk
from zchat.core.sessions import ChannelCore
from zchat.core.working import Receiver
from zchat.errors import Closed, Refused, ZchatError


class LineOwner(Protocol):
    """Who has the session, and is told of it."""

    def there(self) -> None:
        """The broker is there; said as often as one likes."""

    def lost(self) -> None:
        """The connection is lost; said as often as one likes."""

    def news(self, refused: list[Refused], answers: list[tuple[int, Answer]]) -> None:
        """These publishes were refused, these requests answered; the state or what is settled may be another."""

    def ended(self, error: ZchatError, unsettled: int) -> None:
        """The session goes on no more, and so many messages that were to be stored have no outcome."""

    def forked(self) -> None:
        """In a child after a fork: it is the parent's."""


class SessionLine:
    """One session on a channel."""

    __slots__ = ("core", "is_queued", "outbox", "owner", "sent", "settled_upto", "state")

    def __init__(self, core: ChannelCore, outbox: Outgoing, owner: LineOwner) -> None:
        self.core = core
        self.outbox = outbox
        self.owner = owner
        self.settled_upto = 0  # chunks, counted as the outbox opens them
        self.sent: list[Chunk] = []  # and not settled; some behind the first may be
        self.state = AWAY  # as last told
        self.is_queued = False  # among those that have something to send

    def unsettled(self) -> int:
        """Messages that were to be stored, and have no outcome."""
        chunks = [*self.sent, *self.outbox.chunks]
        return sum(len(chunk.records) for chunk in chunks if not chunk.is_settled and not chunk.flags & wire.VOLATILE)


class Lines:
    """Those of one connection."""

    def __init__(self, own: ClientCore, consumers: dict[Receiver, Consumer]) -> None:
        """`own`: the connection's own session."""
        self._own = own
        self._consumers = consumers
        self._lines: dict[ChannelCore, SessionLine] = {}
        self.queue: deque[SessionLine] = deque()  # those that have something to send

    def __len__(self) -> int:
        """How many."""
        return len(self._lines)

    # --- by any thread ----------------------------------------------------------------------

    def has_some(self, line: SessionLine) -> None:
        """It has something to send."""
        if not line.is_queued:
            line.is_queued = True
            self.queue.append(line)

    # --- by whoever drives the engine -------------------------------------------------------

    def add(self, line: SessionLine) -> None:
        """Its session begins."""
        self._lines[line.core] = line

    def publish(self, now: Instant) -> int:
        """Give the sessions what they are to send, as much as may be unacked. Returns how many messages."""
        messages = 0
        while self.queue and self._own.takes_more:
            line = self.queue.popleft()
            line.is_queued = False  # before it is looked at: who adds to it then queues it again
            if not line.core.has_room:
                continue  # until it has: see `carry_out`
            chunk = line.outbox.take()
            if chunk is None:
                continue
            line.sent.append(chunk)
            line.core.publish(chunk, now)
            self._own.sessions.touch(line.core)
            messages += chunk.count
            if line.outbox.chunks:
                self.has_some(line)
        return messages

    def carry_out(self) -> None:
        """What happened to the sessions is told."""
        for core in self._own.sessions.take_changed():
            line = self._lines.get(core)
            if line is not None:
                self._tell(line)

    def lost(self) -> None:
        """The connection is lost."""
        for line in self._lines.values():
            line.owner.lost()

    def end(self, line: SessionLine, error: ZchatError) -> None:
        """Its session goes on no more; what has no outcome stays unknown."""
        if self._lines.pop(line.core, None) is None:
            return
        unsettled = line.unsettled()
        unknown = error if isinstance(error, Closed) else Closed(str(error))  # a Refused would say: not stored
        receivers: list[Receiver] = [*line.core.listening.of(line.core), *line.core.working.of(line.core)]
        for listener in receivers:
            consumer = self._consumers.pop(listener, None)
            if consumer is not None:
                consumer.end()
        self._own.sessions.remove(line.core, unknown)
        for chunk in line.outbox.close(unknown):
            chunk.settle(-1, unknown)
        line.owner.ended(error, unsettled)

    def want_acks(self) -> Callable[[], bool]:
        """Somebody is about to wait for what becomes of all that they have published so far. Returns whether it is
        known of those that are still there.
        """
        left: list[tuple[SessionLine, int]] = []
        for line in self._lines.values():
            opened = line.outbox.opened
            if line.settled_upto < opened:
                line.core.want_acks(opened)
                self._own.sessions.touch(line.core)
                left.append((line, opened))

        def is_known() -> bool:
            while left and (left[-1][0].settled_upto >= left[-1][1] or left[-1][0].core not in self._lines):
                left.pop()
            return not left

        return is_known

    def close(self, error: ZchatError) -> None:
        """The end of all."""
        for line in list(self._lines.values()):
            self.end(line, error)

    def forked(self) -> None:
        """In a child after a fork: all are the parent's."""
        for line in list(self._lines.values()):
            line.owner.forked()

    def unsettled(self) -> int:
        """Messages of all that were to be stored, and have no outcome."""
        return sum(line.unsettled() for line in list(self._lines.values()))

    # --- parts ------------------------------------------------------------------------------

    def _tell(self, line: SessionLine) -> None:
        core = line.core
        answers, refused = core.take_answers(), core.take_news()
        if refused is not None or answers or line.state != core.state:
            line.state = core.state
            line.settled_upto = core.settled_upto
            line.sent = [chunk for chunk in line.sent if not chunk.is_settled]
            line.owner.news(refused or [], answers)
            if core.state == READY:
                line.owner.there()
        if core.refusal is not None or core.state == CLOSED:
            self.end(line, core.refusal or Closed())
        elif line.outbox.chunks:
            self.has_some(line)
