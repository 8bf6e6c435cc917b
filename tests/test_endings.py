"""What ends: a program, a client, a subscription, a process that was forked. Nothing is lost or repeated in silence."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import zchat
from tests.conftest import BrokerProcess, Result, environment, eventually

pytestmark = pytest.mark.slow  # each starts processes

BEGIN = """
import os, signal, sys, threading, time
import zchat
client = zchat.connect(sys.argv[1], "anna")
def publish(count, prefix=""):
    for number in range(count):
        client.publish(sys.argv[2], f"{prefix}{number}")
"""


CLOSED_LOOP = """
import asyncio, zchat.aio
async def main():
    global waits
    ben = await zchat.aio.connect(sys.argv[1], "ben")
    messages = await ben.listen(sys.argv[2])
    waits = asyncio.create_task(messages.get())
    await asyncio.sleep(0)
    for number in range(3000):
        ben.publish(sys.argv[2], str(number))
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
loop.close()
waits._log_destroy_pending = False  # the program's affair
"""


def run(program: str, *args: str) -> Result:
    """A Python program that has a client, to its end."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program, *args], capture_output=True, text=True, timeout=60, env=environment()
    )
    return Result(done.stdout, done.stderr, done.returncode)


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    """A room that no other test uses."""
    return f"room.{abs(hash(request.node.name))}"


@pytest.fixture
def anna(shared_broker: BrokerProcess) -> Iterator[zchat.Client]:
    with zchat.connect(shared_broker.address, "anna") as client:
        yield client


def stored(client: zchat.Client, room: str) -> list[str]:
    return [message.text for message in client.history(room)]


# --- the end of a program ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "status", "says"),
    [
        ("publish(3000)", 0, ""),
        ("publish(3000); sys.exit(7)", 7, ""),
        ("publish(3000); 1 / 0", 1, "ZeroDivisionError"),
        ("publish(3000); os.kill(os.getpid(), signal.SIGINT)", -signal.SIGINT, "KeyboardInterrupt"),
        ("threading.Thread(target=publish, args=[3000]).start()", 0, ""),
        ("publish(3000); client.close()", 0, ""),
        ("with client: publish(3000); sys.exit(7)", 7, ""),
        ("import atexit; atexit.register(publish, 3000)", 0, ""),
        (CLOSED_LOOP, 0, ""),
    ],
)
def test_a_program_that_ends_has_sent_what_it_published(
    shared_broker: BrokerProcess, anna: zchat.Client, room: str, program: str, status: int, says: str
) -> None:
    ended = run(program, shared_broker.address, room)
    assert ended.status == status and says in ended.stderr
    assert "zchat:" not in ended.stderr and bool(ended.stderr) == bool(says)
    assert stored(anna, room) == [str(number) for number in range(3000)]


@pytest.mark.parametrize("how", ["fork", "spawn"])
@pytest.mark.parametrize("in_thread", [False, True])
def test_a_child_of_multiprocessing_has_too(
    shared_broker: BrokerProcess, anna: zchat.Client, room: str, tmp_path: Path, how: str, in_thread: bool
) -> None:
    call = "threading.Thread(target=publish, args=[room]).start()" if in_thread else "publish(room)"
    program = tmp_path / "program.py"
    program.write_text(f"""
import multiprocessing, sys, threading, zchat
def work(address, room):
    global client
    client = zchat.connect(address, "ben")
    {call}
def publish(room):
    for number in range(3000):
        client.publish(room, str(number))
if __name__ == "__main__":
    own = zchat.connect(sys.argv[1], "anna")
    own.publish(sys.argv[2] + ".own", "before")
    child = multiprocessing.get_context({how!r}).Process(target=work, args=sys.argv[1:])
    child.start()
    child.join()
    own.publish(sys.argv[2] + ".own", "after")
    sys.exit(child.exitcode)
""")
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(program), shared_broker.address, room]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment())
    assert (done.returncode, done.stderr) == (0, "")
    assert stored(anna, room) == [str(number) for number in range(3000)]
    assert stored(anna, f"{room}.own") == ["before", "after"]


def test_a_session_that_was_left_open_has_ended_with_its_program(
    shared_broker: BrokerProcess, anna: zchat.Client, room: str
) -> None:
    ended = run("client.listen(sys.argv[2])", shared_broker.address, room)
    assert (ended.stderr, ended.status, anna.who(room)) == ("", 0, [])
    assert [(m.event, m.text) for m in anna.history(room, presence=True)] == [("join", ""), ("leave", "bye")]


def test_threads_that_go_on_until_the_end_notice_nothing(
    shared_broker: BrokerProcess, anna: zchat.Client, room: str
) -> None:
    program = """
began = threading.Event()
def listen():
    for message in client.listen(sys.argv[2]):
        began.set()
    print("the iteration ended")
def publish_on():
    while True:
        client.publish(sys.argv[2], "x").result()
for target in (listen, publish_on):
    threading.Thread(target=target, daemon=True).start()
began.wait()
"""
    ended = run(program, shared_broker.address, room)
    assert (ended.stdout, ended.status) == ("", 0)
    for line in ended.stderr.splitlines():  # one that was published at the very end may be lost, and that is told
        assert line.startswith("zchat: 1 message has no acknowledgement of ")


@pytest.mark.parametrize(
    ("program", "count"),
    [
        ("publish(3)", "3 messages have"),
        ("publish(1)", "1 message has"),
        ("client.publish(sys.argv[2], 'x', volatile=True)", ""),  # nobody promised it
        ("publish(3); client.close()", "3 messages have"),
        ("with client: publish(3); sys.exit()", "3 messages have"),
    ],
)
def test_what_could_not_be_sent_until_the_end_is_told(
    start_broker: Callable[..., BrokerProcess], room: str, program: str, count: str
) -> None:
    broker = start_broker("--memory")
    gone = f"""
import zchat.sockets.exits
zchat.sockets.exits.EXIT_SECONDS = 0.3
os.kill({broker.process.pid if broker.process else 0}, signal.SIGKILL)
while client.is_connected:
    time.sleep(0.01)
"""
    ended = run(gone + program, broker.address, room)
    broker.kill()
    what = f"zchat: {count} no acknowledgement of {broker.address}, and may be lost: the client has ended\n"
    assert (ended.stderr, ended.status) == (what if count else "", 0)


def test_the_programs_own_logging_gets_it(start_broker: Callable[..., BrokerProcess], tmp_path: Path) -> None:
    broker = start_broker("--memory")
    program = f"""
import logging, zchat.sockets.exits
zchat.sockets.exits.EXIT_SECONDS = 0.3
logging.basicConfig(filename={str(tmp_path / "log")!r}, format="%(levelname)s %(name)s %(message)s")
os.kill({broker.process.pid if broker.process else 0}, signal.SIGKILL)
publish(2)
"""
    assert run(program, broker.address, "den").stderr == ""
    broker.kill()
    assert (tmp_path / "log").read_text().startswith("WARNING zchat zchat: 2 messages have no acknowledgement of ")


LATE = """
import atexit, sys

def late():
    try:
        client.publish(sys.argv[2], "late")
    except zchat.Closed as error:
        print(error)

atexit.register(late)  # before that of zchat, so it is called after it
import zchat
client = zchat.connect(sys.argv[1], "anna")
client.publish(sys.argv[2], "in time")
"""


def test_what_is_published_after_the_clients_were_finished_is_refused(
    shared_broker: BrokerProcess, anna: zchat.Client, room: str
) -> None:
    command = [sys.executable, "-c", LATE, shared_broker.address, room]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment())
    assert (done.stdout, done.stderr, done.returncode) == ("the program has ended\n", "", 0)
    assert stored(anna, room) == ["in time"]


def test_a_client_that_broke_takes_nothing_from_the_others(
    shared_broker: BrokerProcess, anna: zchat.Client, room: str
) -> None:
    program = """
from zchat.errors import Refused
broken = [zchat.connect(sys.argv[1], f"b{number}") for number in range(3)]
for each in broken:
    def breaks(core, now, each=each):  # in one turn with what is then never acked
        each.publish(sys.argv[2] + ".b", "x")
        core.refusal = Refused("session-taken", "elsewhere")
    each._connection.later(breaks)
    while each._connection._failure is None:
        time.sleep(0.01)
publish(3000)
"""
    ended = run(program, shared_broker.address, room)
    assert ended.status == 0 and "Traceback" not in ended.stderr
    assert stored(anna, room) == [str(number) for number in range(3000)]


REFUSED = "client._add(sys.argv[2], zchat.wire.Record(b'', 'join'), 1, False)"  # the client checks what it can


@pytest.mark.parametrize(
    ("program", "is_told"),
    [
        (REFUSED, True),
        (f"{REFUSED}; client.close()", True),
        (f"try: {REFUSED}.result()\nexcept zchat.Refused: pass", False),
        (f"{REFUSED}\ntry: client.flush()\nexcept zchat.Refused: pass", False),
    ],
)
def test_a_refusal_that_nobody_asked_for_is_told(
    shared_broker: BrokerProcess, room: str, program: str, is_told: bool
) -> None:
    ended = run(f"import zchat.wire\n{program}", shared_broker.address, room)
    assert ended.status == 0 and ("refused what was published, and it is not stored" in ended.stderr) == is_told
    assert ended.stderr.count("\n") == is_told


# --- the end of a subscription -----------------------------------------------------------------------


def published(client: zchat.Client, room: str, count: int) -> None:
    """Messages that come as one batch."""
    for number in range(count):
        client.publish(room, str(number))
    client.flush(10)


@pytest.mark.parametrize("patterns", ["{}", "{}.**"])
def test_iteration_hands_over_nothing_once_it_is_closed_and_resume_goes_on_there(
    anna: zchat.Client, room: str, patterns: str
) -> None:
    published(anna, f"{room}.a" if "*" in patterns else room, 50)
    got: list[str] = []
    for count in (1, 10, 3, 36):
        subscription = anna.listen(patterns.format(room), after=0, resume=room)
        for number, message in enumerate(subscription, 1):
            got.append(message.text)
            if number == count:
                subscription.close()
        assert subscription.repeats_after is None and list(subscription) == []
    assert got == [str(number) for number in range(50)]


def test_next_is_iteration_one_by_one(anna: zchat.Client, room: str) -> None:
    published(anna, room, 3)
    with anna.listen(room, after=0) as subscription:
        assert next(subscription).text == "0"
        assert [message.text for _, message in zip(range(1), subscription, strict=False)] == ["1"]
        assert subscription.get(10).text == "2"
    with pytest.raises(StopIteration):
        next(subscription)


@pytest.mark.parametrize("closes", ["subscription", "client"])
def test_who_closes_from_another_thread_ends_who_waits(shared_broker: BrokerProcess, room: str, closes: str) -> None:
    client = zchat.connect(shared_broker.address, "ben")
    subscription = client.listen(room)
    got: list[str] = []

    def take() -> None:
        for message in subscription:
            got.append(message.text)

    thread = threading.Thread(target=take)
    thread.start()
    client.send(room, "one")
    eventually(lambda: got, "it waits for the next one")
    (subscription if closes == "subscription" else client).close()
    thread.join(20)
    assert not thread.is_alive() and got == ["one"]
    with pytest.raises(zchat.Closed):
        subscription.get(10)
    client.close()


def test_what_is_taken_while_another_thread_closes_is_counted_exactly(anna: zchat.Client, room: str) -> None:
    published(anna, room, 2000)
    got: list[str] = []
    while len(got) < 2000:
        subscription = anna.listen(room, after=0, resume=room)
        enough = threading.Event()

        def take(subscription: zchat.Subscription = subscription, enough: threading.Event = enough) -> None:
            until = len(got) + 100
            for message in subscription:
                got.append(message.text)
                if len(got) >= min(until, 2000):
                    enough.set()

        thread = threading.Thread(target=take)
        thread.start()
        assert enough.wait(20)
        subscription.close()
        thread.join(20)
    assert got == [str(number) for number in range(2000)]


def test_a_client_that_closes_stores_the_cursors_of_its_subscriptions(shared_broker: BrokerProcess, room: str) -> None:
    with zchat.connect(shared_broker.address, "ben") as ben:
        published(ben, room, 10)
        first = ben.listen(room, after=0, resume="c")
        assert [first.get(10).text for _ in range(3)] == ["0", "1", "2"]
    with zchat.connect(shared_broker.address, "ben") as ben:
        second = ben.listen(room, resume="c")
        assert second.get(10).text == "3"
    with pytest.raises(KeyError), zchat.connect(shared_broker.address, "ben") as ben:
        for message in ben.listen(room, resume="c"):
            if message.text == "5":
                raise KeyError("what it was to do with that one is not done")
    with zchat.connect(shared_broker.address, "ben") as ben:
        assert ben.listen(room, resume="c").get(10).text == "5"


def test_a_signal_may_close_what_it_interrupts(shared_broker: BrokerProcess, room: str) -> None:
    program = """
subscription = client.listen(sys.argv[2], "more.**")
signal.signal(signal.SIGTERM, lambda *_: subscription.close())
publish(1)
for message in subscription:
    os.kill(os.getpid(), signal.SIGTERM)
print(message.text, subscription)
"""
    ended = run(program, shared_broker.address, room)
    assert (ended.stderr, ended.status) == ("", 0)
    assert ended.stdout == f"0 <zchat.Subscription of anna to {room}, more.**: closed>\n"


# --- after the end -----------------------------------------------------------------------------------

CALLS = """
calls = {
    "publish": lambda: client.publish("den", "x"),
    "send": lambda: client.send("den", "x"),
    "flush": lambda: client.flush(),
    "listen": lambda: client.listen("den"),
    "resume": lambda: client.listen("den", resume="c"),
    "history": lambda: list(client.history("den")),
    "who": lambda: client.who(),
    "rooms": lambda: client.rooms(),
    "cursors": lambda: client.cursors(),
    "set_cursor": lambda: client.set_cursor("c", 1),
    "drop_cursor": lambda: client.drop_cursor("c"),
    "next": lambda: next(subscription, "the end"),
    "for": lambda: [message.text for message in subscription],
    "get": lambda: subscription.get(),
    "pending": lambda: subscription.pending(),
    "commit": lambda: subscription.commit(),
    "result": lambda: publication.result() > 0,
    "done": lambda: publication.done(),
    "open": lambda: unknown.result(),
    "connected": lambda: client.is_connected,
    "client": lambda: repr(client).rpartition(" ")[2],
    "subscription": lambda: repr(subscription).rpartition(" ")[2],
    "subscription.close": lambda: subscription.close(),
    "close": lambda: client.close(),
    "again": lambda: client.close(),
}
def call_all():
    for name, call in calls.items():
        try:
            print(name, call())
        except zchat.ZchatError as error:
            print(name, type(error).__name__)
    sys.stdout.flush()
publish(20)
publication = client.publish(sys.argv[2], "x")
client.flush()
subscription = client.listen(sys.argv[2], after=0, resume="c")
next(subscription)
"""
CLOSED = {
    **dict.fromkeys(("publish", "send", "listen", "resume", "history", "who", "rooms", "cursors"), "Closed"),
    **dict.fromkeys(("set_cursor", "drop_cursor", "get", "commit", "open"), "Closed"),
    **dict.fromkeys(("subscription.close", "close", "again"), "None"),
    **{"result": "True", "done": "True", "pending": "False", "connected": "False"},
    **{"client": "closed>", "subscription": "closed>"},
}


def told(ended: Result) -> dict[str, str]:
    assert (ended.stderr, ended.status) == ("", 0)
    return dict(line.split(" ", 1) for line in ended.stdout.splitlines())


def test_after_close_a_call_says_that_it_is_closed_and_none_waits(shared_broker: BrokerProcess, room: str) -> None:
    ended = run(CALLS + "del calls['open']\nclient.close()\ncall_all()", shared_broker.address, room)
    wanted = {**CLOSED, "flush": "None", "next": "the end", "for": "[]"}
    del wanted["open"]
    assert told(ended) == wanted


@pytest.mark.parametrize("waits", ["", "threading.Thread(target=other.get, daemon=True).start(); "])
def test_in_a_forked_child_a_call_says_so_and_none_waits(shared_broker: BrokerProcess, room: str, waits: str) -> None:
    program = f"""
other = client.listen("empty")
{waits}unknown = client.publish(sys.argv[2], "y")
child = os.fork()
if not child:
    del calls["flush"]
    call_all()
    client = zchat.connect(sys.argv[1], "anna")
    client.publish(sys.argv[2], "of the child")
    sys.exit()
_, status = os.waitpid(child, 0)
unknown.result()
assert [subscription.get(10).text for _ in range(3)] == ["1", "2", "3"]
sys.exit(os.waitstatus_to_exitcode(status))
"""
    ended = run(CALLS + program, shared_broker.address, room)
    unknown = {"open": told(ended)["open"]}  # its outcome may have come before the fork
    wanted = {**CLOSED, "next": "Closed", "for": "Closed", "pending": "Closed", **unknown}
    assert told(ended) == wanted
    with zchat.connect(shared_broker.address, "anna") as client:
        assert sorted(stored(client, room)[-2:]) == ["of the child", "y"]


def test_a_client_that_broke_hands_over_what_it_has_and_then_says_why(
    shared_broker: BrokerProcess, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = zchat.connect(shared_broker.address, "ben")
    published(client, room, 3)
    subscription = client.listen(room, after=0)
    eventually(subscription.pending, "they are there")
    monkeypatch.setattr(client._connection._core, "received", lambda frame, now: 1 // 0)
    with pytest.raises(zchat.Closed, match="ZeroDivisionError"):
        client.who()
    assert [subscription.get(5).text for _ in range(3)] == ["0", "1", "2"]
    for _ in range(2):
        with pytest.raises(zchat.Closed, match="ZeroDivisionError"):
            next(subscription)
    client.close()
    assert list(subscription) == []
