"""The log on disk keeps the contract; whatever is done to it, it says what the log in memory says."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.log.contract import LogContract, Scribe, append, read, read_all, trim
from zchat import wire
from zchat.log import Append, CursorRow, Keep, Log, LogPage, SessionRow, schema
from zchat.log.memory import MemoryLog
from zchat.log.sqlite import SqliteLog


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


# --- what only a log on disk can do -------------------------------------------------------------


# --- against the log in memory ------------------------------------------------------------------

ROOMS = ["a", "b", "build.x", "build.y.z", "@alice", "会议"]
PATTERNS = st.lists(st.sampled_from([*ROOMS, "*", "**", "build.*", "build.**", "none"]), min_size=1, max_size=3)
USERS = st.sampled_from(["alice", "bob", "carol"])
NAMES = st.sampled_from(["x", "y"])


class Machine(RuleBasedStateMachine):
    """The same done to both; they must say the same."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="zchat-test-"))
        self.folder = self.root / "0"
        self.disk = SqliteLog(self.folder, sync="normal")
        self.memory = MemoryLog()
        self.scribe = Scribe(self.memory)
        self.logs = 1

    def teardown(self) -> None:
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
        batches = [
            self.scribe.batch(
                room,
                *[b"x" * (10 * count)] * count,
                kind=wire.PRESENCE if presence else wire.MESSAGES,
                session=f"s{seq}",
                seq=seq,
                seconds=seq - 1,
            )
            for room, count, presence, seq in written
        ]
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
        pages = [log.read(patterns, after, until, limit, bytes_max) for log in (self.memory, self.disk)]
        assert in_order(pages[0]) == in_order(pages[1])

    @rule(patterns=PATTERNS, last=st.integers(1, 30), presence=st.booleans())
    def seek_the_last(self, patterns: list[str], last: int, presence: bool) -> None:
        assert self.memory.seek(patterns, last, 0, presence) == self.disk.seek(patterns, last, 0, presence)

    @rule(patterns=PATTERNS, seconds=st.integers(0, 100))
    def seek_a_time(self, patterns: list[str], seconds: int) -> None:
        since = self.scribe.time - seconds * 1_000_000
        pages = [read(log, patterns, after=log.seek(patterns, 0, since, True)) for log in (self.memory, self.disk)]
        assert pages[0].batches == pages[1].batches

    @rule(number=st.integers(1, 6))
    def find_a_publish(self, number: int) -> None:
        assert self.memory.find(f"s{number}", number) == self.disk.find(f"s{number}", number)

    @rule(
        keep=st.lists(
            st.builds(
                Keep,
                st.sampled_from(["**", "a", "build.**", "@alice"]),
                st.sampled_from([0.0, 1.0, 20.0]),
                st.integers(0, 10),
                st.sampled_from([0, 100, 1_000]),
            ),
            max_size=2,
        )
    )
    def trim_both(self, keep: list[Keep]) -> None:
        for log in (self.memory, self.disk):
            trim(log, keep, self.scribe.time)

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
TestAgainstMemory.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
