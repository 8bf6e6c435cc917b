"""`zchat log`: check, repair, export and import over a folder that a real broker filled."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import COMMAND, BrokerProcess, Result, Running, environment, eventually, zchat

pytestmark = pytest.mark.slow  # each starts processes


def run(action: str, folder: Path, *args: str, stdin: str | None = None) -> Result:
    return zchat("log", action, "--data", str(folder), *args, stdin=stdin)


@pytest.fixture
def folder(broker: BrokerProcess) -> Path:
    """With ten messages and a join and leave in two rooms; its broker has stopped."""
    zchat("send", "a", stdin="".join(f"{number}\n" for number in range(8)), broker=broker)
    zchat("send", "会议", "你好", "-H", "k=v", "--event", "note", broker=broker)
    zchat("send", "a", stdin=b"\xff\n", broker=broker)
    zchat("listen", "a", "-t", "0.1", broker=broker)
    broker.stop()
    return broker.folder / "data"


def damage(folder: Path) -> None:
    """Change one byte of the first batch."""
    database = sqlite3.connect(folder / "log.db")
    base, frame = database.execute("SELECT base, frame FROM batches ORDER BY base LIMIT 1").fetchone()
    database.execute("UPDATE batches SET frame = ? WHERE base = ?", (frame[:-1] + bytes([frame[-1] ^ 1]), base))
    database.commit()
    database.close()


def test_a_whole_log_has_no_finding(folder: Path) -> None:
    checked = run("check", folder)
    assert (checked.stdout, checked.status) == ("", 0)
    assert checked.stderr == "zchat: 2 rooms, 12 records, head 12: 0 findings\n"


def test_a_damaged_log_is_found_repaired_and_served_with_its_gap(folder: Path, broker: BrokerProcess) -> None:
    damage(folder)
    checked = run("check", folder, "--json")
    (finding,) = map(json.loads, checked.stdout.splitlines())
    assert (checked.status, finding["kind"], finding["room"], finding["first"]) == (1, "batch", "a", 1)
    repaired = run("repair", folder)
    assert (repaired.stdout, repaired.status) == ("", 0)
    assert "zchat: lost in a: offsets 1 to " in repaired.stderr and "the old database is " in repaired.stderr
    assert run("check", folder).status == 0
    broker.start()
    shown = zchat("history", "a", "会议", "--json", broker=broker)
    bodies = [one["body"] for one in map(json.loads, shown.stdout.splitlines()) if "body" in one]
    assert bodies[-1] == "你好" and "0" not in bodies
    assert shown.stderr.startswith("zchat: gap in a: offsets 1 to ")


def test_what_is_exported_and_imported_is_exported_again_the_same(folder: Path, tmp_path: Path) -> None:
    exported = run("export", folder)
    lines = [json.loads(line) for line in exported.stdout.splitlines()]
    assert (exported.stderr, exported.status, len(lines)) == ("", 0, 12)
    assert [line["offset"] for line in lines] == list(range(1, 13))
    imported = run("import", tmp_path / "new", stdin=exported.stdout)
    assert (imported.stdout, imported.status) == ("", 0)
    assert imported.stderr.startswith("zchat: 12 records of 2 rooms imported into ")
    assert run("export", tmp_path / "new") == exported
    assert run("import", tmp_path / "new", stdin=exported.stdout).status == 1  # there is a log now


def test_an_export_is_one_json_line_after_the_other_in_a_pipe_that_closes(folder: Path) -> None:
    command = " ".join([*COMMAND, "log", "export", "--data", str(folder), "| head -1"])
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=environment())
    assert json.loads(done.stdout)["offset"] == 1 and done.stderr == ""


def test_a_line_that_is_none_leaves_no_log(tmp_path: Path) -> None:
    imported = run("import", tmp_path / "new", stdin='{"room":"a","offset":1,"user":"u"}\nnothing\n')
    assert (imported.stdout, imported.status, imported.stderr.count("\n")) == ("", 1, 1)
    assert imported.stderr.startswith("zchat: line ")
    assert run("export", tmp_path / "new").status == 1


@pytest.mark.parametrize("action", ["check", "repair", "export"])
def test_the_log_of_a_running_broker_is_left_alone(broker: BrokerProcess, action: str) -> None:
    shown = run(action, broker.folder / "data")
    assert (shown.stdout, shown.status, shown.stderr.count("\n")) == ("", 1, 1)
    assert "is in use" in shown.stderr or "running" in shown.stderr


def test_what_to_do_is_said_in_one_line() -> None:
    missing, wrong = zchat("log"), zchat("log", "mend")
    assert (missing.status, missing.stdout, wrong.status, wrong.stdout) == (2, "", 2, "")
    assert missing.stderr.splitlines()[0] == "zchat: missing argument 'check|repair|export|import|backup|usage|remove'"
    assert '"mend" is none of check, repair, export, import' in wrong.stderr
    assert "\\" not in missing.stderr + wrong.stderr


def test_a_sound_log_is_not_replaced_by_a_repair(folder: Path) -> None:
    before = {path.name for path in folder.iterdir()}
    repaired = run("repair", folder)
    assert (repaired.stdout, repaired.status) == ("", 0)
    assert repaired.stderr == "zchat: nothing is damaged; the log stays as it is\n"
    assert {path.name for path in folder.iterdir()} == before


def test_times_that_go_back_are_told_by_an_import(tmp_path: Path) -> None:
    line = '{"room":"a","offset":%d,"user":"u","time":"1970-01-01T00:00:0%dZ"}\n'
    imported = run("import", tmp_path / "new", stdin=line % (1, 5) + line % (2, 3) + line % (3, 4))
    assert imported.status == 0
    assert imported.stderr.startswith(
        "zchat: the time of 2 records went back, and was set to that of the record before\n"
    )


@pytest.mark.parametrize("action", ["check", "repair", "export"])
def test_a_folder_without_a_log_is_one_line(tmp_path: Path, action: str) -> None:
    shown = run(action, tmp_path / "none")
    assert (shown.stdout, shown.status, shown.stderr.count("\n")) == ("", 1, 1)
    assert not (tmp_path / "none").exists()


def test_a_terminal_sees_no_control_character_of_a_finding(folder: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "log", "check", "--data", str(folder)], stdout=theirs, stderr=theirs, env=environment()
    )
    os.close(theirs)
    assert process.wait(timeout=20) == 0
    shown = os.read(ours, 65_536).decode()
    os.close(ours)
    assert shown.endswith("0 findings\r\n")


# --- what is done to the folder of a running broker ---------------------------------------------


def test_without_its_lock_file_a_second_broker_is_refused(broker: BrokerProcess) -> None:
    data = broker.folder / "data"
    (data / "log.lock").unlink()
    second = zchat("broker", "--bind", "tcp://127.0.0.1:0", "--data", str(data))
    assert (second.stdout, second.status) == ("", 1) and "in use" in second.stderr
    assert zchat("send", "a", "still here", broker=broker).status == 0
    eventually(lambda: zchat("send", "a", "x", broker=broker) and (data / "log.lock").exists(), "it is made again")


def test_a_wal_that_is_removed_and_a_kill_lose_nothing_that_was_acked(broker: BrokerProcess) -> None:
    data = broker.folder / "data"
    assert zchat("send", "a", stdin="".join(f"{number}\n" for number in range(50)), broker=broker).status == 0
    (data / "log.db-wal").unlink()
    refused = eventually(lambda: (done := zchat("send", "a", "x", broker=broker)).status and done, "it refuses")
    assert refused.status == 4 and "has to be started again" in refused.stderr
    assert "log.db-wal" in broker.stderr()
    broker.kill()
    assert run("check", data).status == 0
    broker.start()
    shown = zchat("history", "a", "--raw", broker=broker).stdout.split()
    assert shown[:50] == [str(number) for number in range(50)]


def test_a_database_that_was_put_back_is_told(broker: BrokerProcess) -> None:
    data = broker.folder / "data"
    assert zchat("send", "a", "in the database", broker=broker).status == 0
    broker.stop()
    shutil.copyfile(data / "log.db", data / "older")
    broker.start()
    assert zchat("send", "a", stdin="1\n2\n3\n", broker=broker).status == 0
    eventually(lambda: (data / "log.lock").read_text().split()[-1] == "4", "the head is noted")
    broker.kill()
    (data / "log.db-wal").unlink()
    (data / "older").rename(data / "log.db")
    checked = run("check", data)
    assert checked.status == 1 and "went up to 4 when it was written last" in checked.stdout
    broker.start()
    assert "went up to 4 when it was written last" in broker.stderr()


# --- backup, usage, remove ----------------------------------------------------------------------


def test_a_backup_under_load_is_restored_and_listeners_are_told(
    broker: BrokerProcess, start_zchat: Callable[..., Running], tmp_path: Path
) -> None:
    data, copy = broker.folder / "data", tmp_path / "copy.db"
    listener = start_zchat("listen", "load", "--json", "-v", broker=broker).live()
    sender = start_zchat("send", "load", "-", broker=broker)
    sent = 0

    def send(number: int) -> None:
        nonlocal sent
        sender.write("".join(f"{each}\n" for each in range(sent, sent + number)))
        sent += number

    send(2_000)
    eventually(lambda: listener.stdout.count("\n") >= 500, "there is something to copy")
    backing = start_zchat("log", "backup", str(copy), "--data", str(data))
    while backing.process.poll() is None:
        send(50)
    made = backing.end()
    assert made.status == 0 and f"copied to {copy}" in made.stderr, made.stderr
    send(500)
    assert sender.end().status == 0
    eventually(lambda: f'"body":"{sent - 1}"' in listener.stdout, "all is heard", within=30)
    broker.stop()
    shutil.rmtree(data)
    data.mkdir()
    shutil.copyfile(copy, data / "log.db")
    checked = run("check", data)
    assert checked.status == 0 and "0 findings" in checked.stderr
    broker.start()
    eventually(lambda: '"reason":"log"' in listener.stdout, "the gap is told")
    assert zchat("send", "load", "new", broker=broker).status == 0
    eventually(lambda: '"body":"new"' in listener.stdout, "it goes on")
    heard = [json.loads(line) for line in listener.end(signal.SIGTERM).stdout.splitlines()]
    (at,) = [number for number, one in enumerate(heard) if one["event"] == "gap"]
    gap = heard[at]
    assert [one["body"] for one in heard[:at]] == [str(number) for number in range(sent)]
    assert 500 <= gap["first"] - 1 < gap["last"] and gap["room"] is None
    assert [one["body"] for one in heard[at + 1 :]] == ["new"]


def test_a_target_that_is_there_is_not_overwritten(broker: BrokerProcess, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("precious")
    made = run("backup", broker.folder / "data", str(tmp_path / "there"))
    assert (made.stdout, made.status) == ("", 1) and "overwrites nothing" in made.stderr


def test_what_is_kept_is_shown_and_removed(folder: Path) -> None:
    shown = run("usage", folder)
    assert shown.status == 0 and shown.stdout.startswith("2 rooms, 12 records, ")
    used = json.loads(run("usage", folder, "--json").stdout)
    assert [room["room"] for room in used["newest_rooms"]] == ["会议", "a"] and used["records"] == 12
    would = run("remove", folder, "--rooms", "a", "--sessions-of", "*", "--seen", "*", "--dry-run")
    assert would.status == 0 and "1 room with 11 records" in would.stderr and "would be removed" in would.stderr
    removed = run("remove", folder, "--rooms", "a", "--sessions-of", "*", "--seen", "*")
    assert removed.stderr == would.stderr.replace("would be removed", "removed")
    used = json.loads(run("usage", folder, "--json").stdout)
    assert (used["rooms"], used["sessions"], used["users_seen"]) == (1, 0, 0)
    assert run("check", folder).stderr == "zchat: 1 rooms, 1 record, head 12: 0 findings\n"


@pytest.mark.parametrize(
    "args",
    [
        ["backup"],
        ["check", "somewhere"],
        ["remove"],
        ["remove", "--dry-run"],
        ["check", "--rooms", "a"],
        ["usage", "--dry-run"],
        ["export", "--json"],
        ["remove", "--rooms", "a..b"],
    ],
)
def test_options_of_another_action_are_refused(tmp_path: Path, args: list[str]) -> None:
    done = zchat("log", *args, "--data", str(tmp_path))
    assert (done.stdout, done.status) == ("", 2) and done.stderr.startswith("zchat: ")
