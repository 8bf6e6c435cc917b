"""Forks: of a process whose clients have threads. What those have locked is not locked in the child for ever."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import BrokerProcess, environment

pytestmark = pytest.mark.slow  # brokers are processes

BEGIN = """
import os, signal, sys, threading, time, zchat

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

def connect():
    return zchat.connect(sys.argv[1], "anna")
"""

IMPORTS = """
client = connect()
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
client, statuses, came = connect(), [], []

def work():
    with zchat.connect(sys.argv[1], "ben") as ben:
        ben.send("forks", "from a child")

def fork():
    for _ in range(5):
        statuses.append(child(work))

signal.signal(signal.SIGUSR1, lambda number, frame: came.append(number))
threads = [threading.Thread(target=fork) for _ in range(3)]
for thread in threads:
    thread.start()
fork()
while any(thread.is_alive() for thread in threads):
    client.send("forks", "meanwhile")
assert statuses == [0] * 20, statuses
signal.raise_signal(signal.SIGUSR1)
assert came == [signal.SIGUSR1], "the handler is the program's again"
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
client, statuses = connect(), []
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

SIGNAL_MEANWHILE = """
class Stop(Exception):
    pass

def stop(number, frame):
    raise Stop

signal.signal(signal.SIGTERM, stop)
# Hooks from before the client's: this one is called after it, before the fork, and this one before it, after the fork.
hooks = {"before": "before", "after": "after_in_parent"}
os.register_at_fork(**{hooks[sys.argv[2]]: lambda: os.kill(os.getpid(), signal.SIGTERM)})
client = connect()
try:
    status = child(lambda: client)
    threading.Event().wait(20)  # for the signal
except Stop:
    sys.exit()
sys.exit(f"the signal did not stop it; the child ended with {status}")
"""

USES = {
    "closes": "client.close()",
    "flushes": "client.flush()",
    "sends": "client.send('forks', 'from a hook')",
    "publishes": "client.publish('forks', 'from a hook')",
    "connects": "connect().close()",
}
HOOK_USES = """
client = None
def use():
    if client is not None and threading.current_thread() is threading.main_thread():
        {use}
        used.append(True)

hooks = {{"before": "before", "after": "after_in_parent"}}
os.register_at_fork(**{{hooks[sys.argv[2]]: use}})  # the client's are inside of it
client, used = connect(), []
client.publish("forks", "one")
status = child(lambda: None)
assert used == [True] and status == 0, (used, status)
if sys.argv[3] != "closes":
    client.send("forks", "go on")
"""

SUBSCRIBES = """
from zchat.sockets import context, subscriber

context.FORK_SECONDS = 60.0
client, began, waits = connect(), threading.Event(), threading.Event()
subscribe, hold = subscriber.Subscriber.subscribe, client._connection.hold

def subscribing(*arguments):
    began.set()
    assert waits.wait(20), "the fork waits for this turn, and has all that it locks"
    return subscribe(*arguments)

def holding(seconds):
    waits.set()
    hold(seconds)

subscriber.Subscriber.subscribe, client._connection.hold = subscribing, holding
listening = threading.Thread(target=client.listen, args=["forks"])
listening.start()
assert began.wait(20)
since = time.monotonic()
assert child(lambda: None) == 0
listening.join()
assert time.monotonic() - since < 30, "neither waits for the other"
"""


def run(program: str, folder: Path, *arguments: str) -> None:
    """It ends well and says nothing."""
    (folder / "slow_to_import.py").write_text("from __main__ import forking; assert forking.wait(20)")
    (folder / "program.py").write_text(BEGIN + program)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(folder / "program.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment())
    assert (done.returncode, done.stderr) == (0, "")


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
    run(program, tmp_path, shared_broker.address)


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_a_handler_of_signals_raises_during_a_fork_reaches_the_program(
    shared_broker: BrokerProcess, tmp_path: Path, when: str
) -> None:
    run(SIGNAL_MEANWHILE, tmp_path, shared_broker.address, when)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("use", USES)
def test_a_programs_own_hooks_of_forks_may_use_its_client(
    shared_broker: BrokerProcess, tmp_path: Path, use: str, when: str
) -> None:
    run(HOOK_USES.format(use=USES[use]), tmp_path, shared_broker.address, when, use)


def test_a_fork_waits_for_a_turn_that_asks_for_the_context(shared_broker: BrokerProcess, tmp_path: Path) -> None:
    run(SUBSCRIBES, tmp_path, shared_broker.address)
