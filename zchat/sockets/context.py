"""The process's one Context for clients, and what a fork does to it.

Rules of this file: a child of a fork has none of its parent's threads, and a socket of its parent's would
hang: its connections are told that they have ended. Tests: tests/test_client.py.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol

import zmq

from zchat.sockets import exits, options
from zchat.sockets.memory import keep_for_frames


class Forkable(Protocol):
    """Something that does not survive a fork."""

    def forked(self) -> None:
        """In the child: it has ended."""


def shared() -> zmq.Context[zmq.Socket[bytes]]:
    """Made with the first connection."""
    with _lock:
        if not _contexts:
            keep_for_frames()
            _contexts.append(options.new_context())
        return _contexts[0]


def keep_from_forks(connection: Forkable) -> None:
    """Have it told when it finds itself in a child."""
    _connections.add(connection)


_connections: weakref.WeakSet[Forkable] = weakref.WeakSet()
_contexts: list[zmq.Context[zmq.Socket[bytes]]] = []
_lock = threading.Lock()


def _forked() -> None:
    global _lock
    _lock = threading.Lock()  # a thread that is not there any more may hold it
    _contexts.clear()
    exits.forked()
    for connection in list(_connections):
        connection.forked()


os.register_at_fork(after_in_child=_forked)
