"""The private topics of a connection's SUB, one at a time: a SYNC says that all subscriptions before it are live.

    ask ──► a fresh nonce ── take ──► the SUB subscribes ──► SYNC ── answered ──► the topic is given back

Rules of this file
1. One nonce is out at a time. A fresh one replaces it; rounds count them.
2. While thousands have a private topic, each connection that ends costs the broker a search of them all: so it is
   given back as soon as its SYNC has come, and the introduction (core/introductions.py) with it.

Spec: docs/protocol.md, "Subscribing". Tests: tests/core/test_listening.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from zchat import wire
from zchat.core import Instant


class Handshake:
    """Of one connection."""

    def __init__(self, nonces: Iterator[bytes]) -> None:
        self.introduction: Callable[[], bytes] = bytes  # the topic that says whose the subscriber is,
        self._introduced = b""  # once subscribed to
        self.rounds = 0  # nonces so far
        self.is_out = False  # the nonce was taken
        self.is_synced = True  # its SYNC has come, or there was none
        self.asked_at = 0.0  # when the nonce was
        self.unsynced_at = 0.0  # since when none is live
        self._nonces = nonces
        self._nonce = b""
        self.private: list[tuple[bool, bytes]] = []  # behind those of the rooms

    def ask(self, now: Instant) -> None:
        """Subscribe to a fresh private topic: its SYNC comes after all subscriptions made so far."""
        self.give_back()
        self._nonce = next(self._nonces)
        self.rounds += 1
        self.private.append((True, wire.PRIVATE_TOPIC + self._nonce))
        self.expect(now)

    def begin_anew(self) -> None:
        """Nobody waits for the SYNC of a nonce that is out: where it was lost, nobody would ask for another one."""
        self.give_back()
        self.is_synced = True

    def expect(self, now: Instant) -> None:
        """A SYNC has to come."""
        if self.is_synced:
            self.unsynced_at = now.seconds
        self.is_synced = False
        self.asked_at = now.seconds

    def answered(self, sync: wire.Sync) -> bool:
        """A SYNC came. Returns whether it is the one that has to."""
        if not self._nonce or sync.nonce != self._nonce:
            return False
        self.give_back()
        self.is_synced = False
        return True

    def give_back(self) -> None:
        """Have no private topic."""
        topic = wire.PRIVATE_TOPIC + self._nonce
        if self.is_out:
            self.private.append((False, topic))
        elif self._nonce:
            self.private.remove((True, topic))
        if self._introduced:
            self.private.append((False, self._introduced))
        self._nonce, self._introduced, self.is_out = b"", b"", False

    def take(self) -> tuple[list[tuple[bool, bytes]], list[tuple[bool, bytes]]]:
        """(subscribe or unsubscribe, topic): what goes before those of rooms, and what behind them."""
        private, self.private = self.private, []
        self.is_out = bool(self._nonce)
        introduces: list[tuple[bool, bytes]] = []
        if self._nonce and not self._introduced and (topic := self.introduction()):
            self._introduced = topic
            introduces.append((True, topic))
        return introduces, private
