"""Volatile publishes on their way out: gathered, counted, and held back where a subscriber has no room for more.

    publishes of a cycle --> open batches --take--> the XPUB --out--> acked
                                  ^------- refused: held ------'

Rules of this file
1. What nobody's queue refuses goes out in the cycle that brought it, and is acked with it.
2. Where a queue is full, the batch is offered again a moment later. Meanwhile further publishes to its room are not
   acked, so that their senders, who keep to their windows, wait.
3. That costs patience, which comes back while nothing is held. Without any, the batch goes out, and whose queue is full
   loses it: a subscriber that has stopped holds others back once, a slow one for a part of the time.

Spec: docs/protocol.md, "Volatile". Tests: tests/core/test_outlet.py.
"""

from __future__ import annotations

from zchat import wire
from zchat.core import Instant
from zchat.core.paces import Paces
from zchat.core.replies import Replies
from zchat.core.rooms import BrokerRoom, OpenBatch
from zchat.core.session import Session
from zchat.core.volatile import Counts

PATIENCE_SECONDS = 2.0  # for which batches may be held, all in all;
PATIENCE_GROWS = 1.0  # and for each second without, so many seconds more
HELD_BYTES_MAX = 32 << 20
AGAIN_SECONDS = 0.002  # then what is held is offered again


class Outlet:
    """The volatile records that have not gone out. `publish`, `take`, and then `out` with what was refused."""

    def __init__(self, replies: Replies, paces: Paces, batch_bytes_max: int, start: str) -> None:
        self._replies = replies
        self._paces = paces
        self._batch_bytes_max = batch_bytes_max
        self._counts = Counts(start)
        self.batches: list[OpenBatch] = []  # that nobody was offered yet
        self._offered: list[OpenBatch] = []  # that were taken, and of which `out` has not told yet
        self.held: dict[bytes, list[OpenBatch]] = {}  # topic -> those that were refused, in order
        self._held_bytes = 0
        self._patience = PATIENCE_SECONDS
        self._looked_at = 0.0  # when the patience was that much

    def publish(self, session: Session, room: BrokerRoom, message: wire.Publish, count: int, size: int) -> None:
        """Some records of a session, in a frame of that size. They are acked now, unless their room is held back."""
        batch = room.volatile_batch
        if batch is None or batch.size > self._batch_bytes_max:
            batch = room.volatile_batch = OpenBatch(room, wire.VOLATILE_MESSAGES)
            self.batches.append(batch)
        batch.add(session, message.seq, message.records, count, size)
        if room.topic in self.held:
            session.wait(size)
            batch.waiting.append((session, message.seq, size))
            return
        if self._paces.is_on:
            session.wait(size)
            if self._paces.is_late(session, message.seq, 0, size):
                return
            session.finish(message.seq, 0, size)
        session.settle(message.seq, 0)
        if not message.flags & wire.QUIET:
            self._replies.ack(session.connection, message.seq, 0)

    def take(self, time: int) -> list[OpenBatch]:
        """The batches to send now, with their frames; those of a room in order."""
        batches, self.batches = self.batches, []
        for batch in batches:
            room = batch.room
            room.volatile_batch = None
            base, prev = self._counts.add(room.name, batch.records)
            batch.frame = wire.encode(wire.RawBatch(batch.kind, base, prev, time, batch.entries))
        if self.held and not self._offered:
            batches = [batch for held in self.held.values() for batch in held] + batches
        self._offered += batches
        return batches

    def out(self, refused: set[bytes], now: Instant) -> None:
        """They were sent, but for these frames: what a subscriber has no room for."""
        offered, self._offered = self._offered, []
        if not refused and not self.held:
            return
        self._look_at(now)
        self.held, self._held_bytes = {}, 0
        for batch in offered:
            if batch.frame in refused:
                self.held.setdefault(batch.room.topic, []).append(batch)
                self._held_bytes += batch.size
                continue
            for (
                session,
                seq,
                size,
            ) in batch.waiting:  # quiet ones are told of, too: their sender may have asked meanwhile
                if not self._paces.is_late(session, seq, 0, size):
                    session.finish(seq, 0, size)
                    self._replies.ack(session.connection, seq, 0)

    def is_patient(self, now: Instant) -> bool:
        """Whether a subscriber without room may refuse a batch; else it loses it."""
        self._look_at(now)
        return self._patience > 0 and self._held_bytes < HELD_BYTES_MAX

    def next_deadline(self) -> float | None:
        """When what is held is to be taken again; None: nothing is."""
        return self._looked_at + AGAIN_SECONDS if self.held else None

    def _look_at(self, now: Instant) -> None:
        passed, self._looked_at = now.seconds - self._looked_at, now.seconds
        self._patience = min(PATIENCE_SECONDS, self._patience + passed * (-1.0 if self.held else PATIENCE_GROWS))
