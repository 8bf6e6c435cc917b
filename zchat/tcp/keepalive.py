"""Options of a visitor's socket: the system is to find out that the other side has gone.

Source: tcp(7). Tests: tests/tcp/test_hostile.py.
"""

from __future__ import annotations

import socket
from contextlib import suppress

OPTIONS = (  # of Linux; others have some of them
    ("TCP_KEEPIDLE", 30),  # after so many seconds of silence it is asked whether it is there,
    ("TCP_KEEPINTVL", 10),  # again so many seconds later,
    ("TCP_KEEPCNT", 3),  # so often,
    ("TCP_USER_TIMEOUT", 60_000),  # and so many milliseconds, where something is on its way to it
    ("TCP_NODELAY", 1),  # a line is not held back until the one before it is there
)


def keep_alive(connection: socket.socket) -> None:
    """Set them."""
    with suppress(OSError):  # it has gone already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in OPTIONS:
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
