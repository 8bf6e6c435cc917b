"""Who is connected and has not said a word: for so long, so many of one address and in all, and no longer and no more.

Rules of this file
1. A connection takes a descriptor and some memory, and its handshake takes time. Who has said nothing keeps it neither
   for long nor many times.
2. While the broker has not read all that has come, a word may wait in it: then there is more patience.
3. Above the bound of all it is the address that has most of them that loses its oldest.

A client's word is its HELLO, a subscriber's its first subscription; a subscriber may take its time.
Tests: tests/sockets/test_greetings.py.
"""

from __future__ import annotations

from collections import deque

from zchat.settings import Settings
from zchat.sockets.peer import Peer

HELLO_SECONDS = 5.0
HELLO_BUSY_SECONDS = 20.0  # while the broker has not read all that came


class Greetings:
    """Peers of one socket in the order in which they came."""

    def __init__(self, settings: Settings, *, ends: bool = True) -> None:
        """`ends`: who says nothing for too long is overdue."""
        self._address_silent_max = settings.address_silent_max
        self._silent_max = settings.silent_max
        self._ends = ends
        self.waiting: deque[Peer] = deque()  # those of `_silent`, and some who have spoken or ended since
        self._silent: dict[str, dict[int, Peer]] = {}  # address -> by descriptor
        self._count = 0

    def came(self, peer: Peer) -> None:
        """It is connected."""
        silent = self._silent.setdefault(peer.host, {})
        self._count += peer.descriptor not in silent
        silent[peer.descriptor] = peer
        self.waiting.append(peer)

    def done(self, peer: Peer) -> None:
        """It has said its word, or has ended. Before its descriptor is forgotten."""
        silent = self._silent.get(peer.host)
        if silent is not None and silent.get(peer.descriptor) is peer:
            del silent[peer.descriptor]
            self._count -= 1
            if not silent:
                del self._silent[peer.host]

    def overdue(self, seconds: float, *, dry: bool) -> list[tuple[Peer, str]]:
        """Who has been silent for too long, and the oldest where there are too many: the honest speak at once.

        Each with the limit that it is above.
        """
        waiting, found = self.waiting, list[tuple[Peer, str]]()
        patience = HELLO_SECONDS if dry else HELLO_BUSY_SECONDS
        while waiting and (not self._is_silent(waiting[0]) or (self._ends and seconds - waiting[0].since > patience)):
            peer = waiting.popleft()
            if self._is_silent(peer):
                self._found(peer, "address_silent_max", found)
        if dry:
            for silent in list(self._silent.values()):
                for peer in list(silent.values())[: max(0, len(silent) - self._address_silent_max)]:
                    self._found(peer, "address_silent_max", found)
            while self._count > self._silent_max:
                self._found(next(iter(max(self._silent.values(), key=len).values())), "silent_max", found)
        return found

    def _found(self, peer: Peer, limit: str, found: list[tuple[Peer, str]]) -> None:
        self.done(peer)
        found.append((peer, limit))

    def _is_silent(self, peer: Peer) -> bool:
        return self._silent.get(peer.host, {}).get(peer.descriptor) is peer
