"""Connections that have ended and may have frames left in the ROUTER: what comes of them is dropped.

Rules of this file
1. All are forgotten when the ROUTER is dry. One that is flooded is never dry: there each is forgotten of which nothing
   more came while all others had their turns.
2. ROUTER takes one message of each connection in turn: who has something left is heard in each round.

Source: zmq_socket(3), "Fair-queued". Tests: tests/sockets/test_passed_over.py.
"""

from __future__ import annotations

from zchat.sockets.peer import Peer

LOOK_SECONDS = 5.0
ROUNDS = 10  # of messages, one of each connection, in which one that has something left is heard
NOT_LOOKED = -1


class PassedOver:
    """Those of one ROUTER."""

    def __init__(self) -> None:
        self.messages: dict[bytes, int] = {}  # connection -> how many had come of it at the last look
        self._all_messages: int | None = None  # that had come of everybody then
        self._look_at = 0.0

    def add(self, connection: bytes) -> None:
        """It has ended, and the ROUTER is not dry."""
        self.messages[connection] = NOT_LOOKED

    def done(self, of: dict[bytes, Peer], seconds: float, *, dry: bool) -> list[bytes]:
        """Who has nothing left. `of`: all connections that are known, these among them."""
        if dry:
            gone = list(self.messages)
            self.messages.clear()
            self._all_messages = None
            return gone
        if not self.messages or seconds < self._look_at:
            return []
        self._look_at = seconds + LOOK_SECONDS
        everybody = sum(peer.messages for peer in of.values())
        gone = []
        if self._all_messages is not None:
            if everybody - self._all_messages < ROUNDS * len(of):
                return []
            gone = [each for each, messages in self.messages.items() if of[each].messages == messages]
        for connection in gone:
            everybody -= of[connection].messages
            del self.messages[connection]
        for connection in self.messages:
            self.messages[connection] = of[connection].messages
        self._all_messages = everybody if self.messages else None
        return gone
