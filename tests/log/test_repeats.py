"""A publish that is sent again after a restart is found, however much was stored since the log was opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.log.contract import Scribe
from zchat import wire
from zchat.log import seeking
from zchat.log.sqlite import SqliteLog


def test_what_is_stored_since_does_not_hide_what_was_the_newest_when_the_log_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeking, "TAIL_BATCHES", 5)
    log = SqliteLog(tmp_path / "log")
    scribe = Scribe(log)
    entry = wire.RawEntry("alice", "s1", 4, wire.raw(wire.encode_records([b"1", b"2"])))
    scribe.keep(scribe.batch_of("a", [entry], 2))
    log.close()
    log = SqliteLog(tmp_path / "log")
    scribe = Scribe(log)
    for _ in range(20):
        scribe.write("b", b"since then")
    newer = wire.RawEntry("alice", "s1", 5, wire.raw(wire.encode_records([b"3"])))
    scribe.keep(scribe.batch_of("a", [newer], 1))
    assert log.find("s1", 4) == 1
    assert log.find("s1", 5) == 23
    assert log.find("s1", 6) == 0
    log.close()
