"""`zchat send` over a real broker: what is stored, what is printed, how it ends."""

from __future__ import annotations

import array
import fcntl
import json
import os
import re
import resource
import signal
import subprocess
import termios
from collections.abc import Callable

import pytest

from tests.conftest import COMMAND, BrokerProcess, Result, Running, environment, eventually, zchat
from zchat.cli.bodies import BODY_BYTES_MAX

pytestmark = pytest.mark.slow  # each starts processes

StartBroker = Callable[..., BrokerProcess]

DONE = Result("", "", 0)


def bodies(broker: BrokerProcess, room: str) -> list[str]:
    shown = zchat("history", room, "--raw", broker=broker)
    assert (shown.stderr, shown.status) == ("", 0)
    return shown.stdout.split("\n")[:-1]


def test_the_words_are_one_message(shared_broker: BrokerProcess) -> None:
    assert zchat("send", "general", "Hello,", "world  wide", broker=shared_broker) == DONE
    assert bodies(shared_broker, "general") == ["Hello, world  wide"]


def test_stdin_is_a_message_a_line(shared_broker: BrokerProcess) -> None:
    assert zchat("send", "lines", stdin="one\n\nthree\r\nfour", broker=shared_broker) == DONE
    assert zchat("send", "lines", "-", stdin="five\n", broker=shared_broker) == DONE
    assert bodies(shared_broker, "lines") == ["one", "", "three", "four", "five"]


def test_an_empty_stdin_sends_nothing(shared_broker: BrokerProcess) -> None:
    assert zchat("send", "nothing", stdin="", broker=shared_broker) == DONE
    assert bodies(shared_broker, "nothing") == []


def test_an_empty_text_is_an_empty_message(shared_broker: BrokerProcess) -> None:
    assert zchat("send", "empty", "", broker=shared_broker) == DONE
    assert bodies(shared_broker, "empty") == [""]


def test_names_in_any_script_and_bytes_of_any_kind(shared_broker: BrokerProcess) -> None:
    assert zchat("send", "会议", "你好", "-u", "李明", broker=shared_broker) == DONE
    assert zchat("send", "会议", stdin=b"\xff\x00\x1b\n", broker=shared_broker) == DONE
    shown = [json.loads(line) for line in zchat("history", "会议", "--json", broker=shared_broker).stdout.splitlines()]
    assert [(one["user"], one.get("body"), one.get("body_base64")) for one in shown] == [
        ("李明", "你好", None),
        ("tester", None, "/wAb"),
    ]


def test_event_and_headers_arrive(shared_broker: BrokerProcess) -> None:
    sent = zchat("send", "ops", "v2", "--event", "deploy", "-H", "host=web1", "--header", "by=ci", broker=shared_broker)
    assert sent == DONE
    shown = json.loads(zchat("history", "ops", "--json", broker=shared_broker).stdout)
    assert (shown["event"], shown["headers"]) == ("deploy", {"host": "web1", "by": "ci"})


def test_json_prints_room_and_offset_of_each_message(shared_broker: BrokerProcess) -> None:
    sent = zchat("send", "json", "--json", stdin="1\n2\n3\n", broker=shared_broker)
    assert (sent.stderr, sent.status) == ("", 0)
    told = [json.loads(line) for line in sent.stdout.splitlines()]
    kept = [json.loads(line) for line in zchat("history", "json", "--json", broker=shared_broker).stdout.splitlines()]
    assert told == [{"room": "json", "offset": one["offset"], "place": one["place"]} for one in kept]
    assert [one["body"] for one in kept] == ["1", "2", "3"]


def test_json_prints_an_ack_while_stdin_is_quiet(broker: BrokerProcess, start_zchat: Callable[..., Running]) -> None:
    sender = start_zchat("send", "a", "--json", broker=broker)
    sender.write("one\n")
    eventually(lambda: '"offset"' in sender.stdout, "the ack is printed before stdin ends")
    assert sender.end().status == 0


def test_a_volatile_message_reaches_who_listens_and_is_not_kept(
    broker: BrokerProcess, start_zchat: Callable[..., Running]
) -> None:
    listener = start_zchat("listen", "a", "--raw", "-v", "-n", "1", broker=broker).live()
    sent = zchat("send", "a", "now", "--volatile", "--json", broker=broker)
    assert sent == Result('{"room":"a","offset":null,"place":null}\n', "", 0)
    assert listener.end().stdout == "now\n"
    assert bodies(broker, "a") == []


def test_lines_arrive_while_stdin_stays_open(broker: BrokerProcess, start_zchat: Callable[..., Running]) -> None:
    listener = start_zchat("listen", "a", "--raw", "-v", broker=broker).live()
    sender = start_zchat("send", "a", broker=broker)
    for line in ("one\n", "two\n"):
        sender.write(line)
        eventually(lambda line=line: listener.stdout.endswith(line), "the line has arrived")  # type: ignore[misc]
    assert sender.end() == DONE


def test_stdin_is_read_only_once_the_broker_is_there() -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"kept\n")
    os.close(write_end)
    status = subprocess.run(
        [*COMMAND, "send", "a", "-b", "tcp://127.0.0.1:9", "--wait", "0.2"],
        stdin=read_end,
        env=environment(),
        capture_output=True,
    ).returncode
    assert status == 3
    assert os.read(read_end, 100) == b"kept\n"
    os.close(read_end)


def test_a_line_that_is_too_long_is_told_and_the_rest_goes_on(shared_broker: BrokerProcess) -> None:
    long = b"x" * (BODY_BYTES_MAX + 70_000)
    sent = zchat("send", "long", stdin=b"before\n" + long + b"\nafter\n", broker=shared_broker)
    assert (sent.stdout, sent.status) == ("", 1)
    assert sent.stderr == f"zchat: line 2 left out: longer than {BODY_BYTES_MAX} bytes\n"
    assert bodies(shared_broker, "long") == ["before", "after"]


@pytest.mark.parametrize("room", ["a..b", "a b", "", "x" * 200, "a\x1b[2J"])
def test_a_room_name_that_is_not_allowed_is_said(shared_broker: BrokerProcess, room: str) -> None:
    sent = zchat("send", room, "x", broker=shared_broker)
    assert (sent.stdout, sent.status) == ("", 2)
    said, _, hint = sent.stderr.partition("\n")
    assert said.startswith("zchat: room ") and (not hint or hint == "hint: here it is written 'a-b'\n")
    assert "\x1b" not in sent.stderr


def test_a_user_name_that_is_not_allowed_is_one_line(shared_broker: BrokerProcess) -> None:
    sent = zchat("send", "a", "x", "-u", "a b", broker=shared_broker)
    assert (sent.stdout, sent.status) == ("", 2)
    assert sent.stderr.startswith("zchat: user ") and sent.stderr.count("\n") == 1


@pytest.mark.parametrize("event", ["join", "leave"])
def test_the_brokers_events_cannot_be_sent(shared_broker: BrokerProcess, event: str) -> None:
    sent = zchat("send", "events", "x", "--event", event, broker=shared_broker)
    assert sent.status in (2, 4) and sent.stderr.startswith("zchat: ") and sent.stderr.count("\n") == 1
    assert zchat("history", "events", "--presence", "--raw", broker=shared_broker).status == 2
    assert bodies(shared_broker, "events") == []


def test_a_broker_that_is_not_there_is_status_3_and_names_the_address() -> None:
    sent = zchat("send", "a", "x", "-b", "tcp://127.0.0.1:9", "--wait", "300ms")
    assert (sent.stdout, sent.status) == ("", 3)
    first, hint = sent.stderr.splitlines()
    assert first.startswith("zchat: no broker answered at tcp://127.0.0.1:9 within 0.3 s")
    assert hint == "hint: start a broker with `zchat broker`, or name another one with --broker or ZCHAT_BROKER"


def test_a_hundred_thousand_lines_arrive_as_they_were(
    broker: BrokerProcess, start_zchat: Callable[..., Running]
) -> None:
    lines = "".join(f"{number}\n" for number in range(1, 100_001))
    listener = start_zchat("listen", "load", "-n", "100000", "--raw", "-v", broker=broker).live()
    assert zchat("send", "load", stdin=lines, broker=broker) == DONE
    assert listener.end().stdout == lines
    assert zchat("history", "load", "--raw", broker=broker).stdout == lines


def test_stdin_that_cannot_be_read_is_one_line(shared_broker: BrokerProcess) -> None:
    unreadable = os.open(os.devnull, os.O_WRONLY)
    done = subprocess.run(
        [*COMMAND, "send", "a", "-b", shared_broker.address],
        stdin=unreadable,
        capture_output=True,
        text=True,
        env=environment(),
    )
    os.close(unreadable)
    assert (done.stdout, done.stderr, done.returncode) == ("", "zchat: standard input: it is closed\n", 1)


def test_stdin_that_does_not_block_is_waited_for(broker: BrokerProcess) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    sender = subprocess.Popen(
        [*COMMAND, "send", "a", "-b", broker.address],
        stdin=read_end,
        stderr=subprocess.PIPE,
        env=environment({"ZCHAT_USER": "sender"}),
    )
    os.close(read_end)
    eventually(lambda: '"sender"' in zchat("who", "--json", broker=broker).stdout, "the sender is connected")
    os.write(write_end, b"one\n")
    eventually(lambda: bodies(broker, "a") == ["one"], "the line has arrived")
    os.close(write_end)
    assert (sender.communicate(timeout=20)[1], sender.returncode) == (b"", 0)


# --- what is not stored is told ----------------------------------------------------------------------


def lost_sender(start_broker: StartBroker, start_zchat: Callable[..., Running], *args: str) -> Running:
    """A sender that is connected, whose broker is then away, and that was given two lines since."""
    broker = start_broker()
    sender = start_zchat("send", "a", "-v", *args, broker=broker)
    sender.write("one\n")
    eventually(lambda: bodies(broker, "a") == ["one"], "it sends")
    broker.stop()
    eventually(lambda: "connection lost" in sender.stderr, "it says so")
    sender.write("two\nthree\n")
    return sender


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_sender_whose_broker_is_away_says_at_a_signal_what_is_not_stored(
    start_broker: StartBroker, start_zchat: Callable[..., Running], signum: int
) -> None:
    sender = lost_sender(start_broker, start_zchat)
    assert sender.process.stdin is not None
    eventually(lambda: has_taken_all(sender), "it has read the lines")
    sender.process.send_signal(signum)
    assert sender.process.wait(10) == -signum
    lost, told = sender.stderr.splitlines()
    assert lost.startswith("zchat: connection lost")
    assert told == "zchat: 2 of 3 messages not acknowledged, and perhaps not stored"


def has_taken_all(sender: Running) -> bool:
    assert sender.process.stdin is not None
    waiting = array.array("i", [0])
    fcntl.ioctl(sender.process.stdin, termios.FIONREAD, waiting)
    return waiting[0] == 0


def test_a_sender_whose_broker_stays_away_says_at_the_end_what_is_not_stored(
    start_broker: StartBroker, start_zchat: Callable[..., Running]
) -> None:
    ended = lost_sender(start_broker, start_zchat, "--wait", "0.3").end()
    assert ended.status == 3
    _, told, error, hint = ended.stderr.splitlines()
    assert told == "zchat: 2 of 3 messages not acknowledged, and perhaps not stored"
    assert error.startswith("zchat: no broker answered at ") and hint.startswith("hint: ")


def test_a_sender_whose_broker_comes_back_says_so_and_loses_nothing(
    start_broker: StartBroker, start_zchat: Callable[..., Running]
) -> None:
    broker = start_broker()
    sender = start_zchat("send", "a", "-v", broker=broker)
    sender.write("one\n")
    eventually(lambda: bodies(broker, "a") == ["one"], "it sends")
    broker.stop()
    eventually(lambda: "connection lost" in sender.stderr, "it says so")
    sender.write("two\n")
    broker.start()
    eventually(lambda: "zchat: back, what waited is sent\n" in sender.stderr, "it says so")
    ended = sender.end()
    assert (ended.status, len(ended.stderr.splitlines())) == (0, 2)
    assert bodies(broker, "a") == ["one", "two"]


def test_of_messages_that_the_broker_refuses_it_says_how_many(start_broker: StartBroker) -> None:
    broker = start_broker()
    assert broker.process is not None
    zchat("send", "a", "before", broker=broker)
    resource.prlimit(broker.process.pid, resource.RLIMIT_FSIZE, (16 << 10, resource.RLIM_INFINITY))
    sent = zchat("send", "a", stdin=("x" * 50_000 + "\n") * 3, broker=broker)
    told, error = sent.stderr.splitlines()
    assert re.fullmatch(r"zchat: (\d) of \1 messages not acknowledged, and perhaps not stored", told)  # of those read
    assert sent.status == 4
    assert error.startswith("zchat: the broker refused: ")
    resource.prlimit(broker.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert bodies(broker, "a") == ["before"]
