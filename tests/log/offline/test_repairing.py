"""Check finds what is wrong and nothing else; repair saves what is sound and tells the rest."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.log.contract import Scribe, read, read_all, trim
from tests.log.damage import change, copied, flip, overwrite, pages_of, silent, written
from tests.unreadable import KNOWN, READABLE, STORED_BEFORE
from zchat import wire
from zchat.core.log import RetentionRule, StoredBatch, whole
from zchat.errors import StartError
from zchat.log import retention
from zchat.log.offline.exporting import export
from zchat.log.offline.importing import import_lines
from zchat.log.offline.repairing import Checked, Finding, Repaired, check, repair
from zchat.log.sqlite import schema, stored
from zchat.log.sqlite.folder import Folder
from zchat.log.sqlite.log import SqliteLog

OpenLog = Callable[..., SqliteLog]


def findings(folder: Path) -> list[Finding]:
    found: list[Finding] = []
    checked = check(folder, found.append)
    assert checked.findings == len(found)
    assert all("\n" not in finding.text for finding in found)
    return found


def repaired_of(folder: Path) -> Repaired:
    repaired = repair(folder)
    assert repaired is not None
    return repaired


def kinds(folder: Path) -> set[str]:
    return {finding.kind for finding in findings(folder)}


# --- check --------------------------------------------------------------------------------------


def test_a_whole_log_has_no_findings(tmp_path: Path) -> None:
    kept = written(tmp_path / "log")
    found: list[Finding] = []
    told: list[tuple[int, int]] = []
    checked = check(tmp_path / "log", found.append, lambda done, total: told.append((done, total)))
    records = sum(batch.records for batch in kept)
    assert checked == Checked(0, 3, len(kept), records, records) and not found
    assert told[-1] == (records, records) and told == sorted(told)


def test_a_new_and_a_trimmed_log_have_none_either(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    log.close()
    assert not findings(tmp_path / "log")
    log = open_log()
    scribe = Scribe(log)
    for number in range(50):
        scribe.write(f"r{number % 3}", b"x")
    trim(log, [RetentionRule("**", records=5)])
    log.close()
    assert not findings(tmp_path / "log")


@pytest.fixture
def thinned(open_log: OpenLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A closed log with the messages 1, 12, 23 … of a room, without the joins 2-11, 13-22 … 46-52."""
    monkeypatch.setattr(retention, "PRESENCE_RECORDS_MIN", 0)
    log = open_log()
    scribe = Scribe(log)
    join = [wire.RawEntry("alice", "s", 0, wire.raw(wire.encode_records([wire.Record(b"", "join")])))]
    for _ in range(5):
        scribe.keep(scribe.batch("a", b"x"), *[scribe.batch_of("a", join, 1, wire.PRESENCE) for _ in range(10)])
    trim(log, [RetentionRule("a", records=7)])
    log.close()
    monkeypatch.undo()
    return tmp_path / "log"


def test_joins_and_leaves_that_were_removed_are_no_finding_and_stay_a_gap(open_log: OpenLog, thinned: Path) -> None:
    holes = [(2, 11), (13, 22), (24, 33), (35, 44), (46, 48)]
    assert not findings(thinned)
    lines = [line for line in map(json.loads, export(thinned)) if "gap" in line]
    assert [(line["gap"], line["first"], line["last"]) for line in lines] == [("trimmed", *hole) for hole in holes]
    before = list(export(thinned))
    import_lines(thinned / "again", before)
    assert list(export(thinned / "again")) == before and not findings(thinned / "again")
    overwrite(thinned, 0, bytes(schema.PAGE_BYTES))
    assert repaired_of(thinned).gaps == [] and list(export(thinned)) == before
    log = open_log()
    assert [gap[1:] for gap in read(log).gaps] == [(*hole, "trimmed") for hole in holes]


def test_a_damaged_message_among_them_is_told(open_log: OpenLog, thinned: Path) -> None:
    change(thinned, "UPDATE batches SET crc = 0 WHERE base IN (23, 45)")
    assert [(found.first, found.last) for found in findings(thinned)] == [(23, 23), (45, 45)]
    log = open_log()
    assert {gap[1:3] for gap in read(log).gaps if gap[3] == "damaged"} == {(23, 23), (45, 45)}
    log.close()
    assert repaired_of(thinned).gaps == [("a", 23, 23), ("a", 45, 45)]


def test_what_is_still_in_the_wal_is_looked_at_too(open_log: OpenLog, tmp_path: Path) -> None:
    log = open_log()
    Scribe(log).write("a", b"x")
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in (schema.FILE, f"{schema.FILE}-wal"):
        (folder / name).write_bytes((tmp_path / "log" / name).read_bytes())
    assert check(folder, print).records == 1


def test_a_changed_batch_is_found_with_its_offsets(tmp_path: Path) -> None:
    kept = written(tmp_path / "log")
    bad = kept[70]
    change(tmp_path / "log", "UPDATE batches SET crc = 0 WHERE base = ?", [bad.base])
    (found,) = findings(tmp_path / "log")
    assert found[0::2] == ("batch", bad.room, bad.base + bad.records - 1) and found.first == bad.base


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("DELETE FROM batches WHERE base BETWEEN 100 AND 120", "batch"),
        ("UPDATE rooms SET records = 1 WHERE id = 1", "room"),
        ("UPDATE sessions SET user = 'x'", "session"),
        ("UPDATE cursors SET offset = 5", "cursor"),
        ("UPDATE groups SET upto = 5", "group"),
        ("UPDATE scheduled SET due = 5", "scheduled"),
        ("UPDATE meta SET value = x'00' WHERE key = 'secret'", "identity"),
        ("DELETE FROM rooms WHERE id = 2", "room"),
    ],
)
def test_every_kind_of_row_is_looked_at(tmp_path: Path, statement: str, kind: str) -> None:
    written(tmp_path / "log")
    change(tmp_path / "log", statement)
    assert kind in kinds(tmp_path / "log")


@pytest.mark.parametrize("name", ["batches", "batches_of_room", "rooms", "sessions", "seen"])
def test_every_page_is_looked_at(tmp_path: Path, name: str) -> None:
    written(tmp_path / "log")
    for page in pages_of(tmp_path / "log", name)[-1:]:
        overwrite(tmp_path / "log", page, random.Random(1).randbytes(schema.PAGE_BYTES))
    assert kinds(tmp_path / "log")


@pytest.mark.parametrize(("name", "findings_min"), [("batches", 0), ("batches_of_room", 100)])
def test_what_is_wrong_everywhere_is_told_in_few_lines(tmp_path: Path, name: str, findings_min: int) -> None:
    written(tmp_path / "log", batches=2_000)
    (page,) = pages_of(tmp_path / "log", name, "internal")
    overwrite(tmp_path / "log", page, b"\xff" * schema.PAGE_BYTES)
    found = [finding.text for finding in findings(tmp_path / "log")]
    assert findings_min < len(found) < findings_min + 20
    assert not any("***" in text for text in found)
    if findings_min:
        assert any("more such lines, or more" in text for text in found)  # how many kinds SQLite knows is its own
        assert found[-1] == "1900 more batches have no place in the index"


@pytest.mark.parametrize("options", ["remount,ro", "full"])
def test_check_and_export_need_nothing_written(open_log: OpenLog, mounted: Path, tmp_path: Path, options: str) -> None:
    """The disk is read-only, or has no byte left; what is in the WAL is there too."""
    Scribe(open_log(sync="normal")).write("a", b"x")
    for folder, in_wal in ((mounted / "closed", False), (mounted / "killed", True)):
        folder.mkdir()
        for name in (schema.FILE, f"{schema.FILE}-wal"):
            (folder / name).write_bytes((tmp_path / "log" / name).read_bytes())
        if not in_wal:
            open_log(folder, sync="normal").close()
            (folder / "log.lock").unlink()
    if options == "full":
        room = os.statvfs(mounted)
        (mounted / "rest").write_bytes(bytes(room.f_bavail * room.f_frsize))
    else:
        subprocess.run(["mount", "-o", options, mounted], check=True)
    for folder in (mounted / "closed", mounted / "killed"):
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert check(folder, print)[:2] == (0, 1)
        assert len(list(export(folder))) == 1
        after = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "log.lock"}
        assert after == before


def test_a_check_leaves_nothing_where_there_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="there is no log"):
        check(tmp_path, print)
    assert not list(tmp_path.iterdir())


def test_a_check_changes_nothing(tmp_path: Path) -> None:
    written(tmp_path / "log")
    before = (tmp_path / "log" / schema.FILE).read_bytes()
    findings(tmp_path / "log")
    assert (tmp_path / "log" / schema.FILE).read_bytes() == before


@pytest.mark.parametrize("function", [lambda folder: check(folder, print), repair])
def test_a_log_in_use_is_left_alone(
    open_log: OpenLog, tmp_path: Path, function: Callable[[Path], Checked | Repaired]
) -> None:
    open_log()
    with pytest.raises(StartError, match="in use by process"):
        function(tmp_path / "log")


@pytest.mark.parametrize("function", [lambda folder: check(folder, print), repair])
def test_a_folder_without_a_log_is_one_line(tmp_path: Path, function: Callable[[Path], Checked | Repaired]) -> None:
    with pytest.raises(StartError, match="there is no log"):
        function(tmp_path)
    assert not (tmp_path / schema.FILE).exists()


@pytest.fixture
def unreadable(open_log: OpenLog, tmp_path: Path) -> tuple[Path, list[StoredBatch]]:
    """A closed log that a broker wrote that did not look at unknown elements, and what its batches should be."""
    log = open_log(sync="normal")
    scribe = Scribe(log)
    should: list[StoredBatch] = []
    for records in [READABLE["8 maps"], *STORED_BEFORE.values()]:
        written = [wire.encode_records([b"before"]), records, wire.encode_records([b"after"])]
        entries = [wire.RawEntry("mallory", "s", seq, wire.raw(each)) for seq, each in enumerate(written, 1)]
        batch = scribe.batch_of("den", entries, 3)
        scribe.keep(batch)
        if should:
            entries[1].records = wire.raw(wire.encode_records([KNOWN]))
        head = wire.decode_head(batch.frame)
        prev_message = head.prev  # all are messages
        frame = wire.encode(wire.RawBatch(head.kind, head.base, head.prev, head.time, entries, prev_message))
        should.append(batch._replace(frame=frame))
    log.close()
    return tmp_path / "log", should


def test_records_that_not_every_reader_can_read_are_found_and_mended(
    open_log: OpenLog, unreadable: tuple[Path, list[StoredBatch]]
) -> None:
    folder, should = unreadable
    found = findings(folder)
    assert [(finding.kind, finding.first, finding.last) for finding in found] == [
        ("batch", batch.base, batch.base + 2) for batch in should[1:]
    ]
    assert all("has what not every reader can read: record" in finding.text for finding in found)
    lines = list(export(folder))
    assert [json.loads(line)["body"] for line in lines] == ["before", "body", "after"] * len(should)
    repaired = repaired_of(folder)
    assert (repaired.batches, repaired.records, repaired.gaps) == (len(should), 3 * len(should), [])
    assert not findings(folder) and repair(folder) is None and list(export(folder)) == lines
    page = read(open_log())
    assert (list(page.batches), page.gaps) == ([("den", batch.frame) for batch in should], [])


def test_they_are_served_until_then(open_log: OpenLog, unreadable: tuple[Path, list[StoredBatch]]) -> None:
    _, should = unreadable
    log = open_log()
    page = read_all(log)
    assert [wire.decode_batch(frame) for _, frame in page.batches] == [
        wire.decode_batch(batch.frame) for batch in should
    ]
    assert not page.gaps
    assert whole(log.find("s", 3)) == should[-1].base + 2


@pytest.mark.parametrize(
    "frame", [b"", b"\xc1", b"\x91" * 10_000, b"\x95\x00\x02\x01\x09\x91\x94\xa1u\xa1s\x01\x91\xa1x"]
)
def test_a_row_that_is_no_batch_is_found_and_becomes_a_gap(open_log: OpenLog, tmp_path: Path, frame: bytes) -> None:
    folder = tmp_path / "log"
    scribe = Scribe(open_log())
    written = [scribe.write("a", b"x") for _ in range(4)]
    scribe.log.close()
    for batch in written[1:3]:
        crc = stored.checksum(batch.base, 1, batch.kind, batch.records, batch.time, frame)
        change(folder, "UPDATE batches SET frame = ?, crc = ? WHERE base = ?", [frame, crc, batch.base])
    assert {2, 3} <= {finding.first for finding in findings(folder) if " is none: " in finding.text}
    lines = [json.loads(line) for line in export(folder)]
    assert [line.get("gap") or line["offset"] for line in lines] == [1, "damaged", "damaged", 4]
    assert repaired_of(folder).gaps == [("a", 2, 2), ("a", 3, 3)]
    assert not findings(folder)
    assert read(open_log()).gaps == [("a", 2, 3, "damaged")]


# --- repair -------------------------------------------------------------------------------------


def test_a_log_with_a_damaged_index_is_the_same_after_a_repair(open_log: OpenLog, tmp_path: Path) -> None:
    kept = written(tmp_path / "log")
    log = open_log()
    before = (log.log_id, log.secret, log.rooms(), log.sessions(), log.cursors(), log.groups(), log.scheduled())
    seen = log.users_seen(9)
    page = read(log)
    log.close()
    overwrite(tmp_path / "log", pages_of(tmp_path / "log", "batches_of_room")[0], bytes(schema.PAGE_BYTES))
    repaired = repaired_of(tmp_path / "log")
    assert repaired[:8] == (len(kept), sum(batch.records for batch in kept), [], False, False, False, False, True)
    log = open_log()
    after = (log.log_id, log.secret, log.rooms(), log.sessions(), log.cursors(), log.groups(), log.scheduled())
    assert (after, log.users_seen(9), read(log)) == (before, seen, page)


def test_where_nothing_is_wrong_nothing_is_done(tmp_path: Path) -> None:
    written(tmp_path / "log")
    before = {path: path.read_bytes() for path in (tmp_path / "log").iterdir() if path.name != "log.lock"}
    assert repair(tmp_path / "log") is None
    assert {path: path.read_bytes() for path in (tmp_path / "log").iterdir() if path.name != "log.lock"} == before


def test_what_was_damaged_is_a_gap_for_good_and_no_finding_any_more(open_log: OpenLog, tmp_path: Path) -> None:
    kept = written(tmp_path / "log")
    bad = [kept[40], kept[90], kept[-1]]
    for batch in bad:
        change(tmp_path / "log", "UPDATE batches SET crc = 0 WHERE base = ?", [batch.base])
    told: list[tuple[int, int]] = []
    repaired = repair(tmp_path / "log", lambda done, total: told.append((done, total)))
    assert repaired is not None
    assert repaired.gaps == [(batch.room, batch.base, batch.base + batch.records - 1) for batch in bad]
    assert told[-1][0] == told[-1][1]
    assert not findings(tmp_path / "log")
    log = open_log()
    assert log.head() == kept[-1].base + kept[-1].records - 1, "the head does not go back"
    assert not silent(log, kept, ["**"])
    Scribe(log).write("r0", b"goes on")
    log.close()
    assert repair(tmp_path / "log") is None


def test_the_old_database_is_kept_as_it_was(tmp_path: Path) -> None:
    written(tmp_path / "log")
    change(tmp_path / "log", "UPDATE batches SET crc = 0 WHERE base = 1")
    before = (tmp_path / "log" / schema.FILE).read_bytes()
    kept = repaired_of(tmp_path / "log").kept
    assert kept.parent == tmp_path / "log" and kept.read_bytes() == before
    left = {path.name for path in kept.parent.iterdir()} - {"log.lock", "log.ballast"}
    assert left == {schema.FILE, kept.name}


@pytest.mark.parametrize("statement", ["DELETE FROM rooms WHERE id = 2", "UPDATE rooms SET last = 1, name = 'x'"])
def test_rooms_that_are_lost_come_back_from_what_is_left(open_log: OpenLog, tmp_path: Path, statement: str) -> None:
    kept = written(tmp_path / "log")
    change(tmp_path / "log", statement.replace(", name = 'x'", ""))
    repaired = repaired_of(tmp_path / "log")
    assert repaired.batches == len(kept) and not repaired.gaps
    log = open_log()
    assert log.head() == kept[-1].base + kept[-1].records - 1
    assert len(read(log).batches) == len(kept)
    names = set(log.rooms())
    assert names == {"r0", "r1", "r2"} or (len(names & {"r0", "r1", "r2"}) == 2 and "lost.room-2" in names)


def test_a_log_without_its_id_becomes_another_log(open_log: OpenLog, tmp_path: Path) -> None:
    kept = written(tmp_path / "log")
    change(tmp_path / "log", "UPDATE meta SET value = x'00' WHERE key = 'secret'")
    repaired = repaired_of(tmp_path / "log")
    assert not repaired.is_same and repaired.batches == len(kept)
    assert len(open_log().secret) == 32


@pytest.mark.parametrize(
    "damage", [b"\xff" * 16, bytes(100), bytes(schema.PAGE_BYTES)], ids=["first bytes", "header", "page"]
)
def test_a_log_without_its_beginning_is_saved(open_log: OpenLog, tmp_path: Path, damage: bytes) -> None:
    kept = written(tmp_path / "log")
    overwrite(tmp_path / "log", 0, damage)
    with pytest.raises(StartError, match="`zchat log repair`"):
        open_log()
    repaired = repaired_of(tmp_path / "log")
    assert repaired.batches == len(kept) and repaired.is_same and not repaired.gaps
    assert not findings(tmp_path / "log")
    left = {path.name for path in (tmp_path / "log").iterdir()} - {"log.lock", "log.ballast"}
    assert left == {schema.FILE, repaired.kept.name}


def test_a_log_that_was_cut_off_is_saved_as_far_as_it_is_there(tmp_path: Path) -> None:
    kept = written(tmp_path, batches=2_000)
    length = (tmp_path / schema.FILE).stat().st_size
    os.truncate(tmp_path / schema.FILE, length // 2 + 100)
    repaired = repaired_of(tmp_path)
    assert len(kept) // 4 < repaired.batches < len(kept) and repaired.gaps and not findings(tmp_path)


@pytest.mark.parametrize("content", [b"", b"x", b"something else " * 1_000, bytes(20 * schema.PAGE_BYTES)])
def test_a_file_that_is_no_log_is_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / schema.FILE).write_bytes(content)
    for function in (repair, lambda folder: check(folder, print)):
        with pytest.raises(StartError, match="nothing can be read") as raised:
            function(tmp_path)
        assert "graft" not in str(raised.value)
    assert (tmp_path / schema.FILE).read_bytes() == content
    assert {path.name for path in tmp_path.iterdir()} == {schema.FILE, "log.lock"}


def test_without_space_nothing_is_begun(small_disk: Path) -> None:
    written(small_disk, batches=20, size=400_000)
    (small_disk / "somebody-else").write_bytes(bytes(14 << 20))
    change(small_disk, "UPDATE cursors SET crc = 0")
    before = (small_disk / schema.FILE).read_bytes()
    with pytest.raises(StartError, match="MB of free space"):
        repaired_of(small_disk)
    assert (small_disk / schema.FILE).read_bytes() == before
    assert kinds(small_disk) == {"cursor"}


@pytest.mark.slow
def test_whatever_was_damaged_a_repaired_log_opens_and_is_whole(open_log: OpenLog, tmp_path: Path) -> None:
    kept = written(tmp_path / "whole", batches=300)
    length = (tmp_path / "whole" / schema.FILE).stat().st_size
    chance = random.Random(5)
    for number in range(25):
        folder = copied(tmp_path / "whole", tmp_path / str(number))
        for _ in range(chance.randint(1, 3)):
            page = chance.randrange(1, length // schema.PAGE_BYTES) * schema.PAGE_BYTES
            match chance.randrange(3):
                case 0:
                    flip(folder, page + chance.randrange(schema.PAGE_BYTES))
                case 1:
                    overwrite(folder, page, bytes(schema.PAGE_BYTES))
                case 2:
                    overwrite(folder, page + chance.randrange(3_000), chance.randbytes(1_000))
        repaired = repair(folder)
        assert not findings(folder), number
        log = open_log(folder, sync="normal")
        named = [batch for batch in kept if batch.room in log.rooms()]
        assert len(read(log).batches) == (repaired.batches if repaired else len(kept))
        if len(log.rooms()) == 3:
            assert not silent(log, named, ["**"]), number
        log.close()


def test_a_log_that_ended_higher_is_a_finding_until_it_is_repaired(open_log: OpenLog, tmp_path: Path) -> None:
    """As `rm log.db-wal` and a kill leave it."""
    folder = tmp_path / "log"
    log = open_log()
    Scribe(log).write("a", b"x")
    log.close()
    locked = Folder(folder)
    locked.note(log.log_id, 201)
    locked.close()
    assert [(finding.kind, finding.text) for finding in findings(folder)] == [
        ("head", "the log ends at 1, and went up to 201 when it was written last")
    ]
    assert repair(folder) is not None
    assert findings(folder) == []


@pytest.mark.parametrize("version", [schema.VERSION + 1, 900])
def test_a_format_that_is_not_known_is_an_error(open_log: OpenLog, tmp_path: Path, version: int) -> None:
    open_log().close()
    change(tmp_path / "log", f"PRAGMA user_version={version}")
    for work in (findings, repair, lambda folder: list(export(folder))):
        with pytest.raises(StartError, match=f"written by a newer zchat .format {version}, this one knows"):
            work(tmp_path / "log")
