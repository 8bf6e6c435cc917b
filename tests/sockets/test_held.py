"""Handlers of signals that wait: each in a process of its own, whose main thread it is about."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEGIN = """
import os, signal, threading
from zchat.sockets import held

came = []

def handler(number, frame):
    came.append(number)

def kill(number=signal.SIGUSR1):
    os.kill(os.getpid(), number)
    for _ in range(100):
        pass  # handlers are called between two steps

signal.signal(signal.SIGUSR1, handler)
"""

CASES = {
    "one of a rarer signal waits as well, where it is not new": """
signal.signal(signal.SIGCHLD, handler)
mine = held.hold(brief=True)
assert signal.getsignal(signal.SIGCHLD) is not handler, "the first time all are looked at"
held.let_go(mine)
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
held.let_go(held.hold())
signal.signal(signal.SIGCHLD, handler)
mine = held.hold(brief=True)
assert signal.getsignal(signal.SIGUSR1) is not handler and signal.getsignal(signal.SIGCHLD) is handler
held.let_go(mine)
mine = held.hold()
kill(signal.SIGCHLD)
assert came == []
held.let_go(mine)
assert came == [signal.SIGCHLD]
mine = held.hold(brief=True)
kill(signal.SIGCHLD)
assert len(came) == 1
held.let_go(mine)
assert len(came) == 2 and signal.getsignal(signal.SIGCHLD) is handler
""",
    "it waits for the end": """
mine = held.hold()
kill()
assert came == []
held.let_go(mine)
assert came == [signal.SIGUSR1] and signal.getsignal(signal.SIGUSR1) is handler
""",
    "it comes where the thread sleeps": """
mine = held.hold()
before = held.sleeps()
kill()
assert came == [signal.SIGUSR1]
held.wakes(before)
kill()
assert len(came) == 1
before = held.sleeps()
assert len(came) == 2, "the one that waited"
held.wakes(before)
held.let_go(mine)
assert len(came) == 2
""",
    "one that raises while it is noted what is called is of no consequence": """
class Torn(list):
    whole = False

    def __setitem__(self, at, what):
        super().__setitem__(at, what)
        if not self.whole:
            self.whole = True
            raise KeyboardInterrupt

for name in ("_handlers", "_called"):
    setattr(held, name, Torn())
    try:
        held.hold()
        raise AssertionError("it was not torn")
    except KeyboardInterrupt:
        pass
    mine = held.hold()
    kill()
    assert came == [], name
    held.let_go(mine)
    assert came.pop() == signal.SIGUSR1
    held._handlers.clear()
""",
    "one that raises leaves nothing held": """
mine = held.hold()
kill(signal.SIGINT), kill()
try:
    held.let_go(mine)
except KeyboardInterrupt:
    came.append("interrupted")
assert sorted(map(str, came)) == ["10", "interrupted"], came
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
assert signal.getsignal(signal.SIGUSR1) is handler
mine = held.hold()
assert mine
held.let_go(mine)
""",
    "what a handler sets stays": """
def other(number, frame):
    signal.signal(signal.SIGUSR1, handler)

signal.signal(signal.SIGUSR1, other)
mine = held.hold()
before = held.sleeps()
kill()
held.wakes(before)
held.let_go(mine)
assert signal.getsignal(signal.SIGUSR1) is handler
""",
    "a handler that waits is held too, and what it interrupts sleeps on": """
mine = held.hold()
before = held.sleeps()
inner = held.hold()
kill()
assert came == []
held.let_go(inner)
kill()
assert len(came) >= 1
held.wakes(before)
held.let_go(mine)
assert len(came) == 2
""",
    "another thread holds nothing": """
thread = threading.Thread(target=lambda: came.append(held.hold()))
thread.start()
thread.join()
assert came == [0] and signal.getsignal(signal.SIGUSR1) is handler
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("code", CASES.values(), ids=CASES.keys())
def test_a_handler(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", BEGIN + code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
