"""The descriptors of a client's port, watched by an event loop: it says which of them tells of something.

One that is behind all of them would do (epoll(7) can be read of another epoll), but who is woken by it has to ask again
which of them it was.

Tests: tests/aio/test_selector.py.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any


class LoopSelector(selectors.DefaultSelector):
    """It is watched once it was begun. `select` is for where the loop does not run."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._told: Callable[[Any], object] | None = None

    def begin(self, told: Callable[[Any], object]) -> None:
        """From here on the loop calls `told` with the data of each one that can be read."""
        self._told = told
        for key in list(self.get_map().values()):
            self._loop.add_reader(key.fd, told, key.data)

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """See selectors. To be read, that is: nothing else is asked for."""
        key = super().register(fileobj, events, data)
        if self._told is not None and not self._loop.is_closed():
            self._loop.add_reader(key.fd, self._told, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """See selectors."""
        key = super().unregister(fileobj)
        if self._told is not None and not self._loop.is_closed():
            self._loop.remove_reader(key.fd)
        return key

    def close(self) -> None:
        """The loop watches none of them any more."""
        for key in list((self.get_map() or {}).values()):
            self.unregister(key.fileobj)
        super().close()
