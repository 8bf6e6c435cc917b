"""What is read from the log for groups: when, how much, and what comes of it."""

from __future__ import annotations

from typing import Any

from tests.core.sharing import Sharing
from tests.core.test_handing_out import group_of, put
from tests.core.test_stock import frame_of
from zchat import wire
from zchat.core import Instant
from zchat.core.group import READY, Run, WorkGroup
from zchat.core.rooms import BrokerRoom
from zchat.core.stock import StockBatch
from zchat.core.stocking import AGAIN_SECONDS, NEAR, READS_MAX, STOCK_BYTES_MAX, Stocking, StockPage

NOW = Instant(5.0, 5)


def stocking(last: int = 100) -> Stocking:
    return Stocking({"jobs": BrokerRoom("jobs", last)})


def behind(room: int = 5) -> WorkGroup:
    return group_of(room)


def ready(group: WorkGroup, *runs: tuple[int, int]) -> None:
    for first, last in runs:
        run = Run(first, last, 1, READY, 0.0)
        group.pending.append(run)
        group.ready.append(run)
    group.upto = group.stock_upto = max(last for _, last in runs)


def page(*batches: tuple[int, int], upto: int = 100, gaps: Any = ()) -> StockPage:
    """Batches by base and number of records."""
    return StockPage([StockBatch(frame_of([[b"x"] * n], base), base, n) for base, n in batches], upto, list(gaps))


def test_a_group_that_is_behind_reads_on_where_a_member_has_room() -> None:
    of, group, nobody = stocking(), behind(), WorkGroup("jobs", "h", 0)
    of.look(group, NOW)
    of.look(nobody, NOW)
    (read,) = of.take(NOW)
    assert (read.group, read.after, read.until, read.wanted) == (group, 0, 100, [])
    of.look(group, NOW)
    assert of.take(NOW) == [], "one at a time"
    assert of.read(read, page((3, 2), (7, 1), upto=50)) == []
    assert (len(group.stock), group.stock_upto, of.bytes) == (2, 50, group.stock_bytes)
    of.look(group, NOW)
    assert of.take(NOW) == [], "not before that is handed out"
    of.forget(group)
    assert of.bytes == 0 and not group.stock and group.stock_upto == 0


def test_joins_and_leaves_behind_the_last_message_are_passed() -> None:
    of, group = stocking(), behind()
    (member,) = group.members.values()
    for batches, upto in (([(3, 2)], 50), ([], 100)):
        of.look(group, NOW)
        (read,) = of.take(NOW)
        of.read(read, page(*batches, upto=upto))
        while group.hand_out(9, member, NOW, takes_new=True) is not None:
            pass
        assert group.upto == upto


def test_what_is_stored_next_need_not_be_read() -> None:
    of, group = stocking(), behind()
    group.upto = group.stock_upto = 100
    batch = StockBatch(frame_of([[b"x"]], 101), 101, 1)
    of.store(group, batch, 99)
    assert list(group.stock) == [batch] and group.stock_upto == 101
    of.store(group, StockBatch(frame_of([[b"x"]], 105), 105, 1), 103)
    assert list(group.stock) == [batch], "there is something between them"
    group.stock_bytes = STOCK_BYTES_MAX
    of.store(group, StockBatch(frame_of([[b"x"]], 102), 102, 1), 101)
    assert len(group.stock) == 1


def test_runs_that_come_again_are_read_together_where_they_lie_near() -> None:
    of, group = stocking(9_000), behind()
    ready(group, (10, 12), (20, 20), (20 + 2 * NEAR, 20 + 2 * NEAR))
    of.look(group, NOW)
    (read,) = of.take(NOW)
    assert (read.after, read.until, len(read.wanted)) == (9, 20, 2)
    assert of.read(read, page((10, 1), (11, 4), (20, 3), upto=20)) == []
    assert [(run.first, run.last) for run, _ in group.again] == [(10, 10), (11, 12), (20, 20)]


def test_what_a_page_did_not_reach_is_read_again_and_what_is_gone_is_no_more() -> None:
    of, group = stocking(), behind()
    ready(group, (10, 10), (12, 13), (15, 15))
    of.look(group, NOW)
    (read,) = of.take(NOW)
    of.read(read, page((13, 1), upto=13, gaps=[wire.Gap("jobs", 1, 12, "trimmed")]))
    assert [(run.first, run.last) for run in group.pending] == [(13, 13), (15, 15)]
    assert {run.first for run in group.ready if run.state == READY} == {13, 15}


def test_what_is_to_be_buried_needs_no_member() -> None:
    of, group = stocking(), WorkGroup("jobs", "g", 0)
    group.max_deliveries = 1
    ready(group, (10, 10))
    of.look(group, NOW)
    (read,) = of.take(NOW)
    ((run, batch),) = of.read(read, page((10, 1), upto=10))
    assert (run.first, batch.base) == (10, 10) and not group.again


def test_a_read_that_failed_is_tried_again_later() -> None:
    of, group = stocking(), behind()
    ready(group, (10, 10))
    of.look(group, NOW)
    (read,) = of.take(NOW)
    of.unread(read, NOW)
    of.look(group, NOW)
    assert of.take(NOW) == [] and group.due == 5.0 + AGAIN_SECONDS
    later = Instant(5.0 + AGAIN_SECONDS, 9)
    of.look(group, later)
    assert [each.wanted for each in of.take(later)] == [read.wanted]


def test_a_few_are_read_at_a_time() -> None:
    of, groups = stocking(), [behind() for _ in range(READS_MAX + 2)]
    for group in groups:
        of.look(group, NOW)
    reads = of.take(NOW)
    assert len(reads) == READS_MAX and of.take(NOW) == []
    of.read(reads[0], page())
    assert len(of.take(NOW)) == 1


def test_what_was_read_for_a_group_that_was_moved_meanwhile_is_passed_over() -> None:
    of, group = stocking(), behind()
    of.look(group, NOW)
    (read,) = of.take(NOW)
    group.move(40)
    assert of.read(read, page((3, 2), upto=50)) == [] and not group.stock and group.stock_upto == 40


def test_a_backlog_is_read_to_its_end_while_more_comes() -> None:
    cycle = Sharing()
    boss, ann = cycle.clients("boss", "ann")
    for seq in range(1, 40):
        cycle.jobs(boss, seq, *[bytes(9_000)] * 10)
    cycle.work(ann, after=0, max_in_flight=64)
    done: list[int] = []
    seq = 40
    while offsets := cycle.offsets(ann):
        done += offsets
        if seq < 60:
            cycle.jobs(boss, seq, b"more")
            seq += 1
        cycle.ack(ann, *[(offset, offset) for offset in offsets])
    assert done == list(range(1, 411))


def test_the_stock_is_counted_down_to_nothing() -> None:
    group = group_of(3)
    put(group, [b"x"] * 3)
    assert group.stock_bytes > 0
    (member,) = group.members.values()
    assert group.hand_out(3, member, NOW, takes_new=True) is not None
    assert group.stock_bytes == 0
