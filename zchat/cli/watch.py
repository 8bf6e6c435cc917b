"""The parent of `zchat broker`: it starts the broker again when something ended it that nobody had asked for.

Rules of this file
1. The fork is made before there is a second thread, and before anything is loaded that only the broker needs: the
   parent stays small, and so does what can go wrong in it. It touches no socket and no log.
2. What is to be done is decided by `Plan`, which knows no clock, process or signal.
3. No orphan: when the parent dies, by `kill -9` too, the broker is ended at once. No signal is lost: from before
   the fork until each of the two has its handlers, they are held back.

    the broker ended                            what the parent does
    by a signal                                 starts it again
    with another status than 0 after it served  starts it again; ten times in a row at most
    with another status than 0 before that      ends with that status: it could not be started
    with 0, to have another key of its own      starts it again
    with 0, or after it was told to end         ends with its status; after Ctrl-C by that signal

Docs: docs/operating.md. Tests: tests/cli/test_watch.py.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import select
import signal
import threading
import time
from types import FrameType
from typing import NamedTuple, NoReturn

import typer

from zchat.cli.exit_status import tell
from zchat.cli.interrupts import ENDS, interrupts

SERVED_SECONDS = 1.0  # who was ready for so long is started again without a wait
WAIT_SECONDS_MIN, WAIT_SECONDS_MAX = 0.1, 5.0  # else they double, from one failure to the next
TRIES_MAX = 10  # that end with a status: about half a minute for what passes by itself, such as a full disk

ENDS_BOTH = (*ENDS, signal.SIGQUIT)  # passed on; what the broker then does is the end of both
PASSED_ON = (signal.SIGABRT, signal.SIGUSR1, signal.SIGUSR2)
HANDLED = {*ENDS_BOTH, *PASSED_ON, signal.SIGCHLD}

COMES_AGAIN = b"again\n"  # of what the broker reports

_PR_SET_PDEATHSIG = 1  # of prctl(2)


class Ports(NamedTuple):
    """What a broker got: whoever comes after it takes the same. 0: none, or none yet."""

    port: int = 0
    publisher_port: int = 0


# --- what is to be done ---------------------------------------------------------------------------


class Again(NamedTuple):
    """Say this, wait, and start it again."""

    line: str
    seconds: float


class End(NamedTuple):
    """End with this status."""

    status: int


class Plan:
    """What is to be done after the broker has ended."""

    def __init__(self) -> None:
        self.is_told = False
        self._has_served = False
        self._ready_at: float | None = None  # of the one that runs
        self._failures = 0  # in a row
        self._is_to_come_again = False

    def told_to_end(self) -> None:
        """An end is what is wanted now."""
        self.is_told = True

    def ready(self, now: float) -> None:
        """It says that it serves."""
        self._has_served = True
        self._ready_at = now

    def comes_again(self) -> None:
        """It says that it ends to be started anew."""
        self._is_to_come_again = True

    def ended(self, status: int, now: float) -> Again | End:
        """It has ended with this status, or with -N by the signal N."""
        ready_at, self._ready_at = self._ready_at, None
        comes_again, self._is_to_come_again = self._is_to_come_again, False
        if status == 0 and comes_again and not self.is_told:
            return Again("the broker has another key of its own; it is started again with it", 0.0)
        if status == 0 or self.is_told:
            return End(status if status >= 0 else 128 - status)
        has_served = ready_at is not None and now - ready_at >= SERVED_SECONDS
        self._failures = 0 if has_served else self._failures + 1
        if status > 0 and (not self._has_served or self._failures > TRIES_MAX):
            return End(status)
        doublings = min(self._failures - 1, 10)  # of a wait that is bounded below that
        wait = min(WAIT_SECONDS_MAX, WAIT_SECONDS_MIN * 2**doublings) if self._failures else 0.0
        why = f"ended with status {status}" if status > 0 else f"was ended by {_name(-status)}"
        return Again(f"the broker {why}; it is started again{f' in {wait:g} s' if wait else ''}", wait)


def _name(signum: int) -> str:
    try:
        name = signal.Signals(signum).name
    except ValueError:
        name = f"signal {signum}"
    return f"{name} (kill -9, or no memory was left)" if signum == signal.SIGKILL else name


# --- the two processes ----------------------------------------------------------------------------


class Child:
    """The broker's process, as it knows itself."""

    def __init__(self, ports: Ports, report: int) -> None:
        self.ports = ports  # of the one before it
        self._report = report

    def ready(self, ports: Ports) -> None:
        """Let the parent know that it serves, and where."""
        self._tell(b"%d %d\n" % ports)

    def comes_again(self) -> None:
        """Let it know that this one ends so that another one is started."""
        self._tell(COMES_AGAIN)

    def _tell(self, line: bytes) -> None:
        try:
            os.write(self._report, line)
        except OSError:
            pass  # the parent has gone, and this process is about to


def fork() -> Child:
    """Returns in the broker's process, and in each that comes after it. The parent ends in here."""
    assert threading.active_count() == 1, "a fork takes only one thread along"
    gc.freeze()  # what both have is one copy until somebody writes to it, and a collection would
    return _Parent().run()


class _Parent:
    def __init__(self) -> None:
        self._plan = Plan()
        self._ports = Ports()
        self._child = 0
        self._told_by = 0  # the first signal that said so
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        self._woken, self._waker = os.pipe()
        self._dies_with_us, self._alive = os.pipe()  # the one that is never written to: it ends with this process
        os.set_blocking(self._woken, False)
        os.set_blocking(self._waker, False)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        self._caught = {signum for signum in HANDLED if signal.getsignal(signum) is not signal.SIG_IGN}
        self._caught.add(signal.SIGCHLD)
        for signum in self._caught:
            signal.signal(signum, _note)

    def run(self) -> Child:
        """Start it, again and again; returns in the child."""
        while True:
            report, writes = os.pipe()
            parent = os.getpid()
            try:
                self._child = os.fork()
            except OSError as error:
                status = tell(f"cannot start a process: {error.strerror}", status=1)
            else:
                if self._child == 0:
                    os.close(report)
                    self._become_child(parent)
                    return Child(self._ports, writes)
            os.close(writes)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            if self._child:
                status = self._stand_by(report)
            os.close(report)
            verdict = self._plan.ended(status, time.monotonic())
            if isinstance(verdict, End):
                self._end(verdict.status)
            tell(verdict.line)
            self._pause(verdict.seconds)
            signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)

    def _become_child(self, parent: int) -> None:
        """Undo in the child what is the parent's, then let signals in."""
        signal.set_wakeup_fd(-1)
        for descriptor in (self._woken, self._waker, self._alive):
            os.close(descriptor)
        faulthandler.disable()  # else it would take itself to be there already
        for signum in self._caught:
            signal.signal(signum, signal.SIG_DFL)
        interrupts.install()
        end_with_parent(parent, self._dies_with_us)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _stand_by(self, report: int) -> int:
        """Hand signals on and take its report until it has ended. Returns how, as `Plan.ended` takes it."""
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        poll.register(report, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == report and not self._read_report(report):
                    poll.unregister(report)
            self._read_signals()
            child, status = os.waitpid(self._child, os.WNOHANG)
            if child:
                self._read_report(report)
                self._child = 0
                return os.waitstatus_to_exitcode(status)

    def _read_report(self, report: int) -> bool:
        """False at its end."""
        said = os.read(report, 64)
        for line in said.splitlines(keepends=True):
            if line == COMES_AGAIN:
                self._plan.comes_again()
            else:
                self._ports = Ports(*map(int, line.split()))
                self._plan.ready(time.monotonic())
        return bool(said)

    def _read_signals(self) -> None:
        try:
            came = os.read(self._woken, 256)
        except BlockingIOError:
            return
        for signum in came:
            if signum in ENDS_BOTH:
                self._plan.told_to_end()
                self._told_by = self._told_by or signum
            if signum != signal.SIGCHLD and self._child:
                os.kill(self._child, signum)

    def _pause(self, seconds: float) -> None:
        """Wait before it is started again; ends here when that is not wanted any more."""
        deadline = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        while True:
            left = deadline - time.monotonic()
            poll.poll(max(0, left * 1000))
            self._read_signals()
            if self._plan.is_told:
                self._end(0)
            if left <= 0:
                return

    def _end(self, status: int) -> NoReturn:
        """End with the broker's status; after Ctrl-C by that signal, although the broker ended well."""
        if (self._told_by in ENDS and status == 128 + self._told_by) or (
            status == 0 and self._told_by == signal.SIGINT
        ):
            interrupts.end_by(self._told_by)
        raise typer.Exit(status)


def _note(signum: int, frame: FrameType | None) -> None:
    """A signal's number is in the pipe of the parent already."""


# --- no orphan --------------------------------------------------------------------------------------


def end_with_parent(parent: int, ends_with_it: int) -> None:
    """Have the system end this process when its parent dies. The descriptor is one that ends with the parent."""
    import ctypes  # the parent does without

    try:
        prctl = ctypes.CDLL(None).prctl
    except AttributeError:  # not Linux
        end_at_end_of(ends_with_it)
    else:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        os.close(ends_with_it)
    if os.getppid() != parent:  # it has died already
        signal.raise_signal(signal.SIGKILL)


def end_at_end_of(descriptor: int) -> None:
    """The same where the system does not do that: a thread waits for the end of a pipe."""

    def wait() -> None:
        os.read(descriptor, 1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="zchat-parent", daemon=True).start()
