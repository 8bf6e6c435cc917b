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
    """Those of one ROUTER. The broker asks `done` only while `heard` has somebody: most turns cost no call."""

    def __init__(self) -> None:
        self.heard: dict[bytes, int] = {}  # connection -> how many messages had come of it at the last look
        self._all_heard: int | None = None  # of everybody then
        self._look_at = 0.0

    def add(self, connection: bytes) -> None:
        """It has ended, and the ROUTER is not dry."""
        self.heard[connection] = NOT_LOOKED

    def done(self, of: dict[bytes, Peer], seconds: float, *, dry: bool) -> list[bytes]:
        """Who has nothing left. `of`: all connections that are known, these among them."""
        if dry:
            gone = list(self.heard)
            self.heard.clear()
            self._all_heard = None
            return gone
        if seconds < self._look_at:
            return []
        self._look_at = seconds + LOOK_SECONDS
        everybody = sum(peer.messages for peer in of.values())
        gone = []
        if self._all_heard is not None:
            if everybody - self._all_heard < ROUNDS * len(of):
                return []
            gone = [each for each, heard in self.heard.items() if of[each].messages == heard]
        for connection in gone:
            everybody -= of[connection].messages
            del self.heard[connection]
        for connection in self.heard:
            self.heard[connection] = of[connection].messages
        self._all_heard = everybody if self.heard else None
        return gone
