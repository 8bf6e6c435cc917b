"""What a log keeps, by room and by user."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.log.contract import Scribe
from tests.log.sqlite.test_log import OpenLog
from zchat.core.log import CursorRow, SessionRow
from zchat.errors import StartError
from zchat.log.offline.usage import MOST, usage


def test_the_largest_the_newest_and_whose_they_are(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    scribe = Scribe(log)
    for number in range(MOST + 5):
        scribe.write(f"room-{number}", b"x" * (100 if number != 3 else 5_000), b"y")
    cursors = [CursorRow("mallory", str(number), 1, 1) for number in range(3)] + [CursorRow("alice", "phone", 1, 1)]
    scribe.keep(sessions=[SessionRow("s", "mallory", 1, 1, {})], cursors=cursors, seen={"bob": 7})
    time = scribe.time
    log.close()
    found = usage(tmp_path / "log")
    assert (found.rooms, found.records) == (MOST + 5, 2 * (MOST + 5))
    assert (found.sessions, found.cursors, found.users_seen) == (1, 4, 1)
    largest, newest = found.largest_rooms[0], found.newest_rooms[0]
    assert (largest.room, largest.records) == ("room-3", 2) and largest.bytes > 5_000
    assert (newest.room, newest.time) == (f"room-{MOST + 4}", time)
    assert len(found.largest_rooms) == len(found.newest_rooms) == MOST
    assert found.cursors_of == [("mallory", 3), ("alice", 1)] and found.sessions_of == [("mallory", 1)]
    assert found.bytes == sum(room.bytes for room in found.largest_rooms) + 5 * found.largest_rooms[-1].bytes


def test_the_log_of_a_running_broker_is_left_alone(open_log: OpenLog, tmp_path: Path) -> None:
    open_log()
    with pytest.raises(StartError, match="in use"):
        usage(tmp_path / "log")
