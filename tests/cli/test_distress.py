"""A broker in distress: what it then does needs no descriptor, no module and no thread that was not there before."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import zmq

import zchat
from tests.conftest import BrokerProcess, eventually
from zchat.cli import serving as command

StartBroker = Callable[..., BrokerProcess]

# Writes down every import, and every thread, file and database that is opened.
AUDITED = """
import os, sys
into = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def hook(event, args):
    if event in ("import", "open", "sqlite3.connect", "_thread.start_new_thread"):
        os.write(into, f"{event} {str(args[:1])[:200]!r}\\n".encode())
sys.addaudithook(hook)
from zchat.__main__ import main
main()
"""
# Once the file is there, the WAL is on a device that takes every write and cannot be synced: for this process only.
UNSYNCED = """
import os, sys, threading, time
from zchat.cli import serving
announce, wanted = serving._announce, sys.argv.pop(1)
def fail(wal):
    while not os.path.exists(wanted):
        time.sleep(0.01)
    nowhere = os.open("/dev/null", os.O_RDWR)
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}") == wal:
                os.dup2(nowhere, int(name))
        except OSError:
            pass
    os.remove(wanted)
def then_fail(running, log, *more):
    announce(running, log, *more)
    threading.Thread(target=fail, args=(os.path.join(log, "log.db-wal"),), daemon=True).start()
serving._announce = then_fail
from zchat.__main__ import main
main()
"""
PROBED = ("log.probe", "log.ballast")  # what it lives without: a log that cannot be written tries to write


def pid_of(broker: BrokerProcess) -> int:
    assert broker.process is not None
    return broker.process.pid


@contextmanager
def limited(broker: BrokerProcess, what: int, to: int) -> Iterator[None]:
    """A limit of the running broker, for a block."""
    before = resource.prlimit(pid_of(broker), what)
    resource.prlimit(pid_of(broker), what, (to, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid_of(broker), what, before)


def lowest_free_descriptor(broker: BrokerProcess) -> int:
    used = {int(number) for number in os.listdir(f"/proc/{pid_of(broker)}/fd")}
    return min(set(range(len(used) + 1)) - used)


def make_trouble(broker: BrokerProcess, context: zmq.Context[zmq.Socket[bytes]]) -> None:
    """Whatever makes a broker say something, or serve something out of the ordinary."""
    with zchat.connect(broker.address, "anna") as client, client.listen("den", resume="k") as den:
        for number in range(100):
            client.publish("den", str(number))
        assert [den.get(10).text for _ in range(100)] == [message.text for message in client.history("den")]
        assert client.who() and client.rooms() and list(client.history("**", last=1))
        for address in (broker.address, broker.publish_address):
            for sent in (os.urandom(2000), b"\xff" + bytes(8) + b"\x7f\3\0NULL" + bytes(48) + os.urandom(500)):
                with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as connection:
                    connection.sendall(sent)
        wrong = context.socket(zmq.XSUB)
        wrong.connect(broker.publish_address)
        wrong.send(b"no subscription")
        eventually(lambda: "is cut off: it sent what is no subscription" in broker.stderr(), "it is cut off")
        with limited(broker, resource.RLIMIT_FSIZE, 16 << 10):
            with pytest.raises(zchat.Refused), zchat.connect(broker.address, "berta") as other:
                other.send("den", bytes(500_000), timeout=10)
            eventually(lambda: "what is sent is refused" in broker.stderr(), "it says so")
        client.send("den", "after", timeout=10)
        eventually(lambda: "the log can be written again" in broker.stderr(), "it says so")


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield made
    made.destroy(linger=0)


@pytest.mark.slow
def test_a_broker_that_is_ready_loads_nothing_more(
    start_broker: StartBroker, context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path
) -> None:
    audit = tmp_path / "audit"
    broker = start_broker("--retain", "old=1s", run=(sys.executable, "-c", AUDITED, str(audit)))
    started = audit.read_text()
    assert "zchat.printable" in started, "the audit sees what is loaded"
    make_trouble(broker, context)
    broker.stop()
    later = audit.read_text().removeprefix(started).splitlines()
    assert [line for line in later if not any(name in line for name in PROBED)] == []


@pytest.mark.slow
def test_without_a_descriptor_left_it_says_what_is_wrong_and_lives(broker: BrokerProcess) -> None:
    other = zchat.connect(broker.address, "berta")
    with zchat.connect(broker.address, "anna") as client, client.listen("den") as den:
        client.send("den", "before")
        with limited(broker, resource.RLIMIT_NOFILE, lowest_free_descriptor(broker)):
            with limited(broker, resource.RLIMIT_FSIZE, 16 << 10):
                with pytest.raises(zchat.Refused), other:
                    other.send("den", bytes(500_000), timeout=10)
                eventually(lambda: "what is sent is refused" in broker.stderr(), "it says so")
            with socket.create_connection(("127.0.0.1", int(broker.address.rpartition(":")[2]))):
                client.send("den", "meanwhile", timeout=10)  # while nobody can be let in
                assert [message.text for message in client.history("den")] == ["before", "meanwhile"]
        assert [den.get(10).text for _ in range(2)] == ["before", "meanwhile"]
    with zchat.connect(broker.address, "berta", wait=20) as client:
        client.send("den", "after", timeout=10)
    assert broker.stderr().count("is started again") == 0


def test_a_thread_that_dies_of_an_error_ends_the_broker(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(threading, "excepthook", command._end_with_thread)
    for error in (SystemExit(3), MemoryError("no more")):

        def die(error: BaseException = error) -> None:
            raise error

        thread = threading.Thread(target=die, name="zchat-log")
        thread.start()
        thread.join()
    assert ended == [1]
    assert capsys.readouterr().err == "zchat: internal error in zchat-log: MemoryError: no more: the broker ends\n"


@pytest.mark.slow
def test_a_broker_without_memory_is_started_again(start_broker: StartBroker) -> None:
    broker = start_broker(watched=True)
    (child,) = Path(f"/proc/{pid_of(broker)}/task/{pid_of(broker)}/children").read_text().split()
    with zchat.connect(broker.address, "anna") as client:
        client.send("den", "before")
        before = resource.prlimit(int(child), resource.RLIMIT_AS)
        resource.prlimit(int(child), resource.RLIMIT_AS, (1, before[1]))
        for _ in range(100):
            client.publish("den", bytes(1_000_000))
        eventually(lambda: broker.stderr().count("broker ready") == 2, "it is back", within=20)
        client.flush(20)
        assert next(iter(client.history("den"))).text == "before"
    assert broker._end(signal.SIGTERM) == 0


def test_a_broker_that_computes_lets_its_threads_go_on_soon(start_broker: StartBroker) -> None:
    program = """
import sys
from zchat.cli import serving
announce = serving._announce
def tell_first(running, log, *more):
    print(f"threads take turns after {sys.getswitchinterval():.4f} s", file=sys.stderr)
    announce(running, log, *more)
serving._announce = tell_first
from zchat.__main__ import main
main()
"""
    broker = start_broker("--memory", run=(sys.executable, "-c", program))
    assert f"threads take turns after {command.SWITCH_SECONDS:.4f} s" in broker.stderr()
    assert command.SWITCH_SECONDS < 0.005, "what Python does by itself"


def test_a_log_whose_disk_could_not_sync_is_opened_anew_and_what_was_acked_is_there(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    wanted = tmp_path / "fail"
    broker = start_broker(run=(sys.executable, "-c", UNSYNCED, str(wanted)), watched=True)
    # Not `with client`: that raises at its end, as something was refused.
    with closing(zchat.connect(broker.address, "alice", wait=20)) as client, client.listen("den") as listener:
        first = client.send("den", "kept")
        wanted.touch()
        eventually(lambda: not wanted.exists(), "the disk fails")
        with pytest.raises(zchat.Refused, match="keeps nothing more until it is opened anew"):
            client.send("den", "lost", timeout=20)

        def kept() -> int:
            try:
                return client.send("den", "kept as well", timeout=20)
            except zchat.Refused:
                return 0  # it was there before the broker had ended

        assert eventually(kept, "it is kept once the broker is back") > first
        heard = [listener.get(20).text for _ in range(2)]
        assert heard == ["kept", "kept as well"] == [message.text for message in client.history("den")]
    eventually(lambda: "it is started again" in broker.stderr(), "the operator is told")
    assert "zchat: the log failed (IOERR_FSYNC) and keeps nothing more until it is opened anew\n" in broker.stderr()
    assert broker.stderr().count("zchat broker ready") == 2


def test_a_broker_that_nobody_watches_ends_with_a_status_when_its_disk_could_not_sync(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    wanted = tmp_path / "fail"
    broker = start_broker(run=(sys.executable, "-c", UNSYNCED, str(wanted)))
    assert broker.process is not None
    with closing(zchat.connect(broker.address, "alice", wait=20)) as client:
        wanted.touch()
        eventually(lambda: not wanted.exists(), "the disk fails")
        with pytest.raises(zchat.Refused):
            client.send("den", "lost", timeout=20)
        assert broker.process.wait(20) == 1
    broker.process = None
    assert broker.stderr().endswith(
        "zchat: the log failed (IOERR_FSYNC) and keeps nothing more until it is opened anew\n"
    )
