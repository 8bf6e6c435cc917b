"""What every log must do. `test_memory.py` and `test_sqlite.py` each run it on theirs; no test stands twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

import pytest

from tests.conftest import eventually
from zchat import wire
from zchat.core.log import (
    USERS_SEEN_KEPT,
    Append,
    CursorRow,
    Gap,
    GroupRow,
    Log,
    LogPage,
    RetentionRule,
    ScheduledRow,
    SessionRow,
    Sliced,
    StoredBatch,
    whole,
)
from zchat.errors import LogError
from zchat.log import retention, slices
from zchat.settings import Settings

MEGABYTE = 1 << 20
SECOND = 1_000_000
EVERYTHING = ["**"]
T = TypeVar("T")


def append(log: Log, append: Append) -> LogError | None:
    """Append, and wait for the outcome."""
    outcome: list[LogError | None] = []
    told = threading.Event()

    def done(error: LogError | None) -> None:
        outcome.append(error)
        told.set()

    log.append(append, done)
    assert told.wait(20), "done was not called"
    return outcome[0]


class Scribe:
    """Writes batches as a broker does: offsets without holes, times that rise, links to the batch before."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.next = log.head() + 1
        self.lasts = dict(log.rooms())
        self.last_messages = dict(self.lasts)
        self.time = max(log.last_time(), SECOND)

    def batch(
        self, room: str, *bodies: bytes, kind: int = wire.MESSAGES, session: str = "s", seq: int = 1, seconds: float = 1
    ) -> StoredBatch:
        """The next batch, `seconds` after the last one."""
        entries = [wire.RawEntry("alice", session, seq, wire.raw(wire.encode_records(list(bodies))))]
        return self.batch_of(room, entries, len(bodies), kind, seconds)

    def batch_of(
        self, room: str, entries: list[wire.RawEntry], records: int, kind: int = wire.MESSAGES, seconds: float = 1
    ) -> StoredBatch:
        """The next batch, of these entries."""
        self.time += int(seconds * SECOND)
        base, prev = self.next, self.lasts.get(room, 0)
        prev_message = self.last_messages.get(room, 0) if kind == wire.MESSAGES else None
        frame = wire.encode(wire.RawBatch(kind, base, prev, self.time, entries, prev_message))
        self.next += records
        self.lasts[room] = self.next - 1
        if kind == wire.MESSAGES:
            self.last_messages[room] = self.next - 1
        return StoredBatch(base, room, kind, records, self.time, frame)

    def keep(
        self,
        *batches: StoredBatch,
        sessions: Iterable[SessionRow] = (),
        ended: Iterable[str] = (),
        seen: dict[str, int] | None = None,
        cursors: Iterable[CursorRow] = (),
        dropped: Iterable[tuple[str, str]] = (),
        groups: Iterable[GroupRow] = (),
        removed: Iterable[tuple[str, str]] = (),
        scheduled: Iterable[ScheduledRow] = (),
        forgotten: Iterable[tuple[str, str]] = (),
    ) -> None:
        """All of it in one commit."""
        rows = list(cursors), list(dropped), list(groups), list(removed), list(scheduled), list(forgotten)
        whole = Append(list(batches), list(sessions), list(ended), seen or {}, *rows)
        assert append(self.log, whole) is None

    def write(self, room: str, *bodies: bytes, kind: int = wire.MESSAGES, seconds: float = 1) -> StoredBatch:
        """One batch in a commit of its own."""
        batch = self.batch(room, *bodies, kind=kind, seconds=seconds)
        self.keep(batch)
        return batch


def read(
    log: Log,
    patterns: list[str] = EVERYTHING,
    after: int = 0,
    until: int = 0,
    limit: int = 0,
    bytes_max: int = MEGABYTE,
) -> LogPage:
    """A page, with what the test does not care about left out."""
    return whole(log.read(patterns, after, until, limit, bytes_max))


def bases(page: LogPage) -> list[int]:
    """Where the batches of a page begin."""
    return [wire.decode_raw_batch(frame).base for _, frame in page.batches]


def read_all(log: Log, patterns: list[str] = EVERYTHING, bytes_max: int = MEGABYTE, limit: int = 0) -> LogPage:
    """Page after page, as one."""
    batches, gaps, after = [], [], 0
    while True:
        page = whole(log.read(patterns, after, 0, limit, bytes_max))
        batches += page.batches
        gaps += page.gaps
        if not page.more:
            return LogPage(batches, page.upto, False, gaps)
        assert page.upto > after, "a page goes on"
        after = page.upto


def latest(
    log: Log, patterns: list[str], count: int, until: int = 0, bytes_max: int = MEGABYTE
) -> list[tuple[str, int, list[wire.RecordOrBody]]]:
    """Room, base and records of the last of each room, page after page."""
    found, after, until = [], 0, until or log.head()
    while True:
        page = whole(log.latest(patterns, after, until, count, bytes_max))
        assert not page.gaps
        for room, frame in page.batches:
            batch = wire.decode_batch(frame)
            found.append((room, batch.base, [record for entry in batch.entries for record in entry.records]))
        if not page.more:
            return found
        assert page.upto > after, "a page goes on"
        after = page.upto


def in_slices(sliced: Sliced[T], between: Callable[[], object]) -> tuple[T, int]:
    """The answer, and how often it gave way; each time something happens."""
    pauses = 0
    while True:
        try:
            next(sliced)
        except StopIteration as end:
            return end.value, pauses
        pauses += 1
        between()


def trim(log: Log, rules: list[RetentionRule], now: int = 0) -> None:
    """Trim, and wait until it is done."""
    log.trim(rules, now)
    eventually(lambda: not getattr(log, "is_trimming", False), "the log is trimmed")


class InSlices:
    """Beside the suite: every read gives way wherever it can."""

    @pytest.fixture(autouse=True)
    def slices(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(slices, "SLICE_SECONDS", 0.0)


class LogContract:
    """The suite. A subclass in a test file runs it; the file has the fixture `log`: a new, empty one."""

    @pytest.fixture
    def few_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of joins and leaves no more are kept than of messages."""
        monkeypatch.setattr(retention, "PRESENCE_RECORDS_MIN", 0)
        monkeypatch.setattr(retention, "PRESENCE_BYTES_MIN", 0)

    # --- an empty log -----------------------------------------------------------------------

    def test_an_empty_log_has_nothing(self, log: Log) -> None:
        assert (log.head(), log.last_time(), log.rooms()) == (0, 0, {})
        assert (log.sessions(), log.users_seen(10), log.cursors()) == ([], [], [])
        assert read(log) == LogPage([], 0, False, [])
        assert whole(log.seek(EVERYTHING, 10, 0, False)) == whole(log.seek(EVERYTHING, 0, 1, False)) == 0
        assert whole(log.find("s", 1)) == 0

    def test_each_log_has_an_id_and_a_secret_of_its_own(self, make_log: Callable[[], Log]) -> None:
        one, other = make_log(), make_log()
        assert one.log_id and one.log_id != other.log_id
        assert len(one.secret) == 32 and one.secret != other.secret

    # --- append -----------------------------------------------------------------------------

    def test_what_was_appended_is_read_as_it_was(self, log: Log) -> None:
        scribe = Scribe(log)
        first, second = scribe.write("a", b"x", b"y"), scribe.write("b", b"z")
        assert read(log) == LogPage([("a", first.frame), ("b", second.frame)], 3, False, [])
        assert (log.head(), log.last_time(), log.rooms()) == (3, second.time, {"a": 2, "b": 3})

    def test_one_append_holds_several_batches_also_of_one_room(self, log: Log) -> None:
        scribe = Scribe(log)
        scribe.keep(scribe.batch("a", b"1", b"2"), scribe.batch("b", b"3"), scribe.batch("a", b"4"))
        assert bases(read(log)) == [1, 3, 4]
        assert log.rooms() == {"a": 4, "b": 3}

    def test_what_is_appended_now_is_there_when_that_returns(self, log: Log) -> None:
        scribe = Scribe(log)
        batches = []
        for number in range(5):
            batches.append(scribe.batch("a", b"x"))
            now = Append([batches[-1]], [SessionRow("s", "alice", number, 1, {"a": 1})], [], {"bob": number + 1})
            if number % 2 or not log.append_now(now):
                assert append(log, now) is None
            assert bases(read(log)) == list(range(1, number + 2)) and log.head() == number + 1
        assert [row.last_seq for row in log.sessions()] == [4] and log.users_seen(9) == [("bob", 5)]

    def test_what_done_says_is_true_already(self, log: Log) -> None:
        seen: list[dict[str, int]] = []
        told = threading.Event()

        def done(_: LogError | None) -> None:
            seen.append(log.rooms())
            told.set()

        log.append(Append([Scribe(log).batch("a", b"x")], [], [], {}), done)
        assert told.wait(20) and seen == [{"a": 1}]

    def test_an_append_of_no_batches_is_kept_too(self, log: Log) -> None:
        scribe = Scribe(log)
        scribe.keep(seen={"bob": 5})
        assert log.users_seen(10) == [("bob", 5)] and log.head() == 0

    # --- sessions, users, cursors -----------------------------------------------------------

    def test_a_session_is_replaced_and_ended(self, log: Log) -> None:
        scribe = Scribe(log)
        row = SessionRow("s1", "alice", 3, 10, {"a": 1, "会议": 2})
        other = SessionRow("s2", "bob", 0, 11, {})
        scribe.keep(sessions=[row, other])
        assert sorted(log.sessions()) == [row, other]
        scribe.keep(sessions=[row._replace(last_seq=9, rooms={})], ended=["s2", "never-there"])
        assert log.sessions() == [SessionRow("s1", "alice", 9, 10, {})]

    def test_the_users_seen_last_come_first(self, log: Log) -> None:
        scribe = Scribe(log)
        scribe.keep(seen={"a": 30, "b": 10, "c": 20})
        scribe.keep(seen={"b": 40})
        assert log.users_seen(10) == [("b", 40), ("a", 30), ("c", 20)]
        assert log.users_seen(1) == [("b", 40)]

    def test_who_was_seen_long_ago_is_forgotten(self, log: Log) -> None:
        scribe = Scribe(log)
        users = [(f"u{number}", number) for number in range(USERS_SEEN_KEPT + 2_000)]
        scribe.keep(seen=dict(users))
        newest = users[: -USERS_SEEN_KEPT - 1 : -1]
        eventually(lambda: len(log.users_seen(1 << 30)) <= USERS_SEEN_KEPT + 1_000, "some are forgotten")
        assert log.users_seen(USERS_SEEN_KEPT) == newest
        scribe.keep(seen={"u0": 1 << 30})
        assert log.users_seen(USERS_SEEN_KEPT) == [("u0", 1 << 30), *newest[:-1]]
        assert Settings().users_seen_max <= USERS_SEEN_KEPT

    def test_a_cursor_is_replaced_and_dropped(self, log: Log) -> None:
        scribe = Scribe(log)
        rows = [CursorRow("alice", "x", 1, 10), CursorRow("alice", "y", 2, 11), CursorRow("bob", "x", 3, 12)]
        scribe.keep(cursors=rows)
        assert sorted(log.cursors()) == rows
        scribe.keep(cursors=[CursorRow("alice", "x", 7, 13)], dropped=[("alice", "y"), ("carol", "x")])
        assert sorted(log.cursors()) == [CursorRow("alice", "x", 7, 13), CursorRow("bob", "x", 3, 12)]

    def test_a_group_is_replaced_and_removed(self, log: Log) -> None:
        scribe = Scribe(log)
        rows = [GroupRow("a", "x", 9, 3, 10, [(2, 4, 1), (7, 7, 2)]), GroupRow("a", "y", 0, 0, 11, [])]
        scribe.keep(groups=[*rows, GroupRow("b", "x", 5, 0, 12, [])])
        scribe.keep(groups=[rows[1]._replace(upto=wire.OFFSET_MAX)], removed=[("b", "x"), ("c", "x")])
        assert sorted(log.groups()) == [rows[0], rows[1]._replace(upto=wire.OFFSET_MAX)]

    def test_what_is_scheduled_is_replaced_and_forgotten(self, log: Log) -> None:
        scribe = Scribe(log)
        rows = [ScheduledRow("ann", name, "Ann", "s1", "ops", 10, "127.0.0.1", b"\x91\xc4\x01x") for name in "abc"]
        scribe.keep(scheduled=rows)
        scribe.keep(scheduled=[rows[1]._replace(due=11, records=b"")], forgotten=[("ann", "c"), ("bob", "a")])
        assert sorted(log.scheduled()) == [rows[0], rows[1]._replace(due=11, records=b"")]

    # --- read -------------------------------------------------------------------------------

    def test_rooms_are_read_by_name_and_by_pattern(self, log: Log) -> None:
        scribe = Scribe(log)
        for room in ("build.linux", "build.mac.arm", "general", "@alice", "build"):
            scribe.write(room, b"x")
        read_rooms = {
            patterns: [room for room, _ in read(log, list(patterns)).batches]
            for patterns in [
                ("general",),
                ("build.*",),
                ("build.**",),
                ("**",),
                ("@alice",),
                ("general", "build.*"),
                ("none",),
            ]
        }
        assert read_rooms == {
            ("general",): ["general"],
            ("build.*",): ["build.linux"],
            ("build.**",): ["build.linux", "build.mac.arm"],
            ("**",): ["build.linux", "build.mac.arm", "general", "build"],
            ("@alice",): ["@alice"],
            ("general", "build.*"): ["build.linux", "general"],
            ("none",): [],
        }

    def test_presence_is_read_with_the_messages(self, log: Log) -> None:
        scribe = Scribe(log)
        scribe.write("a", b"x")
        scribe.write("a", b"join", kind=wire.PRESENCE)
        assert bases(read(log, ["a"])) == [1, 2]

    @pytest.mark.parametrize(("after", "expected"), [(0, [1, 4]), (1, [1, 4]), (3, [4]), (4, [4]), (6, []), (9, [])])
    def test_a_batch_that_reaches_over_the_beginning_comes_whole(
        self, log: Log, after: int, expected: list[int]
    ) -> None:
        scribe = Scribe(log)
        scribe.keep(scribe.batch("a", b"1", b"2", b"3"), scribe.batch("b", b"4", b"5", b"6"))
        assert bases(read(log, after=after)) == expected

    @pytest.mark.parametrize(("until", "expected", "upto"), [(1, [1], 1), (3, [1], 3), (4, [1, 4], 4), (99, [1, 4], 6)])
    def test_a_batch_that_reaches_over_the_end_comes_whole(
        self, log: Log, until: int, expected: list[int], upto: int
    ) -> None:
        scribe = Scribe(log)
        scribe.keep(scribe.batch("a", b"1", b"2", b"3"), scribe.batch("b", b"4", b"5", b"6"))
        page = read(log, until=until)
        assert (bases(page), page.upto, page.more) == (expected, upto, False)

    def test_a_page_ends_at_the_limit_of_records(self, log: Log) -> None:
        scribe = Scribe(log)
        for number in range(4):
            scribe.write("a", b"x", b"y")
            scribe.write(f"other{number}", b"x")
        page = read(log, ["a"], limit=3)
        assert (bases(page), page.upto, page.more) == ([1, 4], 5, True)
        rest = read(log, ["a"], after=page.upto, limit=4)
        assert (bases(rest), rest.upto, rest.more) == ([7, 10], 12, False)

    def test_a_page_ends_at_its_bytes_and_has_at_least_one_batch(self, log: Log) -> None:
        scribe = Scribe(log)
        size = len(scribe.write("a", b"x" * 100).frame)
        scribe.write("a", b"x" * 100)
        scribe.write("a", b"x" * 100)
        assert bases(read(log, bytes_max=1)) == [1]
        assert bases(read(log, bytes_max=size + 1)) == [1, 2]
        assert bases(read(log, bytes_max=3 * size)) == [1, 2, 3]

    def test_page_after_page_everything_comes_once(self, log: Log) -> None:
        scribe = Scribe(log)
        for number in range(60):
            scribe.keep(scribe.batch(f"r{number % 7}", b"x"), scribe.batch("a", b"y", b"z"))
        for patterns in (["a"], ["r1", "r2", "a"], ["**"]):
            whole = read(log, patterns)
            for limit, bytes_max in ((1, MEGABYTE), (7, MEGABYTE), (0, 1), (0, 300)):
                assert read_all(log, patterns, bytes_max, limit) == whole

    # --- rooms that may be read -------------------------------------------------------------

    def test_rooms_that_may_not_be_read_are_as_if_they_were_not_there(self, log: Log) -> None:
        scribe = Scribe(log)
        for number in range(1, 101):
            scribe.write(f"r.{number % 50}", b"x")
        odd = lambda room: int(room[2:]) % 2 == 1  # noqa: E731
        first = lambda room: room == "r.1"  # noqa: E731
        for may, offsets in ((odd, [93, 95, 97, 99]), (first, []), (None, [91, 92, 93, 94, 95, 96, 97, 98, 99, 100])):
            for patterns in (["**"], [f"r.{number}" for number in range(50)]):
                for _ in range(2):
                    page = whole(log.read(patterns, 90, 0, 0, MEGABYTE, may))
                    bases = [wire.decode_head(frame).base for _, frame in page.batches]
                    assert bases[-len(offsets) or len(bases) :] == offsets and not page.gaps
        assert whole(log.seek(["**"], 3, 0, False, odd)) == 94 and whole(log.seek(["**"], 2, 0, False, first)) == 0
        page = whole(log.latest(["**"], 0, 100, 1, MEGABYTE, first))
        assert [room for room, _ in page.batches] == ["r.1"]

    # --- seek -------------------------------------------------------------------------------

    @pytest.mark.parametrize(("last", "after"), [(1, 8), (2, 7), (3, 4), (4, 2), (5, 1), (6, 0), (7, 0), (99, 0)])
    def test_the_last_records_start_after_that_offset(self, log: Log, last: int, after: int) -> None:
        scribe = Scribe(log)
        scribe.write("a", b"1")
        scribe.keep(scribe.batch("a", b"2", b"3"), scribe.batch("b", b"4"))
        scribe.keep(scribe.batch("a", b"5"), scribe.batch("b", b"6", b"7"), scribe.batch("a", b"8", b"9"))
        assert whole(log.seek(["a"], last, 0, False)) == after

    def test_joins_and_leaves_count_when_asked_for(self, log: Log) -> None:
        scribe = Scribe(log)
        scribe.write("a", b"1")
        scribe.write("a", b"join", kind=wire.PRESENCE)
        scribe.write("a", b"2")
        assert whole(log.seek(["a"], 2, 0, False)) == 0
        assert whole(log.seek(["a"], 2, 0, True)) == 1

    def test_the_last_of_a_pattern_are_counted_over_its_rooms(self, log: Log) -> None:
        scribe = Scribe(log)
        for number in range(1, 101):
            scribe.write(f"r.{number % 50}", b"x")
        assert whole(log.seek(["**"], 30, 0, False)) == 70
        assert whole(log.seek(["r.1", "r.2"], 3, 0, False)) == 1
        assert whole(log.seek(["r.1", "r.2"], 2, 0, False)) == 50

    @pytest.mark.parametrize("patterns", [["a"], ["b"], ["a", "b"], ["**"]])
    def test_what_is_not_older_than_a_time_is_found(self, log: Log, patterns: list[str]) -> None:
        scribe = Scribe(log)
        batches = [scribe.write("a" if number % 2 else "b", b"x", b"y") for number in range(10)]
        for since in (batch.time + more for batch in batches for more in (-1, 0, 1)):
            page = read(log, patterns, after=whole(log.seek(patterns, 0, since, False)))
            young = [batch for batch in batches if batch.time >= since]
            assert bases(page) == [batch.base for batch in young if patterns == ["**"] or batch.room in patterns]

    def test_nothing_as_young_is_the_head(self, log: Log) -> None:
        scribe = Scribe(log)
        scribe.write("a", b"x", b"y")
        assert whole(log.seek(["a"], 0, log.last_time() + 1, False)) == 2

    def test_what_was_trimmed_and_is_not_older_than_a_time_is_a_gap(self, log: Log) -> None:
        scribe = Scribe(log)
        batches = [scribe.write("a", b"x", b"y") for _ in range(6)]
        trim(log, [RetentionRule("a", records=4)])
        for since in (batch.time + more for batch in batches for more in (-1, 0, 1)):
            page = read(log, after=whole(log.seek(["a"], 0, since, False)))
            assert bases(page) == [batch.base for batch in batches[4:] if batch.time >= since]
            gaps = [("a", 8, "trimmed")] if since <= batches[3].time else []
            assert [(room, last, reason) for room, _, last, reason in page.gaps] == gaps
            assert all(first <= batches[3].base for _, first, _, _ in page.gaps)

    def test_only_rooms_that_lost_something_as_young_have_the_gap(self, log: Log) -> None:
        scribe = Scribe(log)
        for room in ("old", "new", "whole"):
            scribe.write(room, b"x")
        young = scribe.write("new", b"x", seconds=3600)
        for room in ("new", "old", "whole"):
            scribe.write(room, b"x")
        trim(log, [RetentionRule("old", records=1), RetentionRule("new", records=1)])
        page = read(log, after=whole(log.seek(EVERYTHING, 0, young.time, False)))
        assert (bases(page), page.gaps) == ([5, 6, 7], [("new", 4, 4, "trimmed")])
        page = read(log, ["old", "whole"], after=whole(log.seek(["old", "whole"], 0, young.time, False)))
        assert (bases(page), page.gaps) == ([6, 7], [])

    def test_what_was_trimmed_long_ago_is_no_gap_of_today(self, log: Log) -> None:
        scribe = Scribe(log)
        for _ in range(3):
            scribe.write("a", b"x")
        trim(log, [RetentionRule("a", age_seconds=1)], scribe.time + 60 * SECOND)
        young = scribe.write("a", b"x", seconds=7200)
        trim(log, [RetentionRule("a", age_seconds=3600)], young.time)
        page = read(log, ["a"], after=whole(log.seek(["a"], 0, young.time - 1800 * SECOND, False)))
        assert (bases(page), page.gaps) == ([4], [])
        page = read(log, ["a"], after=whole(log.seek(["a"], 0, SECOND, False)))
        assert (bases(page), page.gaps) == ([4], [("a", 1, 3, "trimmed")])

    def test_more_than_there_is_starts_at_the_beginning(self, log: Log) -> None:
        scribe = Scribe(log)
        scribe.write("b", b"x")
        for _ in range(3):
            scribe.write("a", b"x", b"y")
            scribe.write("a", b"join", kind=wire.PRESENCE)
        seeks = [(7, False), (10, True), (1 << 62, False), (6, False), (9, True)]
        assert [whole(log.seek(["a"], last, 0, presence)) for last, presence in seeks] == [0, 0, 0, 1, 1]

    # --- slices -----------------------------------------------------------------------------

    def test_what_is_written_between_slices_is_not_in_the_page(self, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(slices, "SLICE_SECONDS", 0.0)
        scribe = Scribe(log)
        for number in range(20):
            scribe.write(f"r.{number % 3}", b"x")
        page, pauses = in_slices(log.read(["r.*"], 0, 0, 0, MEGABYTE), lambda: scribe.write("r.1", b"later"))
        assert (bases(page), page.upto, page.more, page.gaps) == (list(range(1, 21)), 20, False, [])
        assert pauses >= 10

    @pytest.mark.parametrize("rooms", [1, 3, 70])
    @pytest.mark.parametrize("pattern", ["r.*", "**"])
    def test_what_is_trimmed_between_slices_was_read_or_is_a_gap(
        self, log: Log, monkeypatch: pytest.MonkeyPatch, few_kept: None, rooms: int, pattern: str
    ) -> None:
        monkeypatch.setattr(slices, "SLICE_SECONDS", 0.0)
        scribe = Scribe(log)
        kept = []
        for number in range(210):
            kind = wire.PRESENCE if number % 4 == 1 else wire.MESSAGES
            kept.append(scribe.batch(f"r.{number * 7 % rooms}", b"x", b"y", kind=kind))
            kept += [scribe.batch("other", b"z") for _ in range(30 if number == 100 else 1)]
        scribe.keep(*kept)
        left = iter([160, 120, 60, 20, 4, 2])
        count = 0

        def trim_more() -> None:
            nonlocal count
            count += 1
            if count % 12 == 0 and (records := next(left, 0)):
                trim(log, [RetentionRule("**", records=records)])

        page, _ = in_slices(log.read([pattern], 0, 0, 0, MEGABYTE), trim_more)
        assert not page.more and page.upto == log.head()
        told = [offset for _, first, last, reason in page.gaps for offset in range(first, last + 1)]
        assert {reason for *_, reason in page.gaps} <= {"trimmed"}
        read_bases, wanted = set(bases(page)), [batch for batch in kept if pattern == "**" or batch.room != "other"]
        assert read_bases <= {batch.base for batch in wanted}
        for batch in wanted:
            gaps = [gap for gap in page.gaps if gap[0] == batch.room and gap[1] <= batch.base <= gap[2]]
            assert (batch.base in read_bases) != bool(gaps), f"{batch.base} of {batch.room}: {gaps}"
        assert told or rooms > 3

    def test_a_search_that_gives_way_finds_the_same(self, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(slices, "SLICE_SECONDS", 0.0)
        scribe = Scribe(log)
        for number in range(1, 400):
            scribe.keep(scribe.batch(f"r.{number % 40}", b"x", session="s", seq=number))
        newer = [scribe.batch("r.1", b"later") for _ in range(50)]
        put = iter(newer)

        def write() -> None:
            batch = next(put, None)
            if batch:
                scribe.keep(batch)

        assert in_slices(log.seek(["**"], 300, 0, False), write)[0] == 99
        assert in_slices(log.find("s", 5), write)[0] == 5

    # --- find -------------------------------------------------------------------------------

    # --- the last of each room --------------------------------------------------------------

    def test_the_last_messages_of_each_room_come_in_order_cut_to_what_is_asked_for(self, log: Log) -> None:
        scribe = Scribe(log)
        for room, bodies in (("a", b"123"), ("b", b"4"), ("a", b"5"), ("c", b"678"), ("other", b"9")):
            scribe.write(room, *[bytes([body]) for body in bodies])
        scribe.write("a", b"", kind=wire.PRESENCE)
        assert latest(log, ["a", "b", "c"], 1) == [("b", 4, [b"4"]), ("a", 5, [b"5"]), ("c", 8, [b"8"])]
        assert latest(log, ["*"], 2)[:2] == [("a", 3, [b"3"]), ("b", 4, [b"4"])]
        assert latest(log, ["a"], 9) == [("a", 1, [b"1", b"2", b"3"]), ("a", 5, [b"5"])]
        assert latest(log, ["a"], 1, until=4) == [("a", 3, [b"3"])]
        assert latest(log, ["a"], 1, until=2)[0][:2] == ("a", 2), "what is behind the end is left out by who reads it"
        assert latest(log, ["none"], 1) == []

    def test_the_last_of_entries_are_cut_between_and_within_them(self, log: Log) -> None:
        scribe = Scribe(log)
        records = [wire.raw(wire.encode_records([b"1", b"2"])), wire.raw(wire.encode_records([b"3", b"4", b"5"]))]
        entries = [wire.RawEntry("alice", "s", seq, each) for seq, each in enumerate(records, 1)]
        scribe.keep(scribe.batch_of("a", entries, 5))
        assert latest(log, ["a"], 2) == [("a", 4, [b"4", b"5"])]
        assert latest(log, ["a"], 4) == [("a", 2, [b"2", b"3", b"4", b"5"])]

    def test_page_after_page_the_last_of_each_room_come_once(self, log: Log) -> None:
        scribe = Scribe(log)
        written = [scribe.write(f"r.{number % 7}", b"x" * 10, b"y") for number in range(40)]
        last = [(batch.room, batch.base + 1, [b"y"]) for batch in written[-7:]]
        assert latest(log, ["r.*"], 1, bytes_max=1) == last
        scribe.write("r.1", b"later")
        assert latest(log, ["r.*"], 1, until=80, bytes_max=100) == last
        three = latest(log, ["r.*"], 3, until=80, bytes_max=1)
        assert sum(len(bodies) for _, _, bodies in three) == 21 and three == latest(log, ["r.*"], 3, until=80)

    def test_of_what_was_trimmed_nothing_is_the_last_and_what_stays_is(self, log: Log) -> None:
        scribe = Scribe(log)
        for number in range(6):
            scribe.write("a", str(number).encode())
        trim(log, [RetentionRule("a", records=2)])
        assert latest(log, ["a"], 4) == [("a", 5, [b"4"]), ("a", 6, [b"5"])]

    # --- a publish --------------------------------------------------------------------------

    def test_a_publish_is_found_by_its_session_and_seq(self, log: Log) -> None:
        scribe = Scribe(log)
        scribe.write("b", b"before")
        entries = [
            wire.RawEntry("alice", "s1", 4, wire.raw(wire.encode_records([b"1", b"2"]))),
            wire.RawEntry("bob", "s2", 4, wire.raw(wire.encode_records([b"3"]))),
            wire.RawEntry("alice", "s1", 5, wire.raw(wire.encode_records([wire.Record(b"4", "event")]))),
        ]
        scribe.keep(scribe.batch_of("a", entries, 4))
        scribe.write("b", b"after")
        assert [whole(log.find("s1", 4)), whole(log.find("s2", 4)), whole(log.find("s1", 5))] == [2, 4, 5]
        assert [whole(log.find("s1", 6)), whole(log.find("s3", 4))] == [0, 0]

    # --- trim -------------------------------------------------------------------------------

    def test_by_count_the_oldest_batches_go_as_far_as_enough_is_left(self, log: Log) -> None:
        scribe = Scribe(log)
        for _ in range(5):
            scribe.write("a", b"x", b"y")
        trim(log, [RetentionRule("a", records=5)])
        assert bases(read(log)) == [5, 7, 9]
        assert read(log).gaps == [("a", 1, 4, "trimmed")]

    def test_by_bytes_the_oldest_batches_go_until_the_rest_is_small_enough(self, log: Log) -> None:
        scribe = Scribe(log)
        sizes = [len(scribe.write("a", b"x" * 100).frame) for _ in range(5)]
        trim(log, [RetentionRule("a", bytes=sum(sizes[3:]) + 1)])
        assert bases(read(log)) == [4, 5]

    def test_by_age_what_is_older_goes(self, log: Log) -> None:
        scribe = Scribe(log)
        times = [scribe.write("a", b"x", seconds=60).time for _ in range(5)]
        trim(log, [RetentionRule("a", age_seconds=90)], times[-1])
        assert bases(read(log)) == [4, 5]

    def test_the_newest_batch_of_a_room_stays(self, log: Log) -> None:
        scribe = Scribe(log)
        scribe.write("a", b"x")
        scribe.write("a", b"x", b"y", b"z")
        trim(log, [RetentionRule("**", age_seconds=1, records=1, bytes=1)], 1 << 60)
        assert bases(read(log)) == [2]
        assert (log.head(), log.rooms()) == (4, {"a": 4})

    def test_a_room_that_is_purged_loses_what_ends_up_to_the_offset_the_newest_too(self, log: Log) -> None:
        scribe = Scribe(log)
        for body in (b"1", b"2", b"3"):
            scribe.write("a", body)
            scribe.write("b", body)
        scribe.write("a", b"", kind=wire.PRESENCE)
        trim(log, [RetentionRule("a", upto=4)])
        assert bases(read(log, ["a"])) == [5, 7] and log.empty_rooms() == []
        trim(log, [RetentionRule("a", upto=99), RetentionRule("b", records=2)])
        assert read(log, ["a"]) == LogPage([], 7, False, [Gap("a", 1, 7, "purged")]) and log.empty_rooms() == ["a"]
        assert bases(read(log, ["b"])) == [4, 6] and log.rooms()["a"] == 7
        scribe.write("a", b"8")
        assert bases(read(log, ["a"])) == [8] and log.empty_rooms() == []
        assert latest(log, ["*"], 1) == [("b", 6, [b"3"]), ("a", 8, [b"8"])]

    def test_what_was_purged_and_what_retention_removed_behind_it_are_told_apart(self, log: Log) -> None:
        scribe = Scribe(log)
        for _ in range(6):
            scribe.write("a", b"x")
        trim(log, [RetentionRule("a", records=5)])
        assert read(log).gaps == [("a", 1, 1, "trimmed")]
        trim(log, [RetentionRule("a", upto=3)])
        assert read(log).gaps == [("a", 1, 3, "purged")], "what was gone before is gone for that, too"
        trim(log, [RetentionRule("a", records=1)])
        assert read(log).gaps == [("a", 1, 3, "purged"), ("a", 4, 5, "trimmed")]
        assert read(log, after=2).gaps == [("a", 3, 3, "purged"), ("a", 4, 5, "trimmed")]
        assert read(log, after=3).gaps == [("a", 4, 5, "trimmed")]

    def test_only_rooms_that_match_are_trimmed_and_every_rule_holds(self, log: Log) -> None:
        scribe = Scribe(log)
        for _ in range(4):
            for room in ("build.a", "build.b", "general"):
                scribe.write(room, b"x")
        trim(log, [RetentionRule("build.*", records=3), RetentionRule("build.b", records=1)])
        assert {room for room, _ in read(log).batches} == {"build.a", "build.b", "general"}
        assert bases(read(log, ["build.a"])) == [4, 7, 10]
        assert bases(read(log, ["build.b"])) == [11]
        assert bases(read(log, ["general"])) == [3, 6, 9, 12]

    def test_joins_and_leaves_never_remove_a_message(self, log: Log) -> None:
        scribe = Scribe(log)
        messages = [scribe.write("a", b"x").base for _ in range(5)]
        for _ in range(8):
            scribe.write("a", b"join", kind=wire.PRESENCE)
            scribe.write("a", b"leave", kind=wire.PRESENCE)
            trim(log, [RetentionRule("a", records=5)])
        assert bases(read(log))[:5] == messages and not read(log).gaps
        trim(log, [RetentionRule("a", records=2)])
        assert (bases(read(log))[:2], read(log).gaps) == ([4, 5], [("a", 1, 3, "trimmed")])

    def test_a_size_is_of_messages(self, log: Log) -> None:
        scribe = Scribe(log)
        sizes = [len(scribe.write("a", b"x" * 100).frame) for _ in range(3)]
        scribe.write("a", *[b"join"] * 200, kind=wire.PRESENCE)
        trim(log, [RetentionRule("a", bytes=sum(sizes[1:]))])
        assert bases(read(log)) == [2, 3, 4]

    def test_joins_and_leaves_go_with_the_message_after_them(self, log: Log) -> None:
        scribe = Scribe(log)
        for _ in range(3):
            scribe.write("a", b"join", kind=wire.PRESENCE)
            scribe.write("a", b"x")
            scribe.write("a", b"leave", kind=wire.PRESENCE)
        trim(log, [RetentionRule("a", records=2)])
        assert (bases(read(log)), read(log).gaps) == ([3, 4, 5, 6, 7, 8, 9], [("a", 1, 2, "trimmed")])

    def test_the_newest_message_stays_however_old_it_is_and_whatever_came_after(self, log: Log) -> None:
        scribe = Scribe(log)
        scribe.write("a", b"1")
        scribe.write("a", b"2", b"3")
        for _ in range(4):
            scribe.write("a", b"join", kind=wire.PRESENCE, seconds=60)
        trim(log, [RetentionRule("a", age_seconds=1, records=1, bytes=1)], log.last_time() + SECOND)
        assert (bases(read(log)), read(log).gaps) == ([2, 7], [("a", 1, 1, "trimmed"), ("a", 4, 6, "trimmed")])
        scribe.write("a", b"8")
        trim(log, [RetentionRule("a", age_seconds=1)], log.last_time() + SECOND)
        assert bases(read(log)) == [8] and [gap[2] for gap in read(log).gaps] == [7]

    def test_joins_and_leaves_have_a_bound_of_their_own(self, log: Log, few_kept: None) -> None:
        scribe = Scribe(log)
        scribe.write("a", b"join", kind=wire.PRESENCE)  # 1, with nothing before it
        scribe.write("a", b"x")
        for _ in range(3):
            scribe.write("a", b"leave", b"join", kind=wire.PRESENCE)  # 3, 5, 7
        scribe.write("a", b"y")
        for _ in range(2):
            scribe.write("a", b"leave", b"join", kind=wire.PRESENCE)  # 10, 12
        trim(log, [RetentionRule("a", records=9)])
        assert (bases(read(log)), read(log).gaps) == ([2, 3, 5, 7, 9, 10, 12], [("a", 1, 1, "trimmed")])
        trim(log, [RetentionRule("a", records=6)])
        assert (bases(read(log)), read(log).gaps) == (
            [2, 7, 9, 10, 12],
            [("a", 1, 1, "trimmed"), ("a", 3, 6, "trimmed")],
        )
        trim(log, [RetentionRule("a", records=2)])
        assert bases(read(log)) == [2, 9, 12]
        assert [gap[1:3] for gap in read(log).gaps] == [(1, 1), (3, 8), (10, 11)]
        assert [gap[1:3] for gap in read(log, after=4, until=10).gaps] == [(5, 8), (10, 10)]
        assert not read(log, after=12).gaps
        assert whole(log.seek(["a"], 2, 0, False)) == 1 and whole(log.seek(["a"], 3, 0, True)) == 8

    def test_however_many_come_and_go_a_room_does_not_grow(self, log: Log, few_kept: None) -> None:
        scribe = Scribe(log)
        scribe.write("a", b"x")
        for _ in range(60):
            scribe.write("a", b"join", kind=wire.PRESENCE)
            if scribe.next % 7 == 0:
                trim(log, [RetentionRule("a", records=1 << 20, bytes=200)])
        assert 3 < len(read(log).batches) < 15 and bases(read(log))[0] == 1

    @pytest.mark.parametrize(
        ("after", "until", "gaps"),
        [(0, 0, [(1, 6)]), (2, 0, [(3, 6)]), (5, 0, [(6, 6)]), (6, 0, []), (0, 4, [(1, 4)]), (2, 2, []), (3, 2, [])],
    )
    def test_what_was_trimmed_is_a_gap_as_far_as_it_was_asked_for(
        self, log: Log, after: int, until: int, gaps: list[tuple[int, int]]
    ) -> None:
        scribe = Scribe(log)
        for _ in range(5):
            scribe.write("a", b"x", b"y")
        trim(log, [RetentionRule("a", records=4)])
        page = read(log, after=after, until=until)
        assert page.gaps == [("a", *gap, "trimmed") for gap in gaps]

    def test_a_page_tells_the_gaps_up_to_where_it_ends(self, log: Log) -> None:
        scribe = Scribe(log)
        scribe.write("quiet", b"x")
        for _ in range(5):
            scribe.write("a", b"x", b"y")
        trim(log, [RetentionRule("a", records=2)])
        page = read(log, limit=1)
        assert (bases(page), page.upto, page.more, page.gaps) == ([1], 1, True, [("a", 1, 1, "trimmed")])

    def test_a_trimmed_room_goes_on(self, log: Log) -> None:
        scribe = Scribe(log)
        for _ in range(3):
            scribe.write("a", b"x")
        trim(log, [RetentionRule("a", records=1)])
        scribe.write("a", b"y")
        assert (bases(read(log)), log.head()) == ([3, 4], 4)
        assert whole(log.seek(["a"], 99, 0, False)) == 0 and whole(log.seek(["a"], 1, 0, False)) == 3

    # --- the end ----------------------------------------------------------------------------

    def test_it_can_be_closed_twice(self, log: Log) -> None:
        log.close()
        log.close()
