"""What `zchat send` sends: files, stdin as a whole, one message again and again, and what `listen --json` printed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import COMMAND, BrokerProcess, Result, Running, environment, eventually, zchat
from zchat import connect
from zchat.cli.bodies import BODY_BYTES_MAX

pytestmark = pytest.mark.slow  # each starts processes

Start = Callable[..., Running]
DONE = Result("", "", 0)
LINES = b"one\r\n\n  three\n\n"


def bodies(broker: BrokerProcess, room: str) -> list[bytes]:
    with connect(broker.address, "reader") as client:
        return [message.body for message in client.history(room)]


def test_a_file_is_one_message_as_it_is(shared_broker: BrokerProcess, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_bytes(LINES)
    assert zchat("send", "file", "--file", str(path), broker=shared_broker) == DONE
    path.write_bytes(b"")
    assert zchat("send", "file", "--file", str(path), broker=shared_broker) == DONE
    assert bodies(shared_broker, "file") == [LINES, b""]


def test_stdin_can_be_one_message(shared_broker: BrokerProcess) -> None:
    assert zchat("send", "whole", "-", "--whole", stdin=LINES, broker=shared_broker) == DONE
    assert zchat("send", "whole", "--whole", stdin=b"x" * 100_000, broker=shared_broker) == DONE
    assert bodies(shared_broker, "whole") == [LINES, b"x" * 100_000]


def test_what_is_longer_than_a_message_can_be_is_refused_unless_it_is_a_file(
    shared_broker: BrokerProcess, tmp_path: Path
) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"x" * (BODY_BYTES_MAX + 1))
    sent = zchat("send", "large", "--whole", stdin=path.read_bytes(), broker=shared_broker)
    assert sent == Result(
        "", f"zchat: standard input is longer than {BODY_BYTES_MAX} bytes, which no message may be\n", 2
    )
    for more in (["--event", "x"], ["--volatile"], ["--repeat", "2"]):
        sent = zchat("send", "large", "--file", str(path), *more, env={"ZCHAT_BROKER": "tcp://127.0.0.1:9"})
        assert sent.status == 2 and sent.stderr.startswith(
            f"zchat: {path} is larger than a message: it is not sent with"
        )
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["sh", "-c", f"echo small > {tmp_path / 'pipe'}"]):
        assert zchat("send", "large", "--file", str(tmp_path / "pipe"), broker=shared_broker) == DONE
    assert bodies(shared_broker, "large") == [b"small\n"]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["a", "x", "--whole"], "TEXT and --whole cannot go together"),
        (["a", "--file", "x", "--from-json"], "--file and --from-json cannot go together"),
        (["a", "--file", "not-there"], "not-there: No such file or directory"),
        (["a", "--repeat", "2"], "--repeat sends one message again: a TEXT, --file or --whole"),
        (["a", "x", "--delay", "1"], "--delay goes with --repeat"),
        (["--from-json", "--json"], "--json needs a ROOM: without one, --from-json sends to several"),
    ],
)
def test_what_cannot_be_sent_is_one_line(args: list[str], told: str) -> None:
    sent = zchat("send", *args, env={"ZCHAT_BROKER": "tcp://127.0.0.1:9"})
    assert (sent.stdout, sent.stderr, sent.status) == ("", f"zchat: {told}\n", 1 if "No such" in told else 2)


def test_a_message_can_be_repeated(shared_broker: BrokerProcess) -> None:
    assert zchat("send", "many", "x", "--repeat", "2500", broker=shared_broker) == DONE
    assert bodies(shared_broker, "many") == [b"x"] * 2500


def test_there_can_be_a_delay_between_them(shared_broker: BrokerProcess, start_zchat: Start) -> None:
    began = time.monotonic()
    sender = start_zchat("send", "beat", "x", "--repeat", "3", "--delay", "300ms", "--json", broker=shared_broker)
    eventually(lambda: sender.stdout.count("\n") == 1, "the first ack is printed while it waits")
    assert sender.end().stdout.count("\n") == 3
    assert time.monotonic() - began >= 0.6


def test_an_end_between_two_messages_loses_nothing_however_soon(
    shared_broker: BrokerProcess, start_zchat: Start
) -> None:
    with connect(shared_broker.address, "reader") as reader:
        for number in range(5):
            with reader.listen(f"soon.{number}") as heard:
                endless = start_zchat(
                    *("send", f"soon.{number}", "x", "--repeat", "1000", "--delay", "1h"), broker=shared_broker
                )
                assert heard.get(20).text == "x", "the first one is sent at once"
                assert endless.end(signal.SIGINT) == Result("", "", -signal.SIGINT)


def test_headers_may_have_a_colon(shared_broker: BrokerProcess) -> None:
    assert zchat("send", "headed", "x", "-H", "priority: high", "-H", "a=b", broker=shared_broker) == DONE
    shown = json.loads(zchat("history", "headed", "--json", broker=shared_broker).stdout)
    assert shown["headers"] == {"priority": "high", "a": "b"}


# --- what listen --json prints -----------------------------------------------------------------------


def test_a_room_is_mirrored_by_a_pipe(shared_broker: BrokerProcess) -> None:
    sent: list[tuple[str | bytes, str, dict[str, str]]] = [
        ("v1", "deploy", {"host": "web1"}),
        (b"\xff\x00", "message", {}),
        ("", "message", {}),
        ("a\nb", "log", {}),
    ]
    with connect(shared_broker.address, "alice") as alice:
        for body, event, headers in sent:
            alice.send("mirror.from", body, event=event, headers=headers)
    pipe = "$ZCHAT history mirror.from --presence --json | $ZCHAT send mirror.to --from-json"
    env = environment({"ZCHAT": " ".join(COMMAND), "ZCHAT_BROKER": shared_broker.address, "ZCHAT_USER": "mirror"})
    zchat("listen", "mirror.from", "-t", "0.01", broker=shared_broker)  # joins and leaves, which are of no other room
    assert subprocess.run(pipe, shell=True, env=env, check=True, capture_output=True).stderr == b""
    with connect(shared_broker.address, "reader") as reader:
        copies = [(m.user, m.body, m.event, dict(m.headers)) for m in reader.history("mirror.to")]
    expected = [(b.encode() if isinstance(b, str) else b, e, h) for b, e, h in sent]
    assert copies == [("mirror", *each) for each in expected]


def test_without_a_room_they_go_to_their_own(shared_broker: BrokerProcess) -> None:
    lines = ['{"room":"own.a","body":"1"}', '{"room":"own.b","body":"2","time":"x","more":[1]}']
    assert zchat("send", "--from-json", stdin="\n".join(lines), broker=shared_broker) == DONE
    assert (bodies(shared_broker, "own.a"), bodies(shared_broker, "own.b")) == ([b"1"], [b"2"])


def test_a_byte_order_mark_is_no_part_of_the_first_line(shared_broker: BrokerProcess) -> None:
    line = '{"room":"marked","body":"1"}\n'.encode("utf-8-sig")
    assert zchat("send", "--from-json", stdin=line, broker=shared_broker) == DONE
    assert bodies(shared_broker, "marked") == [b"1"]


def test_me_is_the_inbox_of_the_sender(shared_broker: BrokerProcess) -> None:
    assert zchat("send", "--from-json", stdin='{"room":"@me","body":"1"}\n', broker=shared_broker) == DONE
    assert zchat("history", "@me", "--raw", broker=shared_broker).stdout == "1\n"
    assert zchat("history", "@me", broker=shared_broker, env={"ZCHAT_USER": "me"}).stdout == ""


def test_options_go_before_what_the_line_says(shared_broker: BrokerProcess) -> None:
    line = '{"room":"x","body":"1","event":"a","headers":{"k":"v"},"offset":null}\n'
    sent = zchat("send", "over", "--from-json", "--event", "b", "--json", stdin=line, broker=shared_broker)
    assert sent.stdout == '{"room":"over","offset":null,"place":null}\n', "a volatile one stays volatile"
    line = line.replace("null", "7")
    assert zchat("send", "over", "--from-json", "--event", "b", stdin=line, broker=shared_broker) == DONE
    shown = json.loads(zchat("history", "over", "--json", broker=shared_broker).stdout)
    assert (shown["event"], shown["headers"]) == ("b", {"k": "v"})


def test_a_line_that_is_no_message_is_told_and_the_rest_goes_on(shared_broker: BrokerProcess) -> None:
    lines = [
        '{"room":"r","body":"1"}',
        "hello",
        '{"event":"gap","room":"r","first":1,"last":2,"reason":"trimmed","records":null}',
        '{"room":"r"}',
        '{"room":"r","body":"2","headers":{"k":1}}',
        '{"room":"r","event":"join","body":""}',
        '{"room":"a..b","body":"3"}',
        '{"room":"r","body":"4"}',
    ]
    sent = zchat("send", "--from-json", stdin="\n".join(lines) + "\n", broker=shared_broker)
    told = sent.stderr.splitlines()
    assert [line.split(" left out: ")[0] for line in told] == [f"zchat: line {number}" for number in (2, 4, 5, 7)]
    assert told[1].endswith("it has no body") and told[3].endswith('room "a..b": empty segment at position 2')
    assert sent.status == 1
    assert bodies(shared_broker, "r") == [b"1", b"4"]
