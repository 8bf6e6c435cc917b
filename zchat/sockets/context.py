"""The process's one Context for clients, and what a fork does to it.

Rules of this file
1. A child of a fork has none of its parent's threads, and a socket of its parent's would hang: its connections are told
   that they have ended.
2. A fork waits until no connection's thread is in the middle of a turn: what that has locked would be locked in the
   child for ever, such as a module that it imports. A turn may ask for the Context, so nobody who
   has that locked waits for a turn.
3. A program's own hooks of forks may use its clients: those that do are not waited for in that fork.
4. What a handler of signals raises in a hook of a fork is dropped by Python: handlers are called behind them.

Tests: tests/sockets/test_context.py, tests/test_client.py.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
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


class _Fork:
    """One that a thread is in the middle of."""

    is_alone = False  # it has that lock
    signals = 0  # what gives their handlers back
    paused: Sequence[Forkable] = ()


class _Forks(threading.local):
    """Of this thread: a hook of one may fork."""

    def __init__(self) -> None:
        self.stack: list[_Fork] = []


_connections: weakref.WeakSet[Forkable] = weakref.WeakSet()
_contexts: list[zmq.Context[zmq.Socket[bytes]]] = []
_lock = threading.RLock()  # of those two, for a moment
_alone = threading.RLock()  # of who forks: two that do would wait for each other
_forks = _Forks()


def _before_fork() -> None:
    fork, until = _Fork(), monotonic() + FORK_SECONDS
    _forks.stack.append(fork)
    if not _connections:
        return
    fork.signals = held.hold()
    fork.is_alone = _alone.acquire(timeout=FORK_SECONDS)
    with _lock:
        fork.paused = list(_connections) if fork.is_alone else ()
    for connection in fork.paused:
        connection.hold(max(0.0, until - monotonic()))


def _has_forked() -> None:
    if not _forks.stack:
        return
    fork = _forks.stack.pop()
    for connection in fork.paused:
        connection.let_go()
    if fork.is_alone:
        _alone.release()
    held.let_go_soon(fork.signals)


def _forked() -> None:
    global _lock, _alone
    _lock, _alone = threading.RLock(), threading.RLock()
    _forks.stack.clear()
    _contexts.clear()
    exits.forked()
    for connection in list(_connections):
        connection.forked()


os.register_at_fork(before=_before_fork, after_in_parent=_has_forked, after_in_child=_forked)
