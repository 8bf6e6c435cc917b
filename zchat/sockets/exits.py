"""The end of a process: what a program has published and not flushed is still sent, and its sessions end.

Rules of this file
1. It takes EXIT_SECONDS in all, and what is not acknowledged by then is told. A signal ends it sooner.
2. Threads that go on until the process ends (daemons) notice nothing of it.
3. It is called where Python ends a program: after the last line, an exception, sys.exit, also in a child of
   multiprocessing, whose end is another one. Nothing is called at os._exit, or when a signal ends the process.

Tests: tests/test_endings.py.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from typing import Protocol

from zchat.sockets.clock import Deadline

EXIT_SECONDS = 5.0
BYE_SECONDS = 0.5  # at least, for each client's


class Open(Protocol):
    """A client that the program may leave open."""

    def settle(self, deadline: Deadline) -> None:
        """Wait until what was published has an outcome."""

    def finish(self, deadline: Deadline) -> None:
        """End the session, and tell what was lost."""


def close_at_exit(client: Open) -> None:
    """Have it finished when the process ends before it is closed."""
    _open.add(client)
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None and os.getpid() not in _children:
        from multiprocessing.util import Finalize

        _children.add(os.getpid())  # a child of it is another one
        Finalize(None, _end_child, exitpriority=-100)  # after whatever may still publish


def closed(client: Open) -> None:
    """It was closed: nothing is left to do."""
    _open.discard(client)


def forked() -> None:
    """In a child after a fork: all are the parent's."""
    _open.clear()


def tell(text: str) -> None:
    """Warn the program, or who runs it: on stderr unless the program has set up logging otherwise."""
    from logging import getLogger  # 10 ms that nobody pays who loses nothing

    getLogger("zchat").warning(text)


_open: weakref.WeakSet[Open] = weakref.WeakSet()
_children: set[int] = set()


def _end() -> None:
    deadline = Deadline("the end of the program", EXIT_SECONDS)
    clients = list(_open)
    _open.clear()
    try:
        for client in clients:
            client.settle(deadline)
    except KeyboardInterrupt:
        deadline = Deadline("the end of the program", 0.0)
    for client in clients:
        client.finish(Deadline("bye", max(deadline.left() or 0.0, BYE_SECONDS)))


def _end_child() -> None:
    """Its threads are waited for only after this, and may still publish."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    _end()


atexit.register(_end)
