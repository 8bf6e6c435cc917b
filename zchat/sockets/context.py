"""The process's one Context for clients, and what a fork does to it.

Rules of this file
1. A child of a fork has none of its parent's threads, and a socket of its parent's would hang: its connections are told
   that they have ended.
2. A fork waits until no connection's thread is in the middle of a turn: what that has locked would be locked in the
   child for ever, such as a module that it imports.

Tests: tests/sockets/test_context.py, tests/test_client.py.
"""

from __future__ import annotations

import os
import threading
import weakref
from threading import get_ident
from time import monotonic
from typing import Protocol

import zmq

from zchat.sockets import exits, held, options
from zchat.sockets.memory import keep_for_frames

FORK_SECONDS = 1.0  # a fork waits no longer: the thread that forks may itself have what it waits for


class Forkable(Protocol):
    """Something that does not survive a fork."""

    def hold(self, seconds: float) -> None:
        """Before the fork: its threads are in the middle of nothing, and begin nothing, unless that takes too long."""

    def let_go(self) -> None:
        """In the parent, after the fork: they go on."""

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
    """Have it told of forks, and that it finds itself in a child."""
    with _lock:
        _connections.add(connection)


_connections: weakref.WeakSet[Forkable] = weakref.WeakSet()
_contexts: list[zmq.Context[zmq.Socket[bytes]]] = []
_lock = threading.Lock()
_paused: list[Forkable] = []  # while a thread forks,
_forks = 0  # which has the lock
_signals = 0  # what gives their handlers back


def _before_fork() -> None:
    global _forks, _signals
    until = monotonic() + FORK_SECONDS
    signals = held.hold()  # a handler could wait for what is held here
    if not _lock.acquire(timeout=FORK_SECONDS):
        held.let_go(signals)
        return
    _forks, _signals, _paused[:] = get_ident(), signals, list(_connections)
    for connection in _paused:
        connection.hold(max(0.0, until - monotonic()))


def _has_forked() -> None:
    global _forks
    if _forks != get_ident():
        return
    for connection in _paused:
        connection.let_go()
    _paused.clear()
    _forks = 0
    _lock.release()
    held.let_go(_signals)


def _forked() -> None:
    global _forks, _lock
    _lock, _forks = threading.Lock(), 0
    _paused.clear()
    _contexts.clear()
    exits.forked()
    for connection in list(_connections):
        connection.forked()


os.register_at_fork(before=_before_fork, after_in_parent=_has_forked, after_in_child=_forked)
