"""What reader threads are asked: FETCH and SEEK, and where a publish is stored that is sent again.

Rules of this file
1. Each connection and each session has a bound of what waits for a reader.
2. A repeat is looked up once at a time: a client sends it again and again until it has an answer, and a
   lookup for each would keep the readers from everything else.

Spec: docs/protocol.md, "Publish once". Tests: tests/core/test_reads.py.
"""

from __future__ import annotations

from typing import NamedTuple

from zchat import wire
from zchat.core.registry import Session
from zchat.core.replies import Replies
from zchat.errors import WireError

LOOKUPS_MAX = wire.IN_FLIGHT_MAX  # of one session; more are ignored, and looked up when they are sent again


class Read(NamedTuple):
    """Something that a reader thread answers: a FETCH or SEEK, or where a repeated publish is stored."""

    connection: bytes
    request: wire.Fetch | wire.Seek | tuple[str, int]  # the last: session, seq


class Reads:
    """What waits for a reader."""

    def __init__(self, replies: Replies, connection_reads_max: int) -> None:
        self._replies = replies
        self._connection_reads_max = connection_reads_max
        self._waiting: dict[bytes, int] = {}  # FETCH and SEEK of a connection
        self._lookups: dict[str, set[int]] = {}  # session -> `seq` of repeats
        self._reads: list[Read] = []

    def ask(self, connection: bytes, message: wire.Fetch | wire.Seek) -> None:
        """It is answered by a reader, then comes `done`. Raises WireError for one too many."""
        waiting = self._waiting.get(connection, 0)
        if waiting >= self._connection_reads_max:
            raise WireError("busy", f"{waiting} reads are waiting")
        self._waiting[connection] = waiting + 1
        self._reads.append(Read(connection, message))

    def done(self, connection: bytes) -> None:
        """A FETCH or SEEK was answered."""
        left = self._waiting.pop(connection, 0) - 1
        if left > 0:
            self._waiting[connection] = left

    def forget(self, connection: bytes) -> None:
        """The connection is gone."""
        self._waiting.pop(connection, None)

    def look_up(self, session: Session, repeat: wire.Publish) -> None:
        """A publish that was sent again and is not remembered: the log tells; then comes `found`."""
        if repeat.flags & wire.VOLATILE:  # no log has it
            self._replies.refuse(session.connection, "publish", repeat.seq, "repeat-unknown")
            return
        lookups = self._lookups.setdefault(session.id, set())
        if repeat.seq not in lookups and len(lookups) < LOOKUPS_MAX:
            lookups.add(repeat.seq)
            self._reads.append(Read(session.connection, (session.id, repeat.seq)))

    def found(self, session_id: str, session: Session | None, seq: int, offset: int) -> None:
        """Where the log has that publish; 0: nowhere."""
        lookups = self._lookups.get(session_id, set())
        lookups.discard(seq)
        if not lookups:
            self._lookups.pop(session_id, None)
        if session is None:
            return
        if offset:
            self._replies.ack(session.connection, seq, offset)
        else:
            self._replies.refuse(session.connection, "publish", seq, "repeat-unknown")

    def take(self) -> list[Read]:
        """For the readers."""
        reads, self._reads = self._reads, []
        return reads
