"""Cutting peers off, and telling the operator.

Rules of this file
1. A descriptor is libzmq's, and may be another connection's at any moment. So it is pinned first (duplicated), then it
   is looked whose it is, and only then shut down: to shut down the listener itself would end the process
   (tcp_listener.cpp:196 of libzmq 4.3.5).
2. It needs no free descriptor: the duplicate takes the place of one that is held for it.
3. What the operator is told of is told once a minute for each reason: an attacker must not fill the disk.

Tests: tests/sockets/test_cutoffs.py.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable

TOLD_SECONDS = 60.0
MET_MAX = 1_000  # addresses that are known; twice a second it is asked for them


class CutOffs:
    """Ends connections and tells why. Thread-safe."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._held = os.dup(self._nothing)  # the duplicate's place
        self._told: dict[str, float] = {}  # reason -> when
        self._met: dict[tuple[str, str], int] = {}  # limit, and the address that met it
        self._untold: dict[str, int] = {}  # reason -> cut off since then

    def cut_off(self, descriptor: int, name: object, reason: str, limit: str = "") -> bool:
        """End the connection of that descriptor if its other end still is `name`, and tell `reason`.

        Where it met a limit, that is counted.

        libzmq sees the end of the stream. Returns False where the connection is gone already.
        """
        with self._lock:
            if not self._shut_down(descriptor, name):
                return False
            if limit:
                self._count(limit, name)
        self._tell_of(name, reason)
        return True

    def met(self, name: object, limit: str, reason: str = "") -> None:
        """A limit was met by one that has ended by itself, or stays: count it. Tell `reason`, where there is one."""
        with self._lock:
            self._count(limit, name)
        if reason:
            self._tell_of(name, reason)

    def end(self, descriptor: int, name: object) -> None:
        """The same without telling: the peer was told why."""
        with self._lock:
            self._shut_down(descriptor, name)

    def take_met(self) -> dict[tuple[str, str], int]:
        """Limits that were met here since the last time, by which address, and how often."""
        with self._lock:
            met, self._met = self._met, {}
        return met

    def close(self) -> None:
        """Give the descriptors back."""
        with self._lock:
            for descriptor in (self._held, self._nothing):
                os.close(descriptor)
            self._held = self._nothing = -1

    def _count(self, limit: str, name: object) -> None:
        met = limit, address_of(name)
        if met not in self._met and len(self._met) >= MET_MAX:
            met = limit, ""
        self._met[met] = self._met.get(met, 0) + 1

    def _shut_down(self, descriptor: int, name: object) -> bool:
        if self._held < 0 or name is None:
            return False
        try:
            os.dup2(descriptor, self._held, inheritable=False)
        except OSError:
            return False  # closed
        try:
            pinned = socket.socket(fileno=self._held)
        except OSError:
            pinned = None  # no socket
        try:
            if pinned is None or pinned.getpeername() != name:
                return False
            pinned.shutdown(socket.SHUT_RDWR)
        except OSError:
            return False  # not connected: gone, or the listener
        finally:
            if pinned is not None:
                pinned.detach()
            os.dup2(self._nothing, self._held, inheritable=False)
        return True

    def _tell_of(self, name: object, reason: str) -> None:
        now = time.monotonic()
        with self._lock:
            others = self._untold.pop(reason, 0)
            if now - self._told.get(reason, -TOLD_SECONDS) < TOLD_SECONDS:
                self._untold[reason] = others + 1
                return
            self._told[reason] = now
        more = f"; so were {others} others in the last minutes" if others else ""
        self._tell(f"{address_of(name) or 'a peer'} is cut off: it {reason}{more}")


def address_of(name: object) -> str:
    """The address in a socket's name, IPv4 as people know it; empty where it has none."""
    return str(name[0]).removeprefix("::ffff:") if isinstance(name, tuple) else ""
