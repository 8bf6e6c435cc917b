"""Which mechanism the other side has, asked before ours is told: who finds that they differ may go without a word.

    us      signature, version          them    signature, version, mechanism, …

Rules of this file: it is asked in a thread that nobody waits for, once, on a connection of its own.
Source: ZMTP 3.1 (RFC 37), "The greeting". Tests: tests/sockets/test_probe.py.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

from zchat.address import Address

SECONDS = 2.0
OURS = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03"  # of 64 bytes; the rest is never said
THEIRS_BYTES = 64
MECHANISM = slice(12, 32)


class MechanismProbe:
    """One question. `answer` is NULL, CURVE or another, empty where nobody said one; None until it is known."""

    def __init__(self, address: Address, wake: Callable[[], object]) -> None:
        self.answer: str | None = None
        self._address = address
        self._wake = wake
        threading.Thread(target=self._run, name="zchat-probe", daemon=True).start()

    def _run(self) -> None:
        self.answer = mechanism_of(self._address)
        self._wake()


def mechanism_of(address: Address) -> str:
    """What is said there; empty: nothing that is one."""
    try:
        with _connected(address) as peer:
            peer.sendall(OURS)
            said = b""
            while len(said) < THEIRS_BYTES and (more := peer.recv(THEIRS_BYTES - len(said))):
                said += more
    except OSError:
        return ""
    return said[MECHANISM].rstrip(b"\0").decode("ascii", "replace") if len(said) == THEIRS_BYTES else ""


def _connected(address: Address) -> socket.socket:
    if address.scheme != "ipc":
        return socket.create_connection((address.host, address.port), SECONDS)
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(SECONDS)
    try:
        peer.connect(address.path)
    except OSError:
        peer.close()
        raise
    return peer
