"""A log that is built at once is whole, or not there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.log.contract import Scribe, read
from zchat import wire
from zchat.errors import StartError
from zchat.log.offline import building
from zchat.log.offline.building import Builder
from zchat.log.offline.repairing import check
from zchat.log.sqlite import schema, stored
from zchat.log.sqlite.log import SqliteLog
from zchat.log.sqlite.state import RoomRow

OpenLog = Callable[..., SqliteLog]


def row(base: int, prev: int, room: int = 1) -> stored.BatchRow:
    entries = [wire.RawEntry("u", "s", base, wire.raw(wire.encode_records([b"x", b"y"])))]
    frame = wire.encode(wire.RawBatch(wire.MESSAGES, base, prev, base, entries))
    return stored.BatchRow.sealed(base, room, wire.MESSAGES, 2, base, frame)


def test_it_is_like_one_that_a_broker_wrote(open_log: OpenLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "COMMIT_ROWS", 3)
    identity = schema.new_identity()
    with Builder(tmp_path / schema.FILE, identity) as builder:
        builder.room(RoomRow(1, "a", 0, 0, 0, 0, 0))
        for base in range(1, 21, 2):
            builder.add(row(base, base - 1))
        builder.finish()
    assert {path.name for path in tmp_path.iterdir()} == {schema.FILE}
    log = open_log(tmp_path)
    assert (log.log_id, log.secret, log.head(), log.last_time()) == (*identity, 20, 19)
    assert len(read(log).batches) == 10 and not read(log).gaps
    assert Scribe(log).write("a", b"goes on").base == 21
    state = log._rooms.row(1)
    assert (state.records, state.bytes) == (21, sum(len(frame) for _, frame in read(log).batches))


def test_left_without_its_end_it_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Builder(tmp_path / schema.FILE) as builder:
        builder.room(RoomRow(1, "a", 0, 0, 0, 0, 0))
        builder.add(row(1, 0))
        _ = 1 / 0
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_line_and_leaves_nothing(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "COMMIT_ROWS", 1)
    with pytest.raises(StartError, match="cannot write"), Builder(small_disk / schema.FILE) as builder:
        builder.room(RoomRow(1, "a", 0, 0, 0, 0, 0))
        for number in range(100):
            base, *rest, _ = row(1 + 2 * number, 0)
            builder.add((base, *rest, bytes(2_000_000)))  # type: ignore[arg-type]
        builder.finish()
    assert not list(small_disk.iterdir())


def test_what_was_left_of_one_that_was_cut_short_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / f"{schema.FILE}{building.SUFFIX}").write_text("half")
    with Builder(tmp_path / schema.FILE) as builder:
        builder.finish()
    assert {path.name for path in tmp_path.iterdir()} == {schema.FILE}


@pytest.mark.slow
@pytest.mark.parametrize(("per_batch", "rooms"), [(1, 7), (64, 3), (5_000, 9)])
def test_the_script_for_large_logs_makes_sound_ones(
    open_log: OpenLog, tmp_path: Path, per_batch: int, rooms: int
) -> None:
    script = Path(__file__).parents[3] / "scripts" / "make_log.py"
    options = ["--records", "3001", "--per-batch", str(per_batch), "--rooms", str(rooms)]
    command = [sys.executable, str(script), str(tmp_path / "log"), *options]
    made = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (made.returncode, made.stdout) == (0, "") and "of 3,001 records" in made.stderr
    checked = check(tmp_path / "log", print)
    assert (checked.findings, checked.records, checked.head) == (0, 3001, 3001)
    log = open_log()
    assert log.head() == 3001 and len(log.rooms()) == min(rooms, -(-3001 // per_batch))
    log.close()
    again = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert again.returncode == 1 and "is there already" in again.stderr
