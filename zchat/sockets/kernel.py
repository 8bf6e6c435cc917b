"""What the kernel says of this process and of its connections: bytes received, memory, descriptors.

Rules of this file: what a system does not tell is 0 or nothing, and never an error. Source: tcp(7) (TCP_INFO),
proc(5), getrlimit(2). Tests: tests/sockets/test_peers.py, tests/sockets/test_overload.py.
"""

from __future__ import annotations

import os
import resource
import socket
import struct

from zchat.sockets import options

_BYTES_RECEIVED = struct.Struct("=128xQ")  # of Linux' struct tcp_info
_PAGE_BYTES = resource.getpagesize()


def open_descriptors() -> list[int]:
    """All that the process has; none where it is not told."""
    try:
        return list(map(int, os.listdir("/proc/self/fd")))
    except OSError:
        return []  # not Linux


def bytes_received(descriptor: int, port: int = 0) -> int:
    """What the kernel has received on a TCP connection; 0 where it does not tell, or where it is of another port."""
    try:
        with options.duplicate_of(descriptor) as duplicate:
            if port and duplicate.getsockname()[1] != port:
                return 0
            return int(_BYTES_RECEIVED.unpack(duplicate.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136))[0])
    except (OSError, AttributeError, IndexError, struct.error):
        return 0  # gone, no TCP, or not Linux


def resident_bytes() -> int:
    """Memory that the process has; 0 where it is not told."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return 0  # not Linux


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
