"""Views: what a session is given of the log, and what it is told of the rest."""

from __future__ import annotations

from zchat import wire
from zchat.core.log import Append, LogPage, StoredBatch, whole
from zchat.core.rights import HISTORY, PRESENCE, READ, Rights, RoomRule, Rules
from zchat.core.views import View
from zchat.log.memory import MemoryLog

JOIN = wire.Record(b"", "join")
SINCE = 50  # when the session began


def logged(*batches: tuple[str, int, wire.RecordOrBody]) -> MemoryLog:
    """Room, time and record of each; offsets count from 1."""
    log, lasts, stored = MemoryLog(), dict[str, int](), []
    for base, (room, time, record) in enumerate(batches, 1):
        kind = wire.PRESENCE if record is JOIN else wire.MESSAGES
        entry = wire.RawEntry("ann", "s", 0, wire.raw(wire.encode_records([record])))
        frame = wire.encode(wire.RawBatch(kind, base, lasts.get(room, 0), time, [entry]))
        stored.append(StoredBatch(base, room, kind, 1, time, frame))
        lasts[room] = base
    log.append(Append(stored, [], [], {}), lambda error: None)
    return log


def view(rules: Rules | None) -> View:
    return View(Rights(rules), "bob", SINCE)


def fetched(log: MemoryLog, of: View, *patterns: str, after: int = 0, limit: int = 0) -> LogPage:
    return whole(of.fetched(log, wire.Fetch(1, list(patterns), after, 0, limit), 1 << 20))


def bases(page: LogPage) -> list[int]:
    return [wire.decode_head(frame).base for _, frame in page.batches]


def rules(**rooms: dict[str, tuple[str, ...]]) -> Rules:
    return Rules(True, tuple(RoomRule(room, who) for room, who in rooms.items()))


LOG = logged(("open", 10, b"1"), ("ops", 20, b"2"), ("open", 30, JOIN), ("ops", 60, b"4"), ("open", 70, b"5"))


def test_without_rules_it_is_all() -> None:
    page = fetched(LOG, view(None), "**")
    assert bases(page) == [1, 2, 3, 4, 5] and page.gaps == [] and view(None).history(LOG) is LOG


def test_rooms_that_it_may_not_read_are_not_there_and_cost_nothing() -> None:
    of = view(rules(ops={READ: ("ann",)}))
    assert bases(fetched(LOG, of, "**")) == bases(fetched(LOG, of, "open", "ops")) == [1, 3, 5]
    assert bases(fetched(LOG, of, "**", limit=2)) == [1, 3]
    history = of.history(LOG)
    assert whole(history.seek(["**"], 1, 0, False)) == 4 and whole(history.seek(["**"], 2, 0, False)) == 0
    assert bases(whole(history.latest(["**"], 0, 5, 1, 1 << 20))) == [5]
    assert bases(whole(history.read(["**"], 0, 0, 0, 1 << 20))) == [1, 3, 5]


def test_without_history_it_has_what_came_since_and_is_told_that_there_was_more() -> None:
    of = view(rules(ops={HISTORY: ("ann",)}))
    page = fetched(LOG, of, "**")
    assert bases(page) == [1, 3, 4, 5] and page.gaps == [wire.Gap("ops", 2, 3, "denied")]
    page = fetched(LOG, of, "ops", limit=1)
    assert bases(page) == [] and page.more and page.gaps == [wire.Gap("ops", 2, 2, "denied")]
    assert bases(fetched(LOG, of, "ops", after=2)) == [4]
    history = of.history(LOG)
    assert bases(whole(history.read(["**"], 0, 0, 0, 1 << 20))) == [1, 3, 5]


def test_joins_and_leaves_are_left_out_without_a_gap() -> None:
    page = fetched(LOG, view(rules(open={PRESENCE: ("ann",)})), "**")
    assert bases(page) == [1, 2, 4, 5] and page.gaps == []


def test_it_is_of_the_rules_that_held_when_it_was_made() -> None:
    rights = Rights()
    before = View(rights, "bob", SINCE)
    assert before.table is rights.table
    rights.change(rules(ops={READ: ("ann",)}))
    assert before.table is not rights.table
