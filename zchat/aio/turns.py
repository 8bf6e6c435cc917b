"""An event loop takes the engine's turns: when the port's descriptor tells of something, and when time has passed.

    add_reader(fd)   ─► turn ─► those whose wait is over go on ─► something is left ─► call_soon
    call_later(rest) ─┘                                      └─► nothing is left ─► call_later(rest)

Rules of this file
1. All of it is called in the loop's thread; only `push` may be called in another one, and does nothing there but wake.
2. A wait that is cancelled has changed nothing. Nobody is called in the middle of a turn.
3. What a turn brought is had at once, before anything else is arranged (wait.py). Where a task takes the turn, others
   go on when the loop comes round: a task cannot run inside another one.
4. A wait that says what it waits for is looked at when that was touched: thousands of them cost a turn nothing.
5. A handler of signals never runs in the middle of a turn (sockets/held.py), and may run while a task does.

Spec: docs/design.md, "The client". Tests: tests/aio/test_turns.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import get_ident
from time import monotonic

from zchat.aio.selector import LoopSelector
from zchat.aio.wait import Wait
from zchat.core.engine import Engine
from zchat.errors import UsageError
from zchat.sockets import held
from zchat.sockets.clock import Deadline
from zchat.sockets.driver import LOOP_SECONDS, PUSH_SECONDS
from zchat.sockets.port import SocketPort

EACH_TURN = "each turn"  # what those wait for who name nothing


class Turns:
    """Of one engine over its port. `start` it; `finish` is called once, when it is over."""

    def __init__(
        self,
        engine: Engine,
        port: SocketPort,
        selector: LoopSelector,
        finish: Callable[[Exception | None], None],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.is_over = False
        self.nothing: asyncio.Future[None] = self.loop.create_future()  # for who has nothing to wait for
        self.nothing.set_result(None)
        self._thread = get_ident()
        self._engine = engine
        self._port = port
        self._selector = selector
        self._finish = finish
        self._is_soon = False  # a turn follows as soon as the loop comes round
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # when that is, by the loop's clock
        self._waits: dict[object, dict[Wait, Callable[[], object]]] = {}  # by what each waits for
        self._touched: dict[object, None] = {EACH_TURN: None}
        self._over: list[Wait] | None = None  # in a turn of the loop itself: whose tasks go on after it
        self._is_brief = False  # all handlers of signals were looked at, a second ago at most

    def start(self) -> None:
        """From here on the loop takes turns."""
        self._selector.begin(self._told)
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
        wait = self.new_wait()
        keys = set(what) or {EACH_TURN}
        for key in keys:
            self._waits.setdefault(key, {})[wait] = done
        try:
            return await self.in_time(wait, deadline) or bool(done())
        finally:
            for key in keys:
                del self._waits[key][wait]
                if not self._waits[key]:
                    del self._waits[key]

    def new_wait(self) -> Wait:
        """For one task to await, until it is `over`."""
        return Wait(loop=self.loop)

    def over(self, wait: Wait) -> None:
        """What it waits for is there, or never will be: its task goes on after this turn."""
        if self._over is None:
            wait.settle(True)
        else:
            self._over.append(wait)

    def touch(self, what: object) -> None:
        """Something about it has changed: who waits for that is looked at after the turn."""
        if what in self._waits:
            self._touched[what] = None

    async def in_time(self, wait: Wait, deadline: Deadline) -> bool:
        """What the wait brings; False when the time is over before."""
        left = deadline.left()
        if left is None:
            return await wait
        timer = self.loop.call_later(left, wait.settle, False)
        try:
            return await wait
        finally:
            timer.cancel()

    # --- turns ------------------------------------------------------------------------------

    def turn(self) -> None:
        """One turn now, by a task; what is to follow is arranged."""
        try:
            self._turn()
            self._tell()
        finally:
            self._arrange()

    def push(self) -> None:
        """Something was published while the engine rests: send it now, unless the program is in a loop of publishes."""
        if get_ident() != self._thread:
            self._port.wake()
            return
        since = monotonic() - self._engine.sent_at
        if self.is_over or since < (PUSH_SECONDS if self._engine.sent_alone else LOOP_SECONDS):
            self.soon()
            return
        self._push()
        if self._port.look():
            self.soon()

    def soon(self) -> None:
        """A turn follows as soon as the loop comes round."""
        if not self._is_soon and not self.loop.is_closed():
            self._is_soon = True
            self.loop.call_soon(self._came_round)

    def drive(self, done: Callable[[], object], deadline: Deadline) -> None:
        """Take turns until it is done, or the time is over, where the loop runs no more."""
        while not done() and not self.is_over and not self.loop.is_running():
            self._port.sleep(0.0)
            self._turn()
            seconds, left = self._rest(), deadline.left()
            if done() or left == 0.0:
                return
            self._port.sleep(seconds if left is None else min(seconds, left))

    def end(self, error: Exception | None = None) -> None:
        """It is over; `error` is what a turn raised."""
        if self.is_over:
            return
        self.is_over = True
        if self._timer is not None and not self.loop.is_closed():
            self._timer.cancel()
        self._finish(error)
        if not self.loop.is_closed():
            for waits in self._waits.values():
                for wait in waits:
                    wait.settle(True)

    # --- parts ------------------------------------------------------------------------------

    def _told(self, flag: int) -> None:
        """A descriptor of the port tells of that."""
        self._port.told |= flag
        self._called()

    def _called(self) -> None:
        """A turn that the loop itself takes, between two tasks."""
        over = self._over = []
        try:
            self._turn()
            if self._waits:
                self._tell()
        finally:
            self._over = None
            try:
                for wait in over:
                    wait.go_on(True)
            finally:  # one of the tasks may have ended the loop, which may run again
                for wait in over:
                    wait.settle(True)
                self._arrange()

    def _turn(self) -> None:
        if self.is_over:
            return
        mine = held.hold(brief=self._is_brief)
        self._is_brief = True
        try:
            self._engine.turn(self._port.look())
            if self._engine.failure is None:
                self._engine.pause()
            else:
                self.end()
        except Exception as error:
            self.end(error)
        except BaseException:
            self.end(RuntimeError("it was interrupted in the middle of a turn"))
            raise
        finally:
            held.let_go(mine)

    def _tell(self) -> None:
        """Those whose wait is over by now."""
        touched, self._touched = self._touched, {EACH_TURN: None}
        for what in touched:
            for wait, done in list(self._waits.get(what, {}).items()):
                if done():
                    self.over(wait)

    def _push(self) -> None:
        mine = held.hold(brief=True)
        try:
            self._engine.push()
        except Exception as error:
            self.end(error)
        finally:
            held.let_go(mine)

    def _arrange(self) -> None:
        """What is to follow."""
        seconds = self._rest()
        if self.is_over:
            return
        if seconds <= 0.0:
            self.soon()
        else:
            self._arm(seconds)

    def _rest(self) -> float:
        """For how long there is nothing to do."""
        if self.is_over:
            return 0.0
        try:
            seconds = self._engine.rest()
            return 0.0 if self._port.look() else seconds
        except Exception as error:
            self.end(error)
            return 0.0
        except BaseException:  # of a handler of signals, which tears nothing here
            self.soon()
            raise

    def _look(self) -> None:
        """A turn by a task, that sees what has come."""
        self._port.sleep(0.0)
        self.turn()

    def _came_round(self) -> None:
        self._is_soon = False
        self._port.sleep(0.0)
        self._called()

    def _arm(self, seconds: float) -> None:
        """A timer that rings too early costs one turn, one that is set anew in each turn costs more."""
        due = self.loop.time() + seconds
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._due = due
        self._timer = self.loop.call_at(due, self._rang)

    def _rang(self) -> None:
        self._timer, self._is_brief = None, False
        self._port.sleep(0.0)
        self._called()
