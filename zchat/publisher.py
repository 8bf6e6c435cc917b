"""Who a client is, and its `publish`: the same in all faces, as neither waits for anything but room.

Rules of this file: `publish` is the hot path of every program that sends much; it looks at what is wrong only then.
Spec: docs/client.md. Tests: tests/test_client.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

from zchat.arguments import flag_of, lasting, record_of, text_of
from zchat.core.client import AWAY, CLOSED, READY
from zchat.expiry import Life
from zchat.sockets.link import Link
from zchat.sockets.outbox import Outbox
from zchat.sockets.publication import Outcome
from zchat.wire.records import RecordOrBody

P = TypeVar("P", bound=Outcome)

NO_ROOMS: frozenset[str] = frozenset()
MESSAGE = "message"  # the event of a mere body
OPEN_ROOMS_MAX = 4_096  # of which is known for a moment that they have no key


class Publisher(Generic[P]):
    """A session with a broker: where, as whom, and what it publishes."""

    def __init__(self, link: Link) -> None:
        self._connection = link
        self.address = str(link.address)
        self.user = link.user
        outbox: Outbox[P] = link.outbox
        self._outbox = outbox
        seals = link.seals
        self._open_rooms: dict[str, None] = {}  # as they are written; looked at anew
        self._keyed_rooms = NO_ROOMS  # where the rooms with keys are other ones than these
        self._add = outbox.add if seals is None or not seals.rooms() else self._add_sealed

    def __repr__(self) -> str:
        """`<zchat.Client alice at tcp://127.0.0.1:5555: connected>`; or `<zchat.aio.Client …`."""
        states = {READY: "connected", AWAY: "not connected", CLOSED: "closed"}
        face = type(self).__module__.removesuffix(".client")
        return f"<{face}.Client {self.user} at {self.address}: {states[self._connection.state]}>"

    @property
    def session_id(self) -> str:
        """The name of this session; a broker with another log gives another."""
        return self._connection.welcome.session

    @property
    def log_id(self) -> str:
        """The name of the broker's log, in which offsets mean something."""
        return self._connection.welcome.log_id

    @property
    def is_connected(self) -> bool:
        """Whether the broker is there, as far as is known; what is published meanwhile waits."""
        return self._connection.is_ready

    def publish(
        self,
        room: str,
        body: bytes | str,
        *,
        event: str = MESSAGE,
        headers: Mapping[str, str] | None = None,
        volatile: bool = False,
        expire: Life | None = None,
    ) -> P:
        """Queue a message and return at once; what it returns tells its offset. At most 16 MiB wait.

        A `volatile` message is not stored: who listens now gets it, as fast as it goes, without a promise.
        One that is to `expire` is shown to nobody so long after the broker took it: seconds, a timedelta, or "10m".
        Raises BadName, TooLarge, UsageError, TimedOut (there was no room, and it is not queued), Closed.
        """
        try:
            # By identity, which is nearly always true; what it misses takes the way below. `volatile` by two
            # comparisons, as a call of `type` would take longer.
            is_plain = event is MESSAGE and headers is None and expire is None
            if is_plain and type(body) is bytes and (volatile is True or volatile is False):
                add = self._add  # an attribute that is set: Python calls `self._add(…)` as a method, and looks twice
                return add(room, body, len(body), volatile)
            record, size = record_of(body, event, lasting(headers, expire))
            return self._add(room, record, size, flag_of("volatile", volatile))
        except (AttributeError, TypeError):
            text_of("room", room)  # looked at only now: each message would pay for it
            raise

    @property
    def sealed_rooms(self) -> frozenset[str]:
        """The rooms of which a key is there: what is published to them is sealed. Raises UsageError."""
        seals = self._connection.seals
        return frozenset() if seals is None else seals.rooms()

    def is_sealed(self, room: str) -> bool:
        """Whether what is published to a room is sealed: its key is there. Raises BadName, UsageError."""
        return self._connection.is_sealed(text_of("room", room))

    def _add_sealed(self, room: str, record: RecordOrBody, size: int, volatile: bool) -> P:
        """Where there are keys of some rooms: what goes to the others costs a look into a set."""
        seals = self._connection.seals
        assert seals is not None, "it has keys"
        if (rooms := seals.rooms()) is not self._keyed_rooms:
            self._open_rooms.clear()
            self._keyed_rooms = rooms
        if room not in self._open_rooms:
            given = record
            record, size = self._connection.sealed(room, record, size)
            if record is given and len(self._open_rooms) < OPEN_ROOMS_MAX:
                self._open_rooms[room] = None
        return self._outbox.add(room, record, size, volatile)
