"""What is removed is gone, what stays is whole, and no offset is given twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.log.contract import Scribe, bases, read_all
from tests.log.sqlite.test_log import OpenLog
from zchat.core.log import CursorRow, SessionRow
from zchat.errors import StartError
from zchat.log.offline import removing
from zchat.log.offline.removing import Removed, What, remove
from zchat.log.offline.repairing import Finding, check
from zchat.log.sqlite import schema


def findings(folder: Path) -> list[Finding]:
    found: list[Finding] = []
    check(folder, found.append)
    return found


@pytest.fixture
def folder(open_log: OpenLog, tmp_path: Path) -> Path:
    """Two rooms of spam, one of them the newest, among others; sessions, cursors and users who have gone."""
    log = open_log()
    scribe = Scribe(log)
    for number in range(12):
        scribe.write("spam.a" if number % 3 else "talk", b"%d" % number)
    scribe.write("spam.b.c", b"x" * 10_000, b"y")
    scribe.keep(
        sessions=[
            SessionRow("s1", "Mallory7", 1, 1, {}),
            SessionRow("s2", "mallory8", 1, 1, {"spam.a": 5}),
            SessionRow("s3", "mallory9", 1, 1, {"spam.a": 5, "talk": 6}),
            SessionRow("s4", "alice", 1, 1, {"talk": 6}),
        ],
        cursors=[CursorRow("mallory7", "phone", 1, 1), CursorRow("alice", "phone", 2, 2)],
        seen={"mallory7": 1, "bob": 2},
    )
    log.close()
    return tmp_path / "log"


def test_rooms_go_with_all_that_is_in_them_and_their_offsets_are_never_given_again(
    open_log: OpenLog, folder: Path
) -> None:
    assert remove(folder, What(rooms=["spam.**"])) == Removed(2, 10, 0, 0, 0, 0)
    assert findings(folder) == []
    log = open_log(folder)
    assert log.rooms() == {"talk": 10} and log.head() == 14
    page = read_all(log)
    assert bases(page) == [1, 4, 7, 10] and page.gaps == []
    assert {row.session: row.rooms for row in log.sessions()}["s3"] == {"talk": 6}
    scribe = Scribe(log)
    assert scribe.write("spam.a", b"again").base == 15
    assert bases(read_all(log, ["spam.a"])) == [15]
    log.close()
    assert findings(folder) == []


def test_sessions_cursors_and_users_go_by_name(open_log: OpenLog, folder: Path) -> None:
    what = What(sessions_of=["MALLORY*"], cursors_of=["mallory7"], seen=["*7"])
    assert remove(folder, what) == Removed(0, 0, 1, 2, 1, 1)
    assert findings(folder) == []
    log = open_log(folder)
    assert {row.session for row in log.sessions()} == {"s2", "s3", "s4"}, "who is in a room has still to leave it"
    assert [row.user for row in log.cursors()] == ["alice"] and log.users_seen(9) == [("bob", 2)]


def test_with_their_rooms_sessions_go_too(open_log: OpenLog, folder: Path) -> None:
    assert remove(folder, What(rooms=["spam.a"], sessions_of=["mallory*"])) == Removed(1, 8, 2, 1, 0, 0)
    assert {row.session for row in open_log(folder).sessions()} == {"s3", "s4"}


@pytest.mark.parametrize("name", ["mallory", "mallory?", "[m]allory7", ".*", "", "mallory7|alice"])
def test_only_a_star_stands_for_others(folder: Path, name: str) -> None:
    assert remove(folder, What(cursors_of=[name], sessions_of=[name], seen=[name])) == Removed(0, 0, 0, 0, 0, 0)


def test_a_dry_run_removes_nothing(open_log: OpenLog, folder: Path) -> None:
    before = (folder / schema.FILE).read_bytes()
    what = What(["spam.**"], ["*"], ["*"], ["*"])
    assert remove(folder, what, dry_run=True) == Removed(2, 10, 2, 2, 2, 2)
    assert (folder / schema.FILE).read_bytes() == before


def test_cut_short_it_leaves_a_whole_log(open_log: OpenLog, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removing, "STEP_BATCHES", 2)

    def cut(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        remove(folder, What(rooms=["spam.**"]), progress=cut)
    assert findings(folder) == []
    log = open_log(folder)
    assert log.head() == 14
    assert {room for room, *_ in read_all(log).gaps} == {"spam.a", "spam.b.c"}
    log.close()
    assert remove(folder, What(rooms=["spam.**"])) == Removed(2, 0, 0, 0, 0, 0)
    assert findings(folder) == []


def test_the_space_is_given_back(folder: Path, open_log: OpenLog) -> None:
    log = open_log(folder)
    for _ in range(50):
        Scribe(log).write("spam.big", b"x" * 100_000)
    log.close()
    before = (folder / schema.FILE).stat().st_size
    remove(folder, What(rooms=["spam.big"]))
    assert (folder / schema.FILE).stat().st_size < before - 4_000_000


def test_what_cannot_be_removed_from_is_one_line(open_log: OpenLog, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="there is no log"):
        remove(tmp_path, What(rooms=["**"]))
    open_log()
    with pytest.raises(StartError, match="in use"):
        remove(tmp_path / "log", What(rooms=["**"]))
