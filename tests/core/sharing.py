"""A broker core whose clients share work in groups: what each was handed, and what came of it."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.core.cycle import Cycle
from zchat import wire
from zchat.core.log import whole
from zchat.core.stock import StockBatch
from zchat.core.stocking import READ_BYTES, StockPage

MEMBER = 1  # what every client here calls itself


class Handed(NamedTuple):
    """Records that one member was handed."""

    offsets: list[int]
    bodies: list[bytes]
    deliveries: list[int]  # of each run


class Sharing(Cycle):
    """`turn` does what a broker's loop does, until nothing is left to do; `take_handed` is what each was handed."""

    def start(self) -> None:
        super().start()
        self.handed: dict[bytes, list[wire.Deliver]] = {}
        self.answers: list[tuple[bytes, Any]] = []
        self.full: set[bytes] = set()

    def work(self, connection: bytes, room: str = "jobs", group: str = "g", **options: Any) -> None:
        """Take part."""
        asked = {"max_in_flight": 100, "member": MEMBER, "request": 7} | options
        self.send(connection, wire.JoinGroup(room=room, group=group, **asked))
        self.turn()

    def ack(self, connection: bytes, *ranges: tuple[int, int], nacks: Any = ()) -> None:
        self.send(connection, wire.Settle(8, MEMBER, list(ranges), list(nacks)))
        self.turn()

    def jobs(self, connection: bytes, seq: int, *bodies: bytes, room: str = "jobs") -> None:
        """Send some, which are stored."""
        self.publish(connection, seq, room, *bodies)
        self.turn()

    def turn(self, *, commits: bool = True) -> None:
        groups = self.core.groups
        while True:
            groups.hand_out(self.full, self.now)
            for read in groups.take_reads(self.now):
                page = whole(self.log.read([read.group.room], read.after, read.until, 0, READ_BYTES))
                batches = [StockBatch.of_frame(frame) for _, frame in page.batches]
                found = StockPage([batch for batch in batches if batch is not None], page.upto, page.gaps)
                groups.read(read, found, self.now)
            self.hear()
            if commits and (self.append is not None or self.begin_commit() is not None):
                self.end_commit()
            elif not groups.is_eager:
                self.hear()
                return

    def hear(self) -> None:
        for connection, reply in self.take_replies():
            if isinstance(reply, wire.Deliver):
                self.handed.setdefault(connection, []).append(reply)
            else:
                self.answers.append((connection, reply))

    def take_handed(self, connection: bytes) -> Handed:
        """What came for it since the last time."""
        handed = Handed([], [], [])
        for deliver in self.handed.pop(connection, []):
            assert deliver.member == MEMBER and deliver.room == "jobs"
            for deliveries, frame in deliver.runs:
                batch = wire.decode_batch(frame)
                handed.deliveries.append(deliveries)
                offset = batch.base
                for entry in batch.entries:
                    for record in entry.records:
                        handed.offsets.append(offset)
                        handed.bodies.append(record if isinstance(record, bytes) else record.body)
                        offset += 1
        return handed

    def offsets(self, connection: bytes) -> list[int]:
        return self.take_handed(connection).offsets

    def gaps(self, connection: bytes) -> list[wire.Gap]:
        return [gap for deliver in self.handed.get(connection, []) for gap in deliver.gaps]

    def told(self, room: str = "jobs", name: str = "g") -> wire.Group:
        """What GROUPS tells of it."""
        (group,) = (group for part in self.core.groups.listed(room, name, lambda room: True) for group in part)
        return group

    def refusals(self) -> list[str]:
        """The codes of what was refused since the last time."""
        answers, self.answers = self.answers, []
        return [answer.code for _, answer in answers if isinstance(answer, wire.Error)]
