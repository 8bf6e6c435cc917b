"""`zchat broker` is started again when it dies, by a parent that leaves no orphan."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import zchat as api
from tests.conftest import COMMAND, READY, BrokerProcess, Running, environment, eventually, zchat
from zchat.cli.watch import SERVED_SECONDS, TRIES_MAX, WAIT_SECONDS_MAX, Again, End, Plan

StartBroker = Callable[..., BrokerProcess]
Start = Callable[..., Running]

KILLED, ABORTED = -signal.SIGKILL, -signal.SIGABRT


# --- what is to be done -----------------------------------------------------------------------------


def served(plan: Plan, seconds: float = SERVED_SECONDS) -> float:
    """It is ready at 100; gives the time so many seconds later."""
    plan.ready(100.0)
    return 100.0 + seconds


@pytest.mark.parametrize("status", [0, 1, 2, 143])
def test_a_broker_that_ends_by_itself_before_it_served_is_the_end_with_its_status(status: int) -> None:
    assert Plan().ended(status, 1.0) == End(status)


def test_a_broker_that_ends_with_0_is_the_end() -> None:
    plan = Plan()
    assert plan.ended(0, served(plan)) == End(0)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (ABORTED, "was ended by SIGABRT"),
        (KILLED, "was ended by SIGKILL (kill -9, or no memory was left)"),
        (-signal.SIGSEGV, "was ended by SIGSEGV"),
        (-65, "was ended by signal 65"),
        (1, "ended with status 1"),
    ],
)
def test_who_served_is_started_again_at_once_and_the_reason_is_told(status: int, why: str) -> None:
    plan = Plan()
    assert plan.ended(status, served(plan)) == Again(f"the broker {why}; it is started again", 0.0)


def test_a_signal_before_it_served_is_no_end_either() -> None:
    assert Plan().ended(ABORTED, 1.0) == Again("the broker was ended by SIGABRT; it is started again in 0.1 s", 0.1)


@pytest.mark.parametrize(("status", "ends_with"), [(0, 0), (1, 1), (143, 143), (KILLED, 137), (ABORTED, 134)])
def test_once_it_was_told_to_end_there_is_no_other_one(status: int, ends_with: int) -> None:
    plan = Plan()
    plan.told_to_end()
    assert plan.ended(status, served(plan)) == End(ends_with)


def test_waits_grow_while_it_serves_for_less_than_a_second_and_begin_anew_after_that() -> None:
    plan = Plan()
    waits = []
    for _ in range(9):
        again = plan.ended(ABORTED, served(plan, SERVED_SECONDS / 2))
        assert isinstance(again, Again)
        assert f"in {again.seconds:g} s" in again.line
        waits.append(again.seconds)
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, WAIT_SECONDS_MAX, WAIT_SECONDS_MAX, WAIT_SECONDS_MAX]
    again = plan.ended(ABORTED, served(plan))
    assert isinstance(again, Again) and again.seconds == 0
    again = plan.ended(ABORTED, 200.0)  # the one after it was never ready
    assert isinstance(again, Again) and again.seconds == 0.1


def test_who_ends_to_come_again_is_started_at_once_unless_the_end_is_wanted() -> None:
    plan = Plan()
    for now in (1.0, 1.1):
        plan.ready(now)
        plan.comes_again()
        assert plan.ended(0, now + 0.1) == Again(
            "the broker has another key of its own; it is started again with it", 0.0
        )
    plan.comes_again()
    assert plan.ended(1, 9.0) == Again("the broker ended with status 1; it is started again in 0.1 s", 0.1)
    assert plan.ended(0, 9.0) == End(0), "it was said of the one before"
    plan.comes_again()
    plan.told_to_end()
    assert plan.ended(0, 9.0) == End(0)


def test_signals_are_no_reason_to_give_up() -> None:
    plan = Plan()
    for _ in range(5000):
        assert isinstance(plan.ended(KILLED, 1.0), Again)


def test_a_broker_that_cannot_be_started_again_is_tried_so_often_and_then_given_up() -> None:
    plan = Plan()
    verdicts = [plan.ended(1, served(plan))]
    verdicts += [plan.ended(1, 200.0) for _ in range(TRIES_MAX + 1)]
    assert all(isinstance(verdict, Again) for verdict in verdicts[:-1])
    assert verdicts[-1] == End(1)


# --- two real processes -----------------------------------------------------------------------------


@pytest.fixture
def watched(start_broker: StartBroker) -> BrokerProcess:
    return start_broker(watched=True)


def pid_of(broker: BrokerProcess) -> int:
    """Of the parent."""
    assert broker.process is not None
    return broker.process.pid


def child_of(pid: int) -> int:
    """Of the broker itself; 0 while there is none."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else 0


def is_alive(pid: int) -> bool:
    """And no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def ready_lines(text: str) -> list[str]:
    return [found[0] for found in READY.finditer(text)]


def told(text: str) -> list[str]:
    """What the parent and the broker say, without what faulthandler adds."""
    return [line for line in text.splitlines() if line.startswith("zchat: ")]


def comes_back(broker: BrokerProcess, times: int = 1) -> None:
    eventually(lambda: len(ready_lines(broker.stderr())) == times + 1, "it is ready again")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "why"), [(signal.SIGABRT, "SIGABRT"), (signal.SIGKILL, "SIGKILL"), (signal.SIGSEGV, "SIGSEGV")]
)
def test_a_broker_that_a_signal_ended_is_back_where_it_was(watched: BrokerProcess, signum: int, why: str) -> None:
    assert zchat("send", "a", "before", broker=watched).status == 0
    first = child_of(pid_of(watched))
    os.kill(first, signum)
    comes_back(watched)
    assert child_of(pid_of(watched)) != first
    assert len(set(ready_lines(watched.stderr()))) == 1, "same address, same folder"
    (line,) = told(watched.stderr())
    assert line.startswith(f"zchat: the broker was ended by {why}") and "it is started again" in line
    assert zchat("history", "a", "--raw", broker=watched).stdout == "before\n"
    watched.stop()


@pytest.mark.slow
@pytest.mark.parametrize("bind", ["tcp://127.0.0.1:0", "tcp://*:0", "ipc://{}/z"])
def test_the_ports_that_the_system_chose_stay(start_broker: StartBroker, tmp_path: Path, bind: str) -> None:
    broker = start_broker("--memory", "--insecure", bind=bind.format(tmp_path), watched=True)
    os.kill(child_of(pid_of(broker)), signal.SIGKILL)
    comes_back(broker)
    assert len(set(ready_lines(broker.stderr()))) == 1
    assert zchat("send", "a", "x", "-b", broker.address.replace("*", "127.0.0.1")).status == 0


@pytest.mark.slow
def test_what_the_parent_is_sent_reaches_the_broker(watched: BrokerProcess) -> None:
    first = child_of(pid_of(watched))
    os.kill(pid_of(watched), signal.SIGABRT)
    comes_back(watched)
    assert not is_alive(first)
    assert "SIGABRT" in told(watched.stderr())[0]
    assert "Fatal Python error: Aborted" in watched.stderr(), "faulthandler says where"


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("alone", [False, True], ids=["watched", "no-watch"])
def test_a_signal_that_asks_for_the_end_ends_all_in_order(start_broker: StartBroker, signum: int, alone: bool) -> None:
    broker = start_broker(watched=not alone)
    pid = pid_of(broker)
    child = child_of(pid)
    assert (child == 0) == alone
    assert broker._end(signum) == (-signum if signum == signal.SIGINT else 0)
    assert not is_alive(child)
    assert len(broker.stderr().splitlines()) == 1


@pytest.mark.slow
def test_a_broker_that_is_told_itself_is_not_started_again(watched: BrokerProcess) -> None:
    os.kill(child_of(pid_of(watched)), signal.SIGTERM)
    assert watched.process is not None
    process, watched.process = watched.process, None
    assert process.wait(10) == 0
    assert len(watched.stderr().splitlines()) == 1


@pytest.mark.slow
def test_sigquit_ends_both_at_once(watched: BrokerProcess) -> None:
    child = child_of(pid_of(watched))
    assert watched._end(signal.SIGQUIT) == 128 + signal.SIGQUIT
    assert not is_alive(child) and told(watched.stderr()) == []


@pytest.mark.slow
def test_no_orphan_when_the_parent_is_killed_and_another_one_starts_at_once(watched: BrokerProcess) -> None:
    with api.connect(watched.address, "anna") as client:
        for number in range(5):
            client.send("a", str(number))
            child = child_of(pid_of(watched))
            watched.kill()
            watched.start()  # while the one that was killed may still have folder and port
            assert not is_alive(child)
            assert told(watched.stderr()) == []
        assert [message.text for message in client.history("a")] == list("01234")


@pytest.mark.slow
def test_no_orphan_where_the_system_does_not_tell_of_the_parents_death() -> None:
    until_we_end, ours = os.pipe()
    program = (
        "import os\nfrom zchat.cli import watch\nwatch.end_at_end_of(0)\nprint('there', flush=True)\n"
        f"os.read({until_we_end}, 1)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
        pass_fds=[until_we_end],
    )
    os.close(until_we_end)
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    process.stdin.close()
    assert process.wait(10) == -signal.SIGKILL
    process.stdout.close()
    os.close(ours)


@pytest.mark.slow
def test_while_it_waits_before_it_starts_another_one_it_can_be_ended(watched: BrokerProcess) -> None:
    pid = pid_of(watched)
    said: list[str] = []
    while not (said and said[-1].endswith("in 1.6 s")):  # the fifth time, where none served for a second
        os.kill(eventually(lambda: child_of(pid), "there is one"), signal.SIGKILL)
        known = len(said)
        eventually(lambda known=known: len(told(watched.stderr())) > known, "it says so")  # type: ignore[misc]
        said = told(watched.stderr())
        assert len(said) < 50
    starts = len(ready_lines(watched.stderr()))
    assert watched._end(signal.SIGTERM) == 0
    assert len(ready_lines(watched.stderr())) == starts and told(watched.stderr()) == said


@pytest.mark.slow
def test_what_cannot_be_started_is_told_once_with_the_status_of_today(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for args, status in (
        (("--data", str(tmp_path / "file")), 1),
        (("--memory", "--bind", "tcp://127.0.0.1:99999"), 2),
        (("--memory", "--insecure", "--bind", "tcp://no-such-host.invalid:0"), 1),
        (("--memory", "--retain", "x=0"), 2),
    ):
        shown = zchat("broker", "--bind", "tcp://127.0.0.1:0", *args)
        assert (shown.stdout, shown.stderr.count("\n"), shown.status) == ("", 1, status), shown


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_reaches_both_and_ends_the_loop_of_a_shell() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "broker", "--memory", "--bind", "tcp://127.0.0.1:0"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(),
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    while b"log in memory" not in shown:
        shown += os.read(ours, 1024)
    child = child_of(process.pid)
    os.killpg(process.pid, signal.SIGINT)  # what the terminal does
    assert process.wait(10) == -signal.SIGINT
    assert not is_alive(child)
    os.close(ours)


@pytest.mark.slow
def test_under_nohup_it_outlives_sighup(start_zchat: Start) -> None:
    running = start_zchat(
        "broker", "--memory", "--bind", "tcp://127.0.0.1:0", run=("sh", "-c", 'trap "" HUP; exec "$@"', "-", *COMMAND)
    )
    eventually(lambda: "ready" in running.stderr, "it is ready")
    for pid in (running.process.pid, child_of(running.process.pid)):
        os.kill(pid, signal.SIGHUP)
    assert zchat("send", "a", "x", "-b", running.stderr.split()[4]).status == 0
    assert running.end(signal.SIGTERM).status == 0


@pytest.mark.slow
def test_clients_go_on_over_an_abort_and_lose_nothing(watched: BrokerProcess, start_zchat: Start) -> None:
    listener = start_zchat("listen", "a", "-v", "--raw", broker=watched).live()
    sender = start_zchat("send", "a", broker=watched)
    numbers = iter(range(1_000_000))
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(0.001):
            sender.write(b"".join(b"%d\n" % next(numbers) for _ in range(50)))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for times in range(1, 4):
            enough = listener.stdout.count("\n") + 500
            eventually(lambda enough=enough: listener.stdout.count("\n") > enough, "messages flow")  # type: ignore[misc]
            os.kill(pid_of(watched), signal.SIGABRT)
            comes_back(watched, times)
    finally:
        stop.set()
        writer.join()
    sent = sender.end()
    assert (sent.status, sent.stderr) == (0, "")
    total = next(numbers)
    eventually(lambda: listener.stdout.count("\n") >= total, "all of it is printed")
    assert listener.stdout == "".join(f"{number}\n" for number in range(total))
    said = listener.end(signal.SIGINT).stderr.splitlines()
    assert "live" in said[0] and len(said) >= 7, said
    assert ["lost" in line for line in said[1:]] == [True, False] * (len(said) // 2), said  # each time lost, and back


@pytest.mark.slow
def test_systemd_is_told_that_it_is_ready(start_zchat: Start, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(20)
        running = start_zchat(
            "broker", "--no-watch", "--memory", "--bind", "tcp://127.0.0.1:0",
            env={"NOTIFY_SOCKET": str(tmp_path / "notify")},
        )  # fmt: skip
        assert notified.recv(100) == b"READY=1"
    assert "ready" in running.stderr
    assert running.end(signal.SIGTERM).status == 0
