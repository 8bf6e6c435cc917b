"""One connection of the broker, as its sockets see it, with what it has sent and got.

Rules of this file: the broker's loop writes the counts, the thread of meters.py reads them, and writes its own
(`excused`, `looked_…`, `behind_…`). Tests: tests/sockets/test_peers.py.
"""

from __future__ import annotations

from zchat.core.allowances import origin
from zchat.sockets.cutoffs import address_of


class Peer:
    """One connection of either socket, and its counts."""

    __slots__ = (
        "acked",
        "address",
        "behind_acked",
        "behind_at",
        "connection",
        "crowded_at",
        "descriptor",
        "excused",
        "heard",
        "heard_at",
        "host",
        "introduction",
        "is_cut_off",
        "is_greeted",
        "is_refused",
        "key",
        "looked_at",
        "looked_messages",
        "message_bytes",
        "messages",
        "name",
        "sent",
        "since",
        "sized_messages",
        "sized_taken",
        "taken",
        "topic_bytes",
        "topics",
        "ttl_seconds",
    )

    def __init__(self, descriptor: int, name: object, seconds: float) -> None:
        self.descriptor = descriptor  # -1: it has ended
        self.name = name  # of the other end, by the kernel: whether the descriptor still is this peer's
        self.address = address_of(name)  # as people know it, once it has spoken
        self.host = origin(self.address)  # what counts as one peer
        self.since = seconds
        self.key = ""  # its public key, once it has spoken, where the broker has keys
        # What came of it.
        self.taken = 0  # bytes that the program got, with the framing of ZMTP
        self.messages = 0
        self.excused = 0  # bytes that the kernel got and that are no message: commands of ZMTP
        self.looked_at = seconds
        self.heard = 0  # bytes that the kernel had of it at the last look at which there were more,
        self.heard_at = seconds
        self.ttl_seconds = 0.0  # after its last sign of life it is dead, as it pings; 0: it does not
        self.looked_messages = 0
        self.message_bytes = 64  # of one message, as those were that were taken last
        self.sized_taken = self.sized_messages = 0  # up to which that was reckoned
        self.crowded_at = -1  # how many had been taken when too many seemed to wait; -1: they do not
        # Of the ROUTER.
        self.connection = b""  # its routing id, once it has spoken
        self.is_cut_off = False  # what it sent before is of no use to anybody
        self.is_greeted = False  # it has said its word: HELLO, or what it subscribes to
        self.is_refused = False  # its address came too often: it is not counted again
        self.sent = 0  # bytes of answers that it was given,
        self.acked = 0  # and that its kernel has taken, when that was looked at last
        # Of the XPUB.
        self.introduction = b""  # which session it is of, as it says
        self.topics: set[bytes] = set()
        self.topic_bytes = 0
        self.behind_at = 0  # what had been broadcast when its kernel had taken all that it was sent,
        self.behind_acked = 0  # and what it had taken then

    @property
    def is_tcp(self) -> bool:
        """Whether the kernel counts its bytes."""
        return isinstance(self.name, tuple)
