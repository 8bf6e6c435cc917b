"""Names of hosts: looked up anew at each reconnect, in turn, within the wait, and never waited for with a signal."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import BrokerProcess, Running, eventually
from tests.sockets.names import Names, why_not
from zchat.sockets.resolve import Resolver, is_number, numbers_of

StartBroker = Callable[..., BrokerProcess]
StartZchat = Callable[..., Running]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1", "2001:db8::7"])
def test_a_number_is_not_looked_up(host: str) -> None:
    assert is_number(host)


@pytest.mark.parametrize("host", ["localhost", "fe80::1%lo", "1.2.3", "host.example"])
def test_what_is_no_number_is_looked_up(host: str) -> None:
    assert not is_number(host)


def test_a_host_of_this_machine_has_the_numbers_that_the_system_knows() -> None:
    answer = numbers_of("localhost")
    assert "127.0.0.1" in answer.numbers and answer.why == ""


def test_a_number_with_an_interface_is_itself_as_long_as_there_is_that_interface() -> None:
    assert numbers_of("fe80::1%lo").numbers == ["fe80::1%lo"]
    assert numbers_of("fe80::1%1").numbers == ["fe80::1%1"]
    gone = numbers_of("fe80::1%nosuch0")
    assert gone.numbers == [] and "no interface nosuch0" in gone.why


def test_a_name_that_nobody_knows_has_none_and_says_so() -> None:
    for name in ("no-such-host.invalid", "\u2488"):
        answer = numbers_of(name)
        assert answer.numbers == [] and name in answer.why


def test_where_python_begins_no_thread_any_more_there_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(self: threading.Thread) -> None:  # as Python 3.12 does at the end of a program
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuses)
    resolver = Resolver("localhost", lambda: None)
    resolver.look_up()
    answer = resolver.take()
    assert answer is not None and answer.numbers == [] and "shutdown" in answer.why


def test_who_looks_up_is_woken() -> None:
    woken: list[int] = []
    resolver = Resolver("localhost", lambda: woken.append(1))
    assert resolver.take() is None
    resolver.look_up()
    eventually(lambda: woken, "it is woken")
    answer = resolver.take()
    assert answer is not None and answer.numbers and resolver.take() is None


# --- a name server, and real commands ----------------------------------------------------------------


@pytest.fixture
def names(tmp_path: Path) -> Iterator[Names]:
    if reason := why_not():
        pytest.skip(reason)
    names = Names(tmp_path)
    yield names
    names.close()


def there(broker: BrokerProcess) -> dict[str, str]:
    return {"ZCHAT_BROKER": f"broker.test:{port_of(broker)}", "ZCHAT_USER": "tester"}


def port_of(broker: BrokerProcess) -> str:
    return broker.address.rpartition(":")[2]


def move(broker: BrokerProcess, number: str) -> None:
    """The broker goes on at another address."""
    broker.stop()
    broker.address = f"tcp://{number}:{port_of(broker)}"
    broker.start()


@pytest.mark.slow
def test_a_broker_that_moves_is_found_by_its_name(
    names: Names, start_broker: StartBroker, start_zchat: StartZchat
) -> None:
    broker = start_broker()
    names.known["broker.test"] = ["127.0.0.1"]
    listener = start_zchat("listen", "den", "-v", "--raw", env=there(broker), run=names.run).live()
    sender = start_zchat("send", "den", "--json", env=there(broker), run=names.run)
    for turn, number in enumerate(("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.1")):
        if turn:
            names.known["broker.test"] = [number]
            move(broker, number)
        sender.write(f"at {number}\n")
        eventually(lambda: listener.stdout.count("\n") == turn + 1, "the listener hears", within=20)  # noqa: B023
    assert listener.stdout == "at 127.0.0.1\nat 127.0.0.2\nat 127.0.0.3\nat 127.0.0.1\n"
    assert sender.end().status == 0
    assert listener.end(signal.SIGTERM).status == -signal.SIGTERM


@pytest.mark.slow
def test_each_address_of_a_name_is_tried_at_the_start_and_later(
    names: Names, start_broker: StartBroker, start_zchat: StartZchat
) -> None:
    broker = start_broker()
    move(broker, "127.0.0.3")
    names.known["broker.test"] = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"]
    listener = start_zchat("listen", "den", "-v", "--raw", env=there(broker), run=names.run).live()
    for number in ("127.0.0.1", "127.0.0.4"):
        move(broker, number)
        sent = start_zchat("send", "den", number, env=there(broker), run=names.run).end()
        assert (sent.stderr, sent.status) == ("", 0)
        eventually(lambda: number in listener.stdout, "the listener hears", within=20)  # noqa: B023
    assert listener.stdout == "127.0.0.1\n127.0.0.4\n"


@pytest.mark.slow
def test_an_address_that_answers_nothing_does_not_keep_from_the_next(
    names: Names, start_broker: StartBroker, start_zchat: StartZchat
) -> None:
    broker = start_broker("--memory")
    with socket.socket() as silent:  # its backlog is full: the kernel answers nobody any more
        silent.bind(("127.0.0.2", int(port_of(broker))))
        silent.listen(0)
        fill = [socket.socket() for _ in range(4)]
        for each in fill:
            each.setblocking(False)
            each.connect_ex(silent.getsockname())
        names.known["broker.test"] = ["127.0.0.2", "127.0.0.1"]
        sent = start_zchat("send", "den", "hello", "--wait", "15", env=there(broker), run=names.run).end()
        assert (sent.stderr, sent.status) == ("", 0)
        for each in fill:
            each.close()


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["silent", "unknown"])
def test_a_name_that_is_known_only_after_a_while_is_waited_for(
    names: Names, start_broker: StartBroker, start_zchat: StartZchat, trouble: str
) -> None:
    broker = start_broker("--memory")
    if trouble == "silent":
        names.known["broker.test"] = ["127.0.0.1"]
        names.is_silent = True
    sender = start_zchat("send", "den", "hello", "--wait", "20", env=there(broker), run=names.run)
    eventually(lambda: names.asked > 2, "the name was asked for")
    names.is_silent = False
    names.known["broker.test"] = ["127.0.0.1"]
    assert sender.end().status == 0


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["silent", "unknown"])
def test_a_name_without_an_answer_is_waited_for_no_longer_than_said(
    names: Names, start_zchat: StartZchat, trouble: str
) -> None:
    names.is_silent = trouble == "silent"
    began = time.monotonic()
    ended = start_zchat("rooms", "-b", "broker.test", "--wait", "1", run=names.run).end()
    assert ended.status == 3 and "broker.test" in ended.stderr
    assert "no name server" in ended.stderr or trouble == "unknown"
    assert time.monotonic() - began >= 1.0


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_silent_name_server_keeps_no_signal_from_ending_a_command(
    names: Names, start_zchat: StartZchat, signum: int
) -> None:
    names.is_silent = True
    listener = start_zchat("listen", "den", "-b", "broker.test", "--wait", "60", run=names.run)
    eventually(lambda: names.asked > 0, "the name was asked for")
    assert listener.end(signum).status == -signum


@pytest.mark.slow
def test_a_listener_comes_back_while_the_name_server_is_silent(
    names: Names, start_broker: StartBroker, start_zchat: StartZchat
) -> None:
    broker = start_broker()
    names.known["broker.test"] = ["127.0.0.1"]
    listener = start_zchat("listen", "den", "-v", "--raw", env=there(broker), run=names.run).live()
    names.is_silent = True
    broker.restart()
    eventually(lambda: "back" in listener.stderr, "the listener is back", within=20)
    names.is_silent = False
    assert start_zchat("send", "den", "hello", env=there(broker), run=names.run).end().status == 0
    eventually(lambda: listener.stdout == "hello\n", "the listener hears")
