"""The log on disk keeps the contract; whatever is done to it, it says what the log in memory says."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from time import monotonic

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.conftest import eventually
from tests.log.contract import InSlices, LogContract, Scribe, append, bases, read, read_all, trim
from tests.log.damage import change, written
from zchat import wire
from zchat.core.log import Append, CursorRow, Log, LogPage, RetentionRule, SessionRow, StoredBatch, whole
from zchat.errors import LogError, StartError
from zchat.log import retention
from zchat.log.memory import MemoryLog
from zchat.log.sqlite import disk, schema
from zchat.log.sqlite import log as log_module
from zchat.log.sqlite.log import SqliteLog

OpenLog = Callable[..., SqliteLog]


@pytest.fixture
def make_log(tmp_path: Path) -> Iterator[Callable[[], Log]]:
    logs: list[Log] = []

    def make() -> Log:
        logs.append(SqliteLog(tmp_path / f"log-{len(logs)}"))
        return logs[-1]

    yield make
    for log in logs:
        log.close()


@pytest.fixture
def log(make_log: Callable[[], Log]) -> Log:
    return make_log()


class TestSqliteLog(LogContract):
    pass


class TestSqliteLogInSlices(InSlices, LogContract):
    pass


# --- what only a log on disk can do -------------------------------------------------------------


def test_what_was_acked_is_there_after_kill_9(tmp_path: Path) -> None:
    code = """
import os, pathlib, sys
from tests.log.contract import Scribe
from zchat.log.sqlite.log import SqliteLog
scribe = Scribe(SqliteLog(pathlib.Path(sys.argv[1])))
for number in range(50):
    scribe.keep(scribe.batch("a", b"x"), seen={f"user{number}": number})
os.kill(os.getpid(), 9)
"""
    killed = subprocess.run([sys.executable, "-c", code, tmp_path / "log"], cwd=Path(__file__).parents[3])
    assert killed.returncode == -9
    log = SqliteLog(tmp_path / "log")
    assert (log.head(), len(read(log).batches), len(log.users_seen(100))) == (50, 50, 50)
    log.close()


def test_a_log_is_the_same_when_it_is_opened_again(open_log: OpenLog) -> None:
    log = open_log()
    identity, before = (log.log_id, log.secret), Scribe(log).write("a", b"x")
    log.close()
    log = open_log(sync="normal")
    assert (log.log_id, log.secret) == identity
    assert read(log).batches == [("a", before.frame)] and log.last_time() == before.time


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine has to do beside it, the disk counts as quick; and is looked at seldom."""
    monkeypatch.setattr(log_module, "QUICK_SECONDS", 60.0)
    monkeypatch.setattr(disk, "LOOK_SECONDS", 60.0)


def keep_now(log: SqliteLog, *batches: StoredBatch) -> None:
    """Once the writer thread has nothing to do."""
    eventually(lambda: log.append_now(Append(list(batches), [], [], {})), "it is kept")


def test_a_commit_is_made_by_who_appends_while_the_writer_thread_has_nothing_to_do(
    open_log: OpenLog, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log()
    scribe = Scribe(log)
    scribe.write("a", b"x")  # its thread forgets those who were seen long ago
    keep_now(log, scribe.batch("a", b"x"))
    assert log.head() == scribe.next - 1
    began, goes_on = threading.Event(), threading.Event()
    keep = log._keep

    def held(append: Append) -> LogError | None:
        began.set()
        assert goes_on.wait(20)
        return keep(append)

    monkeypatch.setattr(log, "_keep", held)
    told: list[LogError | None] = []
    log.append(Append([scribe.batch("a", b"x")], [], [], {}), told.append)
    assert began.wait(20)
    assert not log.append_now(Append([scribe.batch("a", b"y")], [], [], {})), "another commit is under way"
    goes_on.set()
    eventually(lambda: told == [None], "and kept")


def test_a_slow_commit_is_not_waited_for_again_by_who_appends(
    open_log: OpenLog, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log()
    scribe = Scribe(log)
    monkeypatch.setattr(log_module, "QUICK_SECONDS", 0.0)
    began = monotonic()
    keep_now(log, scribe.batch("a", b"x"))
    doubt, took = log._doubt_until - log._kept_at, monotonic() - began
    assert 0.0 < doubt <= log_module.DOUBT_TIMES * took, "one that was a little slow keeps nobody waiting for long"
    monkeypatch.setattr(log_module, "DOUBT_TIMES", 1e9)
    keep_now(log, scribe.batch("a", b"x"))  # by itself, once that is over
    assert not log.append_now(Append([], [], [], {"alice": 1}))
    assert log._doubt_until - log._kept_at == pytest.approx(log_module.DOUBT_SECONDS_MAX)
    monkeypatch.setattr(log, "_doubt_until", 0.0)
    keep_now(log)


def test_what_a_log_cannot_keep_is_an_error_also_for_who_appends_now(open_log: OpenLog, quick: None) -> None:
    log = open_log()
    scribe = Scribe(log)
    batch = scribe.write("a", b"x")

    def is_refused() -> bool:
        try:
            assert not log.append_now(Append([batch], [], [], {}))
        except LogError as error:
            return error.code == "log-damaged"
        return False

    eventually(is_refused, "a record is never replaced")
    assert log.head() == 1 and bases(read(log)) == [1]
    log.close()
    assert not log.append_now(Append([], [], [], {}))


def test_a_log_that_rests_moves_its_wal_whoever_has_written_it(
    open_log: OpenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "QUICK_SECONDS", 60.0)
    monkeypatch.setattr(log_module, "REST_SECONDS", 0.01)
    monkeypatch.setattr(disk, "LOOK_SECONDS", 0.02)
    log = open_log()
    scribe = Scribe(log)
    scribe.write("a", b"x")
    eventually(lambda: not log._wal_bytes and not log._knows_of_wal, "its thread waits for a task, for ever")
    monkeypatch.setattr(log._disk, "_look_at", inf)
    keep_now(log, scribe.batch("a", b"y"))
    eventually(lambda: not log._wal_bytes, "it is told that there is something")


def test_a_wal_that_has_grown_by_commits_made_now_is_moved(
    open_log: OpenLog, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "CHECKPOINT_BYTES", 200_000)
    log = open_log()
    scribe = Scribe(log)
    most = 0
    for _ in range(100):
        keep_now(log, scribe.batch("a", b"y"))
        most = max(most, log._wal_bytes)
    assert 200_000 < most < 300_000 and log.head() == scribe.next - 1


def test_closing_keeps_what_was_taken_and_leaves_one_file(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    scribe = Scribe(log)
    errors: list[LogError | None] = []
    for _ in range(20):
        log.append(Append([scribe.batch("a", bytes(10_000))], [], [], {}), errors.append)
    log.close()
    assert errors == [None] * 20
    assert {path.name for path in (tmp_path / "log").iterdir()} == {"log.db", "log.lock", "log.ballast"}
    assert open_log().head() == 20


def test_a_closed_log_refuses(open_log: OpenLog) -> None:
    log = open_log()
    Scribe(log).write("a", b"x")
    log.close()
    error = append(log, Append([], [], [], {}))
    assert error is not None and error.code == "log-failed"
    with pytest.raises(LogError, match="closed"):
        whole(log.read(["a"], 0, 0, 0, 1))
    log.trim([], 0)


def test_closing_leaves_no_thread_and_no_descriptor(open_log: OpenLog) -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    open_log().close()
    before = (open_files(), threading.active_count())
    log = open_log()
    Scribe(log).write("a", b"x")
    read(log)
    log.close()
    assert (open_files(), threading.active_count()) == before


def test_a_folder_that_is_refused_is_let_go_of(open_log: OpenLog, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / schema.FILE).write_text("no database, but text enough")
    for _ in range(2):
        with pytest.raises(StartError, match="is no log of zchat"):
            open_log()
    (tmp_path / "log" / schema.FILE).unlink()
    open_log()


def test_two_logs_never_share_a_folder(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    with pytest.raises(StartError, match="in use by process"):
        SqliteLog(tmp_path / "log")
    Scribe(log).write("a", b"x")


def test_what_cannot_be_written_is_refused_whole_and_the_log_goes_on(open_log: OpenLog) -> None:
    log = open_log()
    scribe = Scribe(log)
    before = (scribe.next, dict(scribe.lasts))
    batches = [scribe.batch("a", b"x"), scribe.batch("new", b"y")._replace(time=1 << 70)]
    error = append(log, Append(batches, [SessionRow("s", "alice", 1, 1, {})], [], {"bob": 1}))
    assert error is not None and error.code == "log-failed"
    assert (log.head(), log.rooms(), log.sessions(), log.users_seen(9)) == (0, {}, [], [])
    scribe.next, scribe.lasts = before
    scribe.write("new", b"z")
    assert log.rooms() == {"new": 1}


def test_after_an_error_of_fsync_nothing_more_is_kept(open_log: OpenLog, tmp_path: Path) -> None:
    """The kernel may have dropped what it could not write: a commit that works later would prove nothing."""
    log = open_log()
    first = Scribe(log).write("a", b"x")
    wal = str(tmp_path / "log" / "log.db-wal")
    nowhere = os.open("/dev/null", os.O_RDWR)  # takes every write, and cannot be synced
    for name in os.listdir("/proc/self/fd"):
        if os.path.exists(f"/proc/self/fd/{name}") and os.readlink(f"/proc/self/fd/{name}") == wal:
            os.dup2(nowhere, int(name))
    os.close(nowhere)
    for _ in range(2):
        error = append(log, Append([Scribe(log).batch("a", b"y")], [], [], {}))
        assert error is not None and error.code == "log-failed" and error.is_final
    assert log.head() == 1
    log.close()
    assert read(open_log()).batches == [("a", first.frame)]


def test_damage_is_told_to_who_asked_for_it(open_log: OpenLog, tmp_path: Path) -> None:
    written(tmp_path / "log", rooms=1, batches=3)
    change(tmp_path / "log", "UPDATE batches SET crc = 0 WHERE base = 1")
    told: list[str] = []
    log = open_log(tell=told.append)
    for _ in range(2):
        read(log)
    assert len(told) == 1 and told[0].startswith("damage in the log: offsets 1 to ")


# --- against the log in memory ------------------------------------------------------------------

ROOMS = ["a", "b", "build.x", "build.y.z", "@alice", "会议"]
PATTERNS = st.lists(st.sampled_from([*ROOMS, "*", "**", "build.*", "build.**", "none"]), min_size=1, max_size=3)
USERS = st.sampled_from(["alice", "bob", "carol"])
NAMES = st.sampled_from(["x", "y"])


class Machine(RuleBasedStateMachine):
    """The same done to both; they must say the same."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(retention, "PRESENCE_RECORDS_MIN", 4)
        self.patch.setattr(retention, "PRESENCE_BYTES_MIN", 300)
        memory = "/dev/shm"  # a disk makes it many times slower, and no test here is of the disk
        self.root = Path(tempfile.mkdtemp(prefix="zchat-test-", dir=memory if os.path.isdir(memory) else None))
        self.folder = self.root / "0"
        self.disk = SqliteLog(self.folder, sync="normal")
        self.memory = MemoryLog()
        self.scribe = Scribe(self.memory)
        self.logs = 1
        self.seqs = dict.fromkeys(range(1, 6), 0)
        self.published: dict[tuple[int, int], int] = {}  # number of the session, `seq` -> offset

    def teardown(self) -> None:
        self.patch.undo()
        self.disk.close()
        shutil.rmtree(self.root)

    def keep(self, whole: Append) -> None:
        assert append(self.memory, whole) is None
        assert append(self.disk, whole) is None

    @rule(
        written=st.lists(
            st.tuples(st.sampled_from(ROOMS), st.integers(1, 4), st.booleans(), st.integers(1, 5)),
            min_size=1,
            max_size=12,
        )
    )
    def write(self, written: list[tuple[str, int, bool, int]]) -> None:
        batches = []
        for room, count, presence, number in written:
            self.seqs[number] += 1
            self.published[number, self.seqs[number]] = self.scribe.next
            batches.append(
                self.scribe.batch(
                    room,
                    *[b"x" * (10 * count)] * count,
                    kind=wire.PRESENCE if presence else wire.MESSAGES,
                    session=f"s{number}",
                    seq=self.seqs[number],
                    seconds=number - 1,
                )
            )
        self.keep(Append(batches, [], [], {}))

    @rule(user=USERS, number=st.integers(0, 5), room=st.sampled_from(ROOMS), ends=st.booleans())
    def change_session(self, user: str, number: int, room: str, ends: bool) -> None:
        row = SessionRow(f"s-{user}", user, number, number, {room: number} if number else {})
        self.keep(Append([], [row] if not ends else [], [row.session] if ends else [], {user: self.scribe.time}))
        self.scribe.time += 1

    @rule(user=USERS, name=NAMES, offset=st.integers(0, 1 << 62), drops=st.booleans())
    def change_cursor(self, user: str, name: str, offset: int, drops: bool) -> None:
        row = CursorRow(user, name, offset, 1)
        self.keep(Append([], [], [], {}, [] if drops else [row], [(user, name)] if drops else []))

    @rule(
        patterns=PATTERNS,
        after=st.integers(0, 120),
        until=st.integers(0, 120),
        limit=st.integers(0, 20),
        bytes_max=st.sampled_from([1, 200, 1_000, 1 << 20]),
    )
    def read_a_page(self, patterns: list[str], after: int, until: int, limit: int, bytes_max: int) -> None:
        pages = [whole(log.read(patterns, after, until, limit, bytes_max)) for log in (self.memory, self.disk)]
        assert in_order(pages[0]) == in_order(pages[1])

    @rule(patterns=PATTERNS, last=st.integers(1, 30), presence=st.booleans())
    def seek_the_last(self, patterns: list[str], last: int, presence: bool) -> None:
        assert whole(self.memory.seek(patterns, last, 0, presence)) == whole(
            self.disk.seek(patterns, last, 0, presence)
        )

    @rule(patterns=PATTERNS, seconds=st.integers(0, 100))
    def seek_a_time(self, patterns: list[str], seconds: int) -> None:
        since = self.scribe.time - seconds * 1_000_000
        pages = [
            read(log, patterns, after=whole(log.seek(patterns, 0, since, True))) for log in (self.memory, self.disk)
        ]
        assert pages[0].batches == pages[1].batches
        gaps = [[(gap[0], gap[2]) for gap in page.gaps] for page in pages]
        assert sorted(gaps[0]) == sorted(gaps[1])

    @rule(number=st.integers(1, 5), seq=st.integers(1, 8))
    def find_a_publish(self, number: int, seq: int) -> None:
        expected, offset = whole(self.memory.find(f"s{number}", seq)), whole(self.disk.find(f"s{number}", seq))
        # What was found once is remembered, also when it is trimmed.
        assert offset in (expected, self.published.get((number, seq), 0))

    @rule(
        rules=st.lists(
            st.builds(
                RetentionRule,
                st.sampled_from(["**", "a", "build.**", "@alice"]),
                st.sampled_from([0.0, 1.0, 20.0]),
                st.integers(0, 10),
                st.sampled_from([0, 100, 1_000]),
                st.just(0),
            ),
            max_size=2,
        )
    )
    def trim_both(self, rules: list[RetentionRule]) -> None:
        for log in (self.memory, self.disk):
            trim(log, rules, self.scribe.time)

    @rule(room=st.sampled_from(ROOMS), upto=st.integers(1, 60))
    def purge_both(self, room: str, upto: int) -> None:
        for log in (self.memory, self.disk):
            trim(log, [RetentionRule(room, upto=upto)], self.scribe.time)

    @rule()
    def reopen(self) -> None:
        self.disk.close()
        self.disk = SqliteLog(self.folder, sync="normal")

    @rule()
    def restart_after_a_power_cut(self) -> None:
        """What is in the files at this moment is all that the next process gets."""
        cut = self.root / str(self.logs)
        cut.mkdir()
        self.logs += 1
        for name in (schema.FILE, f"{schema.FILE}-wal"):
            if (self.folder / name).exists():
                shutil.copy(self.folder / name, cut / name)
        self.disk.close()
        self.folder, self.disk = cut, SqliteLog(cut, sync="normal")

    @invariant()
    def they_agree(self) -> None:
        memory, disk = self.memory, self.disk
        assert (memory.head(), memory.last_time(), memory.rooms()) == (disk.head(), disk.last_time(), disk.rooms())
        assert sorted(memory.sessions()) == sorted(disk.sessions())
        assert memory.users_seen(2) == disk.users_seen(2)
        assert sorted(memory.cursors()) == sorted(disk.cursors())

    @precondition(lambda self: self.memory.head() > 20)
    @rule(patterns=PATTERNS, limit=st.integers(0, 5))
    def read_everything(self, patterns: list[str], limit: int) -> None:
        assert (
            read_all(self.memory, patterns, limit=limit).batches == read_all(self.disk, patterns, limit=limit).batches
        )


def in_order(page: LogPage) -> LogPage:
    """Gaps may come in any order."""
    return page._replace(gaps=sorted(page.gaps))


TestAgainstMemory = pytest.mark.slow(Machine.TestCase)
TestAgainstMemory.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


# --- what is done to its files while it is open -------------------------------------------------


def removed_wal(folder: Path) -> Path:
    wal = folder / f"{schema.FILE}-wal"
    wal.unlink()
    return wal


def test_a_wal_that_was_removed_loses_nothing_and_nothing_more_is_kept(open_log: OpenLog, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    log = open_log()
    scribe = Scribe(log)
    batches = [scribe.write("a", b"%d" % number) for number in range(20)]
    removed_wal(folder)
    # Also when nobody sends anything: a copy of the database alone is the whole log, as a kill would leave it.
    eventually(lambda: rows_of(tmp_path, folder) == 20, "what was acked is in the database")
    error = append(log, Append([scribe.batch("a", b"y")], [], [], {}))
    assert error is not None and error.code == "log-failed"
    assert "log.db-wal" in str(error) and "the broker has to be started again" in str(error)
    assert read(log).batches == [("a", batch.frame) for batch in batches]
    log.close()
    log = open_log()
    assert read(log).batches == [("a", batch.frame) for batch in batches]
    Scribe(log).write("a", b"z")


def rows_of(tmp_path: Path, folder: Path) -> int:
    """Batches in the database without its WAL."""
    copy = tmp_path / "copy.db"
    shutil.copyfile(folder / schema.FILE, copy)
    connection = sqlite3.connect(f"file:{copy}?mode=ro&immutable=1", uri=True)
    try:
        return int(connection.execute("SELECT count(*) FROM batches").fetchone()[0])
    except sqlite3.DatabaseError:
        return -1
    finally:
        connection.close()


def test_a_wal_that_comes_back_is_written_again(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    scribe = Scribe(log)
    scribe.write("a", b"x")
    wal = tmp_path / "log" / "log.db-wal"
    wal.rename(tmp_path / "away")
    next_one = scribe.batch("a", b"y")
    eventually(lambda: append(log, Append([], [], [], {})) is not None, "it is noticed")
    (tmp_path / "away").rename(wal)
    eventually(lambda: append(log, Append([next_one], [], [], {})) is None, "it is kept")
    log.close()
    assert bases(read(open_log())) == [1, 2]


def test_who_rests_has_all_in_the_database(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    Scribe(log).write("a", b"x")
    eventually(lambda: rows_of(tmp_path, tmp_path / "log") == 1, "the WAL is moved")
    Scribe(log).write("a", b"y")
    eventually(lambda: rows_of(tmp_path, tmp_path / "log") == 2, "and once more")


def test_a_copy_that_was_put_in_its_place_is_left_alone_at_the_end(open_log: OpenLog, tmp_path: Path) -> None:
    """SQLite's last connection removes the WAL by its name; it must not be another log's."""
    folder, copy = tmp_path / "log", tmp_path / "copy"
    log = open_log()
    Scribe(log).write("a", b"x")
    shutil.copytree(folder, copy)
    Scribe(log).write("a", b"y")
    for name in (schema.FILE, f"{schema.FILE}-wal"):
        (copy / name).rename(folder / name)
    error = append(log, Append([], [], [], {}))
    eventually(lambda: append(log, Append([], [], [], {})) is not None, "it is noticed")
    assert error is None or error.code == "log-failed"
    log.close()
    assert (folder / f"{schema.FILE}-wal").stat().st_size > 0
    assert bases(read(open_log())) == [1]


def test_a_log_that_ended_higher_is_told_once(open_log: OpenLog, tmp_path: Path) -> None:
    folder, copy, told = tmp_path / "log", tmp_path / "copy.db", list[str]()
    log = open_log()
    Scribe(log).write("a", b"x")
    log.close()
    shutil.copyfile(folder / schema.FILE, copy)
    log = open_log()
    Scribe(log).write("a", b"y", b"z")
    log.close()
    copy.rename(folder / schema.FILE)
    for _ in range(2):
        open_log(tell=told.append).close()
    (line,) = told
    assert "ends at 1, and went up to 3" in line
