"""Dead letters: the record as it was, and what became of it. What happens around them is in test_groups.py."""

from __future__ import annotations

from tests.core.test_stock import frame_of
from zchat import wire
from zchat.core import Instant
from zchat.core.allowances import Allowances
from zchat.core.commits import Gathering
from zchat.core.dead_letters import bury
from zchat.core.group import DYING, READY, Run, WorkGroup
from zchat.core.rooms import BrokerRooms
from zchat.core.stock import StockBatch
from zchat.settings import Settings

NOW = Instant(5.0, 5)


def rooms_of(rooms_max: int) -> BrokerRooms:
    return BrokerRooms({"jobs": 41}, Allowances(Settings()), rooms_max)


def test_a_letter_has_the_record_its_writer_and_headers() -> None:
    group, run, gathering = WorkGroup("jobs", "g", 41), Run(41, 41, 3, READY, 0.0), Gathering(1 << 20)
    run.reason = "gone"
    batch = StockBatch.of_frame(frame_of([[b"other", wire.Record(b"job", "deploy", {"by": "ci", "dead-room": "x"})]]))
    assert batch is not None and bury(group, run, batch, rooms_of(9), gathering, NOW)
    assert run.state == DYING and gathering.dying == [(group, run)] and ("jobs", "g") in gathering.groups
    ((batch_out,), (entry,)) = gathering.batches, gathering.batches[0].entries
    assert (batch_out.room.name, entry.user, entry.session, entry.seq) == ("jobs.dead", "ann", "s0", 0)
    told = {"dead-room": "jobs", "dead-group": "g", "dead-deliveries": "3", "dead-offset": "41", "dead-reason": "gone"}
    assert wire.decode_records(entry.records) == [wire.Record(b"job", "deploy", {"by": "ci", **told})]


def test_where_there_may_be_no_room_more_it_is_not_written() -> None:
    group, run, gathering = WorkGroup("jobs", "g", 41), Run(40, 40, 3, READY, 0.0), Gathering(1 << 20)
    batch = StockBatch.of_frame(frame_of([[b"job"]]))
    assert batch is not None and not bury(group, run, batch, rooms_of(1), gathering, NOW)
    assert run.state == READY and not gathering
