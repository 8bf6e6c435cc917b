"""Who is connected and has not said HELLO: for so long, and so many of one address, and no longer and no more.

Rules of this file
1. A connection takes a descriptor and some memory. Who has said nothing keeps it neither for long nor many times.
2. While the broker has not read all that has come, a HELLO may wait in it: then there is more patience.

Tests: tests/sockets/test_greetings.py.
"""

from __future__ import annotations

from collections import deque

from zchat.sockets.peer import Peer

HELLO_SECONDS = 5.0
HELLO_BUSY_SECONDS = 20.0  # while the broker has not read all that came


class Greetings:
    """Peers of the ROUTER in the order in which they came."""

    def __init__(self, address_silent_max: int) -> None:
        self._address_silent_max = address_silent_max
        self.waiting: deque[Peer] = deque()  # those of `_silent`, and some who have spoken or ended since
        self._silent: dict[str, dict[int, Peer]] = {}  # address -> by descriptor

    def came(self, peer: Peer) -> None:
        """It is connected."""
        self._silent.setdefault(peer.host, {})[peer.descriptor] = peer
        self.waiting.append(peer)

    def done(self, peer: Peer) -> None:
        """It has said HELLO, or has ended. Before its descriptor is forgotten."""
        silent = self._silent.get(peer.host)
        if silent is not None and silent.get(peer.descriptor) is peer:
            del silent[peer.descriptor]
            if not silent:
                del self._silent[peer.host]

    def overdue(self, seconds: float, *, dry: bool) -> list[Peer]:
        """Who has been silent for too long, and the oldest where an address has too many: the honest speak at once."""
        waiting, found = self.waiting, []
        patience = HELLO_SECONDS if dry else HELLO_BUSY_SECONDS
        while waiting and (not self._is_silent(waiting[0]) or seconds - waiting[0].since > patience):
            peer = waiting.popleft()
            if self._is_silent(peer):
                self.done(peer)
                found.append(peer)
        for silent in list(self._silent.values()) if dry else ():
            for peer in list(silent.values())[: max(0, len(silent) - self._address_silent_max)]:
                self.done(peer)
                found.append(peer)
        return found

    def _is_silent(self, peer: Peer) -> bool:
        return self._silent.get(peer.host, {}).get(peer.descriptor) is peer
