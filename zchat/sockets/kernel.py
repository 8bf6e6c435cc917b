"""What the kernel says of this process and of its connections: bytes that came and went, memory, descriptors.

Rules of this file
1. What a system does not tell is 0 or nothing, and never an error.
2. Nothing here needs a free descriptor: that is when it is asked most.

Source: tcp(7) (TCP_INFO), proc(5), getrlimit(2), tty_ioctl(4) (TIOCOUTQ).
Tests: tests/sockets/test_peers.py, tests/sockets/test_cutoffs.py.
"""

from __future__ import annotations

import os
import resource
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import NamedTuple

from zchat.errors import StartError

RESERVED_DESCRIPTORS = 64  # for the log's files, wake-ups and what Python opens
CONNECTIONS_MIN = 16  # of either socket: with fewer descriptors it would serve nobody

_TRAFFIC = struct.Struct("=120xQQ")  # of Linux' struct tcp_info: tcpi_bytes_acked, tcpi_bytes_received
_PAGE_BYTES = resource.getpagesize()


class Traffic(NamedTuple):
    """Bytes of one TCP connection, as the kernel counts them."""

    received: int  # from the peer
    acked: int  # sent, and taken by the peer's kernel


NO_TRAFFIC = Traffic(0, 0)


@contextmanager
def viewed(descriptor: int) -> Iterator[socket.socket]:
    """A socket that is another's, without a descriptor of our own: only to ask about. Raises OSError.

    Its owner may close it at any moment, and the number may be another's then.
    """
    view = socket.socket(fileno=descriptor)
    try:
        yield view
    finally:
        view.detach()


def traffic(descriptor: int, port: int = 0) -> Traffic:
    """What went over a TCP connection; nothing where the kernel does not tell, or where it is of another port."""
    try:
        with viewed(descriptor) as connection:
            if port and connection.getsockname()[1] != port:
                return NO_TRAFFIC
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TRAFFIC.size)
    except (OSError, ValueError, AttributeError, IndexError):
        return NO_TRAFFIC  # gone, no TCP, or not Linux
    if len(info) < _TRAFFIC.size:
        return NO_TRAFFIC
    acked, received = _TRAFFIC.unpack(info)
    return Traffic(received, acked)


def unsent_bytes(descriptor: int) -> int:
    """What the kernel has of a connection's bytes and its peer has not taken yet."""
    try:
        return int.from_bytes(ioctl(descriptor, TIOCOUTQ, bytes(4)), "little")
    except (OSError, ValueError):
        return 0


def name_of_peer(descriptor: int) -> object:
    """The address of a connection's other end, with its port; None where there is no connection."""
    try:
        with viewed(descriptor) as connection:
            return connection.getpeername()
    except (OSError, ValueError):
        return None


class ResidentMemory:
    """The memory that the process has. Open from the start: to open a file takes a descriptor."""

    def __init__(self) -> None:
        try:
            self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._statm = -1  # not Linux

    def bytes(self) -> int:
        """How much; 0 where it is not told."""
        try:
            return int(os.pread(self._statm, 256, 0).split()[1]) * _PAGE_BYTES
        except (OSError, ValueError, IndexError):
            return 0

    def close(self) -> None:
        """Give the descriptor back."""
        if self._statm >= 0:
            os.close(self._statm)
            self._statm = -1


def raise_descriptor_limit() -> int:
    """Allow as many descriptors as the system lets us; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, 1 << 20)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return soft
    return hard


def connections_max() -> int:
    """How many connections either socket may have. Raises StartError where there is room for hardly any."""
    limit = raise_descriptor_limit()
    each = (limit - RESERVED_DESCRIPTORS) // 2
    if each < CONNECTIONS_MIN:
        least = RESERVED_DESCRIPTORS + 2 * CONNECTIONS_MIN
        raise StartError(
            f"the limit of open files is {limit}, which leaves none for clients: at least {least} (ulimit -n)"
        )
    return each
