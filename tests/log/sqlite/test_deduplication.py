"""Where publishes are that are sent again: what is found, how far it is searched for, and how often."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.log.contract import Scribe
from tests.log.damage import change
from zchat import wire
from zchat.core.log import whole
from zchat.log import slices
from zchat.log.sqlite import deduplication, schema
from zchat.log.sqlite.log import SqliteLog

OpenLog = Callable[..., SqliteLog]


def test_what_is_stored_since_does_not_hide_what_was_the_newest_when_the_log_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deduplication, "RECENT_BATCHES", 5)
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
    assert whole(log.find("s1", 4)) == 1
    assert whole(log.find("s1", 5)) == 23
    assert whole(log.find("s1", 6)) == 0
    log.close()


def test_a_publish_is_searched_for_in_the_newest_batches_only(open_log: OpenLog) -> None:
    log = open_log(sync="normal")
    scribe = Scribe(log)
    scribe.keep(scribe.batch("a", b"x", session="old", seq=1))
    scribe.keep(*[scribe.batch("a", b"x", session="new", seq=number) for number in range(deduplication.RECENT_BATCHES)])
    assert (whole(log.find("old", 1)), whole(log.find("new", 0))) == (0, 2)


def test_a_publish_is_found_beside_damage(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    scribe = Scribe(log)
    for seq in range(1, 6):
        scribe.keep(scribe.batch("a", b"x", seq=seq))
    change(tmp_path / "log", "UPDATE batches SET crc = 0 WHERE base = 4")
    assert [whole(log.find("s", seq)) for seq in range(1, 6)] == [1, 2, 3, 0, 5]


def test_one_walk_answers_all_that_a_session_repeats(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log(sync="normal")
    scribe = Scribe(log)
    for seq in range(1, 41):
        scribe.keep(scribe.batch("a", b"x", seq=seq), scribe.batch("a", b"x", session="other", seq=seq))
    log.close()
    connection = schema.reader(tmp_path / "log" / schema.FILE)
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    found = deduplication.Deduplication(80)

    def find(seq: int) -> int:
        return whole(found.find(lambda: nullcontext(connection), "s", seq, 80))

    assert [find(seq) for seq in range(10, 41)] == list(range(19, 80, 2))
    scanned = len(statements)
    assert scanned < 70
    assert [find(seq) for seq in (9, 8, 50, 50)] == [17, 15, 0, 0]
    assert len(statements) < scanned + 30, "it went on where it had stopped"
    connection.close()


def test_the_walk_ends_where_a_session_has_had_many_others(
    open_log: OpenLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deduplication, "RECENT_PUBLISHES", 5)
    log = open_log(sync="normal")
    scribe = Scribe(log)
    for seq in range(1, 11):
        scribe.keep(scribe.batch("a", b"x", seq=seq))
    assert whole(log.find("s", 1)) == 0
    assert whole(log.find("s", 8)) == 8


def test_sessions_that_were_asked_for_long_ago_are_forgotten_and_found_again(
    open_log: OpenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deduplication, "SESSIONS_KEPT", 2)
    log = open_log(sync="normal")
    scribe = Scribe(log)
    for number in range(1, 6):
        scribe.keep(scribe.batch("a", b"x", session=f"s{number}", seq=number))
    for _ in range(2):
        assert [whole(log.find(f"s{number}", number)) for number in range(1, 6)] == [1, 2, 3, 4, 5]


def test_a_search_in_slices_comes_to_an_end_whoever_else_searches(
    open_log: OpenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deduplication, "SESSIONS_KEPT", 1)
    monkeypatch.setattr(slices, "SLICE_SECONDS", 0.0)
    log = open_log(sync="normal")
    scribe = Scribe(log)
    scribe.keep(*[scribe.batch("a", b"x", session=f"s{number % 2}", seq=number) for number in range(400)])
    searches = {number: log.find(f"s{number}", number) for number in (0, 1)}
    found: dict[int, int] = {}
    for _ in range(50):
        for number, search in searches.items():
            if number not in found:
                try:
                    next(search)
                except StopIteration as end:
                    found[number] = end.value
    assert found == {0: 1, 1: 2}
