"""The client's I/O thread over real TCP: breaks, brokers that come and go, forks, and brokers that are none."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import zmq

import zchat
from tests.conftest import BrokerProcess, environment, eventually, steady_address
from tests.sockets.relay import Relay
from zchat import wire
from zchat.core.steps import PlaceCursor, done
from zchat.sockets.clock import Deadline

pytestmark = pytest.mark.slow  # each starts processes, or waits for a break to be noticed

StartBroker = Callable[..., BrokerProcess]
LeadTo = Callable[..., Relay]


# --- breaks ------------------------------------------------------------------------------------------


@dataclass
class Talk:
    """Somebody who counts aloud in a room, and somebody who listens."""

    published: int = 0
    heard: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


@contextmanager
def talking(publisher: zchat.Client, listener: zchat.Client) -> Iterator[Talk]:
    """Run a talk; at its end everything was heard that was said, or `eventually` fails."""
    talk, over = Talk(), threading.Event()
    heard = listener.listen("talk", on_notice=lambda notice: talk.notices.append(notice.kind))

    def say() -> None:
        while not over.wait(0.0005):
            publisher.publish("talk", str(talk.published))
            talk.published += 1

    def hear() -> None:
        for message in heard:
            talk.heard.append(int(message.text))
            talk.offsets.append(message.offset)

    threads = [threading.Thread(target=say), threading.Thread(target=hear)]
    for thread in threads:
        thread.start()
    try:
        yield talk
        over.set()
        threads[0].join()
        publisher.flush(20)
        eventually(lambda: len(talk.heard) >= talk.published, f"all {talk.published} are heard")
    finally:
        over.set()
        heard.close()
        for thread in threads:
            thread.join()


def is_perfect(talk: Talk, address: str) -> None:
    """Everything once, in order, and history says the same."""
    with zchat.connect(address, "reader") as reader:
        stored = [(int(message.text), message.offset) for message in reader.history("talk")]
    assert [number for number, _ in stored] == list(range(talk.published))
    assert stored == list(zip(talk.heard, talk.offsets, strict=True))


@pytest.mark.parametrize("ends", ["stop", "kill"])
def test_a_talk_goes_on_over_the_brokers_restarts(start_broker: StartBroker, ends: str) -> None:
    broker = start_broker()
    with zchat.connect(broker.address, "anna") as anna, zchat.connect(broker.address, "ben") as ben:
        with talking(anna, ben) as talk:
            for _ in range(3):
                before = len(talk.heard)
                eventually(lambda: len(talk.heard) > before + 20, "they talk")  # noqa: B023
                getattr(broker, ends)()
                broker.start()
            eventually(lambda: talk.notices.count("back") == 3, "they talk again")
        is_perfect(talk, broker.address)
    assert [kind for kind in talk.notices if kind != "recovered"] == ["live", *["lost", "back"] * 3]


@pytest.mark.parametrize("log", [("--memory",), ()], ids=["memory", "disk"])
def test_a_talk_goes_on_over_broken_connections(start_broker: StartBroker, relay: LeadTo, log: tuple[str, ...]) -> None:
    broker = start_broker("--grace", "60", *log)
    way = relay(broker)
    with zchat.connect(way.address, "anna") as anna, zchat.connect(way.address, "ben") as ben:
        with talking(anna, ben) as talk:
            for _ in range(8):
                before = len(talk.heard)
                eventually(lambda: len(talk.heard) > before + 20, "they talk")  # noqa: B023
                way.cut()
        is_perfect(talk, broker.address)

        def events() -> list[str]:
            return [message.text for message in anna.history("talk", presence=True) if message.event != "message"]

        eventually(lambda: len(events()) >= 2, "ben has left: he may still have been on his way back when he did")
        assert events() == ["", "bye"], "nobody in the room noticed the breaks"
    assert "back" in talk.notices and "gap" not in talk.notices


def test_another_log_is_told_as_a_gap_and_the_talk_goes_on(start_broker: StartBroker) -> None:
    broker = start_broker("--memory")
    notices: list[zchat.Notice] = []
    with zchat.connect(broker.address, "anna") as anna, zchat.connect(broker.address, "ben") as ben:
        listener = ben.listen("den", on_notice=notices.append)
        anna.send("den", "before")
        assert listener.get(10).text == "before"
        broker.restart()
        anna.send("den", "after")
        assert listener.get(10).text == "after"
        assert [one.user for one in anna.who("den")] == ["ben"]
    gaps = [notice for notice in notices if notice.kind == "gap"]
    assert [gap.reason for gap in gaps] == ["log"]


def test_a_folder_that_was_restored_is_told_as_a_gap_and_what_is_new_comes(start_broker: StartBroker) -> None:
    broker = start_broker()
    data, copy = broker.folder / "data", broker.folder / "copy"
    notices: list[zchat.Notice] = []
    with zchat.connect(broker.address, "anna") as anna, zchat.connect(broker.address, "ben") as ben:
        listener = ben.listen("den", "hall", resume="ben", on_notice=notices.append)
        kept = anna.send("den", "kept")
        assert listener.get(10).text == "kept"
        broker.stop()
        shutil.copytree(data, copy)
        broker.start()
        for number in range(5):
            lost = anna.send("den", f"lost {number}")
            assert listener.get(10).text == f"lost {number}"
        broker.kill()
        shutil.rmtree(data)
        copy.rename(data)
        broker.start()
        texts = [f"new {number}" for number in range(20)]
        for text in texts:
            anna.send("den", text)  # ben may come back to a log that is longer than all that he has seen
        assert [listener.get(10).text for _ in texts] == texts
        (gap,) = [notice for notice in notices if notice.kind == "gap"]
        assert gap.reason == "log" and kept < gap.offset <= lost == gap.last
        last = anna.send("den", "the last one")
        assert listener.get(10).text == "the last one"
        listener.close()
        assert [cursor.offset for cursor in ben.cursors()] == [last]


def test_a_listener_that_was_cut_off_hears_what_was_said_meanwhile(start_broker: StartBroker, relay: LeadTo) -> None:
    broker = start_broker("--grace", "60", "--memory")
    way = relay(broker)
    with zchat.connect(broker.address, "anna") as anna, zchat.connect(way.address, "ben") as ben:
        rooms, pattern = ben.listen("den", "hall"), ben.listen("at.*")
        way.close()
        for number in range(100):
            for room in ("den", "hall", "at.home"):
                anna.publish(room, str(number))
        anna.flush(10)
        relay(broker)  # a way again
        heard = [rooms.get(10) for _ in range(200)]
        assert [message.text for message in heard if message.room == "den"] == [str(number) for number in range(100)]
        assert [message.text for message in heard if message.room == "hall"] == [str(number) for number in range(100)]
        assert [pattern.get(10).text for _ in range(100)] == [str(number) for number in range(100)]
        for listener in (rooms, pattern):
            with pytest.raises(zchat.TimedOut):
                listener.get(0.1)


# --- a broker that is away ---------------------------------------------------------------------------


def test_publish_blocks_when_the_outbox_is_full_and_goes_on_when_the_broker_is_back(start_broker: StartBroker) -> None:
    broker = start_broker()
    body = b"x" * 60_000
    published: list[zchat.Publication] = []
    with zchat.connect(broker.address, "anna") as anna:
        broker.stop()

        def publish() -> None:
            for _ in range(500):  # 30 MB; the outbox takes 16
                published.append(anna.publish("den", body))

        thread = threading.Thread(target=publish)
        thread.start()
        count = eventually(lambda: is_steady(lambda: len(published)), "it blocks")
        assert count * len(body) + (1 << 20) >= 16 << 20 and thread.is_alive()
        assert not any(publication.done() for publication in published)
        with pytest.raises(zchat.TimedOut):
            published[0].result(0.05)
        broker.start()
        thread.join(20)
        anna.flush(20)
        offsets = [publication.result(0) for publication in published]
        assert len(offsets) == 500 and offsets == sorted(set(offsets))
        assert [message.offset for message in anna.history("den")] == offsets


def is_steady(number: Callable[[], int]) -> int:
    """The number, when it has not changed for a moment."""
    before = number()
    threading.Event().wait(0.3)
    return before if number() == before else 0


def test_a_blocked_publish_ends_with_the_client(start_broker: StartBroker) -> None:
    broker = start_broker("--memory")
    anna = zchat.connect(broker.address, "anna")
    broker.stop()
    ended: list[BaseException] = []

    def publish() -> None:
        try:
            while True:
                anna.publish("den", b"x" * 500_000)
        except zchat.Closed as error:
            ended.append(error)

    thread = threading.Thread(target=publish)
    thread.start()
    eventually(lambda: len(anna._connection.outbox.chunks) >= 30, "it has filled the outbox")
    anna.close()
    thread.join(5)
    assert len(ended) == 1


def test_what_is_not_acked_at_the_end_is_unknown(start_broker: StartBroker, relay: LeadTo) -> None:
    broker = start_broker("--memory")
    way = relay(broker)
    anna = zchat.connect(way.address, "anna")
    known = anna.publish("den", "one")
    assert known.result(10) > 0
    way.stall(True)
    unknown = anna.publish("den", "two")
    eventually(lambda: not anna._connection.outbox.chunks, "it is on its way")
    anna.close(0.1)
    with pytest.raises(zchat.Closed):
        unknown.result(5)
    assert unknown.done() and known.result() > 0
    for call in (lambda: anna.publish("den", "x"), anna.rooms, anna.who, lambda: anna.listen("den")):
        with pytest.raises(zchat.Closed):
            call()
    anna.close()


def test_it_waits_for_a_broker_that_is_about_to_start(start_broker: StartBroker) -> None:
    broker = start_broker("--memory")
    broker.stop()
    starter = threading.Timer(0.2, broker.start)
    starter.start()
    with zchat.connect(broker.address, "anna", wait=20) as anna:
        assert anna.send("den", "hello") > 0
    starter.join()


# --- no broker at all --------------------------------------------------------------------------------


def test_nobody_there_is_unreachable_after_the_wait() -> None:
    address = steady_address()
    waited = list[float]()
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(zchat.Unreachable) as caught:
            zchat.connect(address, "anna", wait=0.3)
        waited.append(time.monotonic() - began)
    assert 0.3 <= min(waited) < 2.0
    assert (caught.value.address, caught.value.seconds) == (address, 0.3)
    assert "refused" in str(caught.value)


def test_a_host_name_that_nobody_knows_is_told_after_the_wait() -> None:
    began = time.monotonic()
    with pytest.raises(zchat.Unreachable) as caught:
        zchat.connect("tcp://no-such-host.invalid:5555", "anna", wait=0.3)
    assert 0.3 <= time.monotonic() - began < 5
    assert "no-such-host.invalid" in caught.value.why


@pytest.mark.parametrize("host", ["no such host", "-", "x" * 64 + ".example", "a..b"])
def test_a_host_name_that_can_be_none_is_refused_before_anything_is_tried(host: str) -> None:
    with pytest.raises(zchat.BadAddress):
        zchat.connect(f"tcp://{host}:5555", "anna", wait=30)


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A TCP server that says the same to everybody."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        held = []
        while True:
            try:
                connection, _ = server.accept()
                held.append(connection)
                connection.sendall(answer)
            except OSError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\xff" * 5000, b"\x01\x00" * 100],
    ids=["nothing", "http", "ssh", "ff", "zmtp1"],
)
def test_a_server_of_something_else_is_no_broker(answer: bytes) -> None:
    with answering(answer) as address, pytest.raises(zchat.Unreachable):
        zchat.connect(address, "anna", wait=0.4)


Replies = Callable[[bytes], list[bytes]]


@contextmanager
def router(context: zmq.Context[zmq.Socket[bytes]], replies: Replies) -> Iterator[str]:
    """A ROUTER that answers each frame as it is told to."""
    socket_ = context.socket(zmq.ROUTER)
    port = socket_.bind_to_random_port("tcp://127.0.0.1")
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            if socket_.poll(20):
                who, frame = socket_.recv_multipart()
                for reply in replies(frame):
                    socket_.send_multipart([who, reply])
        socket_.close(linger=0)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{port}"
    finally:
        over.set()
        thread.join()


WELCOME = wire.encode(wire.Welcome(1, "session", b"token", False, "log", 0, 1, {}, 0))
GARBAGE = [
    b"",
    b"\xff",
    os.urandom(1000),
    b"\x91" * 3000,
    b"\xdd\xff\xff\xff\xff",
    wire.encode(wire.Hello(1, "me")),
    wire.encode(wire.Ack([(7, 7)])),
    wire.encode(wire.Error("publish", 99, "no-such-code", "nonsense")),
    wire.encode(wire.Error("request", 99, "denied", "nonsense")),
    wire.encode(wire.Done(99)),
    *(WELCOME[:cut] for cut in range(1, len(WELCOME))),
]


def test_a_router_that_talks_garbage_is_no_broker(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    with router(context, lambda frame: GARBAGE) as address, pytest.raises(zchat.Unreachable) as caught:
        zchat.connect(address, "anna", wait=0.4)
    assert "not a zchat broker" in str(caught.value)


def test_garbage_between_the_answers_does_no_harm(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    def replies(frame: bytes) -> list[bytes]:
        message = wire.decode_client(frame)
        if isinstance(message, wire.Hello):
            return [*GARBAGE, WELCOME, *GARBAGE]
        if isinstance(message, wire.Rooms):
            return [*GARBAGE, wire.encode(wire.RoomsAre(message.request, [wire.Room("den", 1, 1)]))]
        return GARBAGE

    with router(context, replies) as address:
        anna = zchat.connect(address, "anna")
        assert [room.name for room in anna.rooms()] == ["den"]
        publication = anna.publish("den", "x")
        with pytest.raises(zchat.TimedOut):
            publication.result(0.2)
        anna.close(0.2)
        with pytest.raises(zchat.Closed):
            publication.result(0.2)


def test_a_refusal_to_have_us_is_told_with_its_code(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    refusal = wire.encode(wire.Error("connection", 0, "unsupported-version", ""))
    with router(context, lambda frame: [refusal]) as address, pytest.raises(zchat.Refused) as caught:
        zchat.connect(address, "anna")
    assert caught.value.code == "unsupported-version"


# --- processes and threads ---------------------------------------------------------------------------


def test_a_forked_child_is_told_that_its_client_has_ended(shared_broker: BrokerProcess) -> None:
    with zchat.connect(shared_broker.address, "anna") as anna:
        listener = anna.listen("fork")
        child = os.fork()
        if child == 0:
            os._exit(in_the_child(anna, shared_broker.address))
        status = eventually(lambda: ended(child), "the child ends", within=20)
        assert os.waitstatus_to_exitcode(status[1]) == 0
        assert listener.get(10).text == "from the child"
        anna.send("fork", "from the parent")
        assert listener.get(10).text == "from the parent"
        assert [one.state for one in anna.who("fork")] == ["live"]


def ended(child: int) -> tuple[int, int] | None:
    pid, status = os.waitpid(child, os.WNOHANG)
    return (pid, status) if pid else None


def in_the_child(inherited: zchat.Client, address: str) -> int:
    for call in (lambda: inherited.send("fork", "x"), inherited.who, lambda: inherited.listen("fork")):
        try:
            call()
            return 1
        except zchat.Closed as error:
            if "fork" not in str(error):
                return 2
    with zchat.connect(address, "anna") as anew:
        anew.send("fork", "from the child")
    inherited.close()
    return 0


def test_what_cannot_be_encoded_is_its_callers_trouble_alone(shared_broker: BrokerProcess) -> None:
    with zchat.connect(shared_broker.address, "anna") as anna:
        with pytest.raises(OverflowError):
            anna._connection.run(done(PlaceCursor("here", 2**70)), Deadline("the cursor", 5))
        assert anna.send("den", "still there", timeout=20) > 0


@pytest.mark.parametrize("last_line", ["", "raise SystemExit(3)", "client.listen('den')", "client.close()"])
def test_a_program_that_just_ends_does_not_hang(shared_broker: BrokerProcess, last_line: str) -> None:
    program = f"import zchat\nclient = zchat.connect({shared_broker.address!r})\nclient.send('den', 'x')\n{last_line}"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, env=environment()
    )
    assert (done.stdout, done.stderr) == ("", "")
    assert done.returncode == (3 if "3" in last_line else 0)


def test_a_client_leaves_no_descriptor_and_no_thread_behind(shared_broker: BrokerProcess) -> None:
    def use() -> None:
        with zchat.connect(shared_broker.address, "anna") as anna:
            anna.listen("den")
            anna.send("den", "x")

    use()  # what is made once for the process is there now
    before = (len(os.listdir("/proc/self/fd")), threading.active_count())
    for _ in range(10):
        use()
    eventually(lambda: (len(os.listdir("/proc/self/fd")), threading.active_count()) <= before, "all is given back")


def test_many_threads_publish_through_one_client(shared_broker: BrokerProcess) -> None:
    rooms = ["crowd.a", "crowd.b", "crowd.c"]
    with zchat.connect(shared_broker.address, "anna") as anna:
        listener = anna.listen("crowd.*")
        found: dict[int, tuple[str, str]] = {}

        def publish(thread: int) -> None:
            sent = [(rooms[number % 3], f"{thread} {number}") for number in range(400)]
            publications = [anna.publish(room, text, volatile=False) for room, text in sent]
            for each, publication in zip(sent, publications, strict=True):
                found[publication.result(20)] = each

        threads = [threading.Thread(target=publish, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        heard = [listener.get(20) for _ in range(3200)]
        for thread in threads:
            thread.join()
        assert {message.offset: (message.room, message.text) for message in heard} == found
        for room in rooms:
            by_thread: dict[str, list[int]] = {}
            for message in heard:
                if message.room == room:
                    thread_name, number = message.text.split()
                    by_thread.setdefault(thread_name, []).append(int(number))
            assert all(numbers == sorted(numbers) for numbers in by_thread.values())


def test_many_threads_ask_and_listen_through_one_client(shared_broker: BrokerProcess) -> None:
    problems: list[BaseException] = []
    with zchat.connect(shared_broker.address, "anna") as anna:

        def use(thread: int) -> None:
            try:
                for number in range(10):
                    with anna.listen(f"talk.{thread}") as listener:
                        anna.send(f"talk.{thread}", str(number))
                        assert listener.get(20).text == str(number)
                    assert any(room.name == f"talk.{thread}" for room in anna.rooms())
            except BaseException as error:
                problems.append(error)

        threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert problems == []


def test_who_only_sends_loads_no_hashes(shared_broker: BrokerProcess) -> None:
    """They take 3 ms and 2 MB, at each `zchat send`."""
    program = (
        "import sys, zchat; zchat.connect(sys.argv[1], 'anna').send('den', 'x'); sys.exit('_hashlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, shared_broker.address], timeout=60, env=environment())
    assert done.returncode == 0
