"""scripts/floods.py works: a second of two kinds is measured, and every kind makes what it says."""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import Any

import pytest

from tests.scripts import SCRIPTS, module, run
from zchat import wire
from zchat.errors import WireError
from zchat.settings import Settings


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> Any:
    return module(monkeypatch, "attacks.kinds")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    return module(monkeypatch, "floods")


@pytest.mark.slow
def test_two_kinds_are_measured() -> None:
    done = run("floods.py", "--only", "garbage,joins", "--seconds", "0.5", "--json", "-")
    assert done.returncode == 0, done.stdout + done.stderr
    table, _, data = done.stdout.partition("\n[")
    for found, row in zip(json.loads(f"[{data}"), table.splitlines()[2:], strict=True):
        assert row.startswith(f"| `{found['kind']}` | ")
        assert found["bytes_per_second"] > 1000 and found["connections"] > 0
        assert 0 < found["p50"] <= found["p99"] <= found["worst"]
        assert found["answers"] > 0 < found["peak_bytes"]
        assert found["complaints"] == []


@pytest.mark.slow
def test_what_runs_into_a_limit_meets_it_and_the_good_client_is_compared_with_before() -> None:
    done = run("floods.py", "--only", "user_cursors_max,publish_records_max", "--seconds", "0.7", "--json", "-")
    assert done.returncode == 0, done.stdout + done.stderr
    for found in json.loads(f"[{done.stdout.partition(chr(10) + '[')[2]}"):
        assert found["met"] > 0 and found["p99_before"] > 0 < found["p99"]


def test_a_kind_that_does_not_exist_is_a_usage_error() -> None:
    done = run("floods.py", "--only", "rain")
    assert done.returncode == 2
    assert "no kind rain; there are rooms-10000" in done.stderr


def test_a_missed_goal_is_seen(script: Any) -> None:
    good = {"worst": 0.5, "p99": 0.05, "back_seconds": 0.0, "peak_bytes": 100_000_000, "complaints": []}
    assert script.is_good(good)
    for name, value in {
        "worst": 1.5,
        "p99": 0.2,
        "back_seconds": 3.0,
        "peak_bytes": 700_000_000,
        "complaints": ["it ended"],
    }.items():
        assert not script.is_good({**good, name: value}), name
    assert not script.is_good({**good, "back_seconds": None})


MESSAGES = [
    *("rooms-10000", "who-lag", "who-lag-patterns", "who-lag-names", "who-rooms", "heads", "heads-patterns", "seeks"),
    *("sessions", "users", "new-rooms", "cursors", "joins", "crowding", "members", "headers", "pages"),
]


@pytest.mark.parametrize("name", MESSAGES)
def test_what_is_sent_are_messages_of_the_protocol(kinds: Any, name: str) -> None:
    for source in kinds.KINDS[name].sources:
        chunks = list(islice(source.makes(0, "0123456789abcdef"), 3))
        messages = [wire.decode_client(frame) for chunk in chunks for frame in frames(chunk)]
        assert isinstance(messages[0], wire.Hello) and len(messages) > 1


def test_what_runs_into_a_limit_are_messages_too_but_for_those_that_are_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, kind in module(monkeypatch, "attacks.limits").LIMITS.items():
        assert name in kind.limits and hasattr(Settings(), name)
        for source in kind.sources:
            if hasattr(source, "makes") and not source.publisher:
                chunks = list(islice(source.makes(0, "0123456789abcdef"), 3))
                assert [wire.decode_client(frame) for chunk in chunks for frame in frames(chunk)]


def test_garbage_is_none(kinds: Any) -> None:
    [source] = kinds.KINDS["garbage"].sources
    _, chunk = islice(source.makes(0, ""), 2)
    for frame in frames(chunk):
        with pytest.raises(WireError):
            wire.decode_records(frame[frame.index(b"storm.0\0") + 8 :])


def frames(chunk: bytes) -> list[bytes]:
    """Of whole messages of ZMTP 3."""
    found = []
    while chunk:
        size, start = (int.from_bytes(chunk[1:9], "big"), 9) if chunk[0] & 2 else (chunk[1], 2)
        found.append(chunk[start : start + size])
        chunk = chunk[start + size :]
    return found


def test_the_docs_have_a_row_of_each_kind(kinds: Any) -> None:
    text = (SCRIPTS.parent / "docs" / "benchmarks.md").read_text()
    told = dict(re.findall(r"^\| `([\w-]+)` \| (.*?) \| [\d.]+ MB/s \|", text, re.M))
    assert told == {name: kind.what for name, kind in kinds.KINDS.items()} | {kinds.TOGETHER: "all of these together"}


def test_the_docs_tell_of_each_script() -> None:
    told = "".join(path.read_text() for path in [*SCRIPTS.parent.glob("*.md"), *SCRIPTS.parent.glob("docs/*.md")])
    assert [path.name for path in SCRIPTS.glob("*.py") if f"scripts/{path.name}" not in told] == []
