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

from collections import OrderedDict

from zchat.settings import Settings
from zchat.sockets.peer import Peer

HELLO_SECONDS = 5.0
HELLO_BUSY_SECONDS = 20.0  # while the broker has not read all that came


class Greetings:
    """Peers of one socket that have not said their word."""

    def __init__(self, settings: Settings, *, ends: bool = True) -> None:
        """`ends`: who says nothing for too long is overdue."""
        self._address_silent_max = settings.address_silent_max
        self._silent_max = settings.silent_max
        self._ends = ends
        self.silent: OrderedDict[int, Peer] = OrderedDict()  # by descriptor, in the order in which they came,
        self._of: dict[str, OrderedDict[int, Peer]] = {}  # and those of each address
        self._above: dict[str, None] = {}  # addresses that may have too many

    def came(self, peer: Peer) -> None:
        """It is connected."""
        if (former := self.silent.get(peer.descriptor)) is not None:  # whose end was missed
            self.done(former)
        of_address = self._of.setdefault(peer.host, OrderedDict())
        self.silent[peer.descriptor] = of_address[peer.descriptor] = peer
        if len(of_address) > self._address_silent_max:
            self._above[peer.host] = None

    def done(self, peer: Peer) -> None:
        """It has said its word, or has ended. Before its descriptor is forgotten."""
        if self.silent.get(peer.descriptor) is not peer:
            return
        del self.silent[peer.descriptor], self._of[peer.host][peer.descriptor]
        if not self._of[peer.host]:
            del self._of[peer.host]

    def overdue(self, seconds: float, *, dry: bool) -> list[tuple[Peer, str]]:
        """Who has been silent for too long, and the oldest where there are too many: the honest speak at once.

        Each with the limit that it is above.
        """
        found: list[tuple[Peer, str]] = []
        patience = HELLO_SECONDS if dry else HELLO_BUSY_SECONDS
        while self._ends and self.silent and seconds - (first := _first(self.silent)).since > patience:
            self._found(first, "address_silent_max", found)
        while dry and self._above:
            host = next(iter(self._above))
            while len(self._of.get(host, ())) > self._address_silent_max:
                self._found(_first(self._of[host]), "address_silent_max", found)
            del self._above[host]
        while dry and len(self.silent) > self._silent_max:
            self._found(_first(max(self._of.values(), key=len)), "silent_max", found)
        return found

    def _found(self, peer: Peer, limit: str, found: list[tuple[Peer, str]]) -> None:
        self.done(peer)
        found.append((peer, limit))


def _first(silent: OrderedDict[int, Peer]) -> Peer:
    return next(iter(silent.values()))
