"""What a read of the log calls while it works, where its thread has others to let by.

Tests: tests/core/test_read_pause.py, tests/sockets/test_workers.py.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeAlias

ReadPause: TypeAlias = Callable[[], None]

read_pause: ContextVar[ReadPause | None] = ContextVar("read_pause", default=None)
"""Of the thread that reads: to be called again and again, also with a snapshot open. None: it lets nobody by."""
