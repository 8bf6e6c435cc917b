"""A copy of a log is what the log was at one moment, also while it is written, trimmed and checked."""

from __future__ import annotations

import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from tests.log.contract import Scribe, read_all
from tests.log.damage import change, overwrite, pages_of
from tests.log.sqlite.test_log import OpenLog
from zchat import wire
from zchat.core.log import CursorRow, GroupRow, RetentionRule, ScheduledRow, SessionRow
from zchat.errors import StartError
from zchat.log.offline import backup
from zchat.log.offline.backup import BackedUp
from zchat.log.offline.repairing import Finding, check
from zchat.log.sqlite import schema
from zchat.log.sqlite.log import SqliteLog


def restored(tmp_path: Path, made: BackedUp) -> Path:
    """A folder with that copy; nothing is wrong with it."""
    folder = tmp_path / f"restored-{made.path.name}"
    folder.mkdir()
    shutil.copyfile(made.path, folder / schema.FILE)
    findings: list[Finding] = []
    checked = check(folder, findings.append)
    assert not findings and (checked.rooms, checked.records, checked.head) == (made.rooms, made.records, made.head)
    return folder


@pytest.mark.parametrize("runs", [True, False])
def test_a_copy_is_the_whole_log(open_log: OpenLog, tmp_path: Path, runs: bool) -> None:
    log = open_log()
    scribe = Scribe(log)
    for number in range(700):
        scribe.write(f"room {number % 7}".replace(" ", "-"), b"%d" % number)
    cursor, session = CursorRow("alice", "phone", 3, 1), SessionRow("s", "alice", 3, 4, {"room-1": 5})
    group = GroupRow("room-1", "workers", 9, 3, 2, [(4, 5, 1)])
    later = ScheduledRow("alice", "5f3a", "alice", "s", "room-1", 9, "-", b"\x91\xc4\x01x")
    scribe.keep(sessions=[session], cursors=[cursor], seen={"bob": 7}, groups=[group], scheduled=[later])
    was = (log.log_id, log.secret, log.starts(), read_all(log), log.rooms())
    if not runs:
        log.close()
    told: list[tuple[int, int]] = []
    made = backup.backup(tmp_path / "log", tmp_path / "copy.db", lambda done, all_: told.append((done, all_)))
    assert made.path.stat().st_mode & 0o777 == 0o600 and told and told[-1][0] <= told[-1][1]
    assert not list(tmp_path.glob("copy.db?*")), "it leaves nothing else"
    copy = open_log(restored(tmp_path, made))
    assert (copy.log_id, copy.secret, copy.starts()[:-1], read_all(copy), copy.rooms()) == was
    assert (copy.sessions(), copy.cursors(), copy.users_seen(9)) == ([session], [cursor], [("bob", 7)])
    assert (copy.groups(), copy.scheduled()) == ([group], [later])


def test_what_a_killed_broker_left_in_its_wal_is_copied(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    Scribe(log).write("a", b"x")
    shutil.copytree(tmp_path / "log", tmp_path / "killed")
    assert (tmp_path / "killed" / "log.db-wal").stat().st_size
    made = backup.backup(tmp_path / "killed", tmp_path / "copy.db")
    assert (made.records, made.head) == (1, 1)
    restored(tmp_path, made)


def test_a_copy_of_a_log_that_is_written_and_trimmed_meanwhile_is_of_one_moment(
    open_log: OpenLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(sync="normal")
    scribe, ended = Scribe(log), threading.Event()
    for number in range(3_000):
        scribe.write(f"r{number % 5}", b"x" * 300, kind=wire.PRESENCE if number % 4 == 0 else wire.MESSAGES)
    monkeypatch.setattr(backup, "STEP_ROWS_MAX", 50)  # many steps, between which the log changes

    def write() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            scribe.write(f"r{number % 6}", b"y" * 300, kind=wire.PRESENCE if number % 4 == 0 else wire.MESSAGES)
            if number % 50 == 0:
                log.trim([RetentionRule("**", records=400)], scribe.time)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            head = log.head()
            made = backup.backup(tmp_path / "log", tmp_path / f"copy-{number}.db")
            assert made.head >= head
            restored(tmp_path, made)
    finally:
        ended.set()
        writer.join()


def test_it_keeps_no_read_open_for_long(open_log: OpenLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody reads, the WAL of a busy broker cannot begin anew."""
    log = open_log(sync="normal")
    scribe = Scribe(log)
    for _ in range(2_000):
        scribe.write("a", b"x" * 100)
    monkeypatch.setattr(backup, "STEP_ROWS_MAX", 100)
    sizes = list[int]()

    def meanwhile(done: int, head: int) -> None:
        if done < 2_000:  # more than the steps copy
            for _ in range(20):
                scribe.write("a", b"x" * 60_000)
        sizes.append((tmp_path / "log" / "log.db-wal").stat().st_size)

    made = backup.backup(tmp_path / "log", tmp_path / "copy.db", meanwhile)
    assert len(sizes) > 10 and max(sizes) < 16 << 20
    restored(tmp_path, made)


def test_into_a_folder_it_is_a_data_folder(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    Scribe(log).write("a", b"x")
    (tmp_path / "copy").mkdir()
    made = backup.backup(tmp_path / "log", tmp_path / "copy")
    assert made.path == tmp_path / "copy" / schema.FILE
    assert open_log(tmp_path / "copy").head() == 1


def refused(folder: Path, target: Path) -> str:
    with pytest.raises(StartError) as raised:
        backup.backup(folder, target)
    assert not list(target.parent.glob("*.making*"))
    return str(raised.value)


def test_nothing_is_overwritten(open_log: OpenLog, tmp_path: Path) -> None:
    open_log()
    (tmp_path / "there").write_text("precious")
    assert "overwrites nothing" in refused(tmp_path / "log", tmp_path / "there")
    assert "overwrites nothing" in refused(tmp_path / "log", tmp_path / "log")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "overwrites nothing" in refused(tmp_path / "log", tmp_path / "link")
    assert (tmp_path / "there").read_text() == "precious"


def test_what_cannot_be_copied_is_one_line(open_log: OpenLog, tmp_path: Path) -> None:
    assert "there is no log" in refused(tmp_path, tmp_path / "copy.db")
    open_log().close()
    assert "No such file" in refused(tmp_path / "log", tmp_path / "none" / "copy.db")
    change(tmp_path / "log", "PRAGMA user_version=3")
    assert "has format 3" in refused(tmp_path / "log", tmp_path / "copy.db")
    change(tmp_path / "log", "PRAGMA user_version=9")
    assert "newer zchat" in refused(tmp_path / "log", tmp_path / "copy.db")


def test_a_damaged_log_is_not_passed_off_as_a_good_copy(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    for _ in range(300):
        Scribe(log).write("a", b"x" * 300)
    log.close()
    overwrite(tmp_path / "log", pages_of(tmp_path / "log", "batches")[3], b"\xff" * schema.PAGE_BYTES)
    assert "is damaged" in refused(tmp_path / "log", tmp_path / "copy.db")


def test_a_disk_without_room_is_told_before(open_log: OpenLog, tmp_path: Path, small_disk: Path) -> None:
    open_log()
    subprocess.run(["fallocate", "-l", "40M", small_disk / "full"], check=True)
    assert "of free space" in refused(tmp_path / "log", small_disk / "copy.db")


def test_a_log_on_a_disk_that_is_read_only_is_copied(mounted: Path, tmp_path: Path) -> None:
    log = SqliteLog(mounted / "log")
    Scribe(log).write("a", b"x")
    log.close()
    subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
    assert backup.backup(mounted / "log", tmp_path / "copy.db").records == 1
