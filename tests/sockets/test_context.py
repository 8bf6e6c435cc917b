"""Forks: of a process whose clients have threads. What those have locked is not locked in the child for ever."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import BrokerProcess, environment

pytestmark = pytest.mark.slow  # brokers are processes

BEGIN = """
import os, signal, sys, threading, zchat

def child(work):
    \"\"\"The exit status of a child that does some work, and is ended if that takes too long.\"\"\"
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

client = zchat.connect(sys.argv[1], "anna")
"""

IMPORTS = """
forking = threading.Event()
os.register_at_fork(before=forking.set)  # before the client's, which came first
engine, began = client._connection._engine, threading.Event()
turn = engine.turn

def importing(ready):
    if threading.current_thread() is not threading.main_thread():
        began.set()
        import slow_to_import
    turn(ready)

def work():
    import slow_to_import
    with zchat.connect(sys.argv[1], "ben") as ben:
        ben.send("forks", "from the child")

engine.turn = importing
client.publish("forks", "one")
assert began.wait(20), "its own thread takes a turn"
sys.exit(child(work))
"""

FORKS_AT_ONCE = """
statuses = []

def work():
    with zchat.connect(sys.argv[1], "ben") as ben:
        ben.send("forks", "from a child")

def fork():
    for _ in range(5):
        statuses.append(child(work))

threads = [threading.Thread(target=fork) for _ in range(4)]
for thread in threads:
    thread.start()
while any(thread.is_alive() for thread in threads):
    client.send("forks", "meanwhile")
assert statuses == [0] * 20, statuses
"""

HANDLERS = """
came = []

def handler(number, frame):
    came.append(number)

def work():
    assert signal.getsignal(signal.SIGUSR1) is handler, "the program's own"
    os.kill(os.getpid(), signal.SIGUSR1)
    assert came == [signal.SIGUSR1]

def forks():
    statuses.append(child(work))
    client.send("forks", "go on")

signal.signal(signal.SIGUSR1, handler)
statuses = []
heard = client.listen("forks")
def forks_meanwhile():
    while not client._connection._driver._leader:
        pass
    forks()

threading.Thread(target=forks_meanwhile).start()  # while the main thread waits
assert heard.get(20).text == "go on"
assert statuses == [0] and came == []
sys.exit(child(work))
"""


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(IMPORTS, id="a thread of the client's imports a module"),
        pytest.param(FORKS_AT_ONCE, id="many threads fork, and one sends"),
        pytest.param(HANDLERS, id="the main thread waits, and has handlers of signals"),
    ],
)
def test_a_child_has_nothing_of_what_its_parents_threads_hold(
    shared_broker: BrokerProcess, tmp_path: Path, program: str
) -> None:
    (tmp_path / "slow_to_import.py").write_text("from __main__ import forking; assert forking.wait(20)")
    (tmp_path / "program.py").write_text(BEGIN + program)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(tmp_path / "program.py"), shared_broker.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment())
    assert (done.returncode, done.stderr) == (0, "")
