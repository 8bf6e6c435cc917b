"""`zchat listen` over a real broker."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from threading import Timer

import pytest

from tests.conftest import BrokerProcess, Running, eventually, zchat
from zchat import connect

pytestmark = pytest.mark.slow  # each starts processes

Start = Callable[..., Running]


def send(broker: BrokerProcess, room: str, *bodies: str, user: str = "alice") -> None:
    lines = "".join(f"{body}\n" for body in bodies)
    done = zchat("send", room, stdin=lines, broker=broker, env={"ZCHAT_USER": user})
    assert (done.stdout, done.stderr, done.status) == ("", "", 0)


def test_a_line_is_printed_as_it_comes(broker: BrokerProcess, start_zchat: Start) -> None:
    listener = start_zchat("listen", "general", "-v", broker=broker).live()
    send(broker, "general", "hello")
    eventually(lambda: listener.stdout, "the line is printed while the listener goes on")
    assert re.fullmatch(r"\[\d\d:\d\d:\d\d\] alice: hello\n", listener.stdout)
    assert re.fullmatch(r"zchat: live from offset \d+\n", listener.stderr)


def test_nothing_is_said_on_stderr_when_it_is_no_terminal(broker: BrokerProcess) -> None:
    send(broker, "a", "1")
    shown = zchat("listen", "a", "--last", "1", "-n", "1", "--raw", broker=broker)
    assert (shown.stdout, shown.stderr, shown.status) == ("1\n", "", 0)


def test_a_pattern_prints_each_room_with_its_name(broker: BrokerProcess, start_zchat: Start) -> None:
    listener = start_zchat("listen", "build.*", "-v", "-n", "2", broker=broker).live()
    send(broker, "build.linux", "ok")
    send(broker, "builds", "no")
    send(broker, "build.mac", "ok")
    lines = listener.end().stdout.splitlines()
    assert [line.partition("] ")[2] for line in lines] == ["#build.linux alice: ok", "#build.mac alice: ok"]


@pytest.mark.parametrize(
    ("start", "expected"),
    [(["--last", "2"], ["2", "3"]), (["--after", "0"], ["1", "2", "3"]), (["--since", "1h"], ["1", "2", "3"])],
)
def test_it_begins_where_it_is_told(broker: BrokerProcess, start: list[str], expected: list[str]) -> None:
    send(broker, "a", "1", "2", "3")
    shown = zchat("listen", "a", *start, "-n", str(len(expected)), "--raw", "-t", "10", broker=broker)
    assert (shown.stdout.split(), shown.status) == (expected, 0)


def test_after_an_offset_comes_what_was_stored_later(broker: BrokerProcess) -> None:
    send(broker, "a", "1", "2", "3")
    first = json.loads(zchat("listen", "a", "--after", "0", "-n", "1", "--json", broker=broker).stdout)
    shown = zchat("listen", "a", "--after", str(first["offset"]), "-n", "2", "--raw", broker=broker)
    assert shown.stdout == "2\n3\n"


@pytest.mark.parametrize("args", [["-e"], ["--end", "--after", "0"]])
def test_it_ends_where_history_ends(broker: BrokerProcess, args: list[str]) -> None:
    send(broker, "a", "1", "2")
    shown = zchat("listen", "a", "--raw", *args, broker=broker)
    assert (shown.stdout, shown.stderr, shown.status) == ("1\n2\n", "", 0)


def test_a_count_that_is_not_reached_in_time_is_status_124(broker: BrokerProcess) -> None:
    send(broker, "a", "1")
    shown = zchat("listen", "a", "--last", "9", "-n", "3", "-t", "2", "--raw", broker=broker)
    assert (shown.stdout, shown.status) == ("1\n", 124)
    assert shown.stderr == "zchat: 1 of 3 messages came within 2 s\n"


def test_a_timeout_without_a_count_is_a_good_end(broker: BrokerProcess) -> None:
    shown = zchat("listen", "a", "-t", "0.2", broker=broker)
    assert (shown.stdout, shown.stderr, shown.status) == ("", "", 0)


def test_option_names_of_other_tools_work(broker: BrokerProcess) -> None:
    send(broker, "a", "1")
    for args in (["-C", "1", "-W", "5"], ["-c", "1"]):
        assert zchat("sub", "a", "--last", "1", "--raw", *args, broker=broker).stdout == "1\n"
    assert zchat("sub", "a", "-e", "-F", "{body}!", broker=broker).stdout == "1!\n"


def test_json_is_one_object_a_line(broker: BrokerProcess) -> None:
    send(broker, "a", "1", "2")
    lines = zchat("listen", "a", "-e", "--json", broker=broker).stdout.splitlines()
    facts = [json.loads(line) for line in lines]
    assert [list(one) for one in facts] == [["room", "offset", "place", "user", "time", "event", "body", "headers"]] * 2
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", facts[0]["time"])
    assert facts[0]["offset"] < facts[1]["offset"]


def test_raw_is_byte_for_byte(broker: BrokerProcess) -> None:
    zchat("send", "a", stdin=b"\x1b[2J\x00 \xc3\xa9\n", broker=broker)
    assert zchat("listen", "a", "-e", "--raw", broker=broker).stdout == "\x1b[2J\x00 é\n"


def test_what_people_see_has_no_control_characters(broker: BrokerProcess) -> None:
    zchat("send", "a", stdin="\x1b[2J\u202eab\x07\u009b2J\n".encode(), broker=broker)
    shown = zchat("listen", "a", "-e", broker=broker).stdout
    assert not set("\x1b\u202e\x07\u009b") & set(shown) and shown.count("\n") == 1


def test_joins_and_leaves_are_shown_on_request(broker: BrokerProcess, start_zchat: Start) -> None:
    watcher = start_zchat("listen", "a", "--presence", "-v", broker=broker).live()
    guest = start_zchat("listen", "a", "-v", broker=broker, env={"ZCHAT_USER": "guest"}).live()
    eventually(lambda: "* guest joined" in watcher.stdout, "the join is shown")
    assert guest.end(signal.SIGTERM).status == -signal.SIGTERM
    eventually(lambda: "* guest left\n" in watcher.stdout, "the leave is shown, with no reason for a bye")


def test_no_self_leaves_out_what_the_same_user_sent(broker: BrokerProcess) -> None:
    send(broker, "a", "mine", user="me")
    send(broker, "a", "theirs", user="them")
    shown = zchat("listen", "a", "-e", "--no-self", "--raw", "-u", "ME", broker=broker)
    assert shown.stdout == "theirs\n"


def test_a_listener_goes_on_after_the_broker_was_restarted(broker: BrokerProcess, start_zchat: Start) -> None:
    listener = start_zchat("listen", "a", "--raw", "-v", broker=broker).live()
    send(broker, "a", "before")
    eventually(lambda: listener.stdout == "before\n", "the first message is printed")
    broker.restart()
    send(broker, "a", "after")
    eventually(lambda: listener.stdout == "before\nafter\n", "the second one is printed", within=20)
    eventually(lambda: "zchat: back, " in listener.stderr, "stderr says that it is back")
    assert "zchat: connection lost" in listener.stderr
    assert "gap" not in listener.stderr


def test_a_broker_with_another_log_is_a_gap_on_stderr_and_in_json(
    start_broker: Callable[..., BrokerProcess], start_zchat: Start
) -> None:
    broker = start_broker("--memory")
    listener = start_zchat("listen", "a", "--json", broker=broker, env={"ZCHAT_USER": "x"})
    eventually(lambda: "a" in zchat("rooms", "--json", broker=broker).stdout, "the listener has joined")
    send(broker, "a", "before")
    eventually(lambda: "before" in listener.stdout, "the first message is printed")
    broker.restart()
    eventually(lambda: '"event":"gap"' in listener.stdout, "the gap is told", within=20)
    send(broker, "a", "after")
    eventually(lambda: "after" in listener.stdout, "the next message is printed", within=20)
    gap = json.loads(listener.lines[1])
    assert list(gap) == ["event", "room", "first", "last", "reason", "records"] and gap["reason"] == "log"
    assert listener.stderr == "zchat: gap: the broker has another log than before, its offsets begin anew\n"


def test_a_publisher_of_volatile_messages_waits_for_a_listener_that_stood_still_for_a_moment(
    broker: BrokerProcess, start_zchat: Start
) -> None:
    """More than its connection holds are sent meanwhile, and it loses none."""
    count, body = 30_000, b"x" * 3_000
    listener = start_zchat("listen", "load", "--raw", "-n", str(count), "-v", broker=broker).live()
    with connect(broker.address, "alice") as alice:
        for number in range(count):
            alice.publish("load", body, volatile=True)
            if number == 1_000:
                listener.process.send_signal(signal.SIGSTOP)
                Timer(0.4, listener.process.send_signal, [signal.SIGCONT]).start()
        alice.flush(timeout=60)
    ended = listener.end(within=60)
    assert (ended.status, ended.stdout.count("\n"), "gap" in ended.stderr) == (0, count, False)


def test_volatile_messages_that_a_stopped_listener_lost_are_told_with_their_number(
    broker: BrokerProcess, start_zchat: Start
) -> None:
    """More than its connection holds are sent while it stands still."""
    listener = start_zchat("listen", "load", "--json", "-v", broker=broker).live()
    body, sent = b"x" * 60_000, 1
    with connect(broker.address, "alice") as alice:
        alice.send("load", "first", volatile=True)
        eventually(lambda: listener.lines, "the first one is printed")
        listener.process.send_signal(signal.SIGSTOP)
        for _ in range(2_000):
            alice.publish("load", body, volatile=True)
            sent += 1
        alice.flush(timeout=60)
        listener.process.send_signal(signal.SIGCONT)

        def is_told() -> bool:
            nonlocal sent
            alice.send("load", "more", volatile=True)
            sent += 1
            return "volatile" in listener.stderr

        eventually(is_told, "the loss is told", within=30)
        alice.send("load", "last", volatile=True)
    eventually(lambda: '"body":"last"' in listener.stdout, "the last one is printed", within=30)
    printed = [json.loads(line) for line in listener.lines]
    gaps = [each for each in printed if each["event"] == "gap"]
    lost = sum(gap["records"] for gap in gaps)
    assert all((gap["room"], gap["reason"], gap["first"]) == ("load", "volatile", None) for gap in gaps)
    assert len(printed) - len(gaps) + lost == sent + 1
    assert f"gap in load: {gaps[0]['records']} volatile messages lost on the way" in listener.stderr
