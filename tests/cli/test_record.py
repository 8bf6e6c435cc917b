"""`zchat record` and `zchat replay` over a real broker: each message once, whatever ends a recorder."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import BrokerProcess, Result, Running, eventually, zchat
from zchat import connect

pytestmark = pytest.mark.slow  # each starts processes

Start = Callable[..., Running]


def bodies(path: Path) -> list[str]:
    return [json.loads(line)["body"] for line in path.read_text().splitlines()]


def grows(path: Path, size: int) -> None:
    eventually(lambda: path.stat().st_size > size, "it records")


def test_it_goes_on_after_a_kill_and_has_each_message_once(
    broker: BrokerProcess, tmp_path: Path, start_zchat: Start
) -> None:
    path, sent = tmp_path / "ops.jsonl", 0
    with connect(broker.address, "ann") as ann:
        ann.send("ops.a", "before")
        for _ in range(3):
            recorder = start_zchat("record", str(path), "ops.**", "--since", "all", "-v", broker=broker).live()
            for _ in range(200):
                ann.publish(f"ops.{sent % 7}", str(sent))
                sent += 1
            grows(path, 100 * sent)
            recorder.end(signal.SIGKILL)
            with path.open("ab") as file:
                file.write(b'{"room":"ops.a","off')  # as a kill in the middle of a write leaves it
        ann.flush()
    done = zchat("record", str(path), "ops.**", "--timeout", "2", broker=broker)
    assert done == Result("", f"zchat: {path} ended in the middle of a line, which is cut off\n", 0)
    assert sorted(bodies(path)) == sorted(["before", *map(str, range(sent))])


def test_what_it_wrote_is_what_listen_prints_and_replays(broker: BrokerProcess, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with connect(broker.address, "ann") as ann:
        ann.send("a", "one", event="deploy", headers={"host": "web1"})
        ann.send("b", b"\xff")
        ann.send("a", "two")
    assert zchat("record", str(path), "a", "b", "--since", "all", "-n", "3", broker=broker) == Result("", "", 0)
    assert path.read_text() == zchat("history", "a", "b", "--json", broker=broker).stdout
    assert zchat("replay", str(path), "--to", "lab", "--speed", "max", broker=broker) == Result("", "", 0)
    assert zchat("replay", "-", stdin=path.read_bytes() + b"no message\n", broker=broker) == Result(
        "", "zchat: line 4 left out: no message of --json: JSON is malformed: invalid character (byte 4)\n", 1
    )
    with connect(broker.address, "ann") as ann:
        lab = list(ann.history("lab"))
        assert [(m.event, m.body, dict(m.headers)) for m in lab] == [
            ("deploy", b"one", {"host": "web1"}),
            ("message", b"\xff", {}),
            ("message", b"two", {}),
        ]
        assert [message.text for message in ann.history("a")] == ["one", "two"] * 2


def test_a_room_is_replayed_to_another_and_a_file_in_its_own_time(broker: BrokerProcess) -> None:
    zchat("send", "a", stdin="one\ntwo\n", broker=broker)
    assert zchat("replay", "a", "--to", "b", "--speed", "1", broker=broker) == Result("", "", 0)
    times = ("2026-09-20T12:00:00Z", "2026-09-20T12:00:02.5Z", "2026-09-20T12:00:01Z")
    lines = "".join(f'{{"time":"{at}","body":"{at}"}}\n' for at in times)
    assert zchat("replay", "-", "--to", "c", "--speed", "5", stdin=lines, broker=broker) == Result("", "", 0)
    with connect(broker.address, "ann") as ann:
        assert [message.text for message in ann.history("b")] == ["one", "two"]
        first, second, third = ann.history("c")
    assert [first.text, second.text, third.text] == list(times)
    assert zchat("replay", "-", "--to", "d", "--speed", "5", stdin=f"\ufeff{lines}".encode(), broker=broker) == Result(
        "", "", 0
    )
    with connect(broker.address, "ann") as ann:
        marked = list(ann.history("d"))
    assert marked[1].time - marked[0].time > 450_000, "a byte order mark hides no time"
    assert second.time - first.time > 450_000 and third.time - second.time < 400_000


def test_a_place_of_another_log_is_refused_and_a_gap_is_told(broker: BrokerProcess) -> None:
    zchat("send", "a", stdin="one\ntwo\n", broker=broker)
    other = zchat("replay", "a", "--to", "b", "--after", "1@0000000000000000", broker=broker)
    assert other.status == 4 and other.stderr.endswith(" [other-log]\n")
    zchat("purge", "a", broker=broker)
    eventually(lambda: not zchat("history", "a", "--raw", broker=broker).stdout, "it is gone")
    zchat("send", "a", "three", broker=broker)
    told = zchat("history", "a", broker=broker).stderr
    assert told.startswith("zchat: gap in a: ") and told.endswith(" (purged)\n")
    assert zchat("replay", "a", "--to", "b", "--speed", "max", broker=broker) == Result("", told, 0)
    assert zchat("history", "b", "--raw", broker=broker).stdout == "three\n"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["replay", "a"], "there is no file a; a room is replayed to another one, with --to ROOM"),
        (["replay", "a", "--to", "A"], "a is replayed to another room, not to itself"),
        (["replay", "/dev/null", "--to", "b", "--speed", "0"], '"0" is no speed, such as 1, 0.5, 10 or max'),
        (["record", "f", "a", "--last-per-room", "1"], "--last-per-room is no place from which to go on the next time"),
    ],
)
def test_what_cannot_be_is_one_line(args: list[str], told: str) -> None:
    result = zchat(*args, env={"ZCHAT_BROKER": "tcp://127.0.0.1:9"})
    assert result.status == 2 and told in result.stderr
