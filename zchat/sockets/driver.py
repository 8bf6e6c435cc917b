"""Who takes the engine's turns: the program's thread that waits for something, else a thread of its own.

    a thread waits:   lead -> turn, sleep, turn … -> what it waits for is there: nothing went from thread to thread
    others do too:    they follow, and are told after each turn; one of them leads when the leader has what it wanted
    nobody does:      the own thread leads, so that a program that computes keeps its session

Rules of this file
1. Turns are taken under the lock, one thread after the other; so libzmq's sockets are used by many threads, but by one
   at a time. Nobody sleeps under it.
2. Who leads sleeps on the port's descriptors. Whatever changes what it would sleep for wakes it.
3. The own thread takes the lead only when nobody has led for PARK_SECONDS: a program that waits again and again would
   else have to ask for it each time.
4. A handler of signals never runs in the middle of a turn (held.py), but may wait where the thread sleeps.

It has more than 300 lines because who leads and who follows is understood in one piece.
Spec: docs/design.md, "The client". Tests: tests/sockets/test_driver.py, tests/sockets/test_client.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from threading import get_ident
from time import monotonic
from typing import TypeVar

from zchat.core import Instant
from zchat.core.client import ClientCore
from zchat.core.engine import REST_SECONDS_MAX, Engine
from zchat.sockets import held
from zchat.sockets.clock import Deadline
from zchat.sockets.commands import AwaitedCommand
from zchat.sockets.port import SocketPort

T = TypeVar("T")

PARK_SECONDS = 0.01  # the own thread looks so often whether threads of the program still lead
PUSH_SECONDS = 0.0001  # a program that publishes again sooner is in a loop, whose messages travel together, …
LOOP_SECONDS = 0.05  # … as did the last ones, if that was not longer ago
LEAVE_SECONDS = 1.0  # for a leader to notice the end; a thread that ends what it waits for itself notices nothing


class Over(Exception):
    """Nothing is done any more."""


class Driver:
    """Drives one engine over its port. `start` it; `finish` is called in its thread when it is over."""

    def __init__(self, engine: Engine, port: SocketPort, finish: Callable[[Exception | None], None]) -> None:
        self.thread = threading.Thread(target=self._run, name="zchat", daemon=True)
        self._engine = engine
        self._port = port
        self._finish = finish
        self._lock = threading.Lock()  # of the engine and its sockets
        self._holder = 0  # the thread that forks, and has that lock
        self._lead = threading.Lock()  # who has it sleeps and takes turns
        self._gates: list[threading.Lock] = []  # of those who follow: opened after each turn
        self._parked = threading.Event()  # the own thread is to look what there is to do
        self._is_deep = False  # it looks only when it is told to
        self._leader = 0  # the program's thread that leads
        self._led = 0  # how often one has led
        self._wants = False  # somebody wants the lead of the own thread
        self._is_own = False  # which has it
        self._ender = 0  # the thread that ended it
        self._error: Exception | None = None  # that a turn ended with
        self._is_over = False

    # --- by the program's threads -----------------------------------------------------------

    def wait(self, done: Callable[[], object], deadline: Deadline) -> bool:
        """Until `done`; False when its time is over before. `done` has to become true at the end, too."""
        if done():
            return True
        if self._holder:
            self.let_go()
        mine = held.hold()
        try:
            while True:
                if self._leader == get_ident():  # a handler of signals waits, in the middle of a wait
                    is_done = self._drive(done, deadline)
                elif self._take_lead():
                    try:
                        is_done = self._drive(done, deadline)
                    finally:
                        self._leave()
                else:
                    is_done = self._follow(done, deadline)
                if is_done or done():
                    return True
                if is_done is False:
                    return False
        finally:
            held.let_go(mine)

    def do(self, command: Callable[[ClientCore, Instant], T]) -> T:
        """Do it now, in a turn of this thread. Returns what it returns; raises what it raises, or Over."""
        once = AwaitedCommand(command)
        try:
            self._do_beside(once)
        except Exception as error:
            raise Over from error
        if not once.was_done:
            raise Over
        return once.result

    def begin(self, command: Callable[[ClientCore, Instant], T]) -> AwaitedCommand[T]:
        """The same for who is about to wait: the first turn of that does it, unless somebody else leads."""
        once = AwaitedCommand(command)
        if not self._lead.locked():
            self._engine.add(once)
            if self._lead.locked():  # by now, and perhaps asleep
                self._port.wake()
            return once
        try:
            self._do_beside(once)
        except Exception:
            pass  # it is over, as whoever waits is told
        return once

    def push(self) -> None:
        """Something was published, and nobody is awake to send it: send it here, but never wait for that."""
        since = monotonic() - self._engine.sent_at
        if since < (PUSH_SECONDS if self._engine.sent_alone else LOOP_SECONDS):
            self.wake()
            return
        mine = held.hold(brief=True)
        try:
            if not self._lock.acquire(False):
                self.wake()
                return
            try:
                self._push()
            finally:
                self._lock.release()
        finally:
            held.let_go(mine)

    def wake(self) -> None:
        """There is something to do."""
        if self._leader or self._is_own:
            self._port.wake()
        else:
            self._parked.set()

    def stir(self) -> None:
        """What somebody waits for may be there, and no turn brought it."""
        self._tell()
        if self._leader or self._is_own:
            self._port.wake()

    def end(self) -> None:
        """It is over, soon."""
        self.let_go()
        self._ender = get_ident()
        self._is_over = True
        self._parked.set()
        self._port.wake()

    def hold(self, seconds: float) -> None:
        """Before a fork: nobody is in the middle of a turn, nor begins one; unless that takes too long."""
        if self._lock.acquire(timeout=seconds):
            self._holder = get_ident()

    def let_go(self) -> None:
        """After it, in the parent; or before, when a hook of the fork uses the client."""
        if self._holder == get_ident():
            self._holder = 0
            self._lock.release()

    def forked(self) -> None:
        """In a child after a fork: no other thread is there any more."""
        self._is_over, self._holder = True, 0
        self._lock, self._lead = threading.Lock(), threading.Lock()
        self._gates, self._parked, self._leader = [], threading.Event(), 0

    # --- turns ------------------------------------------------------------------------------

    def _do_beside(self, once: AwaitedCommand[T]) -> None:
        """A turn of this thread, whoever leads, that does it. Raises what the turn raises."""
        if self._holder:
            self.let_go()
        mine = held.hold()
        try:
            with self._lock:
                self._engine.add(once)
                self._turn(_never, beside=True)
        finally:
            held.let_go(mine)
        self._tell()

    def _turn(self, done: Callable[[], object], *, beside: bool = False) -> float | None:
        """One turn. Returns for how long to sleep; None when it is done. Under the lock; `beside` whoever leads."""
        engine, port = self._engine, self._port
        if self._is_over:
            return 0.0
        try:
            ready = port.look()
            seconds = 0.0 if ready or engine.is_busy else engine.rest()
            if not seconds:
                engine.turn(ready)
                if engine.failure is not None:
                    self._fail(None)
                if done():
                    engine.pause()
                    return None
                seconds = engine.rest()
                if port.look():
                    seconds = 0.0
            elif done():  # by a turn of another thread
                return None
            if beside and seconds < REST_SECONDS_MAX and (self._leader or self._is_own):
                port.wake()
        except BaseException as error:
            self._fail(error)
            raise
        return seconds

    def _push(self) -> None:
        if self._is_over:
            return
        try:
            self._engine.push()
            if (self._leader or self._is_own) and self._port.look():
                self._port.wake()
        except BaseException as error:
            self._fail(error)
            if not isinstance(error, Exception):
                raise

    def _fail(self, error: BaseException | None) -> None:
        """Whatever it is, nobody may wait for an engine that goes on no more: the own thread ends it."""
        if error is not None and self._error is None:
            torn = RuntimeError("it was interrupted in the middle of a turn")
            self._error = error if isinstance(error, Exception) else torn
        self._is_over = True
        self._parked.set()
        if self._is_own:
            self._port.wake()

    def _drive(self, done: Callable[[], object], deadline: Deadline) -> bool | None:
        """Take turns until it is done, or all is over, which is None. False when the time is."""
        if deadline.left() == 0.0:
            self._port.sleep(0.0)  # what has come is seen by the only turn
        while not self._is_over:
            try:
                with self._lock:
                    seconds = self._turn(done)
            except Exception:
                break  # who waits is told when the own thread has ended it
            if self._gates:
                self._tell()
            if seconds is None:
                return True
            left = deadline.left()
            if left == 0.0:
                return False
            if seconds:
                before = held.sleeps()
                try:
                    self._port.sleep(seconds if left is None else min(seconds, left))
                finally:
                    held.wakes(before)
        return None

    # --- who leads --------------------------------------------------------------------------

    def _take_lead(self) -> bool:
        if self._is_over or not self._lead.acquire(False):
            return False
        self._leader = get_ident()
        self._wants = False
        return True

    def _leave(self) -> None:
        self._led += 1
        self._leader = 0
        self._lead.release()
        if self._gates:
            self._tell()
        if self._is_deep or self._engine.is_busy:
            self._parked.set()

    def _follow(self, done: Callable[[], object], deadline: Deadline) -> bool | None:
        """Until it is done, or the lead is free, which is None. False when the time is over."""
        gate = threading.Lock()  # a Condition that a handler's exception comes out of may be left torn
        gate.acquire()
        self._gates.append(gate)
        try:
            while not done() and (self._is_over or self._lead.locked()) and self._leader != get_ident():
                left = deadline.left()
                if self._is_own and not self._wants and left != 0.0:
                    self._wants = True
                    self._port.wake()
                before = held.sleeps()
                try:
                    gate.acquire(True, REST_SECONDS_MAX if left is None else min(left, REST_SECONDS_MAX))
                finally:
                    held.wakes(before)
                if left is not None and deadline.left() == 0.0:
                    return False
        finally:
            self._gates.remove(gate)
        return None

    def _tell(self) -> None:
        for gate in list(self._gates):
            try:
                gate.release()
            except RuntimeError:
                pass  # it is open

    # --- the own thread ---------------------------------------------------------------------

    def _run(self) -> None:
        try:
            seen, was_told = -1, False
            while not self._is_over:
                if self._leader or self._wants or seen != self._led:
                    self._is_deep = bool(self._leader) and seen == self._led and not was_told
                    seen, was_told = self._led, False
                    if self._parked.wait(None if self._is_deep and self._leader else PARK_SECONDS):
                        self._parked.clear()
                        seen, was_told = self._led, True  # who leads again may leave soon, and would tell it each time
                    self._is_deep = False
                    self._wants = self._wants and bool(self._gates)
                elif self._lead.acquire(False):
                    self._lead_alone()
        finally:
            self._end()

    def _lead_alone(self) -> None:
        self._is_own = True
        try:
            while not (self._is_over or self._wants):
                with self._lock:
                    seconds = self._turn(_never)
                self._tell()
                if seconds and not self._wants:
                    self._port.sleep(seconds)
        except Exception as error:
            self._fail(error)
        finally:
            self._is_own = False
            self._lead.release()
            self._tell()

    def _end(self) -> None:
        """Whoever leads leaves; then nobody touches the sockets any more."""
        self._is_over = True
        self._port.wake()
        if self._leader != self._ender:
            self._lead.acquire(timeout=LEAVE_SECONDS)
        with self._lock:
            self._finish(self._error)
        self._tell()


def _never() -> bool:
    return False
