"""The public API against a real broker: connect, publish, send, listen, history, who, rooms."""

from __future__ import annotations

import getpass
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
import zmq

import zchat
from tests.conftest import BrokerProcess, eventually
from tests.sockets.raw import Speaker
from zchat import wire
from zchat.names import topic
from zchat.wire import OFFSET_MAX

pytestmark = pytest.mark.slow  # a broker is a process


@pytest.fixture(scope="module", params=["memory over tcp", "disk over ipc"])
def there(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """One broker for all tests; each has a room of its own."""
    folder = tmp_path_factory.mktemp("there")
    if request.param == "memory over tcp":
        broker = BrokerProcess(folder, ("--memory",))
    else:
        broker = BrokerProcess(folder, bind=f"ipc://{folder / 'z'}")
    yield broker.start()
    print(f"--- the broker\n{broker.stderr()}")
    broker.stop()


@pytest.fixture
def anna(there: BrokerProcess) -> Iterator[zchat.Client]:
    with zchat.connect(there.address, "anna") as client:
        yield client


@pytest.fixture
def ben(there: BrokerProcess) -> Iterator[zchat.Client]:
    with zchat.connect(there.address, "ben") as client:
        yield client


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    """A room that no other test uses."""
    return f"room.{abs(hash(request.node.name))}"


def taken(subscription: zchat.Subscription, count: int) -> list[zchat.Message]:
    return [subscription.get(10) for _ in range(count)]


def is_silent(subscription: zchat.Subscription) -> bool:
    """Whether nothing more comes."""
    try:
        message = subscription.get(0.05)
    except zchat.TimedOut:
        return True
    pytest.fail(f"nothing was to come, and there is {message}")


# --- connect -----------------------------------------------------------------------------------------


def test_a_client_knows_who_and_where_it_is(there: BrokerProcess) -> None:
    with zchat.connect(there.address, "李明") as client, zchat.connect(there.address) as other:
        assert (client.user, client.address) == ("李明", there.address)
        assert other.user == getpass.getuser()
        assert client.is_connected
        assert client.session_id != other.session_id and client.log_id == other.log_id


def test_what_connect_is_not_told_the_environment_tells(there: BrokerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZCHAT_BROKER", there.address)
    monkeypatch.setenv("ZCHAT_USER", "carla")
    with zchat.connect() as told, zchat.connect(user="dora") as other:
        assert (told.user, told.address) == ("carla", there.address)
        assert (other.user, other.address) == ("dora", there.address)
    monkeypatch.setenv("ZCHAT_BROKER", "tcp://127.0.0.1:9")
    with zchat.connect(there.address) as named:
        assert (named.user, named.address) == ("carla", there.address)
    monkeypatch.setenv("ZCHAT_USER", "")  # as where it is not set
    with zchat.connect(there.address) as unnamed:
        assert unnamed.user == getpass.getuser()
    monkeypatch.setenv("ZCHAT_USER", "two words")
    with pytest.raises(zchat.BadName):
        zchat.connect(there.address)


@pytest.mark.parametrize("written", ["{}", "tcp://{}", "TCP://{}", "localhost:{port}", "LOCALHOST:{port}"])
def test_an_address_may_be_written_in_short(shared_broker: BrokerProcess, written: str) -> None:
    host_and_port = shared_broker.address.removeprefix("tcp://")
    written = written.format(host_and_port, port=host_and_port.partition(":")[2])
    if written.startswith("TCP"):
        with pytest.raises(zchat.BadAddress):
            zchat.connect(written, "anna")
        return
    with zchat.connect(written, "anna") as client:
        assert client.send("den", "hello") > 0


@pytest.mark.parametrize("address", ["", "tcp://", "udp://127.0.0.1:1", "127.0.0.1:0", "tcp://*:5555", "ipc://"])
def test_an_address_that_cannot_be_is_refused_before_anything_is_tried(address: str) -> None:
    with pytest.raises(zchat.BadAddress):
        zchat.connect(address, "anna")


@pytest.mark.parametrize("user", ["", "two words", "a" * 65, "esc\x1b[2J", "@anna"])
def test_a_user_that_cannot_be_is_refused_before_anything_is_tried(user: str) -> None:
    with pytest.raises(zchat.BadName) as caught:
        zchat.connect("tcp://127.0.0.1:1", user)
    assert caught.value.kind == "user"


def test_a_wait_of_0_is_one_try(there: BrokerProcess) -> None:
    with zchat.connect(there.address, "anna", wait=0) as client:
        assert client.send("den", "hello") > 0
    with pytest.raises(zchat.Unreachable) as caught:
        zchat.connect("tcp://127.0.0.1:9", "anna", wait=0)
    assert caught.value.seconds == 1.0 and caught.value.why


@pytest.mark.parametrize(
    ("address", "user", "wait", "error"),
    [
        (5, "anna", 1.0, zchat.BadAddress),
        ("tcp://127.0.0.1:9", 5, 1.0, zchat.BadName),
        ("tcp://127.0.0.1:9", "anna", float("nan"), zchat.UsageError),
        ("tcp://127.0.0.1:9", "anna", "1", zchat.UsageError),
        ("tcp://127.0.0.1:9", "anna", None, zchat.UsageError),
        ("tcp://127.0.0.1:9", "anna", [], zchat.UsageError),
    ],
)
def test_what_is_of_another_type_is_refused_before_anything_is_tried(
    address: Any, user: Any, wait: Any, error: type[zchat.ZchatError]
) -> None:
    with pytest.raises(error):
        zchat.connect(address, user, wait=wait)


# --- publish, send, flush ----------------------------------------------------------------------------


def test_a_publication_tells_its_offset(anna: zchat.Client, room: str) -> None:
    publications = [anna.publish(room, str(number)) for number in range(1000)]
    offsets = [publication.result(10) for publication in publications]
    assert all(publication.done() for publication in publications)
    assert [publication.result() for publication in publications] == offsets == sorted(set(offsets))
    assert [(message.offset, message.text) for message in anna.history(room)] == [
        (offset, str(number)) for number, offset in enumerate(offsets)
    ]


def test_flush_waits_for_all_of_it(anna: zchat.Client, room: str) -> None:
    anna.flush()  # nothing is nothing to wait for
    publications = [anna.publish(f"{room}.{number % 7}", b"x" * 1000) for number in range(3000)]
    anna.flush(20)
    assert all(publication.done() for publication in publications)


def test_a_message_keeps_all_that_it_was_sent_with(anna: zchat.Client, ben: zchat.Client, room: str) -> None:
    listener = ben.listen(room)
    before = datetime.now(UTC)
    offset = anna.send(room, "你好", event="greeting", headers={"lang": "zh", "": "no key", "empty": ""})
    message = listener.get(10)
    assert (message.room, message.offset, message.user) == (room, offset, "anna")
    assert (message.event, message.body, message.text) == ("greeting", "你好".encode(), "你好")
    assert dict(message.headers) == {"lang": "zh", "": "no key", "empty": ""}
    assert message.session == anna.session_id
    assert abs(message.when - before) < timedelta(seconds=5)
    assert [message] == list(ben.history(room))


@pytest.mark.parametrize("body", [b"", b"\0\xff\xfe", bytearray(b"array"), memoryview(b"view"), "text", "", "\x1b[2J"])
def test_a_body_is_any_bytes_or_text(anna: zchat.Client, room: str, body: Any) -> None:
    anna.send(room, body)
    assert list(anna.history(room))[-1].body == (body.encode() if isinstance(body, str) else bytes(body))


def test_the_largest_message_passes_and_a_larger_one_is_not_sent(anna: zchat.Client, room: str) -> None:
    largest = b"x" * (1 << 20)
    listener = anna.listen(room)
    anna.send(room, largest, timeout=10)
    assert listener.get(10).body == largest
    with pytest.raises(zchat.TooLarge) as caught:
        anna.publish(room, largest + b"x")
    assert (caught.value.size, caught.value.limit) == ((1 << 20) + 1, 1 << 20)
    for number in range(20):  # many of them are split over several frames
        anna.publish(room, largest[: (1 << 20) - number])
    assert [len(message.body) for message in taken(listener, 20)] == [(1 << 20) - number for number in range(20)]


def test_a_volatile_message_is_heard_and_not_stored(anna: zchat.Client, ben: zchat.Client, room: str) -> None:
    listener = ben.listen(room)
    assert anna.send(room, "now", volatile=True) == 0
    stored = anna.send(room, "for ever")
    heard = taken(listener, 2)
    assert {(message.text, message.offset) for message in heard} == {("now", 0), ("for ever", stored)}
    assert [message.text for message in ben.history(room)] == ["for ever"]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda client: client.publish("a..b", "x"), zchat.BadName),
        (lambda client: client.publish("den.*", "x"), zchat.BadName),
        (lambda client: client.publish("", "x"), zchat.BadName),
        (lambda client: client.publish("den", "x", event="join"), zchat.UsageError),
        (lambda client: client.publish("den", "x", event="leave"), zchat.UsageError),
        (lambda client: client.publish("den", "x", event=""), zchat.UsageError),
        (lambda client: client.publish("den", "x", headers={"n": 1}), zchat.UsageError),
        (lambda client: client.publish("den", "\ud800"), zchat.UsageError),
        (lambda client: client.publish("den", "x", event="\ud800"), zchat.UsageError),
        (lambda client: client.publish("den", "x", headers={"\ud800": ""}), zchat.UsageError),
        (lambda client: client.publish("den", 5), zchat.UsageError),
        (lambda client: client.publish("den", None), zchat.UsageError),
        (lambda client: client.listen(), zchat.UsageError),
        (lambda client: client.listen("den", after=1, last=1), zchat.UsageError),
        (lambda client: client.listen("den", last=-1), zchat.UsageError),
        (lambda client: client.listen("den", "a**"), zchat.BadName),
        (lambda client: client.history(), zchat.UsageError),
        (lambda client: client.history("den", after=-1), zchat.UsageError),
        (lambda client: client.who("a..b"), zchat.BadName),
        (lambda client: client.publish(5, "x"), zchat.BadName),
        (lambda client: client.publish(["den"], "x", event="deploy"), zchat.BadName),
        (lambda client: client.listen(5), zchat.BadName),
        (lambda client: client.listen("den", resume=5), zchat.BadName),
        (lambda client: client.history(5), zchat.BadName),
        (lambda client: client.who(5), zchat.BadName),
        (lambda client: client.drop_cursor(5), zchat.BadName),
        (lambda client: client.set_cursor("c", -1), zchat.UsageError),
        (lambda client: client.set_cursor("c", 1 << 53), zchat.UsageError),
        (lambda client: client.set_cursor("c", 1 << 70), zchat.UsageError),
        (lambda client: client.set_cursor("c", "1"), zchat.UsageError),
        (lambda client: client.set_cursor("c", 1.5), zchat.UsageError),
        (lambda client: client.listen("den", after=1 << 53), zchat.UsageError),
        (lambda client: client.listen("den", last=1 << 70), zchat.UsageError),
        (lambda client: client.listen("den", since=1e30), zchat.UsageError),
        (lambda client: client.listen("den", since=float("inf")), zchat.UsageError),
        (lambda client: client.listen("den", since=timedelta.min), zchat.UsageError),
        (lambda client: client.listen(*["den.*"] * 1025), zchat.UsageError),
        (lambda client: client.history(*map(str, range(1025))), zchat.UsageError),
        (lambda client: client.history("den", last=1 << 53), zchat.UsageError),
        (lambda client: client.history("den", last="1"), zchat.UsageError),
        (lambda client: client.history("den", limit=-1), zchat.UsageError),
        (lambda client: client.history("den", since=float("nan")), zchat.UsageError),
        (lambda client: client.history("den", since="later"), zchat.UsageError),
        (lambda client: client.send("den", "x", timeout="1"), zchat.UsageError),
        (lambda client: client.flush(float("nan")), zchat.UsageError),
        (lambda client: client.listen("den").get("1"), zchat.UsageError),
        *[
            (lambda client, body=body, more=more: client.publish("den", body, **more), zchat.UsageError)
            for body in ("x", b"x")
            for more in (
                *({"headers": headers} for headers in (0, [], ["a"], "ab", [("a", "b")], {b"a": b"b"}, {"a": None})),
                *({"event": event} for event in (b"x", None, 5)),
                *({"volatile": volatile} for volatile in ("no", 5, -1, 1, None)),
            )
        ],
        *[
            (lambda client, more=more: client.listen("den", resume="c", **more), zchat.UsageError)
            for more in (
                *({flag: value} for flag in ("echo", "presence", "auto_commit") for value in ("no", 1, None)),
                *({"on_notice": 5}, {"timeout": "1"}, {"after": True}, {"after": 1.0}, {"since": True}, {"last": "1"}),
            )
        ],
        *[
            (lambda client, more=more: client.history("den", **more), zchat.UsageError)
            for more in ({"presence": "no"}, {"on_notice": 5}, {"timeout": "1"}, {"limit": True}, {"after": 1.0})
        ],
        (lambda client: client.publish("den", [1, 2]), zchat.UsageError),
        (lambda client: client.listen(["den"]), zchat.BadName),
        (lambda client: client.listen("den", resume=""), zchat.BadName),
        (lambda client: client.who(""), zchat.BadName),
        (lambda client: client.who(0), zchat.BadName),
        (lambda client: client.who("den", lag=5), zchat.UsageError),
        (lambda client: client.set_cursor("c", True), zchat.UsageError),
        (lambda client: client.set_cursor("c", 1, timeout="1"), zchat.UsageError),
        (lambda client: client.drop_cursor("c", timeout="1"), zchat.UsageError),
        (lambda client: client.who(timeout="1"), zchat.UsageError),
        (lambda client: client.rooms(timeout=[]), zchat.UsageError),
        (lambda client: client.cursors(timeout=float("nan")), zchat.UsageError),
        (lambda client: client.close("1"), zchat.UsageError),
        (lambda client: client.listen("@ben"), zchat.Refused),
        (lambda client: list(client.history("@ben")), zchat.Refused),
        (lambda client: client.who("@ben"), zchat.Refused),
    ],
)
def test_what_cannot_be_is_an_error_and_the_client_goes_on(
    anna: zchat.Client, room: str, call: Callable[[zchat.Client], object], error: type[zchat.ZchatError]
) -> None:
    before = [(cursor.name, cursor.offset) for cursor in anna.cursors()], list(anna.history("den"))
    with pytest.raises(error):
        call(anna)
    anna.flush(10)
    assert ([(cursor.name, cursor.offset) for cursor in anna.cursors()], list(anna.history("den"))) == before
    assert anna.send(room, "well") > 0


def test_what_is_there_already_is_not_given_for_a_time_that_cannot_be(anna: zchat.Client, room: str) -> None:
    publication = anna.publish(room, "x")
    publication.result(10)
    listener = anna.listen(room, after=0)
    eventually(listener.pending, "it is there")
    calls: list[Callable[[Any], object]] = [publication.result, listener.get]
    for call in calls:
        with pytest.raises(zchat.UsageError):
            call("1")
    assert listener.get(0).text == "x"


def test_a_function_is_called_when_the_outcome_is_known(anna: zchat.Client, room: str) -> None:
    called = SimpleQueue[tuple[str, Any]]()
    for _ in range(2):  # the second time it is known already
        first = anna.publish(room, "first")
        first.add_done_callback(lambda one: called.put(("offset", one.result())))
        first.add_done_callback(lambda one: called.put(("sent", anna.send(room, "by a function", timeout=10))))
        offset = first.result(10)
        assert called.get(timeout=10) == ("offset", offset)
        name, sent = called.get(timeout=10)
        assert name == "sent" and sent > offset, "it may use the client"
        first.add_done_callback(lambda one: called.put(("again", threading.current_thread())))
        name, thread = called.get(timeout=10)
        assert name == "again" and thread is not threading.current_thread()
    volatile = anna.publish(room, "x", volatile=True)
    volatile.add_done_callback(lambda one: called.put(("volatile", one.result())))
    assert called.get(timeout=10) == ("volatile", 0)
    with pytest.raises(zchat.UsageError):
        volatile.add_done_callback("no function")  # type: ignore[arg-type]


def test_what_such_a_function_raises_is_reported_and_ends_nothing(
    anna: zchat.Client, room: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported, called = SimpleQueue[type[BaseException]](), SimpleQueue[Any]()
    monkeypatch.setattr(threading, "excepthook", lambda args: reported.put(args.exc_type))
    publication = anna.publish(room, "x")
    publication.add_done_callback(lambda one: 1 // 0)
    publication.add_done_callback(called.put)
    assert reported.get(timeout=10) is ZeroDivisionError
    assert called.get(timeout=10) == publication


def test_a_client_that_ends_calls_those_who_wait_for_what_is_unknown(
    start_broker: Callable[..., BrokerProcess],
) -> None:
    broker, called = start_broker(), SimpleQueue[zchat.Publication]()
    client = zchat.connect(broker.address, "anna")
    broker.stop()
    eventually(lambda: not client.is_connected, "it has noticed")
    publication = client.publish("den", "x")
    publication.add_done_callback(called.put)
    client.close(0)
    ended = called.get(timeout=10)
    with pytest.raises(zchat.Closed):
        ended.result()
    publication.add_done_callback(called.put)
    assert called.get(timeout=10) is publication, "it is known already, and the client has ended"


def test_a_function_that_must_be_awaited_is_none(there: BrokerProcess, anna: zchat.Client) -> None:
    async def notified(notice: zchat.Notice) -> None:
        raise AssertionError

    with pytest.raises(zchat.UsageError):
        zchat.connect(there.address, on_notice=notified)
    with pytest.raises(zchat.UsageError):
        anna.listen("den", on_notice=notified)  # type: ignore[arg-type]


# --- listen ------------------------------------------------------------------------------------------


def test_nothing_is_missed_from_the_moment_that_listen_returns(anna: zchat.Client, there: BrokerProcess) -> None:
    for number in range(50):
        with zchat.connect(there.address, "fresh") as fresh, fresh.listen(f"slow.{number}") as listener:
            offset = anna.send(f"slow.{number}", "joiner")
            assert listener.get(10).offset == offset


def test_a_client_that_listens_hears_each_further_room_at_once(anna: zchat.Client, ben: zchat.Client) -> None:
    for number in range(50):
        listener = ben.listen(f"more.{number}")
        offset = anna.send(f"more.{number}", "x")
        assert listener.get(10).offset == offset


def test_it_starts_where_it_is_told_to_and_goes_on_live(anna: zchat.Client, ben: zchat.Client, room: str) -> None:
    offsets = [anna.send(room, str(number)) for number in range(10)]
    [halfway] = [message.time for message in ben.history(room, after=offsets[4], limit=1)]
    starts: dict[str, dict[str, Any]] = {
        "456789": {"after": offsets[3]},
        "789": {"last": 3},
        "56789": {"since": halfway / 1e6},
        "0123456789": {"after": 0},
        "": {"last": 0},
    }
    starts_too: list[tuple[str, dict[str, Any]]] = [
        ("0123456789", {"last": 1000}),
        ("0123456789", {"since": datetime.now(UTC) - timedelta(hours=1)}),
        ("0123456789", {"since": timedelta(hours=1)}),
        ("0123456789", {"since": "1h"}),
        ("0123456789", {"since": "all"}),
        ("", {"since": "2150-01-01"}),
        ("", {"since": datetime.now(UTC) + timedelta(seconds=1)}),
        ("", {"after": offsets[-1]}),
        ("", {}),
    ]
    listeners = [(texts, ben.listen(room, **start)) for texts, start in [*starts.items(), *starts_too]]
    anna.send(room, "!")
    for texts, listener in listeners:
        assert "".join(message.text for message in taken(listener, len(texts) + 1)) == f"{texts}!"


def test_who_greets_a_newcomer_is_heard_by_the_newcomer(there: BrokerProcess, anna: zchat.Client, room: str) -> None:
    door = anna.listen(f"{room}.*", presence=True, echo=False)

    def greet() -> None:
        for _ in range(10):
            anna.send(door.get(10).room, "welcome")
            door.get(10)  # it goes again

    greeter = threading.Thread(target=greet)
    greeter.start()
    for number in range(10):
        with zchat.connect(there.address, "newcomer") as newcomer:
            assert newcomer.listen(f"{room}.{number}").get(10).text == "welcome"
    greeter.join()


def test_echo_false_leaves_out_what_this_session_sends(there: BrokerProcess, anna: zchat.Client, room: str) -> None:
    with zchat.connect(there.address, "anna") as twin:
        deaf, all_ears = anna.listen(room, echo=False), anna.listen(room)
        anna.send(room, "mine")
        twin.send(room, "of my other session")
        anna.send(room, "mine too", volatile=True)
        twin.send(room, "the end")
        assert [message.text for message in taken(deaf, 2)] == ["of my other session", "the end"]
        assert len(taken(all_ears, 4)) == 4


@pytest.mark.parametrize(
    ("pattern", "heard"),
    [
        ("{}.*", ["a", "b"]),
        ("{}.**", ["a", "b", "c.d"]),
        ("{}.*.d", ["c.d"]),
        ("{}", [""]),
    ],
)
def test_a_pattern_hears_the_rooms_that_match(
    anna: zchat.Client, ben: zchat.Client, room: str, pattern: str, heard: list[str]
) -> None:
    live = ben.listen(pattern.format(room))
    for name in ("", ".a", ".b", ".c.d", "2", "2.a"):
        anna.send(f"{room}{name}", name.lstrip("."))
    for listener in (live, ben.listen(pattern.format(room), after=0)):
        assert [message.text for message in taken(listener, len(heard))] == heard
        assert is_silent(listener)
    assert [message.text for message in ben.history(pattern.format(room))] == heard


def test_several_rooms_come_in_the_order_of_the_log(anna: zchat.Client, ben: zchat.Client, room: str) -> None:
    live = ben.listen(f"{room}.a", f"{room}.b.*", f"{room}.c")
    offsets = [anna.send(f"{room}.{name}", name) for name in ("a", "b.x", "c", "a", "d", "b.y", "c")]
    del offsets[4]
    assert [message.offset for message in taken(live, 6)] == offsets
    assert [message.offset for message in ben.history(f"{room}.c", f"{room}.a", f"{room}.b.*")] == offsets
    assert [message.offset for message in taken(ben.listen(f"{room}.a", f"{room}.b.y", f"{room}.c", last=3), 3)] == [
        offsets[3],
        offsets[4],
        offsets[5],
    ]


def test_comings_and_goings_are_heard_on_request(there: BrokerProcess, ben: zchat.Client, room: str) -> None:
    with_them, without = ben.listen(room, presence=True), ben.listen(room)
    with zchat.connect(there.address, "anna") as anna:
        listener = anna.listen(room)
        again = anna.listen(room)
        anna.send(room, "hello")
        listener.close()
        again.get(10)
    heard = taken(with_them, 4)
    assert [(message.user, message.event, message.text) for message in heard] == [
        ("ben", "join", ""),  # its own: it joins once it is live, so that no answer to its coming is missed
        ("anna", "join", ""),
        ("anna", "message", "hello"),
        ("anna", "leave", "bye"),
    ]
    assert [message.offset for message in heard] == sorted(message.offset for message in heard)
    assert without.get(10).text == "hello" and is_silent(without)
    assert [message.event for message in ben.history(room)] == ["message"]
    assert [message.event for message in ben.history(room, presence=True)] == ["join", "join", "message", "leave"]


def test_who_listens_to_too_much_is_told_why(there: BrokerProcess) -> None:
    with zchat.connect(there.address, "greedy") as client:
        live = [client.listen(*(f"many.{part}.{number}.*" for number in range(1_000))) for part in range(4)]
        with pytest.raises(zchat.Unreachable, match="more than 4,096 topics"):
            client.listen(*(f"many.4.{number}.*" for number in range(1_000)), timeout=20)
        eventually(lambda: client.send("many.3.7.x", "hello"), "it goes on")
        assert live[3].get(20).text == "hello", "with what it may have"


def test_joins_that_nobody_asked_for_are_sent_to_nobody(there: BrokerProcess, anna: zchat.Client, room: str) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    speaker = Speaker(context, there.address)
    port = speaker.hello("cara").publish_port
    speaker.close()
    with context.socket(zmq.SUB) as sub:
        sub.linger, sub.rcvtimeo = 0, 10_000
        sub.connect(f"tcp://127.0.0.1:{port}" if port else f"{there.address}.pub")
        sub.subscribe(topic(room))
        sub.subscribe(wire.PRIVATE_TOPIC + room.encode())
        assert sub.recv_multipart()[0] == wire.PRIVATE_TOPIC + room.encode()
        for number in range(10):
            with zchat.connect(there.address, f"guest-{number}") as guest:
                guest.listen(room)
        offset = anna.send(room, "hello")
        name, frame = sub.recv_multipart()
        batch = wire.decode_batch(frame)
        assert (name, batch.base, batch.prev_message) == (topic(room), offset, 0)
        assert batch.prev > 0, "and all who came and went are before it"


def test_a_pattern_observes_and_joins_nothing(anna: zchat.Client, ben: zchat.Client, room: str) -> None:
    observer = ben.listen(f"{room}.*", presence=True)
    anna.listen(f"{room}.a")
    assert (observer.get(10).user, ben.who(f"{room}.a")[0].user) == ("anna", "anna")
    assert len(ben.who(f"{room}.a")) == 1


def test_who_observes_hears_it_all_and_who_joins_is_a_member_without_hearing_it(
    anna: zchat.Client, ben: zchat.Client, room: str
) -> None:
    with anna.listen(room, join=False, presence=True) as messages:
        assert anna.who(room) == []
        ben.join(room)
        assert [member.user for member in anna.who(room)] == ["ben"]
        with ben.listen(room):
            ben.leave(room)
            assert ben.who(room), "the subscription is still there"
        ben.send(room, "hi")
        assert [messages.get(20).event for _ in range(3)] == ["join", "leave", "message"]
        with pytest.raises(zchat.BadName):
            ben.join("rooms.*")
        ben.leave(room)  # of which it is no member
        assert anna.who(room) == []


def test_a_room_is_left_with_the_last_of_its_listeners(anna: zchat.Client, ben: zchat.Client, room: str) -> None:
    first, second = anna.listen(room), anna.listen(room, f"{room}.too")
    first.close()
    assert [one.user for one in ben.who(room)] == ["anna"]
    second.close()
    assert ben.who(room) == [] and ben.who(f"{room}.too") == []
    with anna.listen(room) as third:
        ben.send(room, "again")
        assert third.get(10).text == "again"
    assert ben.who(room) == []


def test_a_listen_that_failed_leaves_no_room_that_another_listens_to(
    anna: zchat.Client, ben: zchat.Client, room: str
) -> None:
    def failed() -> bool:
        try:
            anna.listen(room, timeout=0).close()
        except zchat.TimedOut:
            return True
        return False  # the broker was quicker

    with anna.listen(room):
        eventually(failed, "a listen fails")
        assert [one.user for one in ben.who(room)] == ["anna"]
    assert ben.who(room) == []


def test_inboxes_are_read_by_their_user_alone(anna: zchat.Client, ben: zchat.Client) -> None:
    inbox = anna.listen("@anna")
    offset = ben.send("@anna", "psst")
    assert inbox.get(10).offset == offset
    assert "@anna" in [room.name for room in anna.rooms()]
    assert "@anna" not in [room.name for room in ben.rooms()]
    everything = ben.listen("**", after=0)
    marker = anna.send("open", "x")
    heard: list[zchat.Message] = []
    while not heard or heard[-1].offset != marker:
        heard.append(everything.get(10))
    assert not any(message.room.startswith("@") for message in heard)
    for joins in (True, False):
        with pytest.raises(zchat.Refused, match="ben may not read @anna"):
            ben.listen("open", "@anna", join=joins)
    assert anna.who("open") == []
    ben.send("@anna", "still")
    assert inbox.get(10).text == "still"


def test_a_room_is_the_same_in_any_spelling(anna: zchat.Client, ben: zchat.Client) -> None:
    listener = ben.listen("CAFÉ.Straße")
    anna.send("cafe\u0301.STRASSE", "un")
    assert listener.get(10).room == "café.strasse"
    assert [one.user for one in anna.who("Café.strasse")] == ["ben"]


def test_a_listener_is_told_from_where_it_is_live(anna: zchat.Client, room: str) -> None:
    notices: list[zchat.Notice] = []
    head = anna.send(room, "before")
    listener = anna.listen(room, on_notice=notices.append)
    anna.send(room, "after")
    assert listener.get(10).text == "after"
    assert [notice.kind for notice in notices] == ["live"] and notices[0].offset >= head


def test_get_waits_no_longer_than_it_is_told_to(anna: zchat.Client, room: str) -> None:
    listener = anna.listen(room)
    waited = list[float]()
    for _ in range(5):
        began = time.monotonic()
        with pytest.raises(zchat.TimedOut) as caught:
            listener.get(0.1)
        waited.append(time.monotonic() - began)
    assert 0.1 <= min(waited) < 1.0
    assert isinstance(caught.value, TimeoutError)
    anna.send(room, "x")
    assert listener.get(0.0 if listener.pending() else 10).text == "x"


def test_a_time_to_wait_may_be_longer_than_a_thread_can_wait(anna: zchat.Client, room: str) -> None:
    listener = anna.listen(room)
    anna.send(room, "x", timeout=1e20)
    anna.flush(float("inf"))
    assert listener.get(1 << 70).text == "x"
    with pytest.raises(zchat.TimedOut):
        listener.get(-1)


def test_the_largest_offset_and_the_oldest_time_are_no_trouble(anna: zchat.Client, room: str) -> None:
    anna.send(room, "x")
    largest = OFFSET_MAX
    starts: list[dict[str, Any]] = [{"last": largest}, {"since": 0}, {"since": -1e30}, {"after": 0}]
    for start in starts:
        assert [message.text for message in anna.history(room, limit=largest, **start)] == ["x"]
        assert anna.listen(room, **start).get(10).text == "x"
    assert list(anna.history(room, since=9e9)) == []


@pytest.mark.parametrize("beyond", [100_000, OFFSET_MAX])
def test_an_offset_above_the_head_is_no_place_to_begin(anna: zchat.Client, room: str, beyond: int) -> None:
    head = anna.send(room, "x")
    after = min(head + beyond, OFFSET_MAX)
    for begin in (lambda: list(anna.history(room, after=after)), lambda: anna.listen(room, after=after)):
        with pytest.raises(
            zchat.Refused, match=rf"^the broker refused: offset {after} is above the head, \d+ "
        ) as refused:
            begin()
        assert refused.value.definite
    assert list(anna.history(room, after=head)) == []
    with anna.listen(room, after=head) as listener:
        anna.send(room, "y")
        assert listener.get(10).text == "y"


def test_the_last_messages_and_a_limit_count_no_joins(anna: zchat.Client, ben: zchat.Client, room: str) -> None:
    for text in "xyz":
        anna.send(room, text)
        ben.listen(room).close()

    def shown(**start: Any) -> list[str]:
        return [message.text or message.event for message in anna.history(room, presence=True, **start)]

    assert shown(last=2) == ["y", "join", "bye", "z", "join", "bye"]
    assert shown(last=3, limit=2) == ["x", "join", "bye", "y"]
    assert [taken(anna.listen(room, last=1, presence=True), 2)[at].event for at in (0, 1)] == ["message", "join"]


def test_as_many_rooms_as_one_message_may_name_are_listened_to(anna: zchat.Client, room: str) -> None:
    with anna.listen(*(f"{room}.r{number}" for number in range(1024))) as listener:
        anna.send(f"{room}.r1023", "x")
        assert listener.get(10).text == "x"


def test_a_listener_that_does_not_read_gets_all_of_it_later(anna: zchat.Client, ben: zchat.Client, room: str) -> None:
    listener = ben.listen(room)
    for number in range(900):
        anna.publish(room, b"%08d" % number + b"x" * 60_000)  # 54 MB; 32 wait for it
    anna.flush(60)
    heard = [int(message.body[:8]) for message in taken(listener, 900)]
    assert heard == list(range(900))


# --- history, who, rooms -----------------------------------------------------------------------------


def test_history_is_read_from_where_it_is_told_to(anna: zchat.Client, room: str) -> None:
    offsets = [anna.send(room, str(number)) for number in range(10)]

    def texts(**start: Any) -> str:
        return "".join(message.text for message in anna.history(room, **start))

    assert texts() == texts(after=0) == texts(last=10) == texts(last=99) == texts(limit=99) == "0123456789"
    assert (texts(after=offsets[5]), texts(last=4), texts(limit=3)) == ("6789", "6789", "012")
    assert (texts(after=offsets[5], limit=2), texts(last=4, limit=1), texts(limit=0)) == ("67", "6", "")
    assert (texts(last=0), texts(after=offsets[-1])) == ("", "")
    [third] = [message.time for message in anna.history(room, after=offsets[1], limit=1)]
    assert texts(since=third / 1e6) == texts(since=datetime.fromtimestamp(third / 1e6, UTC)) == "23456789"
    assert texts(since=time.time() + 60) == ""


def test_history_of_many_pages_is_read_as_it_is_asked_for(anna: zchat.Client, room: str) -> None:
    for number in range(80):
        anna.publish(room, b"%08d" % number + b"x" * 100_000)  # 8 MB; a page is 1 MB
    anna.flush(20)
    history = anna.history(room)
    assert int(next(history).body[:8]) == 0
    anna.send(room, "later")  # what comes after the question is no part of the answer
    assert [int(message.body[:8]) for message in history] == list(range(1, 80))


def test_history_of_a_room_that_never_was_is_empty(anna: zchat.Client) -> None:
    assert list(anna.history("never.was")) == []
    assert list(anna.history("never.*")) == []


def test_who_tells_sessions_rooms_and_since_when(there: BrokerProcess, anna: zchat.Client, room: str) -> None:
    before = time.time() - 1
    with zchat.connect(there.address, "cleo") as one, zchat.connect(there.address, "cleo") as two:
        one.listen(room)
        two.listen(room, f"{room}.too")
        members = anna.who(room)
        assert sorted(member.session for member in members) == sorted([one.session_id, two.session_id])
        assert {(member.user, member.state) for member in members} == {("cleo", "live")}
        assert all(before < member.since / 1e6 < time.time() + 1 for member in members)
        everybody = {member.session: member for member in anna.who()}
        assert everybody[two.session_id].rooms == [room, f"{room}.too"]
        assert everybody[anna.session_id].user == "anna"
    assert anna.who(room) == []
    [gone] = [member for member in anna.who() if member.user == "cleo"]
    assert (gone.state, gone.session, gone.rooms) == ("gone", "", [])
    assert before < gone.seen / 1e6 < time.time() + 1


def test_rooms_have_a_record_or_a_member(anna: zchat.Client, ben: zchat.Client, room: str) -> None:
    offset = anna.send(f"{room}.said", "x")
    listener = ben.listen(f"{room}.heard")
    anna.send(f"{room}.gone", "x", volatile=True)
    found = {each.name: each for each in anna.rooms() if each.name.startswith(room)}
    assert set(found) == {f"{room}.said", f"{room}.heard"}
    assert (found[f"{room}.said"].last, found[f"{room}.said"].members) == (offset, 0)
    assert found[f"{room}.heard"].members == 1
    listener.close()
    assert [each.name for each in anna.rooms()] == sorted(each.name for each in anna.rooms())


# --- the end -----------------------------------------------------------------------------------------


def test_close_is_a_leave_at_once_and_may_be_called_again(there: BrokerProcess, anna: zchat.Client, room: str) -> None:
    client = zchat.connect(there.address, "cleo")
    client.listen(room)
    client.close()
    assert anna.who(room) == []
    written = eventually(lambda: list(anna.history(room, presence=True))[1:], "the leave is written")
    assert [(message.event, message.text) for message in written] == [("leave", "bye")]
    client.close()
    with pytest.raises(zchat.Closed):
        client.send(room, "x")


def test_the_end_of_with_waits_for_what_was_published(there: BrokerProcess, anna: zchat.Client, room: str) -> None:
    with zchat.connect(there.address, "cleo") as client:
        publications = [client.publish(room, str(number)) for number in range(5000)]
    assert all(publication.result(0) for publication in publications)
    assert sum(1 for _ in anna.history(room)) == 5000


def test_an_error_inside_with_is_not_held_up_by_what_was_published(there: BrokerProcess, room: str) -> None:
    with pytest.raises(KeyError), zchat.connect(there.address, "cleo") as client:
        client.publish(room, "x")
        raise KeyError
    with pytest.raises(zchat.Closed):
        client.publish(room, "x")


def test_what_the_log_refuses_is_told_by_result_and_by_flush(start_small_disk: Callable[[], BrokerProcess]) -> None:
    broker = start_small_disk()
    with zchat.connect(broker.address, "anna") as anna:
        fine = anna.publish("den", "small")
        assert fine.result(10) > 0

        def refused() -> zchat.Publication | None:
            publication = anna.publish("den", b"x" * 900_000)
            try:
                publication.result(10)
            except zchat.Refused as error:
                assert error.code == "log-full"
                return publication
            return None

        publication = eventually(refused, "the disk is full", within=20)
        with pytest.raises(zchat.Refused) as caught:
            anna.flush(10)
        assert caught.value.definite and publication.done()
        anna.flush(10)  # it is told once
        assert [message.text for message in anna.history("den", limit=1)] == ["small"]
        stored = [len(message.body) for message in anna.history("den")]
        assert set(stored[1:]) <= {900_000}


@pytest.fixture
def start_small_disk(tmp_path: Path, start_broker: Callable[..., BrokerProcess]) -> Iterator[Callable[[], Any]]:
    """A broker whose disk has 40 MB: it takes no more below 20."""
    import subprocess

    mounted: list[Path] = []

    def start() -> BrokerProcess:
        folder = tmp_path / "small"
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(folder)], capture_output=True)
        if done.returncode:
            pytest.skip(f"only root mounts a small disk: {done.stderr.decode().strip()}")
        mounted.append(folder)
        return start_broker("--data", str(folder))

    yield start
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)
