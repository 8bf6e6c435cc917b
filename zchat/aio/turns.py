"""An event loop takes the engine's turns: when the port's descriptor tells of something, and when time has passed.

    add_reader(port) ─► turn ─► those whose wait is over
    call_later(rest) ─┘  └─ something is left ─► call_soon

Rules of this file
1. All of it is called in the loop's thread; only `push` may be called in another one, and does nothing there but wake.
2. A wait that is cancelled has changed nothing. Nobody is called in the middle of a turn.
3. A wait that says what it waits for is looked at when that was touched: thousands of them cost a turn nothing.
4. A handler of signals never runs in the middle of a turn (sockets/held.py).

Spec: docs/design.md, "The client". Tests: tests/aio/test_turns.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import get_ident
from time import monotonic

from zchat.core.engine import Engine
from zchat.errors import UsageError
from zchat.sockets import held
from zchat.sockets.clock import Deadline
from zchat.sockets.driver import LOOP_SECONDS, PUSH_SECONDS
from zchat.sockets.port import SocketPort

EACH_TURN = "each turn"  # what those wait for who name nothing


class Turns:
    """Of one engine over its port. `start` it; `finish` is called once, when it is over."""

    def __init__(self, engine: Engine, port: SocketPort, finish: Callable[[Exception | None], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.is_over = False
        self.nothing: asyncio.Future[None] = self.loop.create_future()  # for who has nothing to wait for
        self.nothing.set_result(None)
        self._thread = get_ident()
        self._engine = engine
        self._port = port
        self._finish = finish
        self._is_soon = False  # a turn follows as soon as the loop comes round
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # when that is, by the loop's clock
        self._waits: dict[object, dict[asyncio.Future[bool], Callable[[], object]]] = {}  # by what each waits for
        self._touched: dict[object, None] = {EACH_TURN: None}

    def start(self) -> None:
        """From here on the loop takes turns."""
        self.loop.add_reader(self._port.fileno(), self._look)
        self._look()

    # --- waiting ----------------------------------------------------------------------------

    def check(self) -> None:
        """Raise UsageError where another event loop runs than the one that takes the turns."""
        if get_ident() != self._thread or asyncio.get_running_loop() is not self.loop:
            raise UsageError("a client of zchat.aio is used in the event loop that it was connected in")

    async def wait(self, done: Callable[[], object], deadline: Deadline, *what: object) -> bool:
        """Until it is `done`, or all is over; False when the time is over before.

        It can be done by a turn that touched one of `what`; by any turn, if nothing is named.
        """
        if done():
            return True
        self.check()
        if deadline.left() == 0.0:
            self._look()  # what has come is seen by the only turn
            await asyncio.sleep(0)
            return bool(done())
        future = self.loop.create_future()
        keys = set(what) or {EACH_TURN}
        for key in keys:
            self._waits.setdefault(key, {})[future] = done
        try:
            return await self.in_time(future, deadline) or bool(done())
        finally:
            for key in keys:
                del self._waits[key][future]
                if not self._waits[key]:
                    del self._waits[key]

    def touch(self, what: object) -> None:
        """Something about it has changed: who waits for that is looked at after the turn."""
        if what in self._waits:
            self._touched[what] = None

    async def in_time(self, future: asyncio.Future[bool], deadline: Deadline) -> bool:
        """What the future brings; False when the time is over before."""
        left = deadline.left()
        if left is None:
            return await future
        timer = self.loop.call_later(left, settle, future, False)
        try:
            return await future
        finally:
            timer.cancel()

    # --- turns ------------------------------------------------------------------------------

    def turn(self) -> None:
        """One turn now; what is to follow is arranged."""
        seconds = self._turn()
        if self.is_over:
            return
        if seconds <= 0.0:
            self.soon()
        else:
            self._arm(seconds)
        touched, self._touched = self._touched, {EACH_TURN: None}
        for what in touched:
            for future, done in list(self._waits.get(what, {}).items()):
                if done():
                    settle(future, True)

    def push(self) -> None:
        """Something was published while the engine rests: send it now, unless the program is in a loop of publishes."""
        if get_ident() != self._thread:
            self._port.wake()
            return
        since = monotonic() - self._engine.sent_at
        if self.is_over or since < (PUSH_SECONDS if self._engine.sent_alone else LOOP_SECONDS):
            self.soon()
            return
        mine = held.hold()
        try:
            self._engine.push()
            if self._port.look():
                self.soon()
        except Exception as error:
            self.end(error)
        finally:
            held.let_go(mine)

    def soon(self) -> None:
        """A turn follows as soon as the loop comes round."""
        if not self._is_soon and not self.loop.is_closed():
            self._is_soon = True
            self.loop.call_soon(self._come_round)

    def drive(self, done: Callable[[], object], deadline: Deadline) -> None:
        """Take turns until it is done, or the time is over, where the loop runs no more."""
        while not done() and not self.is_over and not self.loop.is_running():
            self._port.sleep(0.0)
            seconds = self._turn()
            left = deadline.left()
            if done() or left == 0.0:
                return
            self._port.sleep(seconds if left is None else min(seconds, left))

    def end(self, error: Exception | None = None) -> None:
        """It is over; `error` is what a turn raised."""
        if self.is_over:
            return
        self.is_over = True
        if not self.loop.is_closed():
            self.loop.remove_reader(self._port.fileno())
            if self._timer is not None:
                self._timer.cancel()
        self._finish(error)
        if not self.loop.is_closed():
            for futures in self._waits.values():
                for future in futures:
                    settle(future, True)

    # --- parts ------------------------------------------------------------------------------

    def _turn(self) -> float:
        """Returns for how long there is nothing to do."""
        engine, port = self._engine, self._port
        if self.is_over:
            return 0.0
        mine = held.hold()
        try:
            engine.turn(port.look())
            if engine.failure is None:
                seconds = engine.rest()
                return 0.0 if port.look() else seconds
            self.end()
        except Exception as error:
            self.end(error)
        except BaseException:
            self.end(RuntimeError("it was interrupted in the middle of a turn"))
            raise
        finally:
            held.let_go(mine)
        return 0.0

    def _look(self) -> None:
        self._port.sleep(0.0)
        self.turn()

    def _come_round(self) -> None:
        self._is_soon = False
        self._look()

    def _arm(self, seconds: float) -> None:
        """A timer that rings too early costs one turn, one that is set anew in each turn costs more."""
        due = self.loop.time() + seconds
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._due = due
        self._timer = self.loop.call_at(due, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._look()


def settle(future: asyncio.Future[bool], result: bool) -> None:
    """Its wait is over, if it still is one."""
    if not future.done():
        future.set_result(result)
