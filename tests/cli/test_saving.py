"""Large files over a real broker: `send --file`, `listen --save`, and who listens without it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import BrokerProcess, Result, Running, eventually, zchat
from tests.scripts import run
from zchat import connect

pytestmark = pytest.mark.slow  # each starts processes

Start = Callable[..., Running]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "report.pdf"
    found.write_bytes(os.urandom(2_000_000))
    return found


def test_a_file_is_saved_and_one_line_for_everybody_else(
    broker: BrokerProcess, path: Path, tmp_path: Path, start_zchat: Start
) -> None:
    saver = start_zchat("listen", "den", "--save", str(tmp_path / "in"), "-n", "3", "-v", broker=broker).live()
    other = start_zchat("listen", "den", "-n", "3", "-v", broker=broker).live()
    sent = zchat("send", "den", "--file", str(path), "--json", "-H", "by=me", broker=broker)
    assert (sent.stderr, sent.status, json.loads(sent.stdout)["room"]) == ("", 0, "den")
    (tmp_path / "notes").write_text("short")
    assert zchat("send", "den", "--file", str(tmp_path / "notes"), broker=broker) == Result("", "", 0)
    assert zchat("send", "den", "hi", broker=broker).status == 0
    saved, shown = saver.end(), other.end()
    assert (saved.status, shown.status) == (0, 0)
    at = tmp_path / "in"
    assert [line.partition("] ")[2] for line in saved.stdout.splitlines()] == [
        f"tester [file]: report.pdf, 2.0 MB, saved as {at / 'report.pdf'}",
        f"tester [file]: notes, 5 bytes, saved as {at / 'notes'}",
        "tester: hi",
    ]
    assert [line.partition("] ")[2] for line in shown.stdout.splitlines()] == [
        "tester [file]: report.pdf, 2.0 MB",
        "tester: short",
        "tester: hi",
    ]
    assert (at / "report.pdf").read_bytes() == path.read_bytes() and (at / "notes").read_text() == "short"
    assert sorted(os.listdir(at)) == ["notes", "report.pdf"]
    past = zchat("history", "den", broker=broker)
    assert past.stdout.count("\n") == 3 and "report.pdf, 2.0 MB" in past.stdout


def test_what_was_saved_is_an_object_and_a_kill_loses_nothing(
    broker: BrokerProcess, path: Path, tmp_path: Path, start_zchat: Start
) -> None:
    with connect(broker.address, "ann") as ann:
        ann.send_file("den", path)
        pieces = list(ann.history("den"))
        listen = ("listen", "den", "--save", str(tmp_path / "in"), "--resume", "c", "--json", "-v")
        first = start_zchat(*listen, broker=broker).live()
        for piece in pieces[:9]:
            ann.publish("den", piece.body, event="file", headers=piece.headers)
        ann.flush()
        eventually(
            lambda: [each.offset for each in ann.cursors()] == [] or list((tmp_path / "in").iterdir()), "it came"
        )
        first.end(signal.SIGKILL)
        second = start_zchat(*listen, "-n", "1", broker=broker).live()
        for piece in pieces[9:]:
            ann.publish("den", piece.body, event="file", headers=piece.headers)
        ann.flush()
        result = second.end()
    told = json.loads(result.stdout)
    assert told["path"] == str(tmp_path / "in" / "report.pdf") and told["size"] == 2_000_000
    assert told["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (tmp_path / "in" / "report.pdf").read_bytes() == path.read_bytes() and result.status == 0


def test_what_cannot_be_had_is_told_and_the_rest_comes(broker: BrokerProcess, path: Path, tmp_path: Path) -> None:
    with connect(broker.address, "ann") as ann:
        ann.send_file("den", path)
        ann.send_file("den", path)
    saved = zchat("listen", "den", "--after", "1", "--end", "--save", str(tmp_path / "in"), broker=broker)
    why = 'zchat: file "report.pdf": its beginning did not come (from ann in den)\n'
    assert (saved.stderr, saved.status) == (why, 1) and saved.stdout.count("\n") == 1
    refused = zchat("listen", "den", "--save", "x", "--raw", broker=broker)
    assert refused == Result("", "zchat: --save and --raw cannot go together\n", 2)


def test_a_large_file_arrives_whole_in_little_memory(tmp_path: Path) -> None:
    done = run("large_file.py", "--megabytes", "20", "--folder", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["arrived", "broker", "sender", "receiver"]
    assert list(tmp_path.iterdir()) == []
