"""Handlers of signals wait while the main thread is in the middle of a client's turn, as one that raises would tear it.

Rules of this file
1. Python calls handlers in the main thread alone, wherever that is. From `hold` to `let_go` they are called only where
   the thread sleeps, between `sleeps` and `wakes`; one that comes elsewhere is called when it sleeps next, or after.
2. What a program set is set again afterwards, unless it has set something else meanwhile. The handlers that
   event loops set (asyncio, uvloop) do not wait: they note what came or cancel a task, and raise only at a second one.
3. It costs a noticeable part of a round trip, above all where the processor has done something else meanwhile: a
   client holds them for each wait. In between, to send something, it asks only for the handlers of those signals that
   programs often have some of.

Tests: tests/sockets/test_held.py.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # what `signal` wraps: it makes enums of all that it returns, which takes ten times as long
import os
import signal
import threading
from _thread import start_new_thread
from threading import get_ident
from time import sleep
from types import FrameType
from typing import Any

_OFTEN = "INT TERM HUP QUIT ALRM USR1 USR2"
_NAMES = f"{_OFTEN} ABRT CHLD CONT TSTP TTIN TTOU VTALRM PROF WINCH IO PIPE URG"
_NUMBERS = [int(getattr(signal, f"SIG{name}")) for name in _NAMES.split() if hasattr(signal, f"SIG{name}")]
_OFTEN_NUMBERS = _NUMBERS[: len([name for name in _OFTEN.split() if hasattr(signal, f"SIG{name}")])]

_get, _set = _signal.getsignal, _signal.signal

_handlers: list[Any] = []  # by number, when they were held last,
_called: list[tuple[int, Any]] = []  # and those of them that are called
_held: dict[int, Any] = {}  # number -> the program's handler
_came: list[int] = []
_sleeps = False
_BEGAN, _SLEPT = 1, 2
SOON_SECONDS = 0.001  # the hooks of a fork that come after ours
_LOOPS = ("asyncio.runners", "asyncio.unix_events", "uvloop.loop")  # whose own handlers tear nothing


def hold(*, brief: bool = False) -> int:
    """From here on handlers wait. Returns what is to be given to `let_go`; 0 in other threads, which have none.

    Where it is `brief`, those of the rarer signals are taken to be as they were the last time.
    """
    global _sleeps
    if get_ident() != _main:
        return 0
    if _held:  # by a wait that this one is inside of: a handler is being called
        before, _sleeps = _sleeps, False
        return _SLEPT if before else 0
    try:
        _sleeps = False
        handlers = list(map(_get, _OFTEN_NUMBERS if brief else _NUMBERS))
        if handlers != _handlers[: len(handlers)]:  # else as the last time, nearly always
            handlers = list(map(_get, _NUMBERS))
            _called[:] = [each for each in zip(_NUMBERS, handlers, strict=True) if _may_raise(each[1])]
            _handlers[:] = handlers  # last: one that raises here would leave what is called as it was, for ever
        for number, handler in _called:
            _held[number] = handler
            _set(number, _defer)
    except BaseException:  # one that raises came in the middle of it
        let_go(_BEGAN)
        raise
    return _BEGAN


def let_go(held: int) -> None:
    """Handlers are called again as they come, and now those that have waited."""
    global _sleeps
    if held == _SLEPT:
        _sleeps = True
    if held != _BEGAN:
        return
    try:
        _give_back()
        while _came:
            signal.raise_signal(_came.pop(0))
    finally:
        if _held or _came:  # one that raises came in the middle of it
            let_go(_BEGAN)


def let_go_soon(held: int) -> None:
    """The same, but those that have waited are called when the caller is gone: what they raise may be dropped there."""
    if held != _BEGAN:
        let_go(held)
        return
    try:
        _give_back()
        if _came:
            start_new_thread(_send, (list(_came),))  # where that fails they are called at the next occasion
            _came.clear()
    finally:
        if _held:
            let_go_soon(_BEGAN)


def _give_back() -> None:
    while _held:
        number = next(iter(_held))
        if _get(number) is _defer:
            _set(number, _held[number])
        del _held[number]


def _send(came: list[int]) -> None:
    """In a thread of its own, as the main thread's next step would call them."""
    sleep(SOON_SECONDS)
    for number in came:
        signal.pthread_kill(_main, number)


def sleeps() -> bool:
    """The thread is about to sleep: handlers are called. Returns what is to be given to `wakes`."""
    global _sleeps
    if not _held or get_ident() != _main:
        return False
    before, _sleeps = _sleeps, True
    while _came:
        signal.raise_signal(_came.pop(0))
    return before


def wakes(before: bool) -> None:
    """It has slept."""
    global _sleeps
    if _held and get_ident() == _main:
        _sleeps = before


def _may_raise(handler: Any) -> bool:
    owner = getattr(getattr(handler, "func", None), "__self__", handler)  # asyncio.Runner's is a partial of its method
    return callable(handler) and getattr(owner, "__module__", "") not in _LOOPS


def _forked() -> None:
    """In a child: another thread of the parent's may have held them, and what came was for the parent."""
    global _main, _sleeps
    _main, _sleeps = get_ident(), False
    for number, handler in _held.items():
        if _get(number) is _defer:
            _set(number, handler)
    _held.clear()
    _came.clear()


_main = threading.main_thread().ident or 0
os.register_at_fork(after_in_child=_forked)


def _defer(number: int, frame: FrameType | None) -> None:
    handler = _held.get(number)
    if not _sleeps or handler is None:
        _came.append(number)
    else:
        handler(number, frame)
