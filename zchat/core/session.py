"""One session of a client: what the broker knows of it, and which states follow on which.

    live --disconnected--> lost --grace over--> gone --kept time over--> (forgotten)
      ^                      |                    |
      +------- resumed ------+----- resumed ------+        bye, from any state --> (forgotten)

Who is where, and when a state ends, is in registry.py.
Spec: docs/protocol.md, "Sessions". Tests: tests/core/test_session.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec.structs import replace

from zchat.core.channels import Carrier, Endpoint
from zchat.core.log import SessionRow
from zchat.wire import Member

LIVE, LOST, GONE, FORGOTTEN = "live", "lost", "gone", "forgotten"

TRANSITIONS: dict[str, dict[str, str]] = {
    LIVE: {"disconnected": LOST, "resumed": LIVE, "bye": FORGOTTEN},
    LOST: {"grace over": GONE, "resumed": LIVE, "bye": FORGOTTEN},
    GONE: {"kept over": FORGOTTEN, "resumed": LIVE, "bye": FORGOTTEN},
    FORGOTTEN: {},
}

OUTCOMES_MAX = 1024  # outcomes remembered per session: one whose ACK was lost is sent again behind many others

PENDING = -1  # an outcome: accepted, not committed yet

PublishOutcome = int | str  # offset of the first record (0: volatile), PENDING, or the code it was refused with


@dataclass(slots=True, eq=False)
class Session:
    """One session of a client."""

    id: str
    user: str
    since: int  # hello
    seen: int
    state: str = LIVE
    connection: Endpoint = b""  # where it is reached; empty when it has none
    carrier: Carrier | None = None  # that connection, when it has channels
    hello: int = 0  # number of its last HELLO
    ttl_ms: int = 0  # how long it may be silent, as it pings; 0: for ever
    address: str = ""
    info: dict[str, str] = field(default_factory=dict)  # program, host, pid: for operators
    rooms: dict[str, int] = field(default_factory=dict)  # room -> since
    written: set[str] = field(default_factory=set)  # rooms whose log has this session's join
    has_joined: bool = False  # a room,
    has_stored: bool = False  # or given the log a publish, whose repeats must be known
    has_row: bool = False  # the log has a row of it, or gets one with the commit under way
    last_seq: int = 0
    waiting: int = 0  # publishes that wait for the log,
    waiting_bytes: int = 0  # and the bytes of their frames
    late: int = 0  # publishes that are done, and acked when its user's rate allows
    outcomes: dict[int, PublishOutcome] = field(default_factory=dict)
    deadline: float = 0.0  # monotonic: end of the grace time (lost) or of the kept time (gone); else 0
    listens: list[tuple[int, list[str]]] = field(default_factory=list)  # how far its listeners of those patterns are
    listens_bytes: int = 0  # of those

    @property
    def is_known(self) -> bool:
        """Whether anybody can have met its user, so that `who` tells of the user when it has gone."""
        return self.has_joined or self.has_stored

    def row(self) -> SessionRow:
        """What the log keeps of it."""
        rooms = {room: since for room, since in self.rooms.items() if room in self.written}
        return SessionRow(self.id, self.user, self.last_seq, self.seen, rooms)

    def carried_by(self, carrier: Carrier | None) -> None:
        """It is reached over that connection from now on; None: over one that has no channels, or over none."""
        if self.carrier is not None:
            self.carrier.add(-self.waiting, -self.waiting_bytes)
        self.carrier = carrier
        if carrier is not None:
            carrier.add(self.waiting, self.waiting_bytes)

    def accept(self, seq: int) -> None:
        """A publish is taken; its outcome follows with `settle`."""
        self.last_seq = seq
        self.outcomes[seq] = PENDING
        if len(self.outcomes) > OUTCOMES_MAX:
            del self.outcomes[next(iter(self.outcomes))]

    def wait(self, size: int) -> None:
        """A publish of so many bytes waits for the log; then `finish`."""
        self.waiting += 1
        self.waiting_bytes += size
        if self.carrier is not None:
            self.carrier.add(1, size)

    def finish(self, seq: int, outcome: PublishOutcome, size: int) -> None:
        """What became of one that waited."""
        self._waited(size)
        self.settle(seq, outcome)

    def done_late(self, size: int) -> None:
        """One that waited is done, and is told later: then `settle`."""
        self.late += 1
        self._waited(size)

    def settle(self, seq: int, outcome: PublishOutcome) -> None:
        """What became of a publish."""
        if seq in self.outcomes:
            self.outcomes[seq] = outcome

    def _waited(self, size: int) -> None:
        self.waiting -= 1
        self.waiting_bytes -= size
        if self.carrier is not None:
            self.carrier.add(-1, -size)


def member_of(session: Session, room: str) -> Member:
    """What WHO tells of a session, as a member of that room if it is one."""
    since = session.rooms[room] if room else session.since
    rooms = sorted(session.rooms)
    told = Member(session.user, session.id, session.state, since, session.seen, rooms, session.address)
    return replace(told, info=session.info) if session.info else told
