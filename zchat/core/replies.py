"""What goes back to clients: answers, refusals, one ACK for each session and cycle, and who is cut off.

Tests: tests/core/test_broker.py.
"""

from __future__ import annotations

from zchat import wire
from zchat.core.channels import Channel, Endpoint, reply_to
from zchat.core.limits_met import LimitsMet
from zchat.errors import CODES, BadName, WireError

TEXT_MAX = 400  # characters of a refusal: it quotes what was sent, which may have megabytes


class Replies:
    """Gathered while messages are taken, sent once a cycle."""

    def __init__(self) -> None:
        self.acks: dict[Endpoint, list[tuple[int, int]]] = {}
        self._replies: list[tuple[bytes, bytes]] = []
        self.cutoffs: list[bytes] = []
        self.limits = LimitsMet()

    def reply(self, endpoint: Endpoint, message: wire.BrokerMessage) -> None:
        """An answer."""
        self._replies.append(reply_to(endpoint, wire.encode(message)))

    def reply_frame(self, endpoint: Endpoint, frame: bytes) -> None:
        """An answer that is encoded already."""
        self._replies.append(reply_to(endpoint, frame))

    def reply_all(self, connections: list[bytes], message: wire.BrokerMessage) -> None:
        """One answer for many."""
        frame = wire.encode(message)
        self._replies.extend((connection, frame) for connection in connections)

    def ack(self, endpoint: Endpoint, seq: int, offset: int) -> None:
        """A publish is stored (offset 0: broadcast, when it is volatile)."""
        if endpoint:
            self.acks.setdefault(endpoint, []).append((seq, offset))

    def refuse(
        self, endpoint: Endpoint, about: str, number: int, code: str, text: str = "", *, is_fatal: bool = False
    ) -> None:
        """An ERROR; a fatal one about the connection ends it, but on a channel it ends nothing else."""
        if endpoint:
            self.reply(endpoint, wire.Error(about, number, code, text[:TEXT_MAX] or CODES[code].sentence))
            if (is_fatal or CODES[code].fatal) and about == "connection" and isinstance(endpoint, bytes):
                self.cutoffs.append(endpoint)

    def refuse_error(
        self, endpoint: Endpoint, about: str, number: int, error: BadName | WireError, *, is_fatal: bool = False
    ) -> None:
        """An ERROR of what was raised; a limit that was met is counted."""
        if isinstance(error, WireError) and error.limit:
            self.limits.meet(error.limit, endpoint)
        self.refuse(endpoint, about, number, error.code, str(error), is_fatal=is_fatal)

    def refuse_frame(self, endpoint: Endpoint, frame: bytes, error: WireError) -> None:
        """An ERROR to who said what is no message, about what it is about."""
        if isinstance(endpoint, bytes) and (channel := wire.channel_of(frame)):
            endpoint, frame = Channel(endpoint, channel), b""
        self.refuse(endpoint, *wire.about(frame), error.code, str(error))

    def forget(self, connection: bytes) -> None:
        """The connection is gone."""
        self.acks.pop(connection, None)

    def take(self, window: int) -> list[tuple[bytes, bytes]]:
        """(connection, frame), in order, acks last. They tell the window, in bytes."""
        if self.acks:
            acks, self.acks = self.acks, {}
            for endpoint, pairs in acks.items():
                self._replies.append(reply_to(endpoint, wire.encode(wire.Ack(pairs, window))))
        replies, self._replies = self._replies, []
        return replies

    def take_cutoffs(self) -> list[bytes]:
        """Connections to end once their replies are out."""
        cutoffs, self.cutoffs = self.cutoffs, []
        return cutoffs
