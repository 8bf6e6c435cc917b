"""A wicked broker against `zchat listen`, `history`, `send` and the others: each ends as documented, or goes on in
bounds; no traceback, no hang, and signals work."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import zmq

import zchat
from tests.conftest import Running, eventually
from tests.conftest import zchat as run
from tests.sockets.wicked import HEAD, Lie, Wicked, batch, page, room_frames
from zchat import wire
from zchat.names import topic

pytestmark = pytest.mark.slow  # each starts processes

MIB = 1 << 20
SECONDS_MAX = 60.0  # that any of them may take on a busy machine
StartZchat = Callable[..., Running]


@pytest.fixture
def wicked(context: zmq.Context[zmq.Socket[bytes]]) -> Iterator[Wicked]:
    with Wicked(context) as wicked:
        yield wicked


def command(wicked: Wicked, *args: str, wait: str = "2", **more: Any) -> tuple[str, list[str], int]:
    """stdout, the lines of stderr and the status; in bounded time and without a word of Python."""
    began = time.monotonic()
    result = run(*args, "--wait", wait, env={"ZCHAT_BROKER": wicked.address, "ZCHAT_USER": "tester"}, **more)
    assert time.monotonic() - began < SECONDS_MAX
    assert "Traceback" not in result.stderr and "internal error" not in result.stderr
    return result.stdout, result.stderr.splitlines(), result.status


def lies_of(wicked: Wicked) -> dict[str, Lie]:
    """Answers to FETCH that cannot be."""
    endless = count(1)

    def fetch(lie: Callable[[wire.Fetch], Any]) -> Lie:
        return lambda fetch: [lie(fetch)]

    return {
        "another kind": fetch(lambda fetch: wire.HeadsAre(fetch.request, HEAD, [])),
        "does not go on": fetch(lambda fetch: page(fetch.request, upto=fetch.after, more=True)),
        "goes back": fetch(lambda fetch: page(fetch.request, ("den", batch(1, 0)), upto=0, more=True)),
        "above until": fetch(lambda fetch: page(fetch.request, ("den", batch(9, 0)), upto=9)),
        "far above until": fetch(lambda fetch: page(fetch.request, upto=wire.OFFSET_MAX)),
        "another room": fetch(lambda fetch: page(fetch.request, ("lair", batch(1, 0)))),
        "not in order": fetch(lambda fetch: page(fetch.request, ("den", batch(2, 1)), ("den", batch(1, 0)))),
        "no batch at all": fetch(lambda fetch: page(fetch.request, ("den", b"\xa3abc"))),
        "negative": fetch(lambda fetch: b"\x96\x25" + bytes([fetch.request]) + b"\x90\xff\xc3\x90"),
        "huge": fetch(lambda fetch: b"\x96\x25" + bytes([fetch.request]) + b"\x90\xcf" + b"\xff" * 8 + b"\xc3\x90"),
        "more for ever": fetch(lambda fetch: page(fetch.request, upto=next(endless), more=True)),
    }


LIES = ["another kind", "does not go on", "goes back", "above until", "far above until", "another room", "not in order",
        "no batch at all", "negative", "huge", "more for ever"]  # fmt: skip


def test_the_honest_one_is_believed(wicked: Wicked) -> None:
    lines = [f"number {number}" for number in range(1, HEAD + 1)]
    assert command(wicked, "history", "den", "--raw") == ("\n".join([*lines, ""]), [], 0)
    assert command(wicked, "listen", "den", "--last", "3", "-n", "3", "--raw")[0].splitlines() == lines
    assert command(wicked, "send", "den", "x", "--json") == ('{"room":"den","offset":7,"place":"7@log"}\n', [], 0)


@pytest.mark.parametrize("lie", LIES)
def test_history_ends_with_a_word(wicked: Wicked, lie: str) -> None:
    wicked.lies[wire.Seek] = lambda seek: [wire.Position(seek.request, 0, HEAD if lie != "more for ever" else 1 << 40)]
    wicked.lies[wire.Fetch] = lies_of(wicked)[lie]
    stdout, stderr, status = command(wicked, "history", "den", "--raw")
    assert (stdout, len(stderr), status) == ("", 1, 1), stderr


@pytest.mark.parametrize("lie", LIES[:-1])  # pages that bring nothing may be true, up to many
def test_a_listener_asks_later_and_later_and_goes_on_when_the_lies_end(
    wicked: Wicked, start_zchat: StartZchat, lie: str
) -> None:
    wicked.lies[wire.Fetch] = lies_of(wicked)[lie]
    listener = start_zchat(
        "listen", "den", "--after", "0", "-n", "3", "--raw", "-v",
        env={"ZCHAT_BROKER": wicked.address, "ZCHAT_USER": "tester"},
    )  # fmt: skip
    eventually(lambda: "makes no sense" in listener.stderr, "it says so")
    eventually(lambda: wicked.heard["Fetch"] >= 3, "it asks again")
    began, asked = time.monotonic(), wicked.heard["Fetch"]
    del wicked.lies[wire.Fetch]
    result = listener.end(within=SECONDS_MAX)
    assert result.status == 0 and result.stdout.splitlines() == ["number 1", "number 2", "number 3"]
    assert "Traceback" not in result.stderr
    assert asked < 40 + 20 * (time.monotonic() - began)


def test_a_batch_that_makes_no_sense_is_a_gap_in_history(wicked: Wicked) -> None:
    damaged = wire.encode(batch(2, 1)).replace(b"\xc4\x08number 2", b"\xa1\x92")
    wicked.lies[wire.Fetch] = lambda fetch: [
        page(fetch.request, ("den", batch(1, 0)), ("den", damaged), ("den", batch(3, 2)))
    ]
    stdout, stderr, status = command(wicked, "history", "den", "--raw")
    assert (stdout, status) == ("number 1\nnumber 3\n", 0)
    assert stderr == ["zchat: gap in den: offsets 2 to 2 cannot be had any more (damaged)"]


def test_a_live_batch_that_makes_no_sense_is_fetched_and_told_as_a_gap_once(
    wicked: Wicked, start_zchat: StartZchat
) -> None:
    def fetch(message: wire.Fetch) -> list[wire.Page]:
        gaps = [("den", 4, 4, "damaged")] if message.after < 4 <= message.until else []
        return [page(message.request, upto=message.until, gaps=gaps)]

    wicked.lies[wire.Fetch] = fetch
    wicked.lies[wire.Heads] = lambda heads: [wire.HeadsAre(heads.request, 5, [("den", 5, 5)])]
    listener = start_zchat(
        "listen", "den", "-n", "1", "--raw", "-v", env={"ZCHAT_BROKER": wicked.address, "ZCHAT_USER": "tester"}
    ).live()
    said = [room_frames(wire.encode(batch(4, 3))[:-4]), room_frames(batch(5, 4))]
    wicked.storm = lambda: [said.pop(0)] if said else []
    result = listener.end(within=SECONDS_MAX)
    assert (result.stdout, result.status) == ("number 5\n", 0)
    assert result.stderr.count("gap in den: offsets 4 to 4") == 1


@pytest.mark.parametrize(
    ("args", "asked"),
    [(("who",), wire.Who), (("rooms",), wire.Rooms), (("cursors",), wire.Cursors), (("history", "den"), wire.Seek)],
)
def test_an_answer_of_another_kind_is_an_error(wicked: Wicked, args: tuple[str, ...], asked: type) -> None:
    wicked.lies[asked] = lambda message: [wire.Done(message.request + 1), wire.Done(message.request)]
    stdout, stderr, status = command(wicked, *args)
    assert (stdout, status) == ("", 1)
    assert stderr == [f"zchat: the broker's answer makes no sense: Done in answer to {asked.__name__}"]


@pytest.mark.parametrize(
    ("asked", "call"),
    [
        (wire.Cursors, lambda client: client.listen("den", resume="x", last=2)),
        (wire.Seek, lambda client: client.listen("den", resume="x", last=2)),
        (wire.SetCursor, lambda client: client.listen("den", resume="x", last=2)),
        (wire.SetCursor, lambda client: client.listen("den", resume="x")),
        (wire.SetCursor, lambda client: client.set_cursor("x", 1)),
        (wire.Join, lambda client: client.listen("den")),
        (wire.Seek, lambda client: list(client.history("den"))),
        (wire.Fetch, lambda client: list(client.history("den"))),
        (wire.DropCursor, lambda client: client.drop_cursor("x")),
    ],
)
def test_whatever_a_call_asks_an_answer_of_another_kind_is_an_error(
    wicked: Wicked, asked: type, call: Callable[[zchat.Client], object]
) -> None:
    with zchat.connect(wicked.address, "tester", timeout=SECONDS_MAX) as client:
        wicked.lies[asked] = lambda message: [wire.Present(message.request, [])]
        with pytest.raises(zchat.WireError, match=f"Present in answer to {asked.__name__}"):
            call(client)
        del wicked.lies[asked]
        assert [message.offset for message in client.history("den")] == [1, 2, 3]


def test_a_last_commit_that_gets_another_kind_of_answer_is_behind_and_ends(wicked: Wicked) -> None:
    with zchat.connect(wicked.address, "tester", timeout=SECONDS_MAX) as client:
        subscription = client.listen("den", "lair", resume="x", after=0)
        wicked.lies[wire.Heads] = wicked.lies[wire.SetCursor] = lambda message: [wire.Present(message.request, [])]
        assert [subscription.get(SECONDS_MAX).offset for _ in range(2)] == [1, 2]
        subscription.close()
        assert subscription.repeats_after == 0


def test_history_tells_a_gap_between_the_messages_where_it_lies(wicked: Wicked) -> None:
    gaps = [("den", 2, 2, "trimmed")]
    wicked.lies[wire.Fetch] = lambda fetch: [page(fetch.request, ("den", batch(1, 0)), ("den", batch(3, 2)), gaps=gaps)]
    told: list[Any] = []
    with zchat.connect(wicked.address, "tester") as client:
        for message in client.history("den", on_notice=told.append, timeout=SECONDS_MAX):
            told.append(message.offset)
    assert told == [1, zchat.Notice("gap", 2, 2, "den", reason="trimmed"), 3]


@pytest.mark.parametrize(
    "change",
    [
        {"publish_port": 70_000},
        {"publish_port": 0},
        {"version": 9},
        {"limits": {"record_bytes_max": 0}},
        {"limits": {"record_bytes_max": 1 << 52}},
        {"session": "s" * 9000},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "args", [("history", "den"), ("send", "den", "x"), ("listen", "den")], ids=lambda args: args[0]
)
def test_a_welcome_that_nobody_can_go_by_is_refused_in_one_line(
    wicked: Wicked, args: tuple[str, ...], change: dict[str, Any]
) -> None:
    def hello(message: wire.Hello) -> list[wire.Welcome]:
        welcome = wicked.welcome(message)
        for name, value in change.items():
            setattr(welcome, name, value)
        return [welcome]

    wicked.lies[wire.Hello] = hello
    stdout, stderr, status = command(wicked, *args)
    assert (stdout, len(stderr), status) == ("", 1, 1) and "WELCOME" in stderr[0]


def test_a_later_welcome_that_nobody_can_go_by_ends_a_listener_with_a_word(
    wicked: Wicked, start_zchat: StartZchat
) -> None:
    listener = start_zchat("listen", "den", "-v", env={"ZCHAT_BROKER": wicked.address, "ZCHAT_USER": "tester"}).live()
    wicked.lies[wire.Hello] = lambda hello: [wire.Welcome(7, "s1", b"t", True, "log", 3, 1, {}, 1)]
    wicked.flood = lambda: [wire.HelloAgain()]
    result = listener.end(within=SECONDS_MAX)
    assert result.status == 1 and "WELCOME of protocol version 7" in result.stderr.splitlines()[-1]


def test_what_a_broker_says_is_shown_short_and_without_control_characters(wicked: Wicked) -> None:
    wicked.lies[wire.Who] = lambda who: [wire.Error("request", who.request, "\x1b[2J" * 999, "\x1b[31m\n" * 99_999)]
    stdout, stderr, status = command(wicked, "who")
    assert (stdout, len(stderr), status) == ("", 1, 4) and "\x1b" not in stderr[0] and len(stderr[0]) < 5000


def test_who_gets_no_ack_is_told_so(wicked: Wicked) -> None:
    wicked.lies[wire.Publish] = lambda publish: [wire.Ack([(99, 1), (0, 0)]), wire.Error("publish", 55, "busy", "")]
    wicked.lies[wire.Bye] = lambda bye: []
    _, stderr, status = command(wicked, "send", "den", "x", wait="1")
    assert status == 3 and "messages were sent and not acked" in stderr[0]


# --- storms -------------------------------------------------------------------------------------


def junk() -> list[list[bytes]]:
    """Messages that are none, and one that is between them."""
    name = topic("den")
    return [
        [name],
        [name, b"x", b"y"],
        [name],
        [b""],
        [name] * 3,
        [name, b""],
        [name, b"\x95"],
        [name, b"\xdd\xff\xff"],
    ]


def hello_again(wicked: Wicked, numbers: Iterator[int]) -> None:
    wicked.flood = lambda: [wire.HelloAgain()] * 10


def other_logs(wicked: Wicked, numbers: Iterator[int]) -> None:
    def hello(message: wire.Hello) -> list[wire.Welcome]:
        welcome = wicked.welcome(message)
        welcome.log_id = f"log {next(numbers)}"
        return [welcome]

    wicked.lies[wire.Hello] = hello
    wicked.flood = lambda: [wire.HelloAgain()] * 10


def gaps(wicked: Wicked, numbers: Iterator[int]) -> None:
    wicked.storm = lambda: [room_frames(batch(50 + 2 * (at := next(numbers)), 49 + 2 * at)) for _ in range(20)]
    wicked.lies[wire.Fetch] = lambda fetch: [
        page(fetch.request, upto=fetch.until, gaps=[("den", fetch.after + 1, fetch.until, "damaged")])
    ]


def damage(wicked: Wicked, numbers: Iterator[int]) -> None:
    wicked.storm = lambda: [room_frames(wire.encode(batch(50 + next(numbers), 49))[:-4]) for _ in range(20)]
    wicked.lies[wire.Fetch] = lambda fetch: [page(fetch.request, upto=fetch.until)]


def frames(wicked: Wicked, numbers: Iterator[int]) -> None:
    wicked.storm = junk


def goodbyes(wicked: Wicked, numbers: Iterator[int]) -> None:
    wicked.flood = lambda: [wire.Goodbye("stopping"), wire.Goodbye("bye")]


def errors(wicked: Wicked, numbers: Iterator[int]) -> None:
    wicked.flood = lambda: [wire.Error("connection", 0, "bad-frame", "no"), wire.Done(next(numbers)), b"\xc1"] * 20


def tails(wicked: Wicked, numbers: Iterator[int]) -> None:
    wicked.storm = lambda: [[topic("den"), wire.encode(wire.Watermark(wire.OFFSET_MAX - next(numbers)))]] * 20


def rooms(wicked: Wicked, numbers: Iterator[int]) -> None:
    wicked.storm = lambda: [
        [topic(f"den.{(at := next(numbers))}"), wire.encode(batch(9 + at, 0, kind=wire.PRESENCE))] for _ in range(200)
    ]
    wicked.lies[wire.Heads] = lambda heads: []


def silence(wicked: Wicked, numbers: Iterator[int]) -> None:
    for kind in (wire.Fetch, wire.Heads, wire.Seek, wire.Part, wire.Bye):
        wicked.lies[kind] = lambda message: []
    wicked.flood = lambda: [wire.HelloAgain()]


STORMS = [hello_again, other_logs, gaps, damage, frames, goodbyes, errors, tails, rooms, silence]


@pytest.mark.parametrize(
    ("storm", "ends"),
    [*((storm, "SIGINT") for storm in STORMS), *((storm, "timeout") for storm in (hello_again, gaps, frames))],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_listener_in_a_storm_ends_when_it_is_to_and_takes_little(
    wicked: Wicked, start_zchat: StartZchat, storm: Callable[[Wicked, Iterator[int]], None], ends: str
) -> None:
    pattern = "den.**" if storm is rooms else "den"
    limit = ("-t", "3") if ends == "timeout" else ()
    environment = {"ZCHAT_BROKER": wicked.address, "ZCHAT_USER": "tester"}
    listener = start_zchat("listen", pattern, "-v", "--raw", *limit, env=environment).live()
    before = resident_bytes(listener)
    storm(wicked, count())
    began = time.monotonic()
    if ends == "SIGINT":
        eventually(lambda: time.monotonic() - began > 1.5, "it has raged for a while")
        assert resident_bytes(listener) - before < 100 * MIB
        began = time.monotonic()
    result = listener.end(signal.SIGINT if ends == "SIGINT" else None, within=SECONDS_MAX)
    assert result.status == (-2 if ends == "SIGINT" else 0), result.stderr
    assert time.monotonic() - began < 12.0
    assert "Traceback" not in result.stderr and len(result.stderr.splitlines()) < 100
    assert wicked.heard["Hello"] < 15 and wicked.heard["Fetch"] < 60 and wicked.heard["Heads"] < 60


def resident_bytes(running: Running) -> int:
    return int(Path(f"/proc/{running.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_among_frames_that_are_none_a_batch_still_comes(wicked: Wicked, start_zchat: StartZchat) -> None:
    environment = {"ZCHAT_BROKER": wicked.address, "ZCHAT_USER": "tester"}
    listener = start_zchat("listen", "den", "-v", "--raw", "-n", "1", env=environment).live()
    wicked.lies[wire.Fetch] = lambda fetch: [page(fetch.request, ("den", batch(4, 3)), upto=fetch.until)]
    wicked.lies[wire.Heads] = lambda heads: [wire.HeadsAre(heads.request, 4, [("den", 4, 4)])]
    wicked.storm = lambda: [*junk(), room_frames(batch(4, 3))]
    result = listener.end(within=SECONDS_MAX)
    assert (result.stdout, result.status) == ("number 4\n", 0)


def test_a_broker_that_never_says_sync_is_not_waited_for(wicked: Wicked) -> None:
    wicked.syncs = False
    _, stderr, status = command(wicked, "listen", "den", wait="1")
    assert status == 3 and "the subscriptions are not live" in stderr[0]


def test_history_that_never_ends_keeps_to_the_timeout(wicked: Wicked) -> None:
    at = count(1)

    def fetch(message: wire.Fetch) -> list[wire.Page]:
        base = next(at)
        return [page(message.request, ("den", batch(base, base - 1, wire.PRESENCE)), upto=base, more=True)]

    wicked.lies[wire.Fetch] = fetch
    wicked.lies[wire.Seek] = lambda seek: [wire.Position(seek.request, 0, 1 << 40)]
    began = time.monotonic()
    assert command(wicked, "listen", "den", "--end", "-t", "1") == ("", [], 0)
    assert 1.0 <= time.monotonic() - began < 8.0


def test_close_takes_no_longer_than_it_may(wicked: Wicked) -> None:
    client = zchat.connect(wicked.address, "tester", wait=5)
    subscription = client.listen("den.*", resume="place")
    silence(wicked, count())
    began = time.monotonic()
    subscription.close()
    client.close(1.0)
    assert time.monotonic() - began < 12.0


# --- a broker that breaks ZMTP ----------------------------------------------------------------------

GREETING = b"\xff" + bytes(8) + b"\x7f\3\0" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\5READY" + b"\x0bSocket-Type" + struct.pack("!I", 6) + b"ROUTER"


def test_after_one_wrong_byte_the_client_connects_again(wicked: Wicked) -> None:
    """libzmq gives such a connection up for ever, and says nothing."""
    server = socket.create_server(("127.0.0.1", 0))
    held, over = [], threading.Event()

    def serve() -> None:
        while not over.is_set():
            try:
                connection, _ = server.accept()
            except OSError:
                return
            held.append(connection)
            connection.sendall(GREETING + bytes([4, len(READY)]) + READY)
            if len(held) < 3:
                connection.sendall(b"\x02" + struct.pack("!Q", 1 << 62))  # a frame of 4 EiB

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with pytest.raises(zchat.Unreachable):
            zchat.connect(f"127.0.0.1:{server.getsockname()[1]}", "tester", wait=6)
        assert len(held) >= 3
    finally:
        over.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()
        for connection in held:
            connection.close()


def test_whatever_ends_the_clients_thread_is_told_to_who_waits(wicked: Wicked, monkeypatch: pytest.MonkeyPatch) -> None:
    client = zchat.connect(wicked.address, "tester", wait=5)
    subscription = client.listen("den")
    unknown = client.publish("den", "x", volatile=True)
    monkeypatch.setattr(client._connection._core, "received", lambda frame, now: 1 // 0)
    with pytest.raises(zchat.Closed, match="ZeroDivisionError"):
        client.who()
    with pytest.raises(zchat.Closed, match="ZeroDivisionError"):
        subscription.get(5)
    with pytest.raises(zchat.Closed, match="ZeroDivisionError"):
        list(subscription)
    with pytest.raises(zchat.Closed):
        client.publish("den", "x")
    assert unknown.done()
    client.close()
