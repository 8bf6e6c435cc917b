"""`zchat history` over a real broker."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

import zchat as api
from tests.conftest import BrokerProcess, Result, zchat
from zchat.wire import OFFSET_MAX

pytestmark = pytest.mark.slow  # each starts processes


def fill(broker: BrokerProcess) -> BrokerProcess:
    assert zchat("send", "a", stdin="1\n2\n3\n4\n5\n", broker=broker).status == 0
    assert zchat("send", "b", "other", broker=broker).status == 0
    return broker


@pytest.fixture
def filled(broker: BrokerProcess) -> BrokerProcess:
    return fill(broker)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """The same, for tests that change nothing."""
    broker = BrokerProcess(tmp_path_factory.mktemp("kept")).start()
    yield fill(broker)
    broker.stop()


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """Another log, of four messages."""
    broker = BrokerProcess(tmp_path_factory.mktemp("other")).start()
    assert zchat("send", "a", stdin="1\n2\n3\n4\n", broker=broker).status == 0
    yield broker
    broker.stop()


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([], "1 2 3 4 5"),
        (["--last", "2"], "4 5"),
        (["--last", "99"], "1 2 3 4 5"),
        (["-n", "2"], "1 2"),
        (["--last", "3", "-n", "2"], "3 4"),
        (["--after", "0", "--limit", "1"], "1"),
        (["--since", "1h"], "1 2 3 4 5"),
        (["--since", "2100-01-01"], ""),
    ],
)
def test_it_prints_what_is_asked_for_and_ends(kept: BrokerProcess, args: list[str], expected: str) -> None:
    shown = zchat("history", "a", "--raw", *args, broker=kept)
    assert (shown.stdout.split(), shown.stderr, shown.status) == (expected.split(), "", 0)


def test_several_rooms_come_in_one_order(kept: BrokerProcess) -> None:
    for patterns in (["a", "b"], ["*"], ["**"]):
        lines = zchat("history", *patterns, "--json", broker=kept).stdout.splitlines()
        facts = [json.loads(line) for line in lines]
        assert [one["body"] for one in facts] == ["1", "2", "3", "4", "5", "other"]
        assert [one["offset"] for one in facts] == sorted(one["offset"] for one in facts)


def test_a_room_that_nobody_wrote_in_is_empty(broker: BrokerProcess) -> None:
    assert zchat("history", "nothing", broker=broker) == Result("", "", 0)


def test_it_outlives_the_broker(filled: BrokerProcess) -> None:
    filled.restart()
    assert zchat("history", "a", "--last", "5", "--raw", broker=filled).stdout.split() == ["1", "2", "3", "4", "5"]
    filled.kill()
    filled.start()
    assert zchat("history", "a", "--last", "5", "--raw", broker=filled).stdout.split() == ["1", "2", "3", "4", "5"]


def test_presence_is_in_the_history_on_request(filled: BrokerProcess) -> None:
    zchat("listen", "a", "-t", "0.1", "-u", "guest", broker=filled)
    shown = zchat("history", "a", "--presence", "--format", "{user} {event} {body}", broker=filled).stdout
    assert shown.splitlines()[-2:] == ["guest join ", "guest leave bye"]
    assert zchat("history", "a", "--raw", broker=filled).stdout.split() == ["1", "2", "3", "4", "5"]


def test_it_joins_no_room(filled: BrokerProcess) -> None:
    zchat("history", "b", broker=filled)
    assert zchat("history", "b", "--presence", "--format", "{event}", broker=filled).stdout == "message\n"


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("history", "--last"),
        ("history", "--after"),
        ("history", "--count"),
        ("listen", "--last"),
        ("listen", "--after"),
    ],
)
def test_a_number_that_no_log_can_have_is_one_line(command: str, option: str) -> None:
    shown = zchat(command, "a", option, str(OFFSET_MAX + 1))
    assert (shown.stdout, shown.stderr, shown.status) == ("", f"zchat: {option} is above {OFFSET_MAX}\n", 2)


def test_more_patterns_than_one_message_may_name_are_one_line(broker: BrokerProcess) -> None:
    for command in ("listen", "history"):
        shown = zchat(command, *(f"q{number}.*" for number in range(1025)), broker=broker)
        assert (shown.stdout, shown.stderr) == ("", "zchat: 1025 rooms and patterns, limit 1024\n")
        assert shown.status == 2


def test_a_wait_of_0_is_one_try(broker: BrokerProcess) -> None:
    assert zchat("history", "a", "--wait", "0", broker=broker).status == 0
    shown = zchat("history", "a", "--wait", "0", "-b", "tcp://127.0.0.1:9")
    assert (shown.stderr.splitlines()[0], shown.status) == (
        "zchat: no broker answered at tcp://127.0.0.1:9 within 1 s (connection refused, or nobody there)",
        3,
    )


def places(broker: BrokerProcess, *args: str) -> list[str]:
    shown = zchat("history", "a", "--json", *args, broker=broker)
    assert (shown.stderr, shown.status) == ("", 0)
    return [json.loads(line)["place"] for line in shown.stdout.splitlines()]


@pytest.mark.parametrize("command", [["history", "a"], ["listen", "a", "-e"], ["listen", "a", "-n", "2"]])
def test_what_json_prints_is_a_place_to_begin_after(filled: BrokerProcess, command: list[str]) -> None:
    place = places(filled)[2]
    assert place == zchat("history", "a", "-n", "3", "--format", "{place}", broker=filled).stdout.split()[2]
    shown = zchat(*command, "--raw", "--after", place, broker=filled)
    assert (shown.stdout.split(), shown.stderr, shown.status) == (["4", "5"], "", 0)


def test_places_of_acks_and_cursors_are_taken_too(filled: BrokerProcess) -> None:
    (sent,) = zchat("send", "a", "6", "--json", broker=filled).stdout.splitlines()
    assert places(filled, "--after", json.loads(sent)["place"]) == []
    (kept,) = zchat("cursors", "k", "--set", places(filled)[3], "--json", broker=filled).stdout.splitlines()
    assert json.loads(kept)["place"] == places(filled)[3]
    assert places(filled, "--after", json.loads(kept)["place"]) == places(filled)[4:]


@pytest.mark.parametrize("command", ["history a --after", "listen a -e --after", "listen a --after", "cursors k --set"])
def test_an_offset_of_another_log_or_above_the_head_is_refused(
    kept: BrokerProcess, other: BrokerProcess, command: str
) -> None:
    place = places(kept)[2]
    log_id = place.partition("@")[2]
    other_id = places(other)[0].partition("@")[2]
    refused = f"zchat: the broker refused: offset 3 is of log {log_id}, the broker has log {other_id} [other-log]\n"
    assert zchat(*command.split(), place, broker=other) == Result("", refused, 4)
    for offset in ("999", f"999@{other_id}"):
        refused = zchat(*command.split(), offset, broker=other).stderr
        assert refused == "zchat: the broker refused: offset 999 is above the head, 4 [bad-request]\n"


@pytest.mark.parametrize("text", ["-1", "x", "7@", "@x", "7 8", "7@a@b", "7.5", "1" * 5000])
def test_what_is_no_offset_is_one_line(text: str) -> None:
    shown = zchat("history", "a", f"--after={text}")
    assert shown.stderr.splitlines()[0].startswith("zchat: invalid value for '--after': ")
    assert (shown.stdout, shown.status) == ("", 2)


@pytest.mark.parametrize("command", [["history"], ["listen", "-e"], ["listen", "-n", "2"]])
def test_the_last_messages_are_counted_without_joins_and_leaves(broker: BrokerProcess, command: list[str]) -> None:
    for number in range(4):
        zchat("send", "a", str(number), broker=broker)
        with api.connect(broker.address, "guest") as guest, guest.listen("a"):
            pass
    shown = zchat(*command, "a", "--last", "2", "--presence", "--format", "{event}{body}", broker=broker).stdout
    assert shown.split()[:4] == ["message2", "join", "leavebye", "message3"]
    some = zchat(*command, "a", "--last", "4", "-n", "2", "--presence", "--format", "{event}{body}", broker=broker)
    assert (some.stdout.split(), some.status) == (["message0", "join", "leavebye", "message1"], 0)
