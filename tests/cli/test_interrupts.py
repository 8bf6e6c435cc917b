"""When a signal may raise, and `zchat listen --resume` under signals at any moment: nothing twice, nothing missing."""

from __future__ import annotations

import array
import fcntl
import os
import random
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import zchat as api
from tests.conftest import COMMAND, BrokerProcess, environment, eventually
from zchat.cli.interrupts import AGAIN_SECONDS, ENDS, HELD_SECONDS, Interrupts

SIGNALS = (*ENDS, signal.SIGALRM)


@pytest.fixture
def install() -> Iterator[Callable[..., Interrupts]]:
    """Interrupts of this process, for one test."""
    before = [signal.getsignal(signum) for signum in SIGNALS]

    def install(held_seconds: float = 60.0) -> Interrupts:
        interrupts = Interrupts(held_seconds)
        interrupts.install()
        return interrupts

    yield install
    signal.setitimer(signal.ITIMER_REAL, 0)
    for signum, handler in zip(SIGNALS, before, strict=True):
        signal.signal(signum, handler)


@pytest.mark.parametrize(
    ("signum", "raised", "status"),
    [
        (signal.SIGINT, KeyboardInterrupt, None),
        (signal.SIGTERM, SystemExit, 143),
        (signal.SIGHUP, SystemExit, 129),
    ],
)
def test_a_signal_raises_at_once_where_nothing_is_held(
    install: Callable[..., Interrupts], signum: int, raised: type[BaseException], status: int | None
) -> None:
    install()
    with pytest.raises(raised) as caught:
        signal.raise_signal(signum)
    assert getattr(caught.value, "code", None) == status


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGHUP])
def test_one_that_was_ignored_from_the_start_stays_ignored(install: Callable[..., Interrupts], signum: int) -> None:
    before = signal.signal(signum, signal.SIG_IGN)
    try:
        install()
        signal.raise_signal(signum)
        assert signal.getsignal(signum) is signal.SIG_IGN
    finally:
        signal.signal(signum, before)


def test_the_first_signal_waits_for_the_end_of_what_is_held(install: Callable[..., Interrupts]) -> None:
    interrupts = install()
    done = []
    with pytest.raises(KeyboardInterrupt):
        with interrupts.held():
            signal.raise_signal(signal.SIGINT)
            done.append("written")
            with interrupts.held():
                done.append("noted")
            done.append("all of it")
        done.append("never")
    assert done == ["written", "noted", "all of it"]


def test_what_is_held_has_places_where_a_signal_may_raise(install: Callable[..., Interrupts]) -> None:
    interrupts = install()
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts.held():
        interrupts.let_in()
        with interrupts.passing(), interrupts.held():
            signal.raise_signal(signal.SIGINT)
            done.append("held again")
        done.append("never")
    assert done == ["held again"]
    interrupts = install()
    with pytest.raises(SystemExit), interrupts.held():
        signal.raise_signal(signal.SIGTERM)
        with interrupts.passing():
            done.append("never")
    with pytest.raises(KeyboardInterrupt), install().held(), interrupts.passing():
        signal.raise_signal(signal.SIGINT)
    assert done == ["held again"]


def test_a_second_signal_raises_although_the_first_is_held(install: Callable[..., Interrupts]) -> None:
    interrupts = install()
    with pytest.raises(SystemExit), interrupts.held():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)  # at once: of timeout(1), which signals twice
        eventually(lambda: signal.raise_signal(signal.SIGTERM), "it raises")


def test_the_first_signal_is_held_for_no_longer_than_so_many_seconds(install: Callable[..., Interrupts]) -> None:
    interrupts = install(0.05)
    reading, writing = os.pipe()
    try:
        with pytest.raises(KeyboardInterrupt), interrupts.held():
            signal.raise_signal(signal.SIGINT)
            os.read(reading, 1)  # for ever
    finally:
        os.close(reading)
        os.close(writing)


# --- a real listener ---------------------------------------------------------------------------------


@pytest.fixture
def start(broker: BrokerProcess) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a listener with a cursor, whose stdout is a pipe."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*args: str) -> subprocess.Popen[bytes]:
        command = [*COMMAND, "listen", "x.*", "y", "--resume", "k", "--raw", "-b", broker.address, "-u", "anna", *args]
        started.append(
            subprocess.Popen(command, bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        )
        fcntl.fcntl(started[-1].stdout or 0, fcntl.F_SETPIPE_SZ, 4096)
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def publish(broker: BrokerProcess, stop: threading.Event) -> int:
    """Numbers, in turn to three rooms, until it is told to stop. Returns how many."""
    number = 0
    with api.connect(broker.address, "writer") as writer:
        while not stop.wait(0.002):
            for room in ("x.a", "x.b", "y") * 10:
                writer.publish(room, str(number))
                number += 1
        writer.flush(10)
    return number


@pytest.mark.slow
def test_a_signal_at_any_moment_makes_nothing_come_twice_and_loses_nothing(
    broker: BrokerProcess, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    start("-t", "0").wait(60)  # the cursor begins here
    stop = threading.Event()
    published: list[int] = []
    writer = threading.Thread(target=lambda: published.append(publish(broker, stop)))
    writer.start()
    moments = random.Random(17)
    printed = bytearray()
    try:
        for turn in range(12):
            listener = start()
            ends_with = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)[turn % 3]
            if turn % 2:  # while its reader takes nothing: in the middle of a write
                wait_until_it_stalls(listener)
                listener.send_signal(ends_with)
            else:
                printed += os.read(listener.stdout.fileno() if listener.stdout else 0, 1)
                threading.Timer(moments.random() / 4, listener.send_signal, [ends_with]).start()
            rest, told = listener.communicate(timeout=60)
            printed += rest
            assert (told, listener.returncode) == (b"", -ends_with)
    finally:
        stop.set()
        writer.join()
    lines: list[int] = []
    while True:  # a second without a message is no end, on a busy machine
        rest, _ = start("-t", "1").communicate(timeout=200)
        printed += rest
        lines = [int(line) for line in printed.split()]
        if len(lines) >= published[0] or not rest:
            break
    assert len(lines) == len(set(lines)), "nothing twice"
    assert sorted(lines) == list(range(published[0])), "nothing missing"


def wait_until_it_stalls(listener: subprocess.Popen[bytes]) -> None:
    """Until it waits for its reader: there is more to print, and what waits in the pipe grows no more."""
    assert listener.stdout is not None
    waiting = array.array("i", [0])
    seen: list[int] = []

    def is_full() -> bool:
        fcntl.ioctl(listener.stdout or 0, termios.FIONREAD, waiting)
        seen.append(waiting[0])
        return len(seen) > 10 and len(set(seen[-10:])) == 1 and seen[-1] > 0

    eventually(is_full, "the pipe is full")


@pytest.mark.slow
def test_a_second_signal_ends_a_listener_whose_reader_takes_nothing(
    broker: BrokerProcess, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    with api.connect(broker.address, "writer") as writer:
        for number in range(30_000):
            writer.publish("y", str(number))
    listener = start("--after", "0")
    wait_until_it_stalls(listener)

    sent = [0.0]

    def is_ended() -> bool:
        if time.monotonic() > sent[-1] + 2 * AGAIN_SECONDS:
            sent.append(time.monotonic())
            listener.send_signal(signal.SIGINT)
        return listener.poll() is not None

    eventually(is_ended, "it ends", within=HELD_SECONDS - 0.5)
    assert listener.returncode == -signal.SIGINT


WHILE_TYPES_ARE_READ = """
import os, signal, sys

def once(frame, event, arg):
    if event == "call" and frame.f_code.co_name == "__hash__" and "zchat/wire" in frame.f_back.f_code.co_filename:
        sys.setprofile(None)
        os.kill(os.getpid(), signal.SIGTERM)

sys.setprofile(once)
sys.argv[1:] = ["ping", "--broker", "ipc:///nowhere", "--wait", "0"]
from zchat.__main__ import main
main()
"""


@pytest.mark.slow
def test_a_signal_that_comes_while_modules_are_imported_is_not_lost() -> None:
    done = subprocess.run([sys.executable, "-c", WHILE_TYPES_ARE_READ], env=environment(), capture_output=True)
    assert done.returncode == -signal.SIGTERM, done
