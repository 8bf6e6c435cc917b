"""Records that a group gives up: what is written of them to the dead-letter room, `ROOM.dead`.

Rules of this file
1. A dead letter is the record as it was, by who sent it, with headers that tell what became of it.
2. It is written in the commit that ends the record for its group.

Spec: docs/protocol.md, "Groups". Tests: tests/core/test_dead_letters.py.
"""

from __future__ import annotations

import msgspec

from zchat import wire
from zchat.core import Instant
from zchat.core.commits import Gathering
from zchat.core.group import DYING, Run, WorkGroup
from zchat.core.rooms import BrokerRooms
from zchat.core.session import Session
from zchat.core.stock import StockBatch
from zchat.errors import BadName, WireError
from zchat.names import DEAD


def bury(group: WorkGroup, run: Run, batch: StockBatch, rooms: BrokerRooms, gathering: Gathering, now: Instant) -> bool:
    """Have them written with the next commit. False: there may be no such room now."""
    try:
        (room,) = rooms.admit([group.room + DEAD], None, now)
    except (BadName, WireError):
        return False
    told = {"dead-room": group.room, "dead-group": group.name, "dead-deliveries": str(run.deliveries)}
    offset = run.first
    for entry in batch.entries(run.first, run.last):
        letters: list[wire.RecordOrBody] = []
        for record in wire.decode_records(entry.records):
            known = wire.Record(record) if isinstance(record, bytes) else record
            headers = {**(known.headers or {}), **told, "dead-offset": str(offset), "dead-reason": run.reason}
            letters.append(wire.Record(known.body, known.event, headers))
            offset += 1
        raw = msgspec.Raw(wire.encode_records(letters))
        writer = Session(entry.session, entry.user, now.micros, now.micros)  # nobody is told of an outcome
        writer.wait(len(raw))
        gathering.open_batch(room, wire.MESSAGES).add(writer, 0, raw, len(letters), len(raw))
    run.state = DYING
    gathering.dying.append((group, run))
    gathering.groups[group.room, group.name] = group
    return True
