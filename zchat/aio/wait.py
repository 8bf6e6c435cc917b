"""What one task awaits, and how it goes on.

    `settle`   it goes on when the loop comes round, as after any future of asyncio: for who runs in a task
    `go_on`    it goes on at once, inside the call: for who was called by the loop itself, between two tasks

A loop that comes round asks the kernel once more what there is to do; a message that a task waits for would wait for
that. `go_on` calls what a task gave to `add_done_callback`, in the task's context, as the loop would.

Rules of this file: a handler of signals may cancel the task, or raise, between any two steps: then the task goes on all
the same, or can still be told to.

Spec: PEP 3156, "Futures" and "Tasks"; asyncio.Future.add_done_callback. Tests: tests/aio/test_wait.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

Callback = Callable[[Any], object]


class Wait(asyncio.Future[bool]):
    """A future that one task awaits."""

    _awaits: tuple[Callback, Context] | None = None  # what the task goes on by, and its context

    def add_done_callback(self, fn: Callback, /, *, context: Context | None = None) -> None:
        """See asyncio.Future. By the task, when it begins to wait."""
        if self._awaits is None and not self.done():
            self._awaits = fn, copy_context() if context is None else context
        else:
            super().add_done_callback(fn, context=context)

    def cancel(self, msg: Any | None = None) -> bool:
        """See asyncio.Future. By the task, when it is cancelled."""
        is_cancelled = super().cancel(msg)
        self._leave_to_the_loop()
        return is_cancelled

    def settle(self, result: bool) -> None:
        """Its wait is over, if it still is one."""
        self._end(result)
        self._leave_to_the_loop()

    def go_on(self, result: bool) -> None:
        """The same, and its task goes on before this returns. Not to be called in a task."""
        self._end(result)
        awaits, self._awaits = self._awaits, None
        if awaits is not None:
            function, context = awaits
            context.run(function, self)

    def _end(self, result: bool) -> None:
        if not self.done():
            try:
                self.set_result(result)
            except asyncio.InvalidStateError:
                pass  # it was cancelled meanwhile

    def _leave_to_the_loop(self) -> None:
        awaits, self._awaits = self._awaits, None
        if awaits is not None and not self.get_loop().is_closed():  # else it never goes on
            super().add_done_callback(awaits[0], context=awaits[1])
